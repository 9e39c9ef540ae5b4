# SPDX-License-Identifier: MIT
"""One HTTP/1.x connection: exchange after exchange, until either side ends it.

Tasks: one at a time owns a connection. It reads, and runs the application inline, so that a usual
request starts no task. Three things may touch a connection from outside its task, all of them
without waiting: the transport tells of the peer (``_on_activity``), the server's reaper of a
deadline that has passed (``expire``), and the server of its stop (``drain``).

An application may go on after its response is complete (background tasks). If the client sends
more by then, the connection is *handed over*: a successor task takes it on, and the old one only
finishes its application. Who owns it is told by ``_scope``: the owner's cancel scope.

A client's leaving, and ``request_timeout``, set the deadline of the scope that the application
runs in.

Border: whatever an application raises ends here, logged once. Only Cancelled, KeyboardInterrupt and
SystemExit pass.
"""

from __future__ import annotations

import contextvars
import logging
import math
from typing import TYPE_CHECKING, Any, Final

import trio

from trioserve.asgi.background import contain
from trioserve.asgi.exchange import HttpExchange
from trioserve.asgi.extension import NO_OPTIONS, TrioExtension
from trioserve.connection import outcomes
from trioserve.connection.limits import ScopeLimit
from trioserve.connection.wire import Http1Wire
from trioserve.metrics import SETTLE_COUNT
from trioserve.protocols.http1 import Framing
from trioserve.transports import Peer

if TYPE_CHECKING:
    from collections.abc import Callable

    from trioserve.asgi.scope import HttpScopes
    from trioserve.context import ServerContext
    from trioserve.metrics import Recorder
    from trioserve.protocols.http1 import RequestHead
    from trioserve.transports import Transport

__all__ = ["Http1Connection"]

_log = logging.getLogger("trioserve.error")

_PRESENT: Final = Peer.PRESENT
_LOST: Final = Peer.LOST
#: In the place of a time: nobody wants to know how long this exchange takes.
_NOT_TIMED: Final = -1.0
_VERSIONS: Final = ("1.0", "1.1")


