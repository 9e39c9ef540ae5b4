# SPDX-License-Identifier: MIT
"""Something at a socket that says just what a test wants an arbiter to say."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import trio

from tests.dirty.raw_peer import RawPeer
from trioserve.dirty import frames
from trioserve.dirty.frames import Frame, FrameType

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["Connections", "answer_hello", "listening", "plain"]


class Connections:
    """What came.

    Attributes:
        count: connections so far.
        open: those that have not ended.
    """

    def __init__(self) -> None:
        self.count = 0
        self.open = 0
        self.changed = trio.lowlevel.ParkingLot()


@contextlib.asynccontextmanager
async def listening(
    path: str, serve: Callable[[RawPeer], Awaitable[object]]
) -> AsyncIterator[Connections]:
    """Runs ``serve`` for each connection to ``path``, around the block. Its EOFError is an end."""
    connections = Connections()

    async def run(peer: RawPeer) -> None:
        connections.count += 1
        connections.open += 1
        try:
            with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
                await serve(peer)
        finally:
            peer.close()
            connections.open -= 1

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(path)
        sock.listen()
        sock.setblocking(False)
        listener = trio.socket.from_stdlib_socket(sock)
        async with trio.open_nursery() as nursery:

            async def accept() -> None:
                while True:
                    accepted, _ = await listener.accept()
                    peer = RawPeer(socket.socket(fileno=accepted.detach()))
                    nursery.start_soon(run, peer)

            nursery.start_soon(accept)
            yield connections
            nursery.cancel_scope.cancel()


async def answer_hello(peer: RawPeer, **fields: Any) -> None:
    """As an arbiter of ours does."""
    frame_type, request_id, _ = await peer.receive()
    assert frame_type == FrameType.HELLO
    await peer.send(frames.hello({"role": "arbiter", "pid": 1, **fields}, request_id))


def plain(
    serve: Callable[[RawPeer, Frame], Awaitable[object]],
) -> Callable[[RawPeer], Awaitable[None]]:
    """An arbiter that closes the connection on HELLO, as gunicorn's does; else see ``serve``."""

    async def handle(peer: RawPeer) -> None:
        while True:
            frame = await peer.receive()
            if frame[0] == FrameType.HELLO:
                return
            await serve(peer, frame)

    return handle
