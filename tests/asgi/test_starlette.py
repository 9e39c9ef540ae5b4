# SPDX-License-Identifier: MIT
"""Starlette runs unchanged on Trio: disconnects, streaming, background tasks, files, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import trio
import trio.testing
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from .harness import PATIENCE, get

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import Errors, Serving


def starlette(endpoint: Any, path: str = "/", **options: Any) -> Any:
    methods = None if isinstance(endpoint, type) else ["GET", "POST"]
    return Starlette(routes=[Route(path, endpoint, methods=methods)], **options)


async def test_is_disconnected_is_false_while_the_client_is_there_and_true_once_it_has_left(
    serving: Serving, errors: Errors
) -> None:
    polled, left, done = trio.Event(), trio.Event(), trio.Event()
    answers: list[bool] = []

    async def endpoint(request: Request) -> Response:
        await request.body()
        answers.extend([await request.is_disconnected() for _ in range(3)])
        polled.set()
        await left.wait()
        while not await request.is_disconnected():
            await trio.lowlevel.checkpoint()
        answers.extend([await request.is_disconnected(), await request.is_disconnected()])
        done.set()
        return Response()

    async with serving(starlette(endpoint)) as server:
        client = await server.connect()
        await client.send(get())
        await polled.wait()
        await client.leave()
        left.set()
        with trio.fail_after(PATIENCE):
            await done.wait()
    assert answers == [False] * 3 + [True] * 2
    assert errors.records == []


async def test_polling_is_disconnected_loses_nothing_of_a_body_that_comes_later(
    serving: Serving,
) -> None:
    polled = trio.Event()

    async def endpoint(request: Request) -> Response:
        for _ in range(3):
            assert not await request.is_disconnected()
        polled.set()
        return Response(await request.body())

    async with serving(starlette(endpoint)) as server:
        client = await server.connect()
        await client.send(get("/", "Content-Length: 10", method="POST"))
        await polled.wait()
        await client.send(b"12345")
        await client.send(b"67890")
        assert (await client.response()).body == b"1234567890"


async def test_polling_between_the_parts_of_a_stream_loses_none(serving: Serving) -> None:
    took = trio.Event()

    async def endpoint(request: Request) -> Response:
        nonlocal took
        body = b""
        async for part in request.stream():
            body += part
            if part:
                assert not await request.is_disconnected()
                took.set()
        return Response(body)

    async with serving(starlette(endpoint)) as server:
        client = await server.connect()
        await client.send(get("/", "Transfer-Encoding: chunked", method="POST"))
        for number in range(5):
            took = trio.Event()
            await client.send(b"1\r\n%d\r\n" % number)
            await took.wait()
        await client.send(b"0\r\n\r\n")
        assert (await client.response()).body == b"01234"


async def test_a_client_that_leaves_within_its_upload_is_a_client_disconnect(
    serving: Serving, errors: Errors
) -> None:
    begun, raised = trio.Event(), trio.Event()

    async def endpoint(request: Request) -> Response:
        begun.set()
        try:
            await request.body()
        except ClientDisconnect:
            raised.set()
            raise
        return Response()

    async with serving(starlette(endpoint)) as server:
        client = await server.connect()
        await client.send(get("/", "Content-Length: 10", method="POST") + b"12345")
        await begun.wait()
        await client.leave()
        with trio.fail_after(PATIENCE):
            await raised.wait()
    assert errors.records == []


async def test_a_stream_that_waits_is_cancelled_after_the_grace_of_a_client_that_left(
    serving: Serving, errors: Errors
) -> None:
    closed = trio.Event()

    async def endpoint(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            try:
                yield b"part,"
                await anyio.sleep_forever()
            finally:
                closed.set()

        return StreamingResponse(parts())

    async with serving(starlette(endpoint)) as server:
        client = await server.connect()
        await client.send(get())
        await client.receive_until(b"part,")
        await client.leave()
        with trio.fail_after(PATIENCE):
            await closed.wait()
    assert errors.records == []


async def test_a_stream_that_goes_on_ends_when_its_client_cannot_be_reached(
    serving: Serving, errors: Errors
) -> None:
    ended = trio.Event()

    class Parts:
        """Starlette doesn't close a generator that it leaves; this needs no closing."""

        def __aiter__(self) -> Parts:
            return self

        async def __anext__(self) -> bytes:
            await anyio.sleep(0.001)
            return b"part,"

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(Parts())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await inner(scope, receive, send)
        except ClientDisconnect:
            ended.set()
            raise

    inner = starlette(endpoint)
    async with serving(app) as server:
        client = await server.connect()
        await client.send(get())
        await client.receive_until(b"part,")
        await client.leave()
        with trio.fail_after(PATIENCE):
            await ended.wait()
    assert errors.records == []


async def test_a_background_task_outlives_its_client_and_does_not_block_the_next_request(
    serving: Serving, errors: Errors
) -> None:
    go_on, done = trio.Event(), trio.Event()

    async def work() -> None:
        await go_on.wait()
        await anyio.sleep(0.01)
        done.set()

    async def endpoint(request: Request) -> Response:
        task = BackgroundTask(work) if request.url.query == "work" else None
        return PlainTextResponse("ok", background=task)

    async with serving(starlette(endpoint)) as server:
        client = await server.connect()
        assert (await client.request("/?work")).body == b"ok"
        assert (await client.request("/")).body == b"ok"
        await client.leave()
        go_on.set()
        with trio.fail_after(PATIENCE):
            await done.wait()
    assert errors.records == []
