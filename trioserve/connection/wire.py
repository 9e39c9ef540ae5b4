# SPDX-License-Identifier: MIT
"""The carrier of an HTTP/1.x connection's exchanges: transport, reader and encoder put together.

No task of its own: an application's ``receive()`` and ``send()`` end here, in the application's
task, and the connection's task reads heads by it. Waiting for the client sets ``deadline``, which
the server's reaper compares with the clock (no timer is armed), and ``expire`` ends the wait.
"""

from __future__ import annotations

import contextlib
import logging
import math
from typing import TYPE_CHECKING, BinaryIO, Final

import trio

from trioserve.connection.files import open_to_send
from trioserve.connection.http1_files import send_open_file
from trioserve.connection.lingering import linger
from trioserve.errors import AppProtocolError, ClientDisconnectedError
from trioserve.protocols.errors import body_too_large
from trioserve.protocols.fields import reason_phrase
from trioserve.protocols.http1 import (
    Framing,
    RemoteProtocolError,
    RequestHead,
    RequestReader,
    ResponseEncoder,
)
from trioserve.protocols.negotiation import begins_like_preface
from trioserve.protocols.websocket.handshake import is_websocket_upgrade, parse_handshake
from trioserve.transports import Peer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from trioserve.asgi.exchange import HttpExchange
    from trioserve.connection.owner import Owner
    from trioserve.context import ServerContext
    from trioserve.protocols.websocket import Handshake
    from trioserve.transports import Transport
    from trioserve.types import Headers

__all__ = ["Http1Wire"]

_log = logging.getLogger("trioserve.error")

#: Bytes of an unread request body that are read and dropped to keep a connection.
DRAIN_SIZE: Final = 256 * 1024
LINGER_TIMEOUT: Final = 5.0  # seconds to read on after our last byte
BODY_TOO_SLOW: Final = "the request's body took too long to arrive"
#: A body must bring this many bytes a second, body_timeout allowed for.
MIN_BODY_RATE: Final = 500

#: A body up to this size goes out in one piece with its head.
_JOIN_SIZE: Final = 16 * 1024

_LENGTH: Final = Framing.LENGTH
_LOST: Final = Peer.LOST


