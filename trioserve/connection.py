# SPDX-License-Identifier: MIT
"""One HTTP/1.x connection: bytes → requests → the application → bytes, until either side ends it.

Tasks: one at a time owns a connection. It reads, and runs the application inline, so that a usual
request starts no task. Three things may touch a connection from outside its task, all of them
without waiting: the transport tells of the peer (``_on_activity``), the server's reaper of a
deadline that has passed (``expire``), and the server of its stop (``drain``).

An application may go on after its response is complete (background tasks). If the client sends
more by then, the connection is *handed over*: a successor task takes it on, and the old one only
finishes its application.

Deadlines: waiting for a client sets ``deadline``, which the reaper compares with the clock; no
timer is armed. A client's leaving, and ``request_timeout``, set the deadline of the cancel scope
that the application runs in.

Border: whatever an application raises ends here, logged once. Only Cancelled, KeyboardInterrupt and
SystemExit pass.
"""

from __future__ import annotations

import contextvars
import logging
import math
import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import trio

from trioserve.asgi.background import contain
from trioserve.asgi.exchange import HttpExchange
from trioserve.asgi.scope import HttpScopes
from trioserve.errors import AppProtocolError, ClientDisconnectedError
from trioserve.logs import AccessEntry, log_app_error
from trioserve.protocols.fields import reason_phrase
from trioserve.protocols.http1 import (
    Framing,
    RemoteProtocolError,
    RequestHead,
    RequestReader,
    ResponseEncoder,
)
from trioserve.transports import Peer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from trioserve.context import ServerContext
    from trioserve.transports import Transport

__all__ = ["Http1Connection"]

_log = logging.getLogger("trioserve.error")

#: Bytes of an unread request body that are read and dropped to keep a connection.
DRAIN_SIZE: Final = 256 * 1024
#: After our last byte: how long, and how much, to read on so that no reset overtakes it (RFC 9112
#: section 9.6).
LINGER_TIMEOUT: Final = 5.0
LINGER_SIZE: Final = 16 * 1024 * 1024
#: A body must bring this many bytes a second, body_timeout allowed for.
MIN_BODY_RATE: Final = 500

#: A body up to this size goes out in one piece with its head.
_JOIN_SIZE: Final = 16 * 1024

_PRESENT: Final = Peer.PRESENT
_LOST: Final = Peer.LOST


