# SPDX-License-Identifier: MIT
"""FastAPI and Quart-Trio run unchanged."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import trio
from fastapi import BackgroundTasks, Depends, FastAPI, Request
from fastapi.responses import StreamingResponse
from quart import request as quart_request
from quart_trio import QuartTrio

from trioserve.testing import open_test_server

from .harness import PATIENCE, get

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .conftest import Errors, Serving


async def wait_until(condition: Callable[[], bool]) -> None:
    """For what a framework gives no event; unlike ``until`` it lets virtual time pass."""
    while not condition():  # noqa: ASYNC110
        await trio.sleep(0.001)


class Session:
    open = 0


async def session() -> AsyncIterator[Session]:
    Session.open += 1
    try:
        yield Session()
    finally:
        await trio.lowlevel.checkpoint()
        Session.open -= 1


def make_fastapi(log: list[str]) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        log.append("up")
        yield {"name": "lifespan"}
        log.append("down")

    app = FastAPI(lifespan=lifespan)

    @app.post("/items/{number}")
    async def item(number: int, body: dict[str, Any], request: Request) -> dict[str, Any]:
        return {"number": number, **body, "name": request.state.name}

    @app.get("/work")
    async def work(tasks: BackgroundTasks) -> str:
        async def later() -> None:
            await trio.sleep(1)
            log.append("worked")

        tasks.add_task(later)
        return "ok"

    @app.get("/wait")
    async def wait(own: Annotated[Session, Depends(session)]) -> str:
        log.append("waiting")
        await trio.sleep(3600)
        return "never"

    @app.get("/stream")
    async def stream(own: Annotated[Session, Depends(session)]) -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            for number in range(3):
                yield f"{number},"
                await trio.sleep(1)

        return StreamingResponse(parts())

    return app


async def test_fastapi_serves_json_validation_streams_and_background_work(
    in_memory: Serving, errors: Errors
) -> None:
    log: list[str] = []
    async with open_test_server(make_fastapi(log), lifespan="on") as server:
        client = server.connect()
        headers = [("content-type", "application/json")]
        response = await client.request("POST", "/items/5", headers=headers, body=b'{"a": 1}')
        assert json.loads(response.body) == {"number": 5, "a": 1, "name": "lifespan"}
        bad = await client.request("POST", "/items/x", headers=headers, body=b"[]")
        assert bad.status == 422
        assert (await client.request("GET", "/stream")).body == b"0,1,2,"
        assert (await client.request("GET", "/work")).body == b'"ok"'
        assert (await client.request("GET", "/openapi.json")).status == 200
        assert "worked" not in log
    assert log == ["up", "worked", "down"]
    assert errors.records == []


async def test_a_fastapi_dependency_is_cleaned_up_when_the_client_leaves(
    serving: Serving, errors: Errors
) -> None:
    log: list[str] = []
    async with serving(make_fastapi(log), lifespan="on") as server:
        client = await server.connect()
        await client.send(get("/wait"))
        with trio.fail_after(PATIENCE):
            await wait_until(lambda: "waiting" in log)
            assert Session.open == 1
            await client.leave()
            await wait_until(lambda: not Session.open)
    assert errors.records == []


def make_quart(log: list[str]) -> Any:
    app = QuartTrio(__name__)

    @app.before_serving
    async def up() -> None:
        log.append("up")

    @app.after_serving
    async def down() -> None:
        log.append("down")

    @app.route("/echo", methods=["POST"])
    async def echo() -> Any:
        return await quart_request.get_data(as_text=False)

    @app.route("/stream")
    async def stream() -> Any:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(3):
                yield b"%d," % number
                await trio.sleep(1)

        return parts()

    @app.route("/broken")
    async def broken() -> bytes:
        raise ValueError("broken")

    @app.route("/work")
    async def work() -> bytes:
        async def later() -> None:
            await trio.sleep(1)
            log.append("worked")

        app.add_background_task(later)
        return b"ok"

    @app.route("/wait")
    async def wait() -> bytes:
        log.append("waiting")
        try:
            await trio.sleep(3600)
        finally:
            log.append("cancelled")
        return b"never"

    return app


async def test_quart_trio_serves_bodies_streams_errors_and_background_work(
    in_memory: Serving,
) -> None:
    log: list[str] = []
    async with open_test_server(make_quart(log), lifespan="on") as server:
        client = server.connect()
        assert (await client.request("POST", "/echo", body=b"x" * 100_000)).body == b"x" * 100_000
        assert (await client.request("GET", "/stream")).body == b"0,1,2,"
        assert (await client.request("GET", "/broken")).status == 500
        assert (await client.request("GET", "/none")).status == 404
        assert (await client.request("HEAD", "/stream")).body == b""
        assert (await client.request("GET", "/work")).body == b"ok"
    assert sorted(log) == ["down", "up", "worked"]


async def test_a_quart_trio_view_is_cancelled_when_the_client_leaves(serving: Serving) -> None:
    log: list[str] = []
    async with serving(make_quart(log), lifespan="on") as server:
        client = await server.connect()
        await client.send(get("/wait"))
        with trio.fail_after(PATIENCE):
            await wait_until(lambda: "waiting" in log)
            await client.leave()
            await wait_until(lambda: "cancelled" in log)
