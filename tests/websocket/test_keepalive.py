# SPDX-License-Identifier: MIT
"""Pings that the server sends, and what it does without a pong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .apps import Recorder, accept
from .frames import PONG, TEXT, frame

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send

    from .conftest import Serving


async def test_a_client_that_answers_stays(serving: Serving) -> None:
    app = Recorder()
    options = {"websocket_ping_interval": 10, "websocket_ping_timeout": 5}
    async with serving(app, **options) as server:
        client = await server.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.next_frame)  # answers pings
            await trio.sleep(100)
            nursery.cancel_scope.cancel()
        assert 8 <= len(client.pings) <= 10
        assert await client.echo("still there") == "still there"
        await client.close()


async def test_a_client_that_does_not_is_closed(serving: Serving) -> None:
    app = Recorder()
    options = {"websocket_ping_interval": 10, "websocket_ping_timeout": 5}
    async with serving(app, websocket_close_timeout=1, **options) as server:
        client = await server.open()
        client.answers_pings = False
        began = trio.current_time()
        closing = await client.closing()
        assert 15 <= trio.current_time() - began <= 18
        assert closing.code == 1011
        assert closing.reason == "no pong came within 5 s"
        assert await client.ended()
    assert (app.code, app.reason) == (1006, "no pong came within 5 s")


async def test_anything_that_comes_shows_that_a_client_is_there(serving: Serving) -> None:
    """A pong can't come in the middle of a large message."""
    app = Recorder()
    options = {"websocket_ping_interval": 10, "websocket_ping_timeout": 5}
    async with serving(app, **options) as server:
        client = await server.open()
        client.answers_pings = False
        data = frame(TEXT, b"x" * 50)
        for at in range(0, len(data), 2):
            await client.send_bytes(data[at : at + 2])
            await trio.sleep(2)
        assert await client.message() == "x" * 50
        await client.send_frame(PONG, client.pings[0])
        assert await client.echo("more") == "more"


async def test_a_client_isnt_blamed_for_a_slow_application(serving: Serving) -> None:
    """Its pong waits behind messages that nobody takes."""
    options = {"websocket_ping_interval": 10, "websocket_ping_timeout": 5}
    done = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await trio.sleep(60)
        for _ in range(10):
            assert (await receive())["type"] == "websocket.receive"
        done.set()
        await receive()

    async with serving(app, websocket_max_queue=2, **options) as server:
        client = await server.open()
        await client.send_bytes(b"".join(frame(TEXT, b"x") for _ in range(10)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.next_frame)
            await done.wait()
            nursery.cancel_scope.cancel()
        assert (await client.close()).code == 1000


async def test_no_pings_where_they_are_off(serving: Serving) -> None:
    app = Recorder()
    async with serving(app, websocket_ping_interval=0) as server:
        client = await server.open()
        with trio.move_on_after(100):
            await client.next_frame()
        assert client.pings == []
        assert await client.echo("text") == "text"


async def test_without_a_timeout_a_client_need_not_answer(serving: Serving) -> None:
    app = Recorder()
    options = {"websocket_ping_interval": 10, "websocket_ping_timeout": 0}
    async with serving(app, **options) as server:
        client = await server.open()
        client.answers_pings = False
        with trio.move_on_after(105):
            await client.next_frame()
        assert len(client.pings) >= 9
        assert await client.echo("text") == "text"