class Http1Connection:
    """See this file's head. It is the Carrier of its exchanges.

    Attributes:
        deadline: when ``expire`` is to be called; math.inf while nothing is waited for.
    """

    __slots__ = (
        "_began",
        "_body_waited",
        "_context",
        "_encoder",
        "_ending",
        "_exchange",
        "_expect_continue",
        "_expired",
        "_head_deadline",
        "_idle",
        "_limited",
        "_max_body_size",
        "_reader",
        "_request",
        "_requests",
        "_scope",
        "_scopes",
        "_shared",
        "_transport",
        "deadline",
    )

    def __init__(
        self,
        shared: ServerContext,
        transport: Transport,
        scheme: str,
        client: tuple[str, int] | None,
        server: tuple[str, int | None] | None,
    ) -> None:
        self._shared = shared
        self._transport = transport
        self._reader = RequestReader(shared.config)
        self._encoder = ResponseEncoder()
        self._exchange: HttpExchange | None = None
        self._request: RequestHead | None = None
        self._requests = 0
        self._scope = trio.CancelScope()
        self._scopes = HttpScopes(
            scheme, client, server, shared.config.root_path, shared.state, ({}, {})
        )
        self._context: contextvars.Context | None = None
        self._expect_continue = False
        self._body_waited = 0.0
        self._ending = False  # no further request is to be read
        self._head_deadline = math.inf
        self._limited = False  # the scope has a deadline
        self._max_body_size = shared.config.max_body_size or math.inf
        self._idle = False  # it ended between two exchanges
        self._began = 0.0  # when the current exchange did; only kept for the access log
        self._expired = False  # the reaper has ended the wait that is under way
        self.deadline = math.inf
        transport.on_activity = self._on_activity

    # -- the task ---------------------------------------------------------------------------

    async def run(self, after: HttpExchange | None = None) -> bool:
        """Owns the connection until it ends (True) or was handed over (False).

        Args:
            after: as a successor: the exchange whose response is complete, but not its application.

        *Cancellation*: the connection is closed at once.
        """
        handed_over = False
        try:
            with trio.CancelScope() as scope:
                self._begin_ownership(scope)
                handed_over = not await self._serve(after)
            if scope.cancelled_caught:
                handed_over = not await self._cut_short()
            if not handed_over:
                await self._end()
        except BaseException as exc:
            failure = contain(exc)
            if failure is not None:
                _log.error("a connection failed inside the server", exc_info=failure)
        finally:
            if not handed_over:
                await self._close()
        return not handed_over

    async def _close(self) -> None:
        exchange = self._exchange
        if (
            exchange is not None
            and self._encoder.started
            and not exchange.response_complete
            and self._encoder.framing is Framing.UNTIL_CLOSE
        ):
            self._transport.abort()  # an orderly end would look like the body's end
        closing = self._transport.close()
        if closing is not None:
            await closing

    def _begin_ownership(self, scope: trio.CancelScope) -> None:
        self._scope = scope
        self._context = trio.lowlevel.current_task().context.copy()
        own = MappingProxyType({"cancel_scope": scope, "nursery": self._shared.background})
        http10: dict[str, Any] = {"trioserve": own, "http.response.pathsend": {}}
        if self._transport.can_sendfile:
            http10["http.response.zerocopysend"] = {}
        http11 = {**http10, "http.response.trailers": {}, "http.response.early_hint": {}}
        self._scopes.extensions = (http10, http11)

    async def _serve(self, exchange: HttpExchange | None) -> bool:
        """Exchange after exchange; False once another task has taken the connection over."""
        app = self._shared.app
        while True:
            if (
                exchange is not None
                and not self._is_ready(exchange)
                and not await self._make_ready(exchange)
            ):
                return True
            request = await self._next_request()
            if request is None:
                return True
            exchange = self._begin_exchange(request)
            try:
                await app(exchange.scope, exchange.receive, exchange.send)
                if not exchange.response_complete:
                    await self._settle(exchange, None)
            except BaseException as exc:
                failure = contain(exc)
                if failure is not None:
                    await self._settle(exchange, failure)
            if self._exchange is not exchange:
                return False
            if not exchange.response_complete:
                return True
            self._exchange = None

    async def _next_request(self) -> RequestHead | None:
        """The next head; None when there is none to come."""
        reader = self._reader
        try:
            while True:
                if reader.buffer:
                    request = reader.next_request()
                    if request is not None:
                        break
                if not self._begin_wait_for_head():
                    return None
                data = await self._transport.receive()
                self.deadline = math.inf
                if not data:
                    if reader.buffer and self._expired:
                        raise RemoteProtocolError(408, "the request took too long to arrive")
                    self._idle = True
                    return None
                reader.receive_data(data)
            if request.content_length > self._max_body_size:
                raise self._too_large(head_only=request.method == "HEAD")
        except RemoteProtocolError as exc:
            await self._reject(exc)
            return None
        self._head_deadline = math.inf
        return request

    def _begin_wait_for_head(self) -> bool:
        """Sets the deadline of the wait for a head's bytes; False if it isn't to be waited for."""
        shared = self._shared
        if self._reader.buffer:
            # From its first byte on a head has one deadline, however it trickles in.
            if self._head_deadline == math.inf:
                self._head_deadline = shared.now() + shared.header_timeout
            self.deadline = self._head_deadline
        elif shared.draining and not self._transport.has_arrived():
            self._idle = True
            return False
        elif self._requests:
            self.deadline = shared.now() + shared.keep_alive_timeout
        else:
            self.deadline = shared.now() + shared.header_timeout
        return True

    def _begin_exchange(self, request: RequestHead) -> HttpExchange:
        shared = self._shared
        self._request = request
        self._requests += 1
        self._encoder.begin(
            request.minor_version,
            request.method == "HEAD",
            request.keep_alive and self._requests != shared.config.max_requests_per_connection,
        )
        self._expect_continue = request.expect_continue
        self._body_waited = 0.0
        exchange = HttpExchange(self, self._scopes.make(request))
        self._exchange = exchange
        if shared.access_log is not None:
            self._began = shared.now()
        if shared.request_timeout != math.inf:
            self._set_deadline(shared.now() + shared.request_timeout)
        if self._transport.peer is not _PRESENT:
            self._on_activity()
        return exchange

    def _is_ready(self, exchange: HttpExchange) -> bool:
        """After an exchange: whether the next one can begin with nothing to be done before."""
        return (
            self._encoder.keep_alive
            and exchange.response_complete
            and self._reader.request_complete
            and self._transport.peer is _PRESENT
            and not self._limited
            and not self._ending
            and contextvars.copy_context() == self._context
        )

    async def _make_ready(self, exchange: HttpExchange) -> bool:
        """Does what is to be done before the next exchange; False if there can't be one."""
        if (
            not self._encoder.keep_alive
            or self._ending
            or not exchange.response_complete
            or self._transport.peer is _LOST
        ):
            return False
        if not self._reader.request_complete and not await self._drain_body():
            return False
        self._scope.deadline = math.inf
        self._limited = False
        await self._renew_context()
        return True

    async def _renew_context(self) -> None:
        """What one request put into context variables is not the next one's business.

        A task's context can be changed between two of its steps, so this needs a step.
        """
        assert self._context is not None
        trio.lowlevel.current_task().context = self._context.copy()
        await trio.lowlevel.checkpoint()

    async def _drain_body(self) -> bool:
        """Reads the rest of a body that the application didn't want, if it isn't too much."""
        if self._expect_continue:
            return False  # the client may or may not send it: nobody knows where a request begins
        size = 0
        while size <= DRAIN_SIZE:
            try:
                part = await self._read_body()
            except RemoteProtocolError:
                return False
            if part is None:
                return False
            body, more = part
            if not more:
                return True
            size += len(body)
        return False

    # -- the ends of an exchange ------------------------------------------------------------

    async def _settle(self, exchange: HttpExchange, failure: BaseException | None) -> None:
        """The application has raised, or returned before its response was complete."""
        if failure is not None:
            self._log_failure(exchange, failure)
        if exchange.response_complete:
            return
        if failure is None and not exchange.disconnected:
            _log.error(
                "the application returned %s for %s %s",
                "before its response was complete"
                if exchange.response_started
                else "without a response",
                exchange.scope["method"],
                exchange.scope["path"],
            )
        await self._give_up(exchange, 500, "")

    def _log_failure(self, exchange: HttpExchange, failure: BaseException) -> None:
        if exchange.told and exchange.disconnected:
            # The application was told that the client is gone, and that is how it stopped.
            _log.info(
                "client left %s %s, and the application ended with %s",
                exchange.scope["method"],
                exchange.scope["path"],
                type(failure).__name__,
                exc_info=failure if _log.isEnabledFor(logging.DEBUG) else None,
            )
        else:
            log_app_error(failure, exchange.scope)

    async def _give_up(self, exchange: HttpExchange, status: int, reason: str) -> None:
        """Answers for the application where nothing was sent yet; never fakes an end."""
        self._ending = True
        exchange.disconnect(unreachable=True)
        left = exchange.told and exchange.status == 0
        if not self._encoder.started and not left:
            await self._send_error(exchange, status, reason)
        if self._shared.access_log is not None:
            self._log_access(exchange)

    async def _cut_short(self) -> bool:
        """The scope of this task's application was cancelled; False if that was all it had left."""
        exchange = self._exchange
        if exchange is None or exchange.response_complete:
            self._ending = True
            return True
        if exchange.disconnected:
            _log.info(
                "client left %s %s, cancelled after the grace period",
                exchange.scope["method"],
                exchange.scope["path"],
            )
        else:
            _log.warning(
                "%s %s was cancelled%s",
                exchange.scope["method"],
                exchange.scope["path"],
                " by request_timeout" if self._shared.request_timeout != math.inf else "",
            )
        await self._give_up(exchange, 503, "the request took too long")
        return True

    def _log_access(self, exchange: HttpExchange) -> None:
        access_log = self._shared.access_log
        assert access_log is not None
        body_size = 0 if self._encoder.framing is Framing.NO_BODY else exchange.body_size
        access_log(
            AccessEntry(
                exchange.scope,
                exchange.status or 499,
                exchange.headers,
                body_size,
                self._shared.now() - self._began,
                exchange.disconnected and not exchange.response_complete,
            )
        )

    # -- errors on the wire -----------------------------------------------------------------

    async def _reject(self, error: RemoteProtocolError) -> None:
        """Answers a head that can't become a request."""
        self._ending = True
        _log.info("refused a request from %s: %s", self._scopes.client, error)
        self._encoder.begin(1, head_only=error.head_only, keep_alive=False)
        await self._send_error(None, error.status, error.reason)

    async def _fail_body(self, exchange: HttpExchange, error: RemoteProtocolError) -> None:
        """A body that breaks the protocol or a limit: the client hears why, the app of a leave."""
        self._ending = True
        _log.info("refused a body from %s: %s", self._scopes.client, error)
        if not exchange.response_complete:
            if not self._encoder.started:
                await self._send_error(exchange, error.status, error.reason)
            self._disconnect(exchange, unreachable=True)

    async def _send_error(self, exchange: HttpExchange | None, status: int, reason: str) -> None:
        phrase = reason_phrase(status)
        text = f"{status} {phrase}: {reason}\n" if reason else f"{status} {phrase}\n"
        body = text.encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        encoder = self._encoder
        encoder.keep_alive = False
        head = encoder.encode_head(status, headers, len(body), False, self._shared.default_fields())
        if exchange is not None:
            exchange.status = status
            exchange.headers = headers
            exchange.body_size = len(body)
        try:
            waiting = self._transport.write_all([head, *encoder.encode_body(body, False, False)])
            if waiting is not None:
                await waiting
        except ClientDisconnectedError:
            pass

    async def _end(self) -> None:
        """Our last byte, and a while of reading, so that the client gets to read it."""
        transport = self._transport
        if self._idle or transport.peer is not _PRESENT:
            return
        with trio.move_on_after(LINGER_TIMEOUT):
            waiting = transport.shut_down_writing()
            if waiting is not None:
                await waiting
            size = 0
            while size < LINGER_SIZE:
                data = await transport.receive()
                if not data:
                    break
                size += len(data)

    # -- from outside this task -------------------------------------------------------------

    def _on_activity(self) -> None:
        """The peer goes, or sends what nobody waits for."""
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.response_complete:
            self._shared.hand_over(self)
        elif self._transport.peer is not _PRESENT and (
            not exchange.disconnected or self._transport.peer is _LOST
        ):
            self._disconnect(exchange, unreachable=self._transport.peer is _LOST)

    def _disconnect(self, exchange: HttpExchange, *, unreachable: bool) -> None:
        """The client of ``exchange`` leaves: from now on its application has its grace."""
        if not exchange.disconnected:
            self._set_grace()
        exchange.disconnect(unreachable=unreachable)

    def _set_grace(self) -> None:
        grace = self._shared.config.asgi_disconnect_grace_period
        self._set_deadline(min(self._scope.deadline, self._shared.now() + grace))

    def _set_deadline(self, deadline: float) -> None:
        self._scope.deadline = deadline
        self._limited = True

    def successor_of(self) -> HttpExchange | None:
        """The exchange after which another task should go on, or None if there's no need to."""
        exchange = self._exchange
        if exchange is None or not exchange.response_complete:
            return None
        if not (self._reader.buffer or self._transport.readable):
            return None
        self._exchange = None
        return exchange

    def expire(self) -> None:
        """The deadline has passed: ends the wait for the client."""
        self.deadline = math.inf
        if self._exchange is None and not self._reader.head_begun and self._transport.has_arrived():
            return  # a request came in the last moment
        self._expired = True
        self._transport.interrupt()

    def drain(self) -> None:
        """The server is stopping: an idle connection ends now, a busy one after its exchange."""
        if self._exchange is None and not self._reader.buffer and not self._transport.has_arrived():
            self._transport.interrupt()

    # -- Carrier ----------------------------------------------------------------------------

    async def receive_body(self) -> tuple[bytes, bool] | None:
        """See Carrier."""
        exchange = self._exchange
        if exchange is None:
            return None  # handed over: this body is not the caller's any more
        try:
            part = await self._read_body()
            if part is not None:
                self._check_body_size()
        except RemoteProtocolError as exc:
            await self._fail_body(exchange, exc)
            return None
        if part is None:
            if not exchange.response_complete:
                self._disconnect(exchange, unreachable=self._transport.peer is _LOST)
        elif exchange.disconnected:
            self._set_grace_again()
        return part

    def _set_grace_again(self) -> None:
        """The client has left, but the application is still taking what it sent before."""
        if self._shared.request_timeout == math.inf:
            grace = self._shared.config.asgi_disconnect_grace_period
            self._set_deadline(self._shared.now() + grace)

    def _check_body_size(self) -> None:
        if self._reader.body_size > self._max_body_size:
            raise self._too_large(head_only=False)

    def _too_large(self, *, head_only: bool) -> RemoteProtocolError:
        return RemoteProtocolError(
            413, f"the body is larger than {self._max_body_size} bytes", head_only=head_only
        )

    async def _read_body(self) -> tuple[bytes, bool] | None:
        """What has come of the body, else what comes next; None if the client left."""
        reader = self._reader
        while True:
            if reader.request_complete:
                return b"", False
            data = reader.next_body()
            if data or reader.request_complete:
                return data, not reader.request_complete
            if not await self._receive_for_body():
                return None

    async def _receive_for_body(self) -> bool:
        shared = self._shared
        if self._expect_continue:
            self._expect_continue = False
            if not self._encoder.started:
                waiting = self._transport.write(self._encoder.encode_interim(100, ()))
                if waiting is not None:
                    await waiting
        began = shared.now()
        self.deadline = (
            began + shared.body_timeout - self._body_waited + self._reader.body_size / MIN_BODY_RATE
        )
        try:
            data = await self._transport.receive()
        finally:
            self.deadline = math.inf
        if not data:
            if self._expired:
                raise RemoteProtocolError(408, "the request's body took too long to arrive")
            return False
        self._body_waited += shared.now() - began
        self._reader.receive_data(data)
        return True

    def send_response(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        more: bool,
        trailers: bool,
    ) -> Awaitable[None] | None:
        """See Carrier."""
        encoder = self._encoder
        whole = None if more or trailers else len(body)
        head = self._encode_head(status, headers, whole, trailers)
        if whole is not None and encoder.framing is Framing.LENGTH:
            if whole <= _JOIN_SIZE:
                return self._transport.write(head + body)
            return self._transport.write_all((head, body))
        try:
            pieces = (head, *encoder.encode_body(body, more, trailers))
        except AppProtocolError:
            encoder.started = False  # not a byte of it has left: there can still be a 500
            raise
        return self._transport.write_all(pieces)

    def _encode_head(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        body_size: int | None,
        trailers: bool,
    ) -> bytes:
        shared = self._shared
        if shared.draining or (not self._reader.request_complete and not self._can_drain_body()):
            self._encoder.keep_alive = False
        return self._encoder.encode_head(
            status, headers, body_size, trailers, shared.default_fields()
        )

    def _can_drain_body(self) -> bool:
        request = self._request
        assert request is not None
        if self._expect_continue:
            return False
        return request.content_length - self._reader.body_size <= DRAIN_SIZE

    def send_body(self, body: bytes, more: bool, trailers: bool) -> Awaitable[None] | None:
        """See Carrier."""
        pieces = self._encoder.encode_body(body, more, trailers)
        return self._transport.write_all(pieces) if pieces else None

    async def send_file(
        self,
        head: tuple[int, Iterable[tuple[bytes, bytes]]] | None,
        file: BinaryIO | str,
        offset: int | None,
        count: int | None,
        more: bool,
        trailers: bool,
    ) -> int:
        """See Carrier."""
        if not isinstance(file, str):
            return await self._send_open_file(head, file, offset, count, more, trailers)
        try:
            opened = await trio.to_thread.run_sync(open, file, "rb")
        except OSError as exc:
            # To an application an OSError of send() would mean that the client has left.
            raise AppProtocolError(f"the file of a pathsend can't be opened: {exc}") from exc
        with opened:
            return await self._send_open_file(head, opened, 0, count, more, trailers)

    async def _send_open_file(
        self,
        head: tuple[int, Iterable[tuple[bytes, bytes]]] | None,
        file: BinaryIO,
        offset: int | None,
        count: int | None,
        more: bool,
        trailers: bool,
    ) -> int:
        encoder = self._encoder
        transport = self._transport
        start = file.tell() if offset is None else offset
        size = max(0, os.fstat(file.fileno()).st_size - start)
        if count is not None:
            size = min(size, count)
        pieces = []
        if head is not None:
            whole = None if more or trailers else size
            pieces.append(self._encode_head(*head, whole, trailers))
        encoder.count_body(size, more)
        chunked = encoder.framing is Framing.CHUNKED
        if chunked and size:
            pieces.append(b"%x\r\n" % size)
        waiting = transport.write_all(pieces)
        if waiting is not None:
            await waiting
        if encoder.framing is Framing.NO_BODY:
            return 0
        if await transport.send_file(file, start, size) < size:
            self._ending = True
            transport.abort()
            raise AppProtocolError(f"a file that was being sent got shorter than {size} bytes")
        if chunked:
            end = b"" if more else b"0\r\n" if trailers else b"0\r\n\r\n"
            waiting = transport.write((b"\r\n" if size else b"") + end)
            if waiting is not None:
                await waiting
        return size

    def send_trailers(
        self, headers: Iterable[tuple[bytes, bytes]], more: bool
    ) -> Awaitable[None] | None:
        """See Carrier."""
        block = self._encoder.encode_trailers(headers, more)
        return self._transport.write(block) if block else None

    def send_interim(
        self, status: int, headers: Iterable[tuple[bytes, bytes]]
    ) -> Awaitable[None] | None:
        """See Carrier."""
        block = self._encoder.encode_interim(status, headers)
        return self._transport.write(block) if block else None

    def response_completed(self) -> None:
        """See Carrier."""
        if self._shared.access_log is not None and self._exchange is not None:
            self._log_access(self._exchange)
        if self._reader.buffer or self._transport.readable:
            self._shared.hand_over(self)
