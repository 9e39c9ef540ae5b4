# SPDX-License-Identifier: MIT
"""``send()`` from several tasks, to slow clients, and under cancellation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from trioserve.errors import ClientDisconnectedError

from .harness import get

if TYPE_CHECKING:
    from trioserve.types import Message, Receive, Scope, Send

    from .conftest import Errors, Serving

START: Message = {"type": "http.response.start", "status": 200}


def part(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def test_parts_of_several_tasks_go_out_whole(serving: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def write(letter: bytes) -> None:
            for _ in range(20):
                await send(part(letter * 50_000 + b"."))

        await send(START)
        await send(part(b"."))
        async with trio.open_nursery() as nursery:
            for letter in (b"a", b"b", b"c"):
                nursery.start_soon(write, letter)
        await send({"type": "http.response.body"})

    async with serving(app) as server:
        body = (await server.request()).body
    words = body.split(b".")
    assert all(re.fullmatch(rb"(a{50000}|b{50000}|c{50000})?", word) for word in words)
    assert len(words) == 62


async def test_a_client_that_reads_nothing_is_given_up_after_the_write_timeout(
    serving: Serving, errors: Errors
) -> None:
    if serving.kind == "memory":
        pytest.skip("a memory stream takes any amount")
    ended = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        with pytest.raises(ClientDisconnectedError):  # noqa: PT012
            while True:
                await send(part(b"x" * 65536))
        assert (await receive())["type"] == "http.request"
        assert await receive() == {"type": "http.disconnect"}
        ended.set()

    async with serving(app, write_timeout=0.1) as server:
        client = await server.connect()
        await client.send(get())
        with trio.fail_after(5):
            await ended.wait()
        await client.rest()
        assert client.was_reset
    assert errors.records == []


async def test_a_send_that_is_cancelled_half_way_never_makes_the_response_look_whole(
    serving: Serving, errors: Errors
) -> None:
    if serving.kind == "memory":
        pytest.skip("a memory stream takes any amount")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        with trio.move_on_after(0.05) as scope_:
            while True:
                await send(part(b"x" * 65536))
        assert scope_.cancelled_caught
        with pytest.raises(OSError):  # noqa: PT011
            await send({"type": "http.response.body", "body": b"the end"})
        raised.set()

    raised = trio.Event()
    async with serving(app) as server:
        client = await server.connect()
        await client.send(get())
        with trio.fail_after(5):
            await raised.wait()
        data = await client.rest()
    assert not data.endswith(b"0\r\n\r\n")
    assert b"the end" not in data
    assert errors.records == []
