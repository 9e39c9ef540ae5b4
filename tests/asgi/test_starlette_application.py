# SPDX-License-Identifier: MIT
"""Starlette's lifespan, mounts, errors, files and threads."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import pytest
from starlette.applications import Starlette
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from trioserve.testing import open_test_server

from .test_starlette import starlette

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request

    from .conftest import Errors, Serving


async def test_its_lifespan_its_state_and_its_mounts_work(in_memory: Serving) -> None:
    log: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        log.append("up")
        async with anyio.create_task_group() as group:
            yield {"group": group, "name": "from the lifespan"}
            group.cancel_scope.cancel()
        log.append("down")

    async def endpoint(request: Request) -> Response:
        return JSONResponse(
            [request.state.name, request.url.path, request.path_params["id"], request.base_url.path]
        )

    app = Starlette(
        routes=[Mount("/sub", routes=[Route("/item/{id}", endpoint)])], lifespan=lifespan
    )
    async with open_test_server(app, lifespan="on", root_path="/api") as server:
        response = await server.request("GET", "/sub/item/5%206")
        assert response.body == b'["from the lifespan","/api/sub/item/5 6","5 6","/api/"]'
    assert log == ["up", "down"]


async def test_an_error_in_its_lifespan_is_a_failed_startup(in_memory: Serving) -> None:
    async def connect() -> None:
        raise ValueError("no database")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await connect()
        yield

    with pytest.raises(Exception, match="no database"):
        async with open_test_server(Starlette(lifespan=lifespan)):
            raise AssertionError("it is up")


async def test_an_error_of_an_endpoint_is_its_500_page_and_logged_once(
    serving: Serving, errors: Errors
) -> None:
    async def endpoint(request: Request) -> Response:
        raise ValueError("broken")

    async with serving(starlette(endpoint)) as server:
        client = await server.connect()
        for _ in range(2):
            response = await client.request()
            assert (response.status, response.body) == (500, b"Internal Server Error")
    assert [str(error) for error in errors.exceptions] == ["broken"] * 2


@pytest.mark.parametrize("headers", [(), ("Range: bytes=10-19",)], ids=["whole", "range"])
async def test_a_file_response_is_whole(
    headers: tuple[str, ...], tmp_path: Path, in_real_time: Serving
) -> None:
    path = tmp_path / "file"
    content = bytes(range(256)) * 2000
    path.write_bytes(content)

    async def endpoint(request: Request) -> Response:
        return FileResponse(path)

    async with in_real_time(starlette(endpoint)) as server:
        client = await server.connect()
        for _ in range(2):
            response = await client.request("/", *headers)
            assert response.body == (content[10:20] if headers else content)
        assert (await client.request(method="HEAD")).body == b""


async def test_a_synchronous_endpoint_runs_in_a_thread(in_real_time: Serving) -> None:
    def endpoint(request: Request) -> Response:
        return PlainTextResponse(anyio.from_thread.run_sync(lambda: "from the loop"))

    async with in_real_time(starlette(endpoint)) as server:
        assert (await server.request()).body == b"from the loop"
