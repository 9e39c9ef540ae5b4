# SPDX-License-Identifier: MIT
"""A connected non-blocking socket, watched by a ReadinessWatcher (Linux).

Everything is tried before it is waited for, so the usual request costs one recv, one send and one
wait. Waiting for input parks the task here (the watcher wakes it); waiting for room to write is
rare and left to Trio.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import sys
import termios
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import trio
from outcome import Outcome

from trioserve.errors import ClientDisconnectedError
from trioserve.transports.base import MESSAGE_COST, POST_SIZE, RECEIVE_SIZE, YIELD_SIZE, Peer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from trioserve.transports.readiness import ReadinessWatcher

    Piece = bytes | memoryview

__all__ = ["SocketTransport"]

#: Up to this size the pieces of a message are joined: cheaper than a vector of them.
_JOIN_SIZE: Final = 16 * 1024
#: Bytes of a file asked of the kernel in one call: it may block on the disk for that long.
_SENDFILE_SIZE: Final = 512 * 1024
#: Closing with this set sends a reset and drops what was not delivered.
_LINGER_RESET: Final = struct.pack("ii", 1, 0)

if hasattr(select, "EPOLLRDHUP"):
    _LEFT: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
    _BROKEN: Final = select.EPOLLHUP | select.EPOLLERR


# An enum's member costs two look-ups each time it is named.
_PRESENT: Final = Peer.PRESENT
_LEAVING: Final = Peer.LEAVING
_LOST: Final = Peer.LOST


class _Wake(Outcome[bool]):
    """What a parked receive() is woken with; unlike other outcomes it may be used again."""

    __slots__ = ("_interrupted",)

    _interrupted: bool

    def __init__(self, interrupted: bool) -> None:
        object.__setattr__(self, "_interrupted", interrupted)

    def unwrap(self) -> bool:
        return self._interrupted

    def send(self, gen: Any) -> Any:
        raise NotImplementedError("only Trio's unwrap() is needed")

    async def asend(self, agen: Any) -> Any:
        raise NotImplementedError("only Trio's unwrap() is needed")


_ARRIVED: Final = _Wake(False)
_INTERRUPTED: Final = _Wake(True)


def _nobody() -> None:
    """Stands for a connection that isn't interested."""


