# SPDX-License-Identifier: MIT
"""An HTTP/1.1 connection that has become a WebSocket (RFC 6455), or will by its next response.

Task: ``run`` is the connection's; the application runs in it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import trio

from trioserve.asgi.background import contain
from trioserve.asgi.extension import TrioExtension
from trioserve.asgi.websocket import WebSocketExchange
from trioserve.connection.lingering import close_contained
from trioserve.connection.websocket import WebSocketSession
from trioserve.protocols.websocket import encode_switch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from trioserve.asgi.scope import HttpScopes
    from trioserve.connection.wire import Http1Wire
    from trioserve.context import ServerContext
    from trioserve.protocols.http1 import RequestHead
    from trioserve.types import Headers

__all__ = ["WebSocketConnection"]

_log = logging.getLogger("trioserve.error")


class WebSocketConnection:
    """See this file's head. The Opening of its session, and the Owner of its wire.

    Args:
        shared: the server's context.
        wire: has read the upgrade, and writes what is not WebSocket's own.
        scopes: of this connection.
        request: the upgrade.
        on_closed: called when the connection has ended.
    """

    def __init__(
        self,
        shared: ServerContext,
        wire: Http1Wire,
        scopes: HttpScopes,
        request: RequestHead,
        on_closed: Callable[[WebSocketConnection], None],
    ) -> None:
        self._shared = shared
        self._wire = wire
        assert wire.handshake is not None
        self._handshake = handshake = wire.handshake
        self._on_closed = on_closed
        self._ending: trio.Event | None = None
        wire.take_over(self)
        self._session = session = WebSocketSession(shared, wire.transport, self, handshake)
        extensions: dict[str, Any] = {
            **scopes.extensions,
            "trioserve": TrioExtension(session.scope, shared.background.nursery),
        }
        scope = scopes.make_websocket(request, "1.1", extensions, handshake.subprotocols)
        self._exchange = session.exchange = WebSocketExchange(session, scope)
        wire.begin(request, None, keep_alive=False)
        wire.transport.on_activity = session.on_activity

    async def run(self) -> None:
        """Serves the connection until it ends.

        *Cancellation*: the application is cancelled, and the connection closed at once.
        """
        try:
            await self._session.run()
            await self._end()
        except BaseException as exc:
            failure = contain(exc)
            if failure is not None:
                _log.error("a connection failed inside the server", exc_info=failure)
        finally:
            try:
                await close_contained(self._wire.transport)
            finally:
                self._on_closed(self)

    async def _end(self) -> None:
        """The end of the connection, as its client sees it; whoever calls it first does it."""
        if self._ending is not None:
            await self._ending.wait()
            return
        self._ending = trio.Event()
        wire = self._wire
        wire.ending = True
        try:
            if self._session.broken:
                wire.transport.abort()
            else:
                await wire.linger()
            await close_contained(wire.transport)
        finally:
            self._ending.set()

    # -- Opening ----------------------------------------------------------------------------

    def accept(self, fields: Headers) -> Awaitable[None] | None:
        """See Opening."""
        defaults = self._shared.default_fields()
        head = encode_switch(self._handshake.key, fields, defaults)
        transport = self._wire.transport
        waiting = transport.write(head)
        transport.write_timeout = self._shared.websocket_send_timeout
        self._exchange.status = 101
        return waiting

    @property
    def has_begun(self) -> bool:
        """See Opening."""
        return self._wire.encoder.started

    def release(self) -> None:
        """See Opening: the application goes on, and its connection ends."""
        self._shared.background.nursery.start_soon(self._end)

    async def refuse(self, status: int, reason: str) -> None:
        """See Opening."""
        self._exchange.status = status
        await self._wire.send_error(status, reason)

    def send_response(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        more: bool,
        trailers: bool,
    ) -> Awaitable[None] | None:
        """See Opening."""
        return self._wire.send_response(status, headers, body, more, trailers)

    def send_body(self, body: bytes, more: bool, trailers: bool) -> Awaitable[None] | None:
        """See Opening."""
        return self._wire.send_body(body, more, trailers)

    def take_unread(self) -> bytes:
        """See Opening."""
        return self._wire.reader.take_unread()

    def note_deadline(self, deadline: float) -> None:
        """See Opening: the reaper asks for the deadline each time."""

    # -- Owner ------------------------------------------------------------------------------

    def client_left(self, *, unreachable: bool) -> None:
        """See Owner: there is no body whose framing could be broken."""

    def body_taken(self) -> None:
        """See Owner."""

    def response_completed(self) -> None:
        """See Owner."""

    # -- Connection -------------------------------------------------------------------------

    @property
    def deadline(self) -> float:
        """See Connection."""
        return self._session.deadline

    def expire(self) -> None:
        """See Connection."""
        self._session.expire(self._shared.now())

    def begin_drain(self) -> None:
        """See Connection."""

    def drain(self) -> None:
        """See Connection."""
        self._session.drain()
