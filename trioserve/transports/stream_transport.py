# SPDX-License-Identifier: MIT
"""Any Trio stream as a transport: TLS, memory streams in tests, sockets where there is no epoll.

Tasks: ``run_reader`` reads ahead of the connection, so that a peer's leaving is noticed while the
application is busy. The server starts it; it ends when the transport is closed. What crosses:
``_arrived``, bounded by READ_AHEAD_SIZE. ``_write_posted`` runs while there is something posted;
what crosses is ``_posted``, bounded by POST_SIZE.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, BinaryIO, Final

import trio

from trioserve.errors import ClientDisconnectedError
from trioserve.transports.base import MESSAGE_COST, POST_SIZE, RECEIVE_SIZE, YIELD_SIZE, Peer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["StreamTransport"]

_log = logging.getLogger("trioserve.error")

#: Bytes that are read before anybody asks for them.
READ_AHEAD_SIZE: Final = 64 * 1024
#: A write is cut into pieces of this size, and each has write_timeout to get through: what is asked
#: of a slow client is some five hundred bytes a second by default, as of its requests' bodies.
_WRITE_SIZE: Final = 16 * 1024
_FILE_READ_SIZE: Final = 64 * 1024
#: What closing a stream politely (TLS close_notify) may take, in seconds.
_CLOSE_TIMEOUT: Final = 1.0
#: Closing with this set sends a reset and drops what was not delivered.
_LINGER_RESET: Final = struct.pack("ii", 1, 0)


def _nobody() -> None:
    """Stands for a connection that isn't interested."""


