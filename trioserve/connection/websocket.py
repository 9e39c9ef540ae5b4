# SPDX-License-Identifier: MIT
"""One WebSocket above its engine: the carrier of its exchange, its deadlines, its end.

Task: ``run`` is the application's, inline in the connection's task (HTTP/1.1) or the stream's
(HTTP/2). From outside it, without waiting: the pipe tells of bytes (``on_activity``), the server's
reaper of a deadline that has passed (``expire``), and the server of its stop (``drain``).

============  ===================================================================================
wait for      ends
============  ===================================================================================
accept        websocket_handshake_timeout after the upgrade: the application is cancelled, 503
a pong        websocket_ping_timeout after our ping, if nothing at all came since: it is given up
Close         websocket_close_timeout after ours
the end       asgi_disconnect_grace_period after the client has closed it, or the server: the
              application is cancelled. One that has closed it itself may go on
============  ===================================================================================

Border: whatever an application raises ends here, logged once.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final, Protocol

import trio

from trioserve.asgi.background import contain
from trioserve.connection import outcomes
from trioserve.connection.limits import ScopeLimit
from trioserve.protocols.websocket import (
    ABNORMAL,
    INTERNAL_ERROR,
    NORMAL,
    RESTART,
    Closed,
    accept_fields,
)
from trioserve.transports import Peer
from trioserve.websocket import find_engine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from trioserve.asgi.websocket import WebSocketExchange
    from trioserve.context import ServerContext
    from trioserve.protocols.websocket import Handshake
    from trioserve.types import Headers
    from trioserve.websocket import Engine, Pipe

__all__ = ["Opening", "WebSocketSession"]

_log = logging.getLogger("trioserve.error")

_PING: Final = b"trioserve"
_UNKNOWN: Final = Closed(ABNORMAL, "")


class Opening(Protocol):
    """The answer to a handshake, as a version of HTTP writes it down."""

    def accept(self, fields: Headers) -> Awaitable[None] | None:
        """It is accepted; the pipe carries frames from now on."""

    def refuse(self, status: int, reason: str) -> Awaitable[None] | None:
        """An error of our own; nothing else follows."""

    def send_response(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        more: bool,
        trailers: bool,
    ) -> Awaitable[None] | None:
        """The application's denial."""

    def send_body(self, body: bytes, more: bool, trailers: bool) -> Awaitable[None] | None:
        """More of its body."""

    @property
    def has_begun(self) -> bool:
        """Something of an answer has left."""

    def release(self) -> None:
        """Nothing more is sent or read: ends what is below, in order, without waiting for it."""

    def take_unread(self) -> bytes:
        """What has come after the handshake."""

    def note_deadline(self, deadline: float) -> None:
        """``expire`` is to be called then, if no earlier call is due."""


