# SPDX-License-Identifier: MIT
"""Two servers for the load generator: one that is right, and one that does as a test tells it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
import trio_websocket

from benchmarks.clients.websocket_wire import ACCEPT, client_frame, payload, server_frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

SIZE = 125
MESSAGE, REPLY = client_frame(payload(SIZE)), server_frame(payload(SIZE))


class Connection:
    """As much of ASGI over trio-websocket as the benchmarks' app uses."""

    def __init__(self, request: trio_websocket.WebSocketRequest) -> None:
        self._request = request
        self._connected = False
        self._socket: trio_websocket.WebSocketConnection | None = None

    async def receive(self) -> dict[str, Any]:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        assert self._socket is not None
        try:
            return {"type": "websocket.receive", "bytes": await self._socket.get_message()}
        except trio_websocket.ConnectionClosed:
            return {"type": "websocket.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.accept":
            self._socket = await self._request.accept()
            return
        assert self._socket is not None
        try:
            await self._socket.send_message(message["bytes"])
        except trio_websocket.ConnectionClosed as exc:
            raise BrokenPipeError("the client is gone") from exc


@asynccontextmanager
async def serving(app: Callable[..., Awaitable[None]]) -> AsyncIterator[int]:
    """Serves the app over WebSocket only; gives the port."""

    async def handle(request: trio_websocket.WebSocketRequest) -> None:
        connection = Connection(request)
        scope = {"type": "websocket", "path": request.path}
        await app(scope, connection.receive, connection.send)

    async with trio.open_nursery() as nursery:
        server = await nursery.start(trio_websocket.serve_websocket, handle, "127.0.0.1", 0, None)
        yield server.port
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def behaving(
    script: Callable[[trio.SocketStream], Awaitable[None]],
) -> AsyncIterator[int]:
    """Accepts, echoes the first message of SIZE bytes, and does what the script says."""

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += await stream.receive_some()
            await stream.send_all(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n" % ACCEPT
            )
            await read_message(stream)
            await stream.send_all(REPLY)
            await script(stream)

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def read_message(stream: trio.SocketStream) -> None:
    """Takes one message, and no byte more."""
    missing = len(MESSAGE)
    while missing:
        missing -= len(await stream.receive_some(missing))
