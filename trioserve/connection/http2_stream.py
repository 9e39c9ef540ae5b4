# SPDX-License-Identifier: MIT
"""One stream of an HTTP/2 connection: the carrier of its exchange.

No task of its own. What has come of the body waits here until the application takes it, and only
then the client is given credit for as much (RFC 9113 section 5.2): a slow application slows its own
client. What the client can't take yet of the response waits here too, and while it is more than
HIGH_WATER the application waits as well: a slow client bounds what its own response may hold.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, BinaryIO, Final

import trio

from trioserve.connection.files import measure_file, open_to_send, read_pieces
from trioserve.connection.http2_inbox import Http2Inbox
from trioserve.connection.limits import ScopeLimit
from trioserve.errors import AppProtocolError, ClientDisconnectedError
from trioserve.protocols.errors import RemoteProtocolError, body_too_large
from trioserve.protocols.http2 import UNKNOWN, ErrorCode, Http2Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from trioserve.asgi.exchange import HttpExchange
    from trioserve.connection.http2 import Http2Connection
    from trioserve.protocols.http2 import Http2RequestHead, Priority
    from trioserve.types import Headers

__all__ = ["Http2Stream"]

_log = logging.getLogger("trioserve.error")

#: Bytes of a response that may wait for its client before the application waits, too; and to how
#: many they must fall before it goes on.
HIGH_WATER: Final = 64 * 1024
LOW_WATER: Final = 16 * 1024
#: A body must bring this many bytes a second, body_timeout allowed for.
MIN_BODY_RATE: Final = 500


class Http2Stream:
    """See Carrier, and this file's head.

    Attributes:
        id: the stream's.
        exchange: has this for its carrier; set by the connection.
        priority: of its response (RFC 9218).
        scope: the cancel scope that its application runs in, and ``limit`` our deadline on it.
        began: when the request came, by the server's clock.
        request_ended: all of the request has come.
        ended: all of the response is with the engine.
        gone: the stream was reset, by either side, or its connection is lost.
        deadline: when ``expire`` is to be called.
    """

    __slots__ = (
        "_body_size",
        "_body_waited",
        "_connection",
        "_expect_continue",
        "_inbox",
        "_last",
        "_out",
        "_out_size",
        "_out_trailers",
        "_reader",
        "_room",
        "_stalled_at",
        "_wait_until",
        "_writer",
        "began",
        "ended",
        "exchange",
        "gone",
        "head",
        "id",
        "limit",
        "priority",
        "request_ended",
        "request_trailers",
        "response",
        "scope",
    )

    exchange: HttpExchange

    def __init__(
        self,
        connection: Http2Connection,
        stream_id: int,
        head: Http2RequestHead,
        priority: Priority,
        *,
        request_ended: bool,
    ) -> None:
        self._connection = connection
        self._writer = connection.writer
        self.id = stream_id
        self.head = head
        self.priority = priority
        self.scope = trio.CancelScope()
        self.limit = ScopeLimit(self.scope)
        self.began = connection.shared.now()
        self.request_ended = request_ended
        self.request_trailers: Headers = []
        self.response = Http2Response(head_only=head.method == "HEAD")
        self.ended = self.gone = False
        self._inbox = Http2Inbox()
        self._body_size = 0
        self._body_waited = 0.0
        self._expect_continue = head.expect_continue
        self._reader: trio.lowlevel.Task | None = None
        self._out: deque[bytes | memoryview] = deque()
        self._out_size = 0
        self._out_trailers: Headers | None = None
        self._last = False  # what is in _out is the end of the body
        self._room: trio.lowlevel.ParkingLot | None = None
        self._wait_until = math.inf  # of the wait for the client's body
        self._stalled_at = math.inf  # of the wait for the client to take what is in _out

    # -- what the connection tells ----------------------------------------------------------

    def receive_data(self, data: bytes, size: int, ended: bool) -> None:
        """A DATA frame has come; ``size`` bytes of it count for flow control."""
        self._body_size += len(data)
        self.request_ended = ended
        if self._body_size > self._connection.max_body_size:
            self._connection.acknowledge(self, size)
            self.refuse_body(body_too_large(self._connection.max_body_size))
            return
        if self._breaks_length():
            self._connection.acknowledge(self, size)
            return
        if data:
            self._inbox.add(data, size)
        else:
            self._connection.acknowledge(self, size)
        self._wake_reader()

    def _breaks_length(self) -> bool:
        """Whether the body is another than content-length says (RFC 9113 section 8.1.1)."""
        said = self.head.content_length
        came = self._body_size
        if said == UNKNOWN or (came == said if self.request_ended else came <= said):
            return False
        more = "" if self.request_ended else " or more"
        _log.info("refused a body of %d bytes%s: content-length says %d", came, more, said)
        self._connection.reset_for_fault(self, ErrorCode.PROTOCOL_ERROR)
        return True

    def receive_trailers(self, trailers: Headers) -> None:
        """A trailer section has ended the request."""
        self.request_trailers = trailers
        self.request_ended = True
        if not self._breaks_length():
            self._wake_reader()

    def leave(self, *, unreachable: bool) -> None:
        """The client is leaving, or, if ``unreachable``, gone: the application has its grace."""
        if unreachable:
            self.gone = True
            self._drop_output()
        exchange = self.exchange
        if not exchange.disconnected and not exchange.response_complete:
            shared = self._connection.shared
            self.limit.set(shared.now() + shared.config.asgi_disconnect_grace_period)
        if not exchange.response_complete:
            exchange.disconnect(unreachable=unreachable)
        self._wake_reader()

    def refuse_body(self, error: RemoteProtocolError) -> None:
        """A body that breaks a limit: the client hears why, the application of a leave."""
        _log.info("refused a body: %s", error)
        if self.exchange.response_complete or self.gone:
            return
        if self.response.started:
            self._abandon(ErrorCode.CANCEL)
            return
        self._connection.answer(self, error.status, error.reason)
        self.leave(unreachable=True)

    def _abandon(self, code: ErrorCode) -> None:
        self._connection.reset(self, code)
        self.leave(unreachable=True)

    @property
    def deadline(self) -> float:
        """See above."""
        return min(self._wait_until, self._stalled_at)

    def expire(self, now: float) -> None:
        """A deadline has passed: the client sends nothing, or takes nothing."""
        if self._wait_until <= now:
            self._wait_until = math.inf
            self.refuse_body(RemoteProtocolError(408, "the request's body took too long to arrive"))
        if self._stalled_at <= now:
            self._stalled_at = math.inf
            timeout = self._connection.shared.write_timeout
            _log.info("stream %d is reset: its client took nothing for %g s", self.id, timeout)
            self._abandon(ErrorCode.CANCEL)

    def close(self) -> int:
        """The application has ended: returns how many bytes came that nobody took."""
        self._drop_output()
        return self._inbox.clear()

    # -- the request's body -----------------------------------------------------------------

    async def receive_body(self) -> tuple[bytes, bool] | None:
        """See Carrier."""
        while True:
            if self._inbox:
                data, size = self._inbox.take()
                self._connection.acknowledge(self, size)
                return data, bool(self._inbox) or not self.request_ended
            if self.request_ended:
                return b"", False
            if self.exchange.disconnected or self.exchange.response_complete:
                return None
            await self._wait_for_body()

    async def _wait_for_body(self) -> None:
        shared = self._connection.shared
        if self._expect_continue:
            # Polled in a cancelled scope (Starlette's is_disconnected) it isn't the body that is
            # asked for.
            await trio.lowlevel.checkpoint_if_cancelled()
            self._expect_continue = False
            if not self.response.started:
                self._writer.send_headers(self.id, self.response.make_interim(100, ()), end=False)
        began = shared.now()
        allowed = shared.body_timeout + self._body_size / MIN_BODY_RATE
        self._wait_until = began + allowed - self._body_waited
        self._connection.note_deadline(self._wait_until)
        self._reader = trio.lowlevel.current_task()
        try:
            await trio.lowlevel.wait_task_rescheduled(self._stop_waiting)
        finally:
            self._wait_until = math.inf
            self._body_waited += shared.now() - began

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._reader = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _wake_reader(self) -> None:
        if self._reader is not None:
            trio.lowlevel.reschedule(self._reader)
            self._reader = None

    # -- the response -----------------------------------------------------------------------

    def send_response(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        more: bool,
        trailers: bool,
    ) -> Awaitable[None] | None:
        """See Carrier."""
        whole = None if more or trailers else len(body)
        self._send_head(status, headers, whole, len(body), more)
        if not self.response.has_body or whole == 0:
            return self._writer.pause(len(body))
        return self._send_data(body, last=not more and not trailers)

    def _send_head(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        whole: int | None,
        size: int,
        more: bool,
    ) -> None:
        """The head; it ends the stream where there is no body."""
        self._check_reachable()
        response = self.response
        defaults = self._connection.shared.default_fields()
        fields = response.make_head(status, headers, whole, defaults)
        try:
            response.count_body(size, more)
        except AppProtocolError:
            response.started = False  # not a byte of it has left: there can still be a 500
            raise
        end = not response.has_body or whole == 0
        self._writer.send_headers(self.id, fields, end=end)
        if end:
            self._end()

    def send_body(self, body: bytes, more: bool, trailers: bool) -> Awaitable[None] | None:
        """See Carrier."""
        self._check_reachable()
        if not self.response.has_body:
            return self._writer.pause(len(body))
        self.response.count_body(len(body), more)
        return self._send_data(body, last=not more and not trailers)

    def _send_data(self, body: bytes | memoryview, *, last: bool) -> Awaitable[None] | None:
        writer = self._writer
        if not self._out and writer.send_data_at_once(self.id, body, end=last):
            if last:
                self._end()
            return writer.pause(len(body))
        if body:
            self._out.append(body)
            self._out_size += len(body)
        self._last = last
        writer.enqueue(self)
        if last or self._out_size > HIGH_WATER:
            return self._wait_for_room(0 if last else LOW_WATER)
        return writer.pause(len(body))

    async def send_file(
        self,
        head: tuple[int, Iterable[tuple[bytes, bytes]]] | None,
        file: BinaryIO | str,
        offset: int | None,
        count: int | None,
        more: bool,
        trailers: bool,
    ) -> int:
        """See Carrier: read in a thread, since a disk may take its time."""
        if isinstance(file, str):
            with await trio.to_thread.run_sync(open_to_send, file) as opened:
                return await self.send_file(head, opened, 0, count, more, trailers)
        try:
            return await self._send_open_file(head, file, offset, count, more, trailers)
        except BaseException:
            # What has been said of its length, or what comes after, would not be true any more.
            if self.response.started and not self.ended and not self.gone:
                self._abandon(ErrorCode.INTERNAL_ERROR)
            raise

    async def _send_open_file(
        self,
        head: tuple[int, Iterable[tuple[bytes, bytes]]] | None,
        file: BinaryIO,
        offset: int | None,
        count: int | None,
        more: bool,
        trailers: bool,
    ) -> int:
        start, size = measure_file(file, offset, count)
        if head is not None:
            self._send_head(*head, None if more or trailers else size, size, more)
        else:
            self._check_reachable()
            self.response.count_body(size, more)
        if not self.response.has_body or self.ended:
            return 0
        last = not more and not trailers
        left = size
        async with aclosing(read_pieces(file, start, size)) as pieces:
            async for data in pieces:
                left -= len(data)
                self._check_reachable()
                if (waiting := self._send_data(data, last=last and not left)) is not None:
                    await waiting
        if offset is None:
            file.seek(start + size)  # where the next message without an offset goes on
        if not size and last and (waiting := self._send_data(b"", last=True)) is not None:
            await waiting
        return size

    def send_trailers(
        self, headers: Iterable[tuple[bytes, bytes]], more: bool
    ) -> Awaitable[None] | None:
        """See Carrier."""
        fields = self.response.make_trailers(headers)
        self._check_reachable()
        if self.ended:
            return None  # a response without a body has no trailers, either
        self._out_trailers = [*(self._out_trailers or ()), *fields]
        if more:
            return None
        if self._out:
            self._last = True
            self._writer.enqueue(self)
            return self._wait_for_room(0)
        self._send_end()
        return self._writer.pause(0)

    def send_interim(
        self, status: int, headers: Iterable[tuple[bytes, bytes]]
    ) -> Awaitable[None] | None:
        """See Carrier."""
        self._check_reachable()
        self._writer.send_headers(self.id, self.response.make_interim(status, headers), end=False)
        return self._writer.pause(0)

    def response_completed(self) -> None:
        """See Carrier."""
        # From now on receive() gives no body: what has come of it is credit for other streams.
        self._connection.acknowledge(self, self._inbox.clear())
        self._wake_reader()  # a task of the application may wait for more of the body
        self._connection.response_completed(self)

    def _check_reachable(self) -> None:
        if self.gone:
            raise ClientDisconnectedError("the client has disconnected")

    # -- what waits to be sent --------------------------------------------------------------

    @property
    def has_output(self) -> bool:
        """Something waits to be sent."""
        return bool(self._out) or (self._last and not self.ended)

    def write_frame(self, window: int, max_frame_size: int) -> bool:
        """Gives the next of it to the engine.

        Args:
            window: bytes that the client takes now.
            max_frame_size: of a frame that it takes.

        Returns:
            Whether there is more that could go now.
        """
        if self._out:
            if window <= 0:
                self._begin_stall()
                return False
            piece = self._out[0]
            size = min(len(piece), window, max_frame_size)
            cut = size == window < len(piece)
            if size == len(piece):
                self._out.popleft()
            else:
                piece = memoryview(piece)
                self._out[0] = piece[size:]
                piece = piece[:size]
            self._out_size -= size
            ends = self._last and not self._out and self._out_trailers is None
            self._writer.send_data(self.id, piece, end=ends, cut=cut)
            if ends:
                self._end()
            elif self._out or not self._last:
                self._tell_of_room()
                return bool(self._out)
        if self._last and not self.ended:
            self._send_end()
        self._tell_of_room()
        return False

    def _send_end(self) -> None:
        """The end of the stream, without a byte of body: needs no window."""
        if self._out_trailers:
            self._writer.send_headers(self.id, self._out_trailers, end=True)
        else:
            self._writer.send_data(self.id, b"", end=True)
        self._end()

    def _end(self) -> None:
        self.ended = True
        self._stalled_at = math.inf
        self._connection.response_ended(self)

    def _begin_stall(self) -> None:
        """The client lets nothing be sent: it has write_timeout to think better of it.

        Where others go first, or the socket takes no more, the stream isn't what stalls: a client
        that takes nothing at all is lost by the transport's own deadline.
        """
        if self._stalled_at == math.inf:
            shared = self._connection.shared
            self._stalled_at = shared.now() + shared.write_timeout
            self._connection.note_deadline(self._stalled_at)

    def end_stall(self) -> None:
        """The client lets more be sent."""
        self._stalled_at = math.inf

    async def _wait_for_room(self, size: int) -> None:
        """Until no more than ``size`` bytes wait; for 0: until the end has gone, too."""
        if self._room is None:
            self._room = trio.lowlevel.ParkingLot()
        while not self.gone and (self._out_size > size or (size == 0 and self.has_output)):
            await self._room.park()
        if not self.ended:  # all that there was is with the engine: that is as good as sent
            self._check_reachable()

    def _tell_of_room(self) -> None:
        if self._room is not None and self._out_size <= LOW_WATER:
            self._room.unpark_all()

    def _drop_output(self) -> None:
        self._writer.withdraw(self)
        self._out.clear()
        self._out_size = 0
        self._out_trailers = None
        self._last = False
        self._stalled_at = math.inf
        self._tell_of_room()