class WebSocketSession:
    """See WebSocketCarrier, and this file's head.

    Args:
        shared: the server's context.
        pipe: what is below once the handshake is over.
        opening: answers the handshake.
        handshake: what the client asks for.

    Attributes:
        exchange: has this for its carrier; set by whoever made both.
        scope: the cancel scope that the application runs in.
        deadline: when ``expire`` is to be called.
        closed: see WebSocketCarrier.
        broken: no orderly end reaches the client.
    """

    exchange: WebSocketExchange

    def __init__(
        self, shared: ServerContext, pipe: Pipe, opening: Opening, handshake: Handshake
    ) -> None:
        config = shared.config
        self._shared = shared
        self._pipe = pipe
        self._opening = opening
        self._handshake = handshake
        self._deflate = handshake.deflate if config.websocket_compression == "on" else None
        self.scope = trio.CancelScope()
        self._limit = ScopeLimit(self.scope)
        self._engine: Engine | None = None
        self._accepted = False
        self._is_late = False  # the application was cancelled, since it did not answer in time
        self._began = shared.now()
        self._accept_by = self._began + (config.websocket_handshake_timeout or math.inf)
        self._ping_at = math.inf
        self._pong_by = math.inf
        self._close_by = math.inf
        self._released = False
        self.closed = _UNKNOWN
        self._over = False  # nothing is received any more
        self.broken = False

    # -- the task ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Runs the application, and brings the WebSocket to its end.

        *Errors handled here*: whatever the application raises.
        """
        exchange = self.exchange
        failed = False
        config = self._shared.config
        open_engine = find_engine(config.websocket_engine)
        try:
            async with open_engine(self._pipe, self, config, self._deflate) as self._engine:
                self._opening.note_deadline(self._accept_by)
                self.on_activity()
                with self.scope:
                    try:
                        await self._shared.app(exchange.scope, exchange.receive, exchange.send)
                    except BaseException as exc:
                        failure = contain(exc)
                        if failure is not None:
                            failed = True
                            outcomes.log_failure(exchange, failure)
                if self._is_late:
                    _log.warning(
                        "the application did not answer the WebSocket %s in time",
                        exchange.scope["path"],
                    )
                elif self.scope.cancelled_caught:
                    outcomes.log_cancellation(exchange, by_timeout=False)
                if self._accepted:
                    await self._close_after(failed or self.scope.cancelled_caught)
                else:
                    await self._answer_after(failed)
        finally:
            exchange.complete()  # what a task left behind sends now is told so
            self._engine = None
            self._count_end()
            seconds = self._shared.now() - self._began
            outcomes.log_access(self._shared, exchange, seconds, has_body=True)

    def _count_end(self) -> None:
        recorder = self._shared.recorder
        if recorder is None:
            return
        if self._accepted:
            recorder.end_websocket()
        else:
            recorder.refuse_websocket()

    async def _answer_after(self, failed: bool) -> None:
        """The application has ended, and has not accepted the handshake."""
        exchange = self.exchange
        if exchange.response_complete or exchange.disconnected:
            self.broken = not exchange.response_complete
            return
        if self._opening.has_begun:
            if not failed:
                outcomes.log_return(exchange)
            exchange.disconnect(unreachable=True)
            self.broken = True  # the end of a denial's body is never faked
            return
        if self._is_late or self.scope.cancelled_caught:
            what = "the application did not answer in time" if self._is_late else "it was cancelled"
            waiting = self._refuse(503, what)
        else:
            if not failed:
                outcomes.log_return(exchange)
            waiting = self._refuse(500, "")
        if waiting is not None:
            await waiting

    async def _close_after(self, failed: bool) -> None:
        """The application has ended, and messages could be sent."""
        assert self._engine is not None
        if not self._over:
            self._end(Closed(INTERNAL_ERROR if failed else NORMAL, ""))
        if not self._released:
            with trio.move_on_at(self._close_by) as closing:
                await self._engine.finish()
            if closing.cancelled_caught:
                self._log_no_close()

    def _log_no_close(self) -> None:
        timeout = self._shared.config.websocket_close_timeout
        _log.info("a WebSocket's client sent no Close frame within %g s", timeout)

    # -- the carrier ------------------------------------------------------------------------

    def accept(
        self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]
    ) -> Awaitable[None] | None:
        """See WebSocketCarrier."""
        assert self._engine is not None
        fields = accept_fields(self._handshake, subprotocol, headers, self._deflate)
        waiting = self._opening.accept(fields)
        self._accepted = True
        if self._shared.recorder is not None:
            self._shared.recorder.begin_websocket()
        self._accept_by = math.inf
        self._begin_pinging()
        self._engine.start(self._opening.take_unread())
        if self._shared.draining:
            self.drain()
        return waiting

    def _begin_pinging(self) -> None:
        interval = self._shared.config.websocket_ping_interval
        self._pong_by = math.inf
        if interval:
            self._ping_at = self._shared.now() + interval
            self._opening.note_deadline(self._ping_at)

    @property
    def messages(self) -> Engine:
        """See WebSocketCarrier."""
        assert self._engine is not None
        return self._engine

    def close(self, closed: Closed) -> None:
        """See WebSocketCarrier."""
        self._end(closed)

    def _end(self, closed: Closed) -> None:
        """Closes it from this side."""
        assert self._engine is not None
        self._over = True
        self.closed = closed
        self._ping_at = self._pong_by = math.inf
        if timeout := self._shared.config.websocket_close_timeout:
            self._close_by = self._shared.now() + timeout
            self._opening.note_deadline(self._close_by)
        self._engine.close(closed.code, closed.reason)

    def refuse(self, status: int, reason: str) -> Awaitable[None] | None:
        """See WebSocketCarrier."""
        return self._refuse(status, reason)

    def _refuse(self, status: int, reason: str) -> Awaitable[None] | None:
        self._accept_by = math.inf
        return self._opening.refuse(status, reason)

    def send_response(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        more: bool,
        trailers: bool,
    ) -> Awaitable[None] | None:
        """See WebSocketCarrier."""
        self._accept_by = math.inf
        return self._opening.send_response(status, headers, body, more, trailers)

    def send_body(self, body: bytes, more: bool, trailers: bool) -> Awaitable[None] | None:
        """See WebSocketCarrier."""
        return self._opening.send_body(body, more, trailers)

    # -- the engine's listener --------------------------------------------------------------

    def on_pong(self) -> None:
        """See Listener."""
        self._pong_by = math.inf

    def on_closed(self, closed: Closed) -> None:
        """See Listener."""
        if not self._over:
            self._over = True
            self.closed = closed
            self._ping_at = self._pong_by = math.inf
            self._leave()
        self._release()

    def _release(self) -> None:
        """The client needn't wait for the end of the application (RFC 6455 section 7.1.1)."""
        self._close_by = math.inf
        if not self._released and self._accepted:
            self._released = True
            self._opening.release()

    def _leave(self) -> None:
        """From now on the application has its grace."""
        exchange = self.exchange
        if not exchange.disconnected and not exchange.response_complete:
            self._limit.set(self._shared.now() + self._shared.config.asgi_disconnect_grace_period)
        exchange.disconnect(unreachable=True)

    # -- from outside -----------------------------------------------------------------------

    def on_activity(self) -> None:
        """From the pipe: bytes come that nobody waits for, or the peer goes.

        *Errors handled here*: what fails in here is this WebSocket's alone.
        """
        try:
            self._on_activity()
        except Exception:  # a connection's border: the caller serves all of them
            self._fail()

    def _fail(self) -> None:
        _log.exception("a WebSocket failed inside the server")
        self.broken = True
        self._pipe.abort()
        self._leave()

    def _on_activity(self) -> None:
        if self._engine is not None and self._accepted:
            self._engine.on_activity()
        elif not self._accepted and self._pipe.peer is not Peer.PRESENT:
            self._leave()

    @property
    def deadline(self) -> float:
        """See above."""
        return min(self._accept_by, self._ping_at, self._pong_by, self._close_by)

    def expire(self, now: float) -> None:
        """A deadline has passed. *Errors handled here*: as in on_activity."""
        try:
            self._expire(now)
        except Exception:  # a connection's border: the caller serves all of them
            self._fail()

    def _expire(self, now: float) -> None:
        if self._close_by <= now:
            self._log_no_close()
            self._release()
        if self._accept_by <= now:
            self._accept_by = math.inf
            self._is_late = True
            self.scope.cancel()
        if self._pong_by <= now:
            self._expire_pong(now)
        if self._ping_at <= now and self._engine is not None:
            config = self._shared.config
            self._ping_at = now + config.websocket_ping_interval
            if self._pong_by == math.inf and config.websocket_ping_timeout:
                self._engine.heard = False
                self._pong_by = now + config.websocket_ping_timeout
            self._engine.ping(_PING)

    def _expire_pong(self, now: float) -> None:
        engine = self._engine
        assert engine is not None
        timeout = self._shared.config.websocket_ping_timeout
        if engine.heard or engine.stalled:
            # A pong can't come in the middle of a large message, nor while nothing is read.
            engine.heard = False
            self._pong_by = now + timeout
            return
        reason = f"no pong came within {timeout:g} s"
        _log.info("a WebSocket is closed: %s", reason)
        self._end(Closed(INTERNAL_ERROR, reason))
        self.closed = Closed(ABNORMAL, reason)
        self._leave()

    def drain(self) -> None:
        """The server is stopping: clients may come back to whatever is started in its place."""
        if self._accepted and not self._over:
            self._end(Closed(RESTART, ""))
            self._leave()
