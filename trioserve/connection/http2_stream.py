# SPDX-License-Identifier: MIT
"""One stream of an HTTP/2 connection: the carrier of its exchange.

No task of its own. What has come of the body waits here until the application takes it, and only
then the client is given credit for as much (RFC 9113 section 5.2): a slow application slows its own
client.
"""

from __future__ import annotations

import logging
import math
from contextlib import aclosing
from typing import TYPE_CHECKING, BinaryIO, Final

import trio

from trioserve.asgi.background import contain
from trioserve.connection import outcomes
from trioserve.connection.files import measure_file, open_to_send, read_pieces
from trioserve.connection.http2_inbox import Http2Inbox
from trioserve.connection.http2_output import Http2Output
from trioserve.connection.limits import ScopeLimit
from trioserve.errors import AppProtocolError
from trioserve.metrics import SETTLE_COUNT
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

#: A body must bring this many bytes a second, body_timeout allowed for.
MIN_BODY_RATE: Final = 500


class Http2Stream(Http2Output):
    """See Carrier, and this file's head.

    Attributes:
        exchange: has this for its carrier; set by the connection.
        scope: the cancel scope that its application runs in, and ``limit`` our deadline on it.
        began: when the request came, by the server's clock.
        deadline: when ``expire`` is to be called.
    """

    __slots__ = (
        "_body_size",
        "_body_waited",
        "_counted",
        "_expect_continue",
        "_inbox",
        "_reader",
        "_wait_until",
        "began",
        "exchange",
        "head",
        "limit",
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
        super().__init__(connection, stream_id, priority, request_ended=request_ended)
        self.head = head
        self.scope = trio.CancelScope()
        self.limit = ScopeLimit(self.scope)
        self.began = connection.shared.now()
        self.request_trailers: Headers = []
        self.response = Http2Response(head_only=head.method == "HEAD")
        self._inbox = Http2Inbox()
        self._counted = False  # the recorder knows of the exchange, not of its end
        self._body_size = 0
        self._body_waited = 0.0
        self._expect_continue = head.expect_continue
        self._reader: trio.lowlevel.Task | None = None
        self._wait_until = math.inf  # of the wait for the client's body

    # -- the task ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Runs the application for the request.

        *Errors handled here*: whatever the application raises.
        """
        shared = self._connection.shared
        if shared.recorder is not None:
            self._counted = True
            if shared.recorder.begin_exchange() % SETTLE_COUNT == 0:
                shared.recorder.settle()
        try:
            await self._run_application()
        finally:
            if self._counted:  # it was cancelled with its connection
                outcomes.note_disconnect(shared, self.exchange, answered=self.ended)
                self._count(shared.now() - self.began, cancelled=True)

    async def _run_application(self) -> None:
        exchange = self.exchange
        scope = self.scope
        with scope:
            try:
                await self._connection.shared.app(exchange.scope, exchange.receive, exchange.send)
                if not exchange.response_complete:
                    outcomes.log_return(exchange)
            except BaseException as exc:
                failure = contain(exc)
                if failure is not None:
                    outcomes.log_failure(exchange, failure)
        if not exchange.response_complete:
            self._answer_for_the_application(cancelled=scope.cancelled_caught)

    def _answer_for_the_application(self, *, cancelled: bool) -> None:
        """Where the application has ended and its response is not complete; never fakes an end."""
        exchange = self.exchange
        connection = self._connection
        if cancelled:
            by_timeout = self.limit.at <= connection.shared.now()
            outcomes.log_cancellation(exchange, by_timeout=by_timeout)
        outcomes.note_disconnect(connection.shared, exchange, answered=self.ended)
        exchange.disconnect(unreachable=True)
        if self.gone or self.ended or not connection.reachable:
            pass
        elif self.response.started or (exchange.told and exchange.status == 0):
            connection.reset(self, ErrorCode.INTERNAL_ERROR)
        elif cancelled:
            connection.answer(self, 503, "the request was cancelled")
        else:
            connection.answer(self, 500, "")
        self._end_exchange()

    def _end_exchange(self) -> None:
        shared = self._connection.shared
        if shared.observed:
            seconds = shared.now() - self.began
            self._count(seconds)
            outcomes.log_access(shared, self.exchange, seconds, has_body=self.response.has_body)

    def _count(self, seconds: float, *, cancelled: bool = False) -> None:
        self._counted = False
        shared, method = self._connection.shared, self.head.method
        outcomes.count_exchange(shared, self.exchange, method, seconds, cancelled=cancelled)

    # -- what the connection tells ----------------------------------------------------------

    @property
    def takes_data(self) -> bool:
        """Whether somebody may want what comes of the body."""
        return not self.gone and not self.exchange.response_complete

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

    def note_answer(self, status: int, headers: Headers, body_size: int) -> None:
        """The server has answered in the application's place."""
        exchange = self.exchange
        exchange.status, exchange.headers, exchange.body_size = status, headers, body_size
        self.ended = True

    def drain(self) -> None:
        """The server is stopping: a request goes on to its end."""

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
            _log.info(
                "stream %d is reset: its client took nothing for %g s", self.id, self.stall_timeout
            )
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
        self.limit.lift()  # what the application does from now on is not limited by us
        self._end_exchange()
