# SPDX-License-Identifier: MIT
"""A client that leaves with a body on its way, in either direction, or after the response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from trioserve.errors import ClientDisconnectedError

from .harness import PATIENCE, get, ok, read_body
from .test_disconnect import LEAVES, PART, START, Stage, leaves
from .versions import both_versions

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send

    from .conftest import Errors, Serving

UPLOADS = {
    "sized": get("/", "Content-Length: 1000", method="POST") + b"x" * 500,
    "chunked": get("/", "Transfer-Encoding: chunked", method="POST") + b"5\r\n12345\r\n",
    "within a chunk": get("/", "Transfer-Encoding: chunked", method="POST") + b"fff\r\n12345",
    "before its first byte": get("/", "Content-Length: 1000", method="POST"),
}


@pytest.mark.parametrize("upload", UPLOADS.values(), ids=UPLOADS)
@leaves
@both_versions
async def test_leaving_within_an_upload_is_a_disconnect_and_never_a_whole_body(
    leave: Any, upload: bytes, serving: Serving, errors: Errors
) -> None:
    stage = Stage()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        stage.started.set()
        try:
            while not stage.messages or stage.messages[-1]["type"] == "http.request":
                stage.messages.append(await receive())
            stage.messages.append(await receive())
        finally:
            stage.ended.set()

    async with serving(app) as server:
        client = await server.connect()
        await client.send(upload)
        await stage.left(client, leave)
    *parts, disconnect, again = stage.messages
    assert disconnect == again == {"type": "http.disconnect"}
    assert all(part["more_body"] for part in parts)
    assert errors.records == []


@both_versions
async def test_what_a_client_sent_before_it_left_can_still_be_taken(serving: Serving) -> None:
    stage = Stage()
    bodies: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        stage.started.set()
        await trio.testing.wait_all_tasks_blocked(0.01)
        bodies.append(await read_body(receive))
        stage.ended.set()

    async with serving(app) as server:
        client = await server.connect()
        await client.send(get("/", "Content-Length: 4", method="POST") + b"body")
        await stage.left(client, LEAVES["close"])
    assert bodies == [b"body"]


async def test_an_application_that_takes_a_long_upload_of_a_gone_client_is_not_cut_short(
    in_memory: Serving,
) -> None:
    # The grace is for an application that has nothing to do any more. 2 s a part, grace 3 s.
    bodies: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
            await trio.sleep(2)
        bodies.append(body)

    async with in_memory(app) as server:
        client = await server.connect()
        await client.send(get("/", "Transfer-Encoding: chunked", method="POST"))
        for _ in range(6):
            await client.send(b"1\r\nx\r\n")
            await trio.testing.wait_all_tasks_blocked()
        await client.send(b"0\r\n\r\n")
        await client.leave()
        await trio.sleep(30)
    assert bodies == [b"x" * 6]


async def test_an_upload_that_nobody_reads_gets_its_response_and_the_next_request_too(
    serving: Serving,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await ok(send, scope["path"].encode())

    async with serving(app) as server:
        client = await server.connect()
        upload = get("/1", "Content-Length: 100000", method="POST") + b"x" * 100_000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, upload + get("/2"))
            assert (await client.response()).body == b"/1"
            assert (await client.response()).body == b"/2"


async def test_a_huge_upload_that_nobody_reads_gets_its_response_and_then_a_close(
    serving: Serving,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await ok(send)

    async with serving(app) as server:
        client = await server.connect()
        await client.send(get("/", "Content-Length: 9000000", method="POST") + b"x" * 100_000)
        response = await client.response()
        assert response.headers[b"connection"] == b"close"
        assert await client.rest() == b""
        assert not client.was_reset


async def test_leaving_within_a_download_ends_a_streaming_application(
    serving: Serving, errors: Errors
) -> None:
    stage = Stage()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        try:
            while True:
                await send({**PART, "body": b"x" * 65536})
                stage.started.set()
        except ClientDisconnectedError:
            stage.ended.set()
            raise

    async with serving(app) as server:
        client = await server.connect()
        await client.send(get())
        await client.receive_until(b"xxx")
        await stage.left(client, LEAVES["close"])
    assert errors.records == []


async def test_streaming_without_a_pause_lets_others_run_and_can_be_cancelled(
    serving: Serving,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/stop":
            extensions[0]["cancel_scope"].cancel()
            await ok(send)
            return
        extensions.append(scope["extensions"]["trioserve"])
        await send(START)
        while True:
            await send({**PART, "body": b"x" * 1024})
            started.set()

    extensions: list[Any] = []
    started = trio.Event()
    async with serving(app) as server:
        reader = await server.connect()
        await reader.send(get())
        await started.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.rest)
            assert (await server.request("/stop")).body == b"ok"


@leaves
@both_versions
async def test_work_after_a_complete_response_goes_on_when_the_client_leaves(
    leave: Any, serving: Serving, errors: Errors
) -> None:
    stage = Stage()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await ok(send)
        stage.started.set()
        await trio.sleep(server.grace * 2)
        assert await receive() == {"type": "http.disconnect"}
        stage.ended.set()

    async with serving(app) as server:
        client = await server.connect()
        assert (await client.request()).body == b"ok"
        await stage.left(client, leave)
    assert errors.records == []


@pytest.mark.parametrize("options", [{}, {"request_timeout": 0.15}], ids=["grace", "timeout"])
async def test_a_limit_on_the_request_ends_with_its_response(
    options: Any, serving: Serving, errors: Errors
) -> None:
    # The client ends its side, so the grace runs; the response comes; then nobody limits the app.
    stage = Stage()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await receive()
        await ok(send)
        await trio.sleep(server.grace * 2)
        stage.ended.set()

    async with serving(app, **options) as server:
        client = await server.connect()
        await client.send(get())
        await client.send_eof()
        assert (await client.response()).body == b"ok"
        with trio.fail_after(PATIENCE):
            await stage.ended.wait()
    assert errors.records == []