class StreamTransport:
    """See trioserve.transports.base.Transport. ``run_reader`` must be running."""

    can_sendfile = False

    def __init__(
        self,
        stream: trio.abc.Stream,
        write_timeout: float,
        start_soon: Callable[..., None] | None = None,
    ) -> None:
        """Takes the stream over.

        Args:
            write_timeout: seconds without progress after which a peer is given up.
            start_soon: of the nursery of the tasks above; post() needs it.
        """
        self._stream = stream
        self._start_soon = start_soon
        self._posted: list[bytes] = []
        self.write_timeout = write_timeout
        self._write_lock = trio.Lock()
        self._sending = trio.CancelScope()  # of the send_all() under way, for abort()
        self._arrived: deque[bytes] = deque()
        self._arrived_size = 0
        self._ended = False
        self._waiting = False
        self._interrupted = False
        self._changed = trio.lowlevel.ParkingLot()  # the reader task and the receiver
        self._unyielded = 0
        self.peer = Peer.PRESENT
        self.on_activity: Callable[[], None] = _nobody

    @property
    def readable(self) -> bool:
        """See Transport."""
        return bool(self._arrived) or self._ended

    async def run_reader(self) -> None:
        """Reads until EOF, an error or cancellation."""
        while not self._ended:
            while self._arrived_size >= READ_AHEAD_SIZE and not self._ended:
                await self._changed.park()
            try:
                data = await self._stream.receive_some(RECEIVE_SIZE)
            except Exception as exc:
                # Any stream may be behind this, with any error: it ends this connection only.
                if not isinstance(exc, (trio.BrokenResourceError, trio.ClosedResourceError)):
                    _log.exception("a stream's receive_some() failed in an unknown way")
                self._ended = True
                self.peer = Peer.LOST
            else:
                self._take(bytes(data))
            self._changed.unpark_all()
            self.on_activity()

    def _take(self, data: bytes) -> None:
        if data:
            self._arrived.append(data)
            self._arrived_size += len(data)
        else:
            self._ended = True
            self.peer = max(self.peer, Peer.LEAVING)

    async def receive(self) -> bytes:
        """See Transport."""
        if self._unyielded >= YIELD_SIZE:
            self._unyielded = 0
            await trio.lowlevel.checkpoint()
        self._interrupted = False  # it was for an earlier wait, which bytes ended first
        while not self._arrived:
            if self._ended or self._interrupted:
                self._interrupted = False
                return b""
            self._waiting = True
            try:
                await self._changed.park()
            finally:
                self._waiting = False
        data = self.take()
        assert data is not None
        return data

    def take(self) -> bytes | None:
        """See Transport."""
        if not self._arrived:
            return b"" if self._ended else None
        data = self._arrived.popleft()
        self._arrived_size -= len(data)
        self._unyielded += len(data)
        self._changed.unpark_all()
        return data

    def remind(self) -> None:
        """See Transport."""
        trio.lowlevel.current_trio_token().run_sync_soon(self._call_on_activity, idempotent=True)

    def _call_on_activity(self) -> None:
        self.on_activity()

    def has_arrived(self) -> bool:
        """See Transport."""
        return self.readable

    def interrupt(self) -> None:
        """See Transport."""
        if self._waiting:
            self._interrupted = True
            self._changed.unpark_all()

    def write(self, data: bytes) -> Awaitable[None]:
        """See Transport."""
        return self._write(data)

    def skip(self, size: int) -> None:
        """See Transport."""
        self._unyielded += size + MESSAGE_COST

    def pause(self) -> Awaitable[None] | None:
        """See Transport. Writing has yielded already: a stream's send_all() is a checkpoint."""
        return self._yield() if self._unyielded >= YIELD_SIZE else None

    async def _yield(self) -> None:
        self._unyielded = 0
        await trio.lowlevel.checkpoint()

    def write_all(self, pieces: Sequence[bytes]) -> Awaitable[None]:
        """See Transport."""
        return self._write(b"".join(pieces))

    def write_soon(self, pieces: Sequence[bytes]) -> Awaitable[None]:
        """See Transport. At once: a Trio stream may be written to by one task only."""
        return self._write(b"".join(pieces))

    def post(self, data: bytes, *, urgent: bool = False) -> bool:
        """See Transport."""
        if self.peer is Peer.LOST:
            return True
        if not self._posted:
            if self._start_soon is None:
                raise RuntimeError("this transport was made without a nursery for post()")
            self._start_soon(self._write_posted)
        elif not urgent and sum(map(len, self._posted)) >= POST_SIZE:
            return False
        self._posted.append(data)
        return True

    async def _write_posted(self) -> None:
        with contextlib.suppress(ClientDisconnectedError):
            async with _Turn(self, self._write_lock):
                await self._send_posted()

    async def _send_posted(self) -> None:
        data = b"".join(self._posted)
        self._posted.clear()
        await self._send(memoryview(data))

    async def _write(self, data: bytes) -> None:
        async with _Turn(self, self._write_lock):
            await self._send(memoryview(data))

    async def _send(self, view: memoryview) -> None:
        """Sends it all; the caller has its turn."""
        for start in range(0, len(view), _WRITE_SIZE):
            with trio.move_on_after(self.write_timeout) as self._sending:
                await self._stream.send_all(view[start : start + _WRITE_SIZE])
            if self._sending.cancelled_caught:
                reason = "the connection was given up"
                if self.peer is not Peer.LOST:
                    reason = f"the client read nothing for {self.write_timeout:g} s"
                raise ClientDisconnectedError(f"the client has disconnected: {reason}")

    async def send_file(self, file: BinaryIO, offset: int, count: int) -> int:
        """See Transport: read in a thread, since a disk may take its time."""

        def read(position: int, size: int) -> bytes:
            # Not seek() and read(): the file may be another request's, too.
            return os.pread(file.fileno(), size, position)

        sent = 0
        async with _Turn(self, self._write_lock):
            while sent < count:
                data = await trio.to_thread.run_sync(
                    read, offset + sent, min(_FILE_READ_SIZE, count - sent)
                )
                if not data:
                    break
                await self._send(memoryview(data))
                sent += len(data)
        return sent

    async def shut_down_writing(self) -> None:
        """See Transport."""
        send_eof = getattr(self._stream, "send_eof", None)
        if send_eof is None:
            return
        with trio.move_on_after(_CLOSE_TIMEOUT):
            try:
                async with self._write_lock:
                    await self._send_posted()  # its own task may not have had its turn
                    await send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError, ClientDisconnectedError):
                self.peer = Peer.LOST

    def abort(self) -> None:
        """See Transport."""
        if self.peer is not Peer.LOST:
            self.peer = Peer.LOST
            self._ended = True
            stream = self._stream
            while (inner := getattr(stream, "transport_stream", None)) is not None:  # TLS
                stream = inner
            if isinstance(stream, trio.SocketStream):
                with contextlib.suppress(OSError):  # closed already
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            self._sending.cancel()
            self._changed.unpark_all()
            self.on_activity()

    async def close(self) -> None:
        """See Transport."""
        lost = self.peer is Peer.LOST
        self._ended = True
        self._changed.unpark_all()
        # Shielded, since cancellation is the usual reason to be here; bounded by its deadline.
        with trio.move_on_after(0 if lost else _CLOSE_TIMEOUT, shield=True):
            with contextlib.suppress(trio.BrokenResourceError):  # it is closed all the same
                await self._stream.aclose()


class _Turn:
    """A writer's turn; leaving it by an exception means that a message is half written."""

    __slots__ = ("_lock", "_transport")

    def __init__(self, transport: StreamTransport, lock: trio.Lock) -> None:
        self._transport = transport
        self._lock = lock

    async def __aenter__(self) -> None:
        try:
            await self._lock.acquire()
        except trio.Cancelled:
            # The writers behind would go on as if this message had been sent.
            self._transport.abort()
            raise
        if self._transport.peer is Peer.LOST:  # maybe by the writer before us, in half a message
            self._lock.release()
            raise ClientDisconnectedError("the client has disconnected")

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: object
    ) -> None:
        self._lock.release()
        if exc is None:
            return
        self._transport.abort()
        if isinstance(exc, (trio.BrokenResourceError, trio.ClosedResourceError)):
            raise ClientDisconnectedError("the client has disconnected") from exc
