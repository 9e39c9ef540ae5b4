# SPDX-License-Identifier: MIT
"""WebSocket in raw ASGI: an echo, and a broadcast from one connection to all the others.

Nothing of a framework and nothing of an event loop: it runs on Trio and on asyncio. HTTP is
answered as in plaintext, so that a server that has no WebSocket can be told from one that does not
start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.apps import plaintext

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

#: The `send` of each subscriber that is connected, by nothing but its identity.
_subscribers: set[Send] = set()


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Routes by path: /echo, /subscribe, /publish."""
    if scope["type"] != "websocket":
        await plaintext.app(scope, receive, send)
        return
    await receive()  # websocket.connect
    await ROUTES[scope["path"]](receive, send)


async def echo(receive: Receive, send: Send) -> None:
    """Sends each message back, one after the other."""
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": message["bytes"]})


async def subscribe(receive: Receive, send: Send) -> None:
    """Is sent what is published until it disconnects."""
    # Before it is accepted: who knows of being connected then misses nothing.
    _subscribers.add(send)
    try:
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            pass
    finally:
        _subscribers.discard(send)


async def publish(receive: Receive, send: Send) -> None:
    """Has each message sent to all subscribers, one after the other, before it takes the next."""
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        data = message["bytes"]
        for send_to in tuple(_subscribers):
            try:
                # A message each: a server may write into the one it is given.
                await send_to({"type": "websocket.send", "bytes": data})
            except OSError:  # is gone, as ASGI 2.4 has it; suppress() would cost each delivery
                _subscribers.discard(send_to)


ROUTES = {"/echo": echo, "/subscribe": subscribe, "/publish": publish}
