# SPDX-License-Identifier: MIT
"""A stream of HTTP/2 as the pipe of a WebSocket (RFC 8441).

No task of its own: ``run`` is the stream's. What the client may send before it is taken is the
stream's window; what may wait to be sent is bounded as for a response.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import trio

from trioserve.asgi.extension import TrioExtension
from trioserve.asgi.websocket import WebSocketExchange
from trioserve.connection.http2_output import HIGH_WATER
from trioserve.connection.http2_stream import Http2Stream
from trioserve.connection.websocket import WebSocketSession
from trioserve.errors import ClientDisconnectedError
from trioserve.protocols.errors import RemoteProtocolError
from trioserve.protocols.http2 import ErrorCode
from trioserve.protocols.websocket import parse_handshake
from trioserve.transports import Peer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from trioserve.asgi.scope import HttpScopes
    from trioserve.connection.http2 import Http2Connection
    from trioserve.protocols.http2 import Http2RequestHead, Priority
    from trioserve.protocols.websocket import Handshake
    from trioserve.types import Headers

__all__ = ["Http2Tunnel", "open_tunnel", "parse_connect"]


def parse_connect(head: Http2RequestHead, end_stream: bool) -> Handshake:
    """The handshake that an extended CONNECT is.

    Raises:
        RemoteProtocolError: 501 for another protocol, 400 and 426 as over HTTP/1.1.
    """
    if head.protocol != b"websocket":
        raise RemoteProtocolError(501, "the only protocol known is websocket (RFC 8441 section 5)")
    if end_stream:
        raise RemoteProtocolError(400, "a WebSocket's stream must stay open (RFC 8441 section 5)")
    has_body = head.content_length > 0
    return parse_handshake(head.headers, method=head.method, has_body=has_body, http2=True)


def open_tunnel(
    connection: Http2Connection,
    stream_id: int,
    head: Http2RequestHead,
    priority: Priority,
    handshake: Handshake,
    scopes: HttpScopes,
) -> Http2Tunnel:
    """The stream, with its WebSocket's exchange and session."""
    stream = Http2Tunnel(connection, stream_id, head, priority, request_ended=False)
    session = WebSocketSession(connection.shared, stream, stream, handshake)
    stream.session = session
    stream.scope = session.scope
    extensions: dict[str, Any] = {
        **scopes.extensions,
        "trioserve": TrioExtension(session.scope, connection.shared.background.nursery),
    }
    scope = scopes.make_websocket(head, "2", extensions, handshake.subprotocols)
    session.exchange = WebSocketExchange(session, scope)
    return stream


