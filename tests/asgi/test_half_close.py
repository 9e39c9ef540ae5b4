# SPDX-License-Identifier: MIT
"""A client that ends its own side only, after its requests: it is answered all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .harness import get, ok, read_body
from .test_disconnect import PART, START

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send

    from .conftest import Errors, Serving


async def test_a_client_that_only_ended_its_side_still_gets_its_response(
    serving: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()
        await trio.sleep(server.grace / 3)
        await send(START)
        await send(PART)
        await trio.sleep(server.grace / 3)
        await send({"type": "http.response.body", "body": b"end"})

    async with serving(app) as server:
        client = await server.connect()
        await client.send(get())
        await client.send_eof()
        assert (await client.response()).body == b"part,end"
        assert await client.rest() == b""
    assert errors.records == []


async def test_a_client_that_ended_its_side_and_waits_longer_than_the_grace_gets_a_503(
    serving: Serving,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep_forever()

    async with serving(app) as server:
        client = await server.connect()
        await client.send(get())
        await client.send_eof()
        assert (await client.response()).status == 503


async def test_pipelined_requests_and_then_eof_are_all_answered(
    serving: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        await trio.lowlevel.checkpoint()
        await ok(send, scope["path"].encode() + body)

    async with serving(app) as server:
        client = await server.connect()
        post = get("/3", "Content-Length: 4", method="POST") + b"body"
        await client.send(get("/1") + get("/2") + post + get("/4"))
        await client.send_eof()
        bodies = [(await client.response()).body for _ in range(4)]
        assert await client.rest() == b""
    assert bodies == [b"/1", b"/2", b"/3body", b"/4"]
    assert errors.records == []


async def test_each_of_several_requests_before_an_eof_has_a_grace_of_its_own(
    serving: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(server.grace * 0.7)
        await ok(send, scope["path"].encode())

    async with serving(app) as server:
        client = await server.connect()
        await client.send(get("/1") + get("/2") + get("/3"))
        await client.send_eof()
        assert [(await client.response()).body for _ in range(3)] == [b"/1", b"/2", b"/3"]
    assert errors.records == []