class SocketTransport:
    """See trioserve.transports.base.Transport."""

    __slots__ = (
        "_pending",
        "_posted_size",
        "_reader",
        "_recv",
        "_send",
        "_sock",
        "_unyielded",
        "_watcher",
        "_write_lock",
        "on_activity",
        "peer",
        "readable",
        "write_timeout",
    )

    can_sendfile = hasattr(os, "sendfile")

    def __init__(
        self, sock: socket.socket, watcher: ReadinessWatcher, write_timeout: float
    ) -> None:
        """Takes the socket over.

        Args:
            sock: connected and non-blocking.
            watcher: its task must be running.
            write_timeout: seconds without progress after which a peer is given up.

        Raises:
            OSError: the socket can't be watched; it is still the caller's then.
        """
        watcher.register(sock, self)
        self._watcher = watcher
        self._sock = sock
        self._recv = sock.recv
        self._send = sock.send
        self.write_timeout = write_timeout
        self._write_lock: trio.Lock | None = None
        self._reader: trio.lowlevel.Task | None = None
        self._unyielded = 0
        self._posted_size = 0  # bytes of _pending that post() has put there, at the most
        self._pending: list[Piece] = []  # put off by write_soon; they go before all else
        self.peer = Peer.PRESENT
        self.readable = True  # a client rarely connects without sending at once
        self.on_activity: Callable[[], None] = _nobody

    # -- reading ----------------------------------------------------------------------------

    def on_event(self, events: int) -> None:
        """From the watcher: bytes came, or the peer goes."""
        self.readable = True
        leaving = False
        if events & _LEFT:
            peer = _LOST if events & _BROKEN else _LEAVING
            if peer > self.peer:
                self.peer = peer
                leaving = True
        reader = self._reader
        if reader is not None:
            self._reader = None
            trio.lowlevel.reschedule(reader, _ARRIVED)
            if not leaving:
                return
        self.on_activity()

    async def receive(self) -> bytes:
        """See Transport."""
        while True:
            if self._unyielded >= YIELD_SIZE:
                await self._yield()
            if self.readable:
                try:
                    data = self._recv(RECEIVE_SIZE)
                except BlockingIOError:
                    if self.peer is _LOST:
                        return b""
                    self.readable = False
                except OSError:
                    self.peer = _LOST
                    return b""
                else:
                    self._note_received(len(data))
                    return data
            if self._reader is not None:
                raise trio.BusyResourceError("another task is receiving on this connection")
            self._reader = trio.lowlevel.current_task()
            if await trio.lowlevel.wait_task_rescheduled(self._stop_waiting):
                return b""
            self._unyielded = 0

    def take(self) -> bytes | None:
        """See Transport."""
        if not self.readable:
            return None
        try:
            data = self._recv(RECEIVE_SIZE)
        except BlockingIOError:
            if self.peer is _LOST:
                return b""
            self.readable = False
            return None
        except OSError:
            self.peer = _LOST
            return b""
        self._note_received(len(data))
        return data

    def remind(self) -> None:
        """See Transport."""
        trio.lowlevel.current_trio_token().run_sync_soon(self._call_on_activity, idempotent=True)

    def _call_on_activity(self) -> None:
        self.on_activity()

    def _note_received(self, size: int) -> None:
        self._unyielded += size
        if size < RECEIVE_SIZE and self.peer is _PRESENT:
            # A short read has emptied the socket, and the next byte makes a new event. EOF is
            # different: it has made its event, and must be found by reading.
            self.readable = not size
            if not size:
                self.peer = _LEAVING

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._reader = None
        return trio.lowlevel.Abort.SUCCEEDED

    def has_arrived(self) -> bool:
        """See Transport."""
        try:
            self._recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            self.peer = _LOST
        return True

    def interrupt(self) -> None:
        """See Transport."""
        if self._reader is not None:
            trio.lowlevel.reschedule(self._reader, _INTERRUPTED)
            self._reader = None

    async def _yield(self) -> None:
        self._unyielded = 0
        await trio.lowlevel.checkpoint()

    # -- writing ----------------------------------------------------------------------------

    def write(self, data: bytes) -> Awaitable[None] | None:
        """See Transport."""
        if self._pending:
            return self.write_all((data,))
        if self.peer is _LOST:
            raise self._lose("the connection was lost")
        if self._is_writing():
            return self._write_rest([memoryview(data)])
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            raise self._lose(str(exc)) from exc
        self._unyielded += sent + MESSAGE_COST
        if sent == len(data):
            return None
        return self._write_rest([memoryview(data)[sent:]])

    def write_all(self, pieces: Sequence[bytes]) -> Awaitable[None] | None:
        """See Transport."""
        if self._pending:
            return self._write_pieces([*self._take_pending(), *pieces])
        return self._write_pieces(pieces)

    def _take_pending(self) -> list[Piece]:
        pending, self._pending = self._pending, []
        self._posted_size = 0
        return pending

    def _write_pieces(self, pieces: Sequence[Piece]) -> Awaitable[None] | None:
        size = sum(map(len, pieces))
        if size <= _JOIN_SIZE:
            return self.write(b"".join(pieces))
        if self.peer is _LOST:
            raise self._lose("the connection was lost")
        if self._is_writing():
            return self._write_rest([memoryview(piece) for piece in pieces])
        try:
            sent = self._sock.sendmsg(pieces)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            raise self._lose(str(exc)) from exc
        self._unyielded += sent + MESSAGE_COST
        if sent == size:
            return None
        return self._write_rest(_after(pieces, sent))

    def write_soon(self, pieces: Sequence[bytes]) -> Awaitable[None] | None:
        """See Transport."""
        self._unyielded += sum(map(len, pieces)) + MESSAGE_COST
        if self._unyielded >= YIELD_SIZE:  # which also bounds what is put off
            return self.write_all(pieces) or self._yield()
        if self.peer is _LOST:
            raise self._lose("the connection was lost")
        if self._is_writing():
            return self.write_all(pieces)
        if not self._pending:
            self._watcher.flush_soon(self)
        self._pending += pieces
        return None

    def post(self, data: bytes, *, urgent: bool = False) -> bool:
        """See Transport."""
        if self.peer is _LOST:
            return True
        if self._posted_size >= POST_SIZE and not urgent:
            return False
        if not self._pending:
            self._watcher.flush_soon(self)
        self._pending.append(data)
        self._posted_size += len(data)
        return True

    def flush(self) -> Awaitable[None] | None:
        """From the watcher: what write_soon has put off, if no other write has taken it along."""
        if self._pending and self.peer is not _LOST and not self._is_writing():
            try:
                sent = self._sock.sendmsg(self._pending)
                self._pending = [*_after(self._pending, sent)]
                if not self._pending:
                    self._posted_size = 0
            except BlockingIOError:
                pass
            except OSError as exc:
                self._lose(str(exc))  # the next write tells
                return None
        return self._flush_rest() if self._pending and self.peer is not _LOST else None

    async def _flush_rest(self) -> None:
        with contextlib.suppress(ClientDisconnectedError):
            # What is put off stays where every other write takes it along, until this has its turn.
            await self._write_rest([])

    def _flush_last(self) -> None:
        """What was put off is sent as far as the socket takes it: no task is left to wait."""
        if self._pending and self.peer is not _LOST and not self._is_writing():
            with contextlib.suppress(OSError):
                self._sock.sendmsg(self._pending)
        self._pending = []

    def skip(self, size: int) -> None:
        """See Transport."""
        self._unyielded += size + MESSAGE_COST

    def pause(self) -> Awaitable[None] | None:
        """See Transport."""
        return self._yield() if self._unyielded >= YIELD_SIZE else None

    def _is_writing(self) -> bool:
        return self._write_lock is not None and self._write_lock.locked()

    async def _write_rest(self, pieces: list[memoryview]) -> None:
        async with self._writing():
            if self._pending:
                pieces = [*_after(self._take_pending(), 0), *pieces]
            while pieces:
                if self.peer is _LOST:
                    raise self._lose("the connection was lost")
                try:
                    sent = self._sock.sendmsg(pieces)
                except BlockingIOError:
                    await self._wait_writable()
                    continue
                except OSError as exc:
                    raise self._lose(str(exc)) from exc
                self._unyielded += sent
                pieces = _after(pieces, sent)
                # A reader on another core could empty the socket as fast as it is filled.
                if pieces and self._unyielded >= YIELD_SIZE:
                    await self._yield()

    def _writing(self) -> _Writing:
        if self._write_lock is None:
            self._write_lock = trio.Lock()
        return _Writing(self, self._write_lock)

    async def _wait_writable(self) -> None:
        self._unyielded = 0
        if self.peer is _LOST:
            raise self._lose("the connection was lost")
        unsent = self._count_unsent()
        while True:
            with trio.move_on_after(self.write_timeout) as stall:
                try:
                    await trio.lowlevel.wait_writable(self._sock)
                except trio.ClosedResourceError:
                    raise self._lose("the connection was given up") from None
            if not stall.cancelled_caught:
                return
            # A socket is writable again once a third of its buffer is free, which may be megabytes:
            # a slow reader is told from one that doesn't read by what the peer has taken.
            still_unsent = self._count_unsent()
            if still_unsent >= unsent:
                self.abort()
                raise self._lose(f"the client read nothing for {self.write_timeout:g} s")
            unsent = still_unsent

    def _count_unsent(self) -> int:
        """Bytes in the kernel's buffer that the peer has not acknowledged (Linux: SIOCOUTQ)."""
        buffer = bytearray(4)
        try:
            fcntl.ioctl(self._sock, termios.TIOCOUTQ, buffer)
        except OSError:
            return 0
        return int.from_bytes(buffer, sys.byteorder)

    def _lose(self, reason: str) -> ClientDisconnectedError:
        if self.peer is not _LOST:
            self.peer = _LOST
            self.readable = True
            self.on_activity()
        return ClientDisconnectedError(f"the client has disconnected: {reason}")

    async def send_file(self, file: BinaryIO, offset: int, count: int) -> int:
        """See Transport."""
        sent_in_all = 0
        async with self._writing():
            while sent_in_all < count:
                if self.peer is _LOST:  # maybe by the writer before; the socket still takes bytes
                    raise self._lose("the connection was lost")
                size = min(count - sent_in_all, _SENDFILE_SIZE)
                try:
                    sent = os.sendfile(
                        self._sock.fileno(), file.fileno(), offset + sent_in_all, size
                    )
                except BlockingIOError:
                    await self._wait_writable()
                    continue
                except OSError as exc:
                    raise self._lose(str(exc)) from exc
                if not sent:
                    break  # the file is shorter than it was said to be
                sent_in_all += sent
                await self._yield()
        return sent_in_all

    # -- ending -----------------------------------------------------------------------------

    def shut_down_writing(self) -> None:
        """See Transport."""
        self._flush_last()
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.peer = _LOST

    def abort(self) -> None:
        """See Transport."""
        if self._sock.fileno() < 0:
            return
        self.peer = _LOST
        self.readable = True
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        trio.lowlevel.notify_closing(self._sock)
        self.interrupt()
        self.on_activity()

    def close(self) -> None:
        """See Transport."""
        if self._sock.fileno() >= 0:
            self._flush_last()
            self.peer = _LOST
            self.interrupt()
            trio.lowlevel.notify_closing(self._sock)
            self._watcher.unregister(self._sock)
            self._sock.close()


class _Writing:
    """Holds the write lock; leaving by an exception means that a message is half written."""

    __slots__ = ("_lock", "_transport")

    def __init__(self, transport: SocketTransport, lock: trio.Lock) -> None:
        self._transport = transport
        self._lock = lock

    async def __aenter__(self) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            try:
                await self._lock.acquire()
            except trio.Cancelled:
                # The writers behind would go on as if this message had been sent.
                self._transport.abort()
                raise

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._lock.release()
        if kind is not None:
            self._transport.abort()


def _after(pieces: Sequence[Piece], sent: int) -> list[memoryview]:
    """What is left of ``pieces`` after their first ``sent`` bytes."""
    rest = []
    for piece in pieces:
        if sent >= len(piece):
            sent -= len(piece)
        else:
            rest.append(memoryview(piece)[sent:])
            sent = 0
    return rest
