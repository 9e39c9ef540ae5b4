# SPDX-License-Identifier: MIT
"""A client that says just what a test wants it to say, byte by byte if need be."""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from typing import TYPE_CHECKING

import trio

from trioserve.dirty import frames
from trioserve.dirty.frames import Frame, FrameReader, FrameType, Parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trioserve.dirty.errors import DirtyError

__all__ = ["PATIENCE", "RawPeer", "connected_to"]

#: Seconds. Only something broken needs so long: it decides how late a test fails, not whether.
PATIENCE = 20.0


class RawPeer:
    """One side of a connection.

    Args:
        sock: a Unix stream; it is this object's.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._plain = sock
        self._sock = trio.socket.from_stdlib_socket(sock)
        self._reader = FrameReader()
        self._arrived: deque[Frame] = deque()

    async def send(self, *frames: Parts) -> None:
        """Sends whole frames, all in one piece."""
        await self.send_bytes(b"".join(bytes(part) for parts in frames for part in parts))

    async def send_bytes(self, data: bytes) -> None:
        """Sends it as it is; waits for the other side to take it."""
        with trio.fail_after(PATIENCE), memoryview(data) as view:
            sent = 0
            while sent < len(view):
                sent += await self._sock.send(view[sent:])

    def send_nowait(self, data: bytes) -> int:
        """Sends what the socket takes at once; says how much that was."""
        return self._plain.send(data)

    async def receive(self) -> Frame:
        """The next frame.

        Raises:
            EOFError: there is none.
        """
        with trio.fail_after(PATIENCE):
            while not self._arrived:
                try:
                    data = await self._sock.recv(65536)
                except ConnectionResetError:
                    data = b""
                if not data:
                    raise EOFError
                self._arrived.extend(self._reader.feed(data))
        return self._arrived.popleft()

    async def receive_bytes(self, size: int) -> bytes:
        """Up to ``size`` bytes, as they come; not to be mixed with ``receive``."""
        with trio.fail_after(PATIENCE):
            return await self._sock.recv(size)

    async def result(self, request_id: int) -> object:
        """The result in the next frame, which answers this request."""
        frame_type, came_id, payload = await self.receive()
        if frame_type == FrameType.ERROR:
            raise frames.decode_error(payload)
        assert (frame_type, came_id) == (FrameType.RESPONSE, request_id)
        return frames.decode_result(payload)

    async def error(self, request_id: int) -> DirtyError:
        """The error in the next frame, which answers this request."""
        frame_type, came_id, payload = await self.receive()
        assert (frame_type, came_id) == (FrameType.ERROR, request_id)
        return frames.decode_error(payload)

    async def say_hello(self) -> dict[str, object]:
        """HELLO, and the arbiter's answer."""
        await self.send(frames.hello({"role": "client", "pid": 1}))
        frame_type, _, payload = await self.receive()
        assert frame_type == FrameType.HELLO
        return frames.decode_hello(payload)

    def close(self) -> None:
        self._sock.close()


@contextlib.contextmanager
def connected_to(path: str) -> Iterator[RawPeer]:
    """A connection to the arbiter there, for the block."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(path)
    peer = RawPeer(sock)
    try:
        yield peer
    finally:
        peer.close()