class Http1Wire:
    """See Carrier, and this file's head.

    Attributes:
        exchange: the current one; None between two.
        deadline: when ``expire`` is to be called; math.inf while nothing is waited for.
        ending: no further request is to be read.
        idle: the connection ended between two exchanges, so no response is on its way.
        speaks_http2: it began with HTTP/2's preface, which lies in the reader's buffer.
        handshake: the last request's, where it asks for a WebSocket.
    """

    __slots__ = (
        "_body_waited",
        "_expect_continue",
        "_expired",
        "_head_deadline",
        "_max_body_size",
        "_may_be_http2",
        "_owner",
        "_shared",
        "deadline",
        "encoder",
        "ending",
        "exchange",
        "handshake",
        "idle",
        "reader",
        "request",
        "speaks_http2",
        "transport",
    )

    request: RequestHead

    def __init__(
        self,
        shared: ServerContext,
        transport: Transport,
        owner: Owner,
        *,
        may_be_http2: bool = False,
    ) -> None:
        self._shared = shared
        self._owner = owner
        self.transport = transport
        self.reader = RequestReader(shared.config)
        self.encoder = ResponseEncoder()
        self.exchange: HttpExchange | None = None
        self.deadline = math.inf
        self.ending = False
        self.idle = False
        self._expired = False  # the reaper has ended a wait for the current head or body
        self._expect_continue = False
        self._body_waited = 0.0
        self._head_deadline = math.inf
        self._max_body_size = shared.config.max_body_size or math.inf
        self._may_be_http2 = may_be_http2
        self.speaks_http2 = False
        self.handshake: Handshake | None = None

    def take_over(self, owner: Owner) -> None:
        """From now on ``owner`` is told."""
        self._owner = owner

    # -- heads ------------------------------------------------------------------------------

    async def next_request(self, idle_timeout: float) -> RequestHead | None:
        """The next head; None when there is none to come. A bad one is answered here.

        Args:
            idle_timeout: seconds to wait for its first byte.
        """
        reader = self.reader
        try:
            while True:
                if reader.buffer:
                    pause = self.transport.pause()  # no row of requests keeps others waiting
                    if pause is not None:
                        await pause
                    request = None
                    if not self._may_be_http2 or not self._looks_like_http2():
                        request = reader.next_request()
                    if self.speaks_http2:
                        return None
                    if request is not None:
                        break
                    if self._expired:
                        raise RemoteProtocolError(408, "the request took too long to arrive")
                if not self._begin_wait_for_head(idle_timeout):
                    return None
                data = await self.transport.receive()
                self.deadline = math.inf
                if data:
                    reader.receive_data(data)
                elif not (reader.buffer and self._expired) and not self._came_after_all():
                    self.idle = True
                    return None
            if request.content_length > self._max_body_size:
                raise body_too_large(self._max_body_size, head_only=request.method == "HEAD")
            if request.upgrade is not None and is_websocket_upgrade(request):
                self.handshake = self._parse_handshake(request)
        except RemoteProtocolError as exc:
            await self._reject(exc)
            return None
        self._head_deadline = math.inf
        return request

    def _parse_handshake(self, request: RequestHead) -> Handshake:
        if self._shared.draining:
            raise RemoteProtocolError(503, "the server is stopping")
        return parse_handshake(
            request.headers,
            method=request.method,
            has_body=request.content_length != 0,
            http2=False,
        )

    def _looks_like_http2(self) -> bool:
        """Whether what has come may be, or is, HTTP/2's preface (RFC 9113 section 3.3)."""
        verdict = begins_like_preface(self.reader.buffer)
        self._may_be_http2 = verdict is None
        self.speaks_http2 = verdict is True
        return verdict is not False

    def _came_after_all(self) -> bool:
        """A request that came after a stop had ended the wait for it, but before the close."""
        transport = self.transport
        return (
            self._shared.draining
            and self.between_requests
            and transport.peer is Peer.PRESENT
            and transport.has_arrived()
        )

    def _begin_wait_for_head(self, idle_timeout: float) -> bool:
        """Sets the deadline of the wait for a head's bytes; False if it isn't to be waited for."""
        shared = self._shared
        if self.reader.buffer:
            # From its first byte on a head has one deadline, however it trickles in.
            if self._head_deadline == math.inf:
                self._head_deadline = shared.now() + shared.header_timeout
            self.deadline = self._head_deadline
        elif shared.draining and not self.transport.has_arrived():
            self.idle = True
            return False
        else:
            self.deadline = shared.now() + idle_timeout
        return True

    def begin(
        self, request: RequestHead, exchange: HttpExchange | None, *, keep_alive: bool
    ) -> None:
        """From now on this carries ``exchange``, or a response to ``request`` by itself."""
        self.encoder.begin(
            request.minor_version, request.method == "HEAD", request.keep_alive and keep_alive
        )
        self.request = request
        self._expect_continue = request.expect_continue
        self._body_waited = 0.0
        self._expired = False
        self.exchange = exchange

    def expire(self) -> None:
        """The deadline has passed: ends the wait for the client."""
        self.deadline = math.inf
        if self.between_requests and self.transport.has_arrived():
            return  # a request came in the last moment
        self._expired = True
        self.transport.interrupt()

    @property
    def between_requests(self) -> bool:
        """No exchange is under way, and not a byte of the next one has been read."""
        return self.exchange is None and not self.reader.buffer and self.reader.request_complete

    # -- a request's body -------------------------------------------------------------------

    @property
    def request_trailers(self) -> Headers:
        """See Carrier."""
        return self.reader.trailers

    async def receive_body(self) -> tuple[bytes, bool] | None:
        """See Carrier."""
        exchange = self.exchange
        if exchange is None:
            return None  # handed over: this body is not the caller's any more
        try:
            part = await self._read_body()
            if self.reader.body_size > self._max_body_size:
                raise body_too_large(self._max_body_size)
        except RemoteProtocolError as exc:
            await self._fail_body(exchange, exc)
            return None
        if part is None:
            if not exchange.response_complete:
                self._owner.client_left(unreachable=self.transport.peer is _LOST)
        elif exchange.disconnected:
            self._owner.body_taken()
        return part

    async def _read_body(self) -> tuple[bytes, bool] | None:
        """What has come of the body, else what comes next; None if the client left."""
        reader = self.reader
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
            # Polled in a cancelled scope (Starlette's is_disconnected) it isn't the body that is
            # asked for; and a 100 that a cancellation cuts short would be the connection's end.
            await trio.lowlevel.checkpoint_if_cancelled()
            self._expect_continue = False
            if not self.encoder.started:
                waiting = self.transport.write(self.encoder.encode_interim(100, ()))
                if waiting is not None:
                    await waiting
        if self._expired:  # by a wait that bytes ended in the same moment
            raise RemoteProtocolError(408, BODY_TOO_SLOW)
        began = shared.now()
        self._expired = False
        self.deadline = deadline = (
            began + shared.body_timeout - self._body_waited + self.reader.body_size / MIN_BODY_RATE
        )
        try:
            data = await self.transport.receive()
        finally:
            # An application's task that is interrupted here may find that the connection's task
            # is waiting by now, with a deadline of its own.
            if self.deadline == deadline:
                self.deadline = math.inf
        if not data:
            if self._expired:
                raise RemoteProtocolError(408, BODY_TOO_SLOW)
            return False
        self._body_waited += shared.now() - began
        self.reader.receive_data(data)
        return True

    async def drain_body(self) -> bool:
        """Reads the rest of a body that the application didn't want; False if it's too much."""
        if self._expect_continue:
            return False  # the client may or may not send it: nobody knows where a request begins
        size = 0
        try:
            while size <= DRAIN_SIZE:
                part = await self._read_body()
                if part is None:
                    return False
                body, more = part
                if not more:
                    return True
                size += len(body)
        except RemoteProtocolError:
            pass
        return False

    def _can_drain_body(self) -> bool:
        if self._expect_continue:
            return False
        return self.request.content_length - self.reader.body_size <= DRAIN_SIZE

    # -- a response -------------------------------------------------------------------------

    def send_response(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        more: bool,
        trailers: bool,
    ) -> Awaitable[None] | None:
        """See Carrier."""
        encoder = self.encoder
        whole = None if more or trailers else len(body)
        head = self.encode_head(status, headers, whole, trailers)
        if whole is not None and encoder.framing is _LENGTH:
            if whole <= _JOIN_SIZE:
                return self.transport.write(head + body)
            return self.transport.write_all((head, body))
        try:
            pieces = (head, *encoder.encode_body(body, more, trailers))
        except AppProtocolError:
            encoder.started = False  # not a byte of it has left: there can still be a 500
            raise
        waiting = self.transport.write_all(pieces)
        return self.transport.pause() if waiting is None and more else waiting

    def encode_head(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        body_size: int | None,
        trailers: bool,
    ) -> bytes:
        """The head of the response, with what the server adds; see ResponseEncoder."""
        shared = self._shared
        if shared.draining or (not self.reader.request_complete and not self._can_drain_body()):
            self.encoder.keep_alive = False
        return self.encoder.encode_head(
            status, headers, body_size, trailers, shared.default_fields()
        )

    def send_body(self, body: bytes, more: bool, trailers: bool) -> Awaitable[None] | None:
        """See Carrier."""
        pieces = self.encoder.encode_body(body, more, trailers)
        if not pieces:
            self.transport.skip(len(body))
            return self.transport.pause()
        return self.transport.write_soon(pieces) if more else self.transport.write_all(pieces)

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
            return await send_open_file(self, head, file, offset, count, more, trailers)
        with await trio.to_thread.run_sync(open_to_send, file) as opened:
            return await send_open_file(self, head, opened, 0, count, more, trailers)

    def send_trailers(
        self, headers: Iterable[tuple[bytes, bytes]], more: bool
    ) -> Awaitable[None] | None:
        """See Carrier."""
        block = self.encoder.encode_trailers(headers, more)
        return self.transport.write(block) if block else None

    def send_interim(
        self, status: int, headers: Iterable[tuple[bytes, bytes]]
    ) -> Awaitable[None] | None:
        """See Carrier."""
        block = self.encoder.encode_interim(status, headers)
        waiting = self.transport.write(block) if block else None
        return self.transport.pause() if waiting is None else waiting

    def response_completed(self) -> None:
        """See Carrier."""
        if not self.reader.request_complete:
            # A task of the application may wait for more of the body; now it hears of the end.
            self.transport.interrupt()
        self._owner.response_completed()

    # -- errors -----------------------------------------------------------------------------

    async def _reject(self, error: RemoteProtocolError) -> None:
        """Answers a head that can't become a request."""
        self.ending = True
        _log.info("refused a request: %s", error)
        if self._shared.recorder is not None:
            self._shared.recorder.refuse(error.status)
        self.encoder.begin(1, head_only=error.head_only, keep_alive=False)
        await self.send_error(error.status, error.reason, error.headers)

    async def _fail_body(self, exchange: HttpExchange, error: RemoteProtocolError) -> None:
        """A body that breaks the protocol or a limit: the client hears why, the app of a leave."""
        self.ending = True
        _log.info("refused a body: %s", error)
        if not exchange.response_complete:
            if not self.encoder.started:
                await self.send_error(error.status, error.reason)
            self._owner.client_left(unreachable=True)

    async def send_error(self, status: int, reason: str, fields: Headers | None = None) -> None:
        """Answers in the application's place; the connection can't go on then."""
        text = f"{status} {reason_phrase(status)}"
        body = (f"{text}: {reason}\n" if reason else f"{text}\n").encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), *(fields or ())]
        encoder = self.encoder
        encoder.keep_alive = False
        head = encoder.encode_head(status, headers, len(body), False, self._shared.default_fields())
        if status == 426:  # RFC 9110 section 7.8: Upgrade is a field of this connection
            head = head.replace(b"\r\nconnection: close", b"\r\nconnection: upgrade, close", 1)
        if self.exchange is not None:
            self.exchange.status = status
            self.exchange.headers = headers
            self.exchange.body_size = len(body)
        with contextlib.suppress(ClientDisconnectedError):
            waiting = self.transport.write_all([head, *encoder.encode_body(body, False, False)])
            if waiting is not None:
                await waiting

    # -- the end ----------------------------------------------------------------------------

    async def linger(self) -> None:
        """Our last byte, and a while of reading, where a response is on its way."""
        if self.idle or self.transport.peer is not Peer.PRESENT or self._ends_by_reset():
            return
        await linger(self.transport, 1.0 if self._shared.draining else LINGER_TIMEOUT)

    async def close(self) -> None:
        """Frees the transport, by a reset where an orderly end would look like a body's end."""
        if self._ends_by_reset():
            self.transport.abort()
        closing = self.transport.close()
        if closing is not None:
            await closing

    def _ends_by_reset(self) -> bool:
        exchange = self.exchange
        return (
            exchange is not None
            and self.encoder.started
            and not exchange.response_complete
            and self.encoder.framing is Framing.UNTIL_CLOSE
        )
