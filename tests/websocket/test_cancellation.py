# SPDX-License-Identifier: MIT
"""A WebSocket's task, cancelled at each of its awaits in turn: nothing of it is left."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import h11
import pytest
import trio

from tests.transports.cancelling import cancelled_at, cancelled_at_each_await
from trioserve.connection.http2 import Http2Connection
from trioserve.connection.websocket_http1 import WebSocketConnection

from .apps import accept
from .frames import BINARY, CLOSE, CONT, PING, TEXT, close_payload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trioserve.types import Receive, Scope, Send

    from .client import WebSocketClient
    from .conftest import Serving


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Echoes, sends more than was asked for, and awaits a little of its own."""
    await trio.lowlevel.checkpoint()
    if scope["path"] == "/denied":
        await receive()
        await send({"type": "websocket.http.response.start", "status": 400, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"x" * 50_000})
        return
    await accept(receive, send)
    await trio.lowlevel.checkpoint()
    while (message := await receive())["type"] == "websocket.receive":
        await trio.lowlevel.checkpoint()
        await send({"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]})
        if message["text"] == "close":
            await send({"type": "websocket.close", "code": 4000})


async def talk(client: WebSocketClient) -> None:
    await client.open()
    await client.echo("text")
    await client.ping()
    await client.send_frame(TEXT, b"a", fin=False)
    await client.send_frame(PING)
    await client.send_frame(CONT, b"b")
    await client.message()
    await client.echo(b"x" * 60_000)
    await client.close()
    await client.ended()


async def be_closed(client: WebSocketClient) -> None:
    await client.open(deflate=True)
    await client.send("close")
    await client.next_frame()
    await client.closing()
    await client.send_frame(CLOSE, close_payload(4000))
    await client.ended()


async def break_the_protocol(client: WebSocketClient) -> None:
    await client.open()
    await client.send_frame(BINARY, b"x", mask=None)
    await client.closing()
    await client.ended()


async def be_denied(client: WebSocketClient) -> None:
    await client.ask("/denied")
    await client.answer()


async def leave(client: WebSocketClient) -> None:
    await client.open()
    await client.send("text")
    await client.leave(reset=True)


#: How a client sees a WebSocket that ends in the middle of it.
ENDED = (
    AssertionError,
    h11.RemoteProtocolError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)


@pytest.mark.parametrize("conversation", [talk, be_closed, break_the_protocol, be_denied, leave])
async def test_a_task_that_is_cancelled_anywhere_leaves_nothing(
    serving: Serving,
    conversation: Callable[[WebSocketClient], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner: Any = WebSocketConnection if serving.version == "1.1" else Http2Connection
    name = "run" if serving.version == "1.1" else "_run_stream"
    run = getattr(owner, name)

    async def once(number: int) -> bool:
        tasks = trio.lowlevel.current_statistics().tasks_living
        descriptors = len(os.listdir("/proc/self/fd"))
        cancelled = False

        async def run_and_cancel(*args: Any) -> None:
            nonlocal cancelled
            cancelled = await cancelled_at(number, run, *args)

        monkeypatch.setattr(owner, name, run_and_cancel)
        options: dict[str, Any] = dict.fromkeys(
            ("asgi_disconnect_grace_period", "websocket_close_timeout", "keep_alive_timeout"), 5.0
        )
        async with serving(app, **options) as server:
            client = server.client()
            with trio.move_on_after(20), contextlib.suppress(*ENDED):
                await conversation(client)
            await client.raw.leave()
            await server.service.all_closed()
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert len(os.listdir("/proc/self/fd")) == descriptors
        return cancelled

    assert await cancelled_at_each_await(once) >= 1
