# SPDX-License-Identifier: MIT
"""Messages, both ways: what goes through, whole and in parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from .apps import Recorder, accept, echo
from .frames import BINARY, CONT, PING, TEXT, frame

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send

    from .conftest import Serving


@pytest.mark.parametrize(
    "message",
    [
        "",
        "text",
        "größer €😀",
        b"",
        b"\x00\xff",
        b"x" * 125,
        b"x" * 126,
        b"x" * 65535,
        b"x" * 65536,
    ],
    ids=lambda message: f"{type(message).__name__}-{len(message)}",
)
async def test_a_message_comes_back_as_it_was_sent(serving: Serving, message: str | bytes) -> None:
    async with serving(echo) as server:
        client = await server.open()
        assert await client.echo(message) == message
        assert (await client.close()).code == 1000
        assert await client.ended()


async def test_a_large_message_comes_back(serving: Serving) -> None:
    # Over HTTP/2 a client may only send so much before it is told of more.
    message = bytes(range(256)) * (4096 * 3 if serving.version == "1.1" else 400)
    async with serving(echo) as server:
        client = await server.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, message)
            assert await client.message() == message


async def test_messages_of_one_segment_are_answered_in_order(serving: Serving) -> None:
    async with serving(echo) as server:
        client = await server.open()
        await client.send_bytes(b"".join(frame(TEXT, b"%d" % n) for n in range(300)))
        assert [await client.message() for _ in range(300)] == [str(n) for n in range(300)]


async def test_frames_may_come_a_byte_at_a_time(serving: Serving) -> None:
    data = frame(TEXT, "größer".encode()) + frame(BINARY, b"x" * 200) + frame(PING, b"p")
    async with serving(echo) as server:
        client = await server.open()
        for at in range(len(data)):
            await client.send_bytes(data[at : at + 1])
        assert await client.message() == "größer"
        assert await client.message() == b"x" * 200
        while not client.pongs:
            await client.ping(b"q")
        assert client.pongs[0] == b"p"


async def test_frames_right_behind_the_handshake_are_not_lost(serving: Serving) -> None:
    async with serving(echo) as server:
        client = server.client()
        await client.open(data=frame(TEXT, b"first") + frame(TEXT, b"second"))
        assert await client.message() == "first"
        assert await client.message() == "second"


async def test_fragments_make_one_message(serving: Serving) -> None:
    app = Recorder()
    async with serving(app) as server:
        client = await server.open()
        text = "größer".encode()
        await client.send_frame(TEXT, text[:3], fin=False)  # in the middle of a character
        await client.send_frame(PING, b"between")
        await client.send_frame(CONT, text[3:5], fin=False)
        await client.send_frame(CONT, b"", fin=False)
        await client.send_frame(CONT, text[5:])
        assert await client.message() == "größer"
        assert client.pongs == [b"between"]
        await client.send_frame(BINARY, b"a", fin=False)
        await client.send_frame(CONT, b"", fin=True)
        assert await client.message() == b"a"
        assert await client.echo("plain") == "plain"
        await client.close()
    assert app.messages == ["größer", b"a", "plain"]


async def test_a_ping_is_answered_while_the_application_is_busy(serving: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await trio.sleep(3600)

    async with serving(app) as server:
        client = await server.open()
        assert await client.ping(b"anybody") == b"anybody"
        assert await client.ping(b"") == b""
        await client.leave()


async def test_messages_wait_for_an_application_that_is_busy(serving: Serving) -> None:
    go_on = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await go_on.wait()
        for _ in range(3):
            await send({"type": "websocket.send", "text": (await receive())["text"]})

    async with serving(app) as server:
        client = await server.open()
        for text in ("a", "b"):
            await client.send(text)
        assert await client.ping() == b"are you there"
        go_on.set()
        await client.send("c")
        assert [await client.message() for _ in range(3)] == ["a", "b", "c"]
        assert (await client.closing()).code == 1000