class Http2Tunnel(Http2Stream):
    """See this file's head. The Pipe of its session, and the Opening.

    Attributes:
        session: the WebSocket's; set by open_tunnel.
    """

    __slots__ = ("_interrupted", "_leaving", "session")

    session: WebSocketSession

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._interrupted = False
        self._leaving = False  # the client ends its connection

    async def run(self) -> None:
        """Runs the application, and ends the stream.

        *Errors handled here*: whatever the application raises.
        """
        session = self.session
        await session.run()
        if session.broken:
            self._connection.reset(self, ErrorCode.INTERNAL_ERROR)
        if self.gone or self.ended:
            return
        with contextlib.suppress(ClientDisconnectedError):
            # As TCP's FIN (RFC 8441 section 5).
            waiting = self._send_data(b"", last=True)
            if waiting is not None:
                await waiting

    # -- what the connection tells ----------------------------------------------------------

    @property
    def takes_data(self) -> bool:
        """See Http2Stream: frames are read to the end of the closing handshake."""
        return not self.gone

    def receive_data(self, data: bytes, size: int, ended: bool) -> None:
        """See Http2Stream: a tunnel has no length, and no limit but its window."""
        self.request_ended = ended
        if data:
            self._inbox.add(data, size)
        else:
            self._connection.acknowledge(self, size)
        self._tell()

    def receive_trailers(self, trailers: Headers) -> None:
        """See Http2Stream: only its end counts."""
        self.request_ended = True
        self._tell()

    def leave(self, *, unreachable: bool) -> None:
        """See Http2Stream."""
        self._leaving = True
        if unreachable:
            self.gone = True
            self._drop_output()
        self._tell()

    def _tell(self) -> None:
        if self._reader is not None:
            self._wake_reader()
        else:
            self.session.on_activity()

    @property
    def deadline(self) -> float:
        """See Http2Stream."""
        return min(self.session.deadline, self._stalled_at)

    def expire(self, now: float) -> None:
        """See Http2Stream."""
        super().expire(now)
        if self.session.deadline <= now:
            self.session.expire(now)

    def note_answer(self, status: int, headers: Headers, body_size: int) -> None:
        """See Http2Stream."""
        exchange = self.session.exchange
        exchange.status, exchange.headers, exchange.body_size = status, headers, body_size
        self.ended = True

    def drain(self) -> None:
        """The server is stopping."""
        self.session.drain()

    # -- Pipe -------------------------------------------------------------------------------

    @property
    def peer(self) -> Peer:
        """See Pipe."""
        if self.gone:
            return Peer.LOST
        return Peer.LEAVING if self.request_ended or self._leaving else Peer.PRESENT

    async def receive(self) -> bytes:
        """See Pipe."""
        while (data := self.take()) is None:
            if self._interrupted:
                self._interrupted = False
                return b""
            self._reader = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._stop_waiting)
        self._interrupted = False
        return data

    def take(self) -> bytes | None:
        """See Pipe."""
        if self._inbox:
            data, size = self._inbox.take()
            self._connection.acknowledge(self, size)
            return data
        return None if self.peer is Peer.PRESENT else b""

    def remind(self) -> None:
        """See Pipe."""
        trio.lowlevel.current_trio_token().run_sync_soon(self._tell, idempotent=True)

    def interrupt(self) -> None:
        """See Pipe."""
        if self._reader is not None:
            self._interrupted = True
            self._wake_reader()

    def write(self, data: bytes) -> Awaitable[None] | None:
        """See Pipe."""
        self._check_reachable()
        return self._send_data(data, last=False)

    async def _wait_for_room(self, size: int) -> None:
        """See Http2Output: half a message can't be taken back."""
        try:
            await super()._wait_for_room(size)
        except trio.Cancelled:
            if self._out:
                self.abort()
            raise

    def write_all(self, pieces: Sequence[bytes]) -> Awaitable[None] | None:
        """See Pipe."""
        return self.write(b"".join(pieces))

    def write_soon(self, pieces: Sequence[bytes]) -> Awaitable[None] | None:
        """See Pipe: the connection's writer puts together whatever there is."""
        return self.write_all(pieces)

    def post(self, data: bytes, *, urgent: bool = False) -> bool:
        """See Pipe."""
        if self.gone or self.ended:
            return True
        if self._out_size > 2 * HIGH_WATER and not urgent:
            return False
        self._put(data, last=False)
        return True

    def skip(self, size: int) -> None:
        """See Pipe: ``pause`` counts."""

    def pause(self) -> Awaitable[None] | None:
        """See Pipe."""
        return self._writer.pause(0)

    def abort(self) -> None:
        """See Pipe."""
        self._connection.reset(self, ErrorCode.CANCEL)
        self.leave(unreachable=True)

    # -- Opening ----------------------------------------------------------------------------

    def accept(self, fields: Headers) -> Awaitable[None] | None:
        """See Opening."""
        self._check_reachable()
        shared = self._connection.shared
        head = self.response.make_head(200, fields, None, shared.default_fields())
        self._writer.send_headers(self.id, head, end=False)
        self.stall_timeout = shared.websocket_send_timeout
        self.session.exchange.status = 200
        return self._writer.pause(0)

    @property
    def has_begun(self) -> bool:
        """See Opening."""
        return self.response.started or self.ended

    def release(self) -> None:
        """See Opening: as TCP's FIN (RFC 8441 section 5)."""
        if not self.gone and not self.ended:
            self._put(b"", last=True)

    def refuse(self, status: int, reason: str) -> None:
        """See Opening."""
        if not self.gone:
            self._connection.answer(self, status, reason)

    def take_unread(self) -> bytes:
        """See Opening: the inbox has it."""
        return b""

    def note_deadline(self, deadline: float) -> None:
        """See Opening."""
        self._connection.note_deadline(deadline)