class Http1Connection:
    """See this file's head.

    Args:
        on_closed: called when it has ended.
        on_http2: called instead, with what has come, where the client speaks HTTP/2; None = then it
            is refused.
        on_websocket: called instead, with what goes on with the connection and the upgrade, where
            the client asks for a WebSocket.

    Attributes:
        wire: reads and writes; the Carrier of the exchanges.
    """

    __slots__ = (
        "_began",
        "_context",
        "_counted",
        "_extension",
        "_extensions",
        "_limit",
        "_on_closed",
        "_on_http2",
        "_on_websocket",
        "_over",
        "_requests",
        "_scope",
        "_scopes",
        "_shared",
        "_upgrade",
        "wire",
    )

    def __init__(
        self,
        shared: ServerContext,
        transport: Transport,
        scopes: HttpScopes,
        on_closed: Callable[[Http1Connection], None],
        on_http2: Callable[[bytes], None] | None = None,
        on_websocket: Callable[[Http1Wire, RequestHead], None] | None = None,
    ) -> None:
        self._shared = shared
        self._on_closed = on_closed
        self._over = False  # the owner only ends it: nobody is to take it over any more
        self._requests = 0
        self._scope = trio.CancelScope()
        self._scopes = scopes
        self._extensions: tuple[dict[str, Any], dict[str, Any]]  # by minor version
        self._context: contextvars.Context | None = None
        self._limit = ScopeLimit(self._scope)  # the grace, or request_timeout
        self._began = 0.0  # when the current exchange did; kept where somebody observes
        self._counted = False  # the recorder knows of the current exchange, not of its end
        self._on_http2 = on_http2
        self._on_websocket = on_websocket
        self._upgrade: RequestHead | None = None  # to a WebSocket
        self.wire = Http1Wire(shared, transport, self, may_be_http2=on_http2 is not None)
        transport.on_activity = self._on_activity

    # -- the task ---------------------------------------------------------------------------

    async def run(self, after: HttpExchange | None = None) -> None:
        """Owns the connection until it ends or is handed over.

        Args:
            after: as a successor: the exchange whose response is complete, but not its application.

        *Cancellation*: the connection is closed at once.

        A client that began with HTTP/2's preface is left as it is, to ``on_http2``.
        """
        scope = trio.CancelScope()
        self._begin_ownership(scope)
        self._context = trio.lowlevel.current_task().context.copy()
        try:
            again = None
            with scope:
                again = await self._serve(after)
            while again is not None:
                after, again = again, None
                scope = trio.CancelScope()
                self._begin_ownership(scope)
                with scope:
                    again = await self._serve(after)
            if self._scope is scope and not self._changes_protocol:
                self._over = True
                # Out of the scope, since what cancelled the application may not cut our answer.
                await self._answer_for_the_application(cancelled=scope.cancelled_caught)
                await self.wire.linger()
        except BaseException as exc:
            failure = contain(exc)
            if failure is not None:
                _log.error("a connection failed inside the server", exc_info=failure)
        finally:
            if self._scope is scope:
                self._over = True
                if self._counted:
                    self._give_up()
                if not self._change_protocol():
                    await self._close()

    @property
    def _changes_protocol(self) -> bool:
        return self.wire.speaks_http2 or self._upgrade is not None

    def _change_protocol(self) -> bool:
        """Leaves the connection to whoever speaks what the client wants; False if nobody does."""
        if self._upgrade is not None and self._on_websocket is not None:
            self._on_websocket(self.wire, self._upgrade)
            return True
        if self.wire.speaks_http2 and self._on_http2 is not None:
            self._on_http2(bytes(self.wire.reader.buffer))
            return True
        return False

    async def _close(self) -> None:
        try:
            await self.wire.close()
        except Exception:  # the border again: a stream of any kind may fail to close
            _log.exception("a connection failed to close")
        finally:
            self._on_closed(self)

    def _begin_ownership(self, scope: trio.CancelScope) -> None:
        self._scope = scope
        self._limit = ScopeLimit(scope)
        self._extension = TrioExtension(scope, self._shared.background.nursery)
        http10: dict[str, Any] = {
            **self._scopes.extensions,
            "trioserve": self._extension,
            "http.response.pathsend": NO_OPTIONS,
        }
        if self.wire.transport.can_sendfile:
            http10["http.response.zerocopysend"] = NO_OPTIONS
        http11 = {
            **http10,
            "http.response.trailers": NO_OPTIONS,
            "http.response.early_hint": NO_OPTIONS,
        }
        self._extensions = (http10, http11)

    async def _serve(self, exchange: HttpExchange | None) -> HttpExchange | None:
        """Exchange after exchange, until there is none to come or another task owns it.

        Returns:
            The last exchange, if there can be others after it, but not in this cancel scope.
        """
        app = self._shared.app
        wire = self.wire
        idle_timeout = self._shared.header_timeout
        while True:
            if exchange is not None:
                idle_timeout = self._shared.keep_alive_timeout
                if not self._is_ready(exchange):
                    if not await self._make_ready(exchange):
                        return None
                    if self._extension.taken:
                        return exchange
            request = await wire.next_request(idle_timeout)
            if request is None:
                return None
            if wire.handshake is not None:
                self._upgrade = request
                return None
            exchange = self._begin_exchange(request)
            try:
                await app(exchange.scope, exchange.receive, exchange.send)
                if not exchange.response_complete:
                    outcomes.log_return(exchange)
            except BaseException as exc:
                failure = contain(exc)
                if failure is not None:
                    outcomes.log_failure(exchange, failure)
            if wire.exchange is not exchange or not exchange.response_complete:
                return None
            wire.exchange = None

    def _begin_exchange(self, request: RequestHead) -> HttpExchange:
        shared = self._shared
        wire = self.wire
        self._requests += 1
        minor_version = request.minor_version
        exchange = HttpExchange(
            wire,
            self._scopes.make(
                request, _VERSIONS[minor_version], self._extensions[minor_version].copy()
            ),
        )
        wire.begin(
            request,
            exchange,
            keep_alive=self._requests != shared.config.max_requests_per_connection,
        )
        if shared.observed:
            self._observe(shared.recorder)
        if shared.request_timeout != math.inf:
            self._limit.set(shared.now() + shared.request_timeout)
        if wire.transport.peer is not _PRESENT:
            self._on_activity()
        return exchange

    def _is_ready(self, exchange: HttpExchange) -> bool:
        """After an exchange: whether the next one can begin with nothing to be done before."""
        wire = self.wire
        try:
            return (
                wire.encoder.keep_alive
                and exchange.response_complete
                and wire.reader.request_complete
                and wire.transport.peer is _PRESENT
                and not self._extension.taken
                and not wire.ending
                and contextvars.copy_context() == self._context
            )
        except Exception:  # a border: the application's values compare themselves
            return False

    async def _make_ready(self, exchange: HttpExchange) -> bool:
        """Does what is to be done before the next exchange; False if there can't be one."""
        wire = self.wire
        if (
            not wire.encoder.keep_alive
            or wire.ending
            or not exchange.response_complete
            or wire.transport.peer is _LOST
        ):
            return False
        if not wire.reader.request_complete and not await wire.drain_body():
            return False
        await self._renew_context()
        return True

    async def _renew_context(self) -> None:
        """What one request put into context variables is not the next one's business.

        A task's context can be changed between two of its steps, so this needs a step.
        """
        assert self._context is not None
        trio.lowlevel.current_task().context = self._context.copy()
        await trio.lowlevel.checkpoint()

    # -- the ends of an exchange ------------------------------------------------------------

    async def _answer_for_the_application(self, *, cancelled: bool) -> None:
        """Where the application has ended and its response is not complete; never fakes an end."""
        wire = self.wire
        exchange = wire.exchange
        if exchange is None or exchange.response_complete:
            return
        if cancelled:
            by_timeout = self._limit.at <= self._shared.now()
            outcomes.log_cancellation(exchange, by_timeout=by_timeout)
        outcomes.note_disconnect(self._shared, exchange, answered=wire.ending)
        wire.ending = True
        exchange.disconnect(unreachable=True)
        wire.transport.interrupt()  # a task of the application may still be in receive()
        left = exchange.told and exchange.status == 0
        if not wire.encoder.started and not left:
            if cancelled:
                await wire.send_error(503, "the request was cancelled")
            else:
                await wire.send_error(500, "")
        if self._shared.observed:
            seconds = self._shared.stopwatch() - self._began
            self._count(exchange, seconds)
            self._log_access(exchange, seconds)

    def _observe(self, recorder: Recorder | None) -> None:
        """An exchange has begun, and somebody wants to know of it."""
        if recorder is not None:
            self._counted = True
            number = recorder.begin_exchange()
            if number & recorder.sample_mask and self._shared.access_log is None:
                self._began = _NOT_TIMED
                return
            if number % SETTLE_COUNT == 0:
                recorder.settle()
        self._began = self._shared.stopwatch()

    def _count(self, exchange: HttpExchange, seconds: float, *, cancelled: bool = False) -> None:
        self._counted = False
        if self._began == _NOT_TIMED:
            assert self._shared.recorder is not None
            self._shared.recorder.skip_exchange()
            return
        method = self.wire.request.method
        outcomes.count_exchange(self._shared, exchange, method, seconds, cancelled=cancelled)

    def _log_access(self, exchange: HttpExchange, seconds: float) -> None:
        no_body = self.wire.encoder.framing is Framing.NO_BODY
        outcomes.log_access(self._shared, exchange, seconds, has_body=not no_body)

    def _give_up(self) -> None:
        """The exchange was cancelled together with its connection: it is only counted."""
        exchange = self.wire.exchange
        if exchange is not None:
            outcomes.note_disconnect(self._shared, exchange, answered=self.wire.ending)
            seconds = self._shared.stopwatch() - self._began
            self._count(exchange, seconds, cancelled=True)

    # -- from outside this task -------------------------------------------------------------

    def _on_activity(self) -> None:
        """The peer goes, or sends what nobody waits for."""
        wire = self.wire
        exchange = wire.exchange
        if exchange is None:
            return
        if exchange.response_complete:
            self._shared.hand_over(self)
        elif wire.transport.peer is _LOST:
            self.client_left(unreachable=True)
        elif wire.transport.peer is not _PRESENT and not exchange.disconnected:
            self.client_left(unreachable=False)

    def client_left(self, *, unreachable: bool) -> None:
        """See Owner: from now on the application has its grace."""
        exchange = self.wire.exchange
        if exchange is None:
            return
        if not exchange.disconnected:
            self._limit.set(self._shared.now() + self._shared.config.asgi_disconnect_grace_period)
        exchange.disconnect(unreachable=unreachable)

    def body_taken(self) -> None:
        """See Owner: while an application takes what its client sent before, its grace begins anew.

        Not beyond request_timeout, which nothing extends.
        """
        if self._shared.request_timeout == math.inf:
            self._limit.lift()
            self._limit.set(self._shared.now() + self._shared.config.asgi_disconnect_grace_period)

    def response_completed(self) -> None:
        """See Owner."""
        wire = self.wire
        shared = self._shared
        if not shared.observed or (exchange := wire.exchange) is None:
            pass
        elif self._began == _NOT_TIMED:
            self._counted = False
            shared.recorder.skip_exchange()  # type: ignore[union-attr]
        else:
            seconds = shared.stopwatch() - self._began
            if shared.recorder is not None:  # as outcomes.count_exchange does it, without the call
                self._counted = False
                shared.recorder.end_exchange((wire.request.method, exchange.status, seconds))
            if shared.access_log is not None:
                self._log_access(exchange, seconds)
        if self._limit.at != math.inf:  # what the application does from now on is not limited by us
            self._limit.lift()
        if wire.reader.buffer or wire.transport.readable or not wire.encoder.keep_alive:
            self._shared.hand_over(self)

    def successor_of(self) -> HttpExchange | None:
        """The exchange after which another task should go on, or None if there's no need to.

        If there is, the connection belongs to the task that the caller starts.
        """
        wire = self.wire
        exchange = wire.exchange
        if self._over or exchange is None or not exchange.response_complete:
            return None
        if not (
            wire.reader.buffer
            or wire.transport.readable
            or not wire.encoder.keep_alive
            or self._shared.draining
        ):
            return None
        wire.exchange = None
        self._scope = trio.CancelScope()
        return exchange

    @property
    def deadline(self) -> float:
        """When ``expire`` is to be called."""
        return self.wire.deadline

    def expire(self) -> None:
        """The deadline has passed."""
        self.wire.expire()

    def begin_drain(self) -> None:
        """The server is about to stop: HTTP/1.1 has no word for that between two requests."""

    def drain(self) -> None:
        """The server is stopping: an idle connection ends now, a busy one after its exchange."""
        wire = self.wire
        if wire.between_requests:
            if not wire.transport.has_arrived():
                wire.transport.interrupt()
        elif wire.exchange is None:
            if not wire.reader.request_complete:
                wire.transport.interrupt()  # it reads the rest of a body that nobody wants
        elif wire.exchange.response_complete:
            self._shared.hand_over(self)
