# SPDX-License-Identifier: MIT
"""Many calls on one Unix stream: frames out, batched; frames in, by one reader.

Tasks: ``run`` reads until EOF and hands each frame to ``on_frame``; its child ``_write`` flushes.
Both end with ``run``, whose owner starts it and waits for it. ``send`` may be called by any task of
the same Trio loop, ``send_from_thread`` by any thread.

How frames leave: at once, while frames come in one by one. Where a read has brought several, what
they cause leaves together: the first of a step (one pass of Trio over the tasks that can run) goes
at once, so that it does not wait for company; those after it are put together and written by
``_write``, which runs when the step is over. What a full socket doesn't take waits there, too, and
its peer has ``write_timeout`` to take some of it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Final

import trio

from trioserve.dirty import frames as frame_encoders
from trioserve.dirty.errors import DirtyConnectionError, DirtyError, DirtyProtocolError
from trioserve.dirty.forks import end_if_forked
from trioserve.dirty.frames import DEFAULT_MAX_FRAME_SIZE, FrameReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from trioserve.dirty.frames import Frame, Payload

__all__ = ["Channel"]

#: Below the size from which malloc asks the system for each block anew.
_RECEIVE_SIZE: Final = 64 * 1024
#: Parts of one system call; Linux takes 1,024.
_MAX_PARTS: Final = 512
#: Bytes under way to a peer beyond which its own frames are not read (see ``bounded``).
HIGH_WATER: Final = 1024 * 1024


class Channel:
    """A connected Unix stream that carries frames.

    Attributes:
        max_frame_size: bytes of a payload that is taken; the peer takes no more, either.
        unsent_size: bytes that the socket did not take; where bounded, those of this step, too.
        on_drained: called when nothing waits any more.
        closed: nothing is sent or received any more.
        home: see below; None: any.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_frame: Callable[[int, int, Payload], None],
        *,
        max_frame_size: int = DEFAULT_MAX_FRAME_SIZE,
        write_timeout: float = 60,
        bounded: bool = False,
        home: int | None = None,
    ) -> None:
        """Takes the socket over.

        Args:
            sock: a connected stream.
            on_frame: called with type, id and payload of each frame that comes. It must not block.
            max_frame_size: bytes of a payload that is taken.
            write_timeout: seconds in which the peer must take something of what waits for it.
            bounded: don't read while more than HIGH_WATER bytes wait to be sent, nor wait for more
                than write_timeout for the rest of a frame. For one side of a connection only: two
                that do so could wait for each other.
            home: the process that alone may send; one that is forked from it ends where it would.
        """
        sock.setblocking(False)
        self._sock = sock
        self._on_frame = on_frame
        self.max_frame_size = max_frame_size
        self._reader = FrameReader(max_frame_size)
        self._write_timeout = write_timeout
        self._bounded = bounded
        self._lock = threading.Lock()  # held for one system call that doesn't block
        self._unsent: list[bytes | memoryview] = []
        #: Parts that the socket has taken; threads wait for theirs to be among them.
        self._taken = 0
        self._waiting = 0
        self._progress = threading.Condition(self._lock)
        self._is_busy = False
        self._in_step = False
        self._blocked = False
        self._due = False
        self._writer: trio.lowlevel.Task | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._drained = trio.lowlevel.ParkingLot()
        self._failure: DirtyError | None = None
        self.unsent_size = 0
        self.on_drained: Callable[[], None] = _nothing
        self.closed = False
        self.home = home

    # -- sending ----------------------------------------------------------------------------

    def send(self, parts: list[bytes | memoryview], *, changeable: bool = False) -> None:
        """Sends a frame, now or at the end of the step. Never blocks; after the end: nothing.

        Args:
            parts: of the frame.
            changeable: their owner may change what they are views of once this has returned: what
                can't be written now is copied.
        """
        if self.closed:
            return
        if self.home is not None:
            end_if_forked(self.home)
        with self._lock:
            if self._in_step or self._blocked:
                self._unsent += map(_own, parts) if changeable else parts
                if self._bounded:
                    self.unsent_size += sum(map(len, parts))
                return
            self._unsent += parts  # nothing else is there
            self._in_step = self._is_busy
            is_sent = self._flush()
            if changeable and not is_sent:
                self._unsent[:] = map(_own, self._unsent)
            if is_sent and not self._in_step:
                return
        self._wake_writer()

    def send_from_thread(self, parts: list[bytes | memoryview]) -> None:
        """Sends a frame now, from another thread than Trio's.

        Returns when the socket has taken it, or the channel has ended: what the thread does next is
        done after that.
        """
        if self.home is not None:
            end_if_forked(self.home)  # before the lock, which another thread may have held
        with self._lock:
            if self.closed:
                return
            self._unsent += parts
            if not self._blocked:
                if self._flush():
                    return
                self._due = True  # for a channel that doesn't run yet
                if self._token is not None:
                    with contextlib.suppress(trio.RunFinishedError):
                        self._token.run_sync_soon(self._wake_writer)
            last = self._taken + len(self._unsent)
            self._waiting += 1
            while self._taken < last and not self.closed:
                self._progress.wait()
            self._waiting -= 1

    def _flush(self) -> bool:
        """Writes what the socket takes; False if some is left. The lock is held."""
        unsent = self._unsent
        try:
            while unsent:
                batch = unsent[:_MAX_PARTS]
                sent = self._sock.sendmsg(batch, (), socket.MSG_DONTWAIT)
                taken = _count_sent(batch, sent)
                self._taken += taken
                if taken < len(batch):
                    # The socket took a part of it: the next try would only hear that it is full.
                    sent -= sum(map(len, batch[:taken]))
                    unsent[: taken + 1] = [memoryview(batch[taken])[sent:]]
                    break
                del unsent[:taken]
        except BlockingIOError:
            pass
        except OSError:
            # The reader finds the end, too, after what the peer had still sent.
            self._taken += len(unsent)
            unsent.clear()
        if self._waiting:
            self._progress.notify_all()
        self.unsent_size = sum(map(len, unsent)) if unsent else 0
        self._blocked = bool(unsent)
        return not unsent

    def _wake_writer(self) -> None:
        self._due = True
        if self._writer is not None:
            trio.lowlevel.reschedule(self._writer)
            self._writer = None

    async def _write(self, both: trio.CancelScope) -> None:
        while True:
            if not self._due:
                self._writer = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._stop_waiting)
            if self.closed:
                return
            self._due = False
            with self._lock:
                self._in_step = False
                done = self._blocked or self._flush()
                blocked = self._blocked
            while blocked:
                with trio.move_on_after(self._write_timeout) as stalled:
                    try:
                        await trio.lowlevel.wait_writable(self._sock)
                    except trio.ClosedResourceError:
                        return
                if stalled.cancelled_caught:
                    self._failure = DirtyConnectionError(
                        f"the peer read nothing for {self._write_timeout:g} s, "
                        f"with {self.unsent_size} bytes waiting for it"
                    )
                    both.cancel()
                    return
                with self._lock:
                    blocked = not self._flush()
                done = True
            if done and not self._unsent:
                self._drained.unpark_all()
                self.on_drained()

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._writer = None
        return trio.lowlevel.Abort.SUCCEEDED

    # -- receiving --------------------------------------------------------------------------

    async def run(self) -> None:
        """Receives frames until EOF, then closes the socket.

        An end in the middle of a frame is an end like another: what died can't be asked.

        Raises:
            DirtyProtocolError: what came is no frame. Those before it were handed on.
            DirtyConnectionError: the peer didn't read for ``write_timeout``.
            Exception: what ``on_frame`` raised.
        """
        self._token = trio.lowlevel.current_trio_token()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, nursery.cancel_scope)
                try:
                    await self._read()
                except DirtyError as exc:
                    self._failure = exc
                nursery.cancel_scope.cancel()
        finally:
            self.close()
        if self._failure is not None:
            raise self._failure

    async def run_unread(self) -> None:
        """As run, where threads read, by ``read_from_thread``: flushes what the socket did not
        take at once. To be cancelled.
        """
        self._token = trio.lowlevel.current_trio_token()
        try:
            with trio.CancelScope() as scope:
                await self._write(scope)
        finally:
            self.close()

    def let_threads_read(self) -> None:
        """Makes ``read_from_thread`` wait; sending never does, either way."""
        self._sock.setblocking(True)

    def read_from_thread(self) -> bool:
        """Reads once, blocking this thread, and hands the frames on; False at the end.

        One thread at a time may do so.

        Raises:
            DirtyProtocolError: what came is no frame. Those before it were handed on.
        """
        frames = self._receive()
        if frames is None:
            return False
        for frame_type, request_id, payload in frames:
            self._on_frame(frame_type, request_id, payload)
        if self._reader.error is not None:
            raise self._reader.error
        return True

    async def _read(self) -> None:
        reader = self._reader
        on_frame = self._on_frame
        while not self.closed:
            await self._wait_readable()
            if self._bounded and self.unsent_size > HIGH_WATER:
                await self._drained.park()
                continue
            request_id = 0  # of the frame that is at fault, if one is
            try:
                frames = self._receive()
                if frames is None:
                    return
                self._is_busy = len(frames) > 1
                for frame_type, request_id, payload in frames:
                    on_frame(frame_type, request_id, payload)
                    while self._bounded and self.unsent_size > HIGH_WATER:
                        await self._drained.park()
                if reader.error is not None:
                    raise reader.error
            except DirtyProtocolError as exc:
                if exc is reader.error:
                    request_id = reader.error_request_id
                self.send(frame_encoders.error(request_id, exc))  # close() writes it
                raise

    def _receive(self) -> list[Frame] | None:
        """The frames of one read; None at the end."""
        reader = self._reader
        try:
            target = reader.wanted()
            if target is None:
                data = self._sock.recv(_RECEIVE_SIZE)
                return reader.feed(data) if data else None
            size = self._sock.recv_into(target)
            return reader.filled(size) if size else None
        except BlockingIOError:
            return []
        except OSError:
            return None

    async def _wait_readable(self) -> None:
        """Returns also when the channel was closed.

        Raises:
            DirtyConnectionError: the rest of a frame doesn't come.
        """
        try:
            if not self._bounded or self._reader.is_between_frames:
                await trio.lowlevel.wait_readable(self._sock)
                return
            with trio.move_on_after(self._write_timeout) as stalled:
                await trio.lowlevel.wait_readable(self._sock)
        except trio.ClosedResourceError:
            return
        if stalled.cancelled_caught:
            raise DirtyConnectionError(
                f"the peer began a frame and sent no more of it for {self._write_timeout:g} s"
            )

    def close(self) -> None:
        """Closes the socket; what the socket doesn't take now is lost. Idempotent."""
        if self.closed:
            return
        self.closed = True
        with self._lock:
            self._flush()
            self._unsent.clear()
            self._in_step = self._blocked = True  # from now on nothing is written
            self._progress.notify_all()
            self.unsent_size = 0
            trio.lowlevel.notify_closing(self._sock)
            with contextlib.suppress(OSError):  # wakes a thread that reads, too
                self._sock.shutdown(socket.SHUT_RDWR)
            self._sock.close()
        self._drained.unpark_all()

    def shut_down_reading(self) -> None:
        """Makes what has come so far the last, as if the peer had closed."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RD)

    def shut_down_writing(self) -> None:
        """Tells the peer that nothing more comes; what it sends is still received."""
        with self._lock:
            self._flush()
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)


def _count_sent(parts: list[bytes | memoryview], sent: int) -> int:
    """How many of ``parts`` are wholly within their first ``sent`` bytes."""
    for index, part in enumerate(parts):
        sent -= len(part)
        if sent < 0:
            return index
    return len(parts)


def _own(part: bytes | memoryview) -> bytes:
    return part if type(part) is bytes else bytes(part)


def _nothing() -> None:
    """Stands for an owner that isn't interested."""
