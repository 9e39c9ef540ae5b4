# SPDX-License-Identifier: MIT
"""The writing half of an HTTP/2 connection: whoever has something says so, one task writes it.

Headers and control frames go in the order in which they were said. DATA that can't go at once waits
in its stream, and is taken frame by frame, a flush at a time: the most urgent stream first (RFC
9218), as its client's windows allow. So what is urgent overtakes what was there before it.

Task: ``run``, in the connection's nursery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trioserve.errors import ClientDisconnectedError
from trioserve.protocols.fields import reason_phrase
from trioserve.protocols.http2 import Http2Response, WriteOrder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trioserve.connection.http2_output import Http2Output
    from trioserve.protocols.http1 import DefaultFields
    from trioserve.protocols.http2 import Engine, FrameMeter
    from trioserve.transports import Transport
    from trioserve.types import Headers

__all__ = ["Http2Writer"]

#: Bytes of one flush, about: what is more urgent by then overtakes the rest.
FLUSH_SIZE: Final = 64 * 1024
#: Bytes that may wait for the socket before nothing more is read.
MAX_UNSENT: Final = 256 * 1024
#: Bytes after which a task that never had to wait lets the others run.
YIELD_SIZE: Final = 64 * 1024
_MESSAGE_COST: Final = 256


class Http2Writer:
    """See this file's head.

    Args:
        transport: is written to by nobody else.
        engine: makes the frames.
        meter: is told what was sent.
        default_fields: of every response.
        on_lost: called when the client can't be reached any more.
    """

    __slots__ = (
        "_default_fields",
        "_due",
        "_engine",
        "_meter",
        "_on_lost",
        "_order",
        "_progress",
        "_stopped",
        "_task",
        "_transport",
        "_unyielded",
        "_writing",
    )

    def __init__(
        self,
        transport: Transport,
        engine: Engine,
        meter: FrameMeter,
        default_fields: Callable[[], DefaultFields],
        on_lost: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._engine = engine
        self._meter = meter
        self._default_fields = default_fields
        self._on_lost = on_lost
        self._order: WriteOrder[Http2Output] = WriteOrder()
        self._progress = trio.lowlevel.ParkingLot()
        self._task: trio.lowlevel.Task | None = None
        self._due = False
        self._stopped = False
        self._writing = 0
        self._unyielded = 0

    # -- the task ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Writes until it is cancelled, or the client can't be reached."""
        transport = self._transport
        while not self._stopped:
            self._due = False
            self._take_frames()
            data = self._engine.take()
            if not data:
                self._progress.unpark_all()
                if not self._due:
                    self._task = trio.lowlevel.current_task()
                    await trio.lowlevel.wait_task_rescheduled(self._stop_waiting)
                continue
            self._writing = len(data)
            try:
                waiting = transport.write(data)
                if waiting is not None:
                    await waiting
            except ClientDisconnectedError:
                self.stop()
                self._on_lost()
                return
            self._writing = 0
            self._progress.unpark_all()
            if self._order:
                await trio.lowlevel.checkpoint()  # what is more urgent may come meanwhile

    def _take_frames(self) -> None:
        """Gives DATA to the engine, the most urgent first, for one flush."""
        engine = self._engine
        order = self._order
        while engine.unsent < FLUSH_SIZE:
            stream = order.next()
            if stream is None:
                return
            if not stream.write_frame(engine.window(stream.id), engine.max_frame_size):
                order.discard(stream)

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def flush_soon(self) -> None:
        """The engine has something to send: it goes when all that can run have run."""
        self._due = True
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    async def flush(self) -> None:
        """Until all that is to be sent is with the transport, whose deadlines bound it."""
        while (self._due or self._unsent()) and not self._stopped:
            await self._progress.park()

    async def wait_for_room(self) -> None:
        """Until no more waits for the socket than MAX_UNSENT."""
        while self._unsent() > MAX_UNSENT and not self._stopped:
            await self._progress.park()

    def _unsent(self) -> int:
        """Bytes that wait for the socket, of whatever frames."""
        return self._writing + self._engine.unsent

    def stop(self) -> None:
        """Nothing reaches the client any more."""
        self._stopped = True
        self.flush_soon()
        self._progress.unpark_all()

    # -- what streams ask -------------------------------------------------------------------

    def send_headers(self, stream_id: int, fields: Headers, *, end: bool) -> None:
        """A header section."""
        self._engine.send_headers(stream_id, fields, end)
        self.flush_soon()

    def send_data(
        self, stream_id: int, body: bytes | memoryview, *, end: bool, cut: bool = False
    ) -> None:
        """A DATA frame, which the client takes; ``cut`` where it would have taken no more."""
        self._engine.send_data(stream_id, body, end)
        self._meter.note_sent(len(body), cut=cut)
        self.flush_soon()

    def send_data_at_once(self, stream_id: int, body: bytes | memoryview, *, end: bool) -> bool:
        """A whole message in one frame, if nothing else waits and the client takes it now."""
        size = len(body)
        engine = self._engine
        if self._order or self._writing + engine.unsent > FLUSH_SIZE:
            return False
        if size > engine.max_frame_size or (size and size > engine.window(stream_id)):
            return False
        if size or end:
            self.send_data(stream_id, body, end=end)
        return True

    def send_answer(
        self,
        stream_id: int,
        status: int,
        reason: str,
        *,
        head_only: bool,
        fields: Headers | None = None,
    ) -> tuple[Headers, int]:
        """The server's own answer, whole; its text goes only where the client takes it now.

        Args:
            fields: that it has beside the usual ones.

        Returns:
            The fields that were sent, and the size of the body.
        """
        text = f"{status} {reason_phrase(status)}"
        body = (f"{text}: {reason}\n" if reason else f"{text}\n").encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), *(fields or ())]
        response = Http2Response(head_only=head_only)
        fields = response.make_head(status, headers, len(body), self._default_fields())
        fits = response.has_body and len(body) <= self._engine.window(stream_id)
        if not fits and not head_only:
            fields = [field for field in fields if field[0] != b"content-length"]
        self.send_headers(stream_id, fields, end=not fits)
        if fits:
            self.send_data(stream_id, body, end=True)
        return fields, len(body) if fits else 0

    def enqueue(self, stream: Http2Output) -> None:
        """The stream has something that couldn't go at once."""
        self._order.add(stream)
        self.flush_soon()

    def withdraw(self, stream: Http2Output) -> bool:
        """Takes the stream out of the order; whether it was there."""
        waits = stream in self._order
        self._order.discard(stream)
        return waits

    def pause(self, size: int) -> Awaitable[None] | None:
        """A checkpoint to be awaited if YIELD_SIZE bytes went by without one, else None."""
        self._unyielded += size + _MESSAGE_COST
        if self._unyielded < YIELD_SIZE:
            return None
        self._unyielded = 0
        return self._yield()

    async def _yield(self) -> None:
        await trio.lowlevel.checkpoint()
        await self.wait_for_room()
