# SPDX-License-Identifier: MIT
"""One HTTP/2 connection: many exchanges at a time.

Tasks, all in the nursery of ``run``:

==========  =========================================================================
``run``     reads, and has the engine tell what has come; waits for the others at the end
writer      gives the transport what there is to be sent; ended by ``run``, last of all
a stream    each runs the application for one request, in a cancel scope of its own
==========  =========================================================================

What bounds memory: the windows, for what comes; HIGH_WATER of each stream, for bodies that go; and
nothing is read while more than MAX_UNSENT bytes wait for the socket.

Border: what one request's application raises ends that stream. What the client does wrong ends its
connection by a GOAWAY; its other requests have their grace.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final

import trio

from trioserve.asgi.background import contain
from trioserve.asgi.exchange import HttpExchange
from trioserve.asgi.extension import NO_OPTIONS, TrioExtension
from trioserve.connection.http2_room import has_room
from trioserve.connection.http2_stream import Http2Stream
from trioserve.connection.http2_tunnel import open_tunnel, parse_connect
from trioserve.connection.http2_waits import Http2Waits
from trioserve.connection.http2_writer import Http2Writer
from trioserve.connection.lingering import close_contained, linger
from trioserve.protocols.errors import RemoteProtocolError, body_too_large
from trioserve.protocols.http2 import (
    PRIORITY_UPDATE,
    EarlyPriorities,
    ErrorCode,
    FrameMeter,
    Http2ConnectionError,
    MalformedRequest,
    local_settings,
    make_engine,
    parse_priority_update,
    parse_request,
    parse_trailers,
)
from trioserve.transports import Peer

if TYPE_CHECKING:
    from collections.abc import Callable

    from trioserve.asgi.scope import HttpScopes
    from trioserve.connection.http2_output import Http2Output
    from trioserve.context import ServerContext
    from trioserve.protocols.http2 import Http2RequestHead, StreamPriority
    from trioserve.protocols.http2.engine import Fields
    from trioserve.protocols.websocket import Handshake
    from trioserve.transports import Transport

__all__ = ["Http2Connection"]

_log = logging.getLogger("trioserve.error")

#: Seconds to read on after our last byte.
LINGER_TIMEOUT: Final = 2.0
#: "No limit yet": the first of the two GOAWAY frames of a graceful end (RFC 9113 section 6.8).
_ANY_STREAM: Final = 2**31 - 1
_EXTENSIONS: Final = dict.fromkeys(
    ("http.response.pathsend", "http.response.trailers", "http.response.early_hint"), NO_OPTIONS
)


class Http2Connection:
    """See this file's head. The Listener of its engine.

    Attributes:
        shared: the server's context.
        transport: below.
        writer: what is to be sent goes there.
        deadline: when ``expire`` is to be called.
        max_body_size: of a request; inf = no limit.
    """

    def __init__(
        self,
        shared: ServerContext,
        transport: Transport,
        scopes: HttpScopes,
        on_closed: Callable[[Http2Connection], None],
    ) -> None:
        config = shared.config
        self.shared, self.transport = shared, transport
        self.max_body_size = config.max_body_size or math.inf
        self._on_closed = on_closed
        self._scopes = scopes
        self._extensions = {**scopes.extensions, **_EXTENSIONS}
        self._settings = local_settings(config)
        self._engine = make_engine(config.http2_engine, self, self._settings)
        self._meter = FrameMeter(2 * self._settings.max_header_list_size, shared.now())
        self.writer = Http2Writer(
            transport, self._engine, self._meter, shared.default_fields, self._lose
        )
        self._streams: dict[int, Http2Stream] = {}
        self._early = EarlyPriorities()
        self._requests = 0
        self._last_stream_id = _ANY_STREAM  # later ones are refused
        self._over = self._failed = False  # nothing is read any more; nothing can be sent
        self._leaving = False  # the client ends the connection when nothing is under way
        self._waits = Http2Waits(shared)
        self.deadline = self._waits.deadline
        self._ended = trio.lowlevel.ParkingLot()  # for the end of a stream
        self._nursery: trio.Nursery
        transport.on_activity = self._on_activity

    # -- the task ---------------------------------------------------------------------------

    async def run(self, data: bytes = b"") -> None:
        """Serves the connection until it ends; ``data`` has come of it already.

        *Cancellation*: its requests are cancelled, and it is closed at once.
        """
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self.writer.run)
                self.writer.flush_soon()
                await self._read(data)
                await self._finish()
                self._nursery.cancel_scope.cancel()
        except BaseException as exc:
            failure = contain(exc)
            if failure is not None:
                _log.error("a connection failed inside the server", exc_info=failure)
        finally:
            try:
                await close_contained(self.transport)
            finally:
                self._on_closed(self)

    async def _read(self, data: bytes) -> None:
        """Takes what comes, until nothing more is to be taken."""
        while not self._over:
            if not data:
                # An interrupt only reaches a reader that waits: receive() must not pause first.
                if (pause := self.transport.pause()) is not None:
                    await pause
                    continue
                if not (data := await self.transport.receive()):
                    return
            try:
                now = self.shared.now()
                self._meter.feed(data, now)
                self._engine.receive(data)
                self._waits.note_head(now, under_way=self._meter.in_header_block)
            except Http2ConnectionError as exc:
                self._fail(exc)
                return
            data = b""
            self.note_deadline(self._waits.deadline)
            self.writer.flush_soon()
            await self.writer.wait_for_room()

    def _fail(self, error: Http2ConnectionError) -> None:
        """The client has broken the protocol (RFC 9113 section 5.4.1)."""
        _log.info("a connection is ended: %s", error)
        if not error.announced:
            self._send_goaway(error.code, error.reason.encode())
        self._failed = True
        self.writer.flush_soon()

    def _send_goaway(self, code: ErrorCode, debug: bytes = b"") -> None:
        """With the last stream that was looked at; it never rises (RFC 9113 section 6.8)."""
        self._last_stream_id = min(self._last_stream_id, self._engine.highest_stream_id)
        self._engine.goaway(self._last_stream_id, code, debug)
        self.writer.flush_soon()

    async def _finish(self) -> None:
        """The end: requests under way have their grace, and what is to be sent is."""
        self._over, transport = True, self.transport
        unreachable = self._failed or transport.peer is Peer.LOST
        for stream in list(self._streams.values()):
            stream.leave(unreachable=unreachable)
        if not unreachable:
            await self._all_ended()
            if transport.peer is Peer.PRESENT and self._last_stream_id == _ANY_STREAM:
                self._send_goaway(ErrorCode.NO_ERROR)
        await self.writer.flush()
        if transport.peer is Peer.PRESENT:
            await linger(transport, LINGER_TIMEOUT)
        await self._all_ended()

    async def _all_ended(self) -> None:
        while self._streams:
            await self._ended.park()

    def _lose(self) -> None:
        """Nothing reaches the client any more."""
        self._failed = True
        for stream in list(self._streams.values()):
            stream.leave(unreachable=True)
        self.transport.interrupt()

    def _on_activity(self) -> None:
        """From the transport: the peer goes, or sends what nobody waits for."""
        if self.transport.peer is Peer.LOST and not self._failed:
            self.writer.stop()
            self._lose()

    @property
    def reachable(self) -> bool:
        """Something can be sent."""
        return not self._failed

    # -- what streams ask -------------------------------------------------------------------

    def acknowledge(self, stream: Http2Stream, size: int) -> None:
        """``size`` bytes of what has come on this stream were taken."""
        if size and not self._failed:
            self._engine.acknowledge(stream.id, size)
            self.writer.flush_soon()

    def reset(self, stream: Http2Stream, code: ErrorCode) -> None:
        """Ends the stream, both ways."""
        if not self._failed and not stream.gone:
            self._engine.reset(stream.id, code)
            self.writer.flush_soon()

    def reset_for_fault(self, stream: Http2Stream, code: ErrorCode) -> None:
        """Ends a stream on which the client has broken the protocol, by what has just come.

        Raises:
            Http2ConnectionError: it has done so too often.
        """
        self.reset(stream, code)
        stream.leave(unreachable=True)
        self._meter.note_reset(self.shared.now())

    def answer(self, stream: Http2Stream, status: int, reason: str) -> None:
        """Answers in the application's place, and ends the stream."""
        head_only = stream.head.method == "HEAD"
        fields, size = self.writer.send_answer(stream.id, status, reason, head_only=head_only)
        stream.note_answer(status, fields[1:], size)
        if not stream.request_ended:
            self._begin_upload(stream.id)

    def note_deadline(self, deadline: float) -> None:
        """A wait for the client ends then."""
        self.deadline = min(self.deadline, deadline)

    def response_ended(self, stream: Http2Output) -> None:
        """All of the stream's response is with the engine."""
        self._meter.note_response()
        if not stream.request_ended:
            self._begin_upload(stream.id)

    def _begin_upload(self, stream_id: int) -> None:
        """The client needn't send the rest of its request."""
        if not self._waits.begin_upload(stream_id, self._settings.max_concurrent_streams):
            self._engine.reset(stream_id, ErrorCode.NO_ERROR)
        self.note_deadline(self._waits.deadline)

    # -- what comes: the Listener -----------------------------------------------------------

    def on_request(
        self, stream_id: int, fields: Fields, end_stream: bool, priority: StreamPriority | None
    ) -> None:
        """See Listener."""
        if not self._may_open(stream_id):
            self._engine.reset(stream_id, ErrorCode.REFUSED_STREAM)
            return
        if priority is not None:
            self._early.note_weight(stream_id, priority)
        max_size = self._settings.max_header_list_size
        try:
            head = parse_request(fields, end_stream, self.shared.config, max_size)
            if head.content_length > self.max_body_size:
                raise body_too_large(self.max_body_size)
            handshake = parse_connect(head, end_stream) if head.protocol is not None else None
        except MalformedRequest as exc:
            self._note_refusal(exc, 0)
            self._engine.reset(stream_id, ErrorCode.PROTOCOL_ERROR)
            return
        except RemoteProtocolError as exc:
            self._note_refusal(exc, exc.status)
            head_only = (b":method", b"HEAD") in fields
            self.writer.send_answer(
                stream_id, exc.status, exc.reason, head_only=head_only, fields=exc.headers
            )
            if not end_stream:
                self._begin_upload(stream_id)
            return
        self._begin(stream_id, head, end_stream, handshake)

    def _note_refusal(self, error: Exception, status: int) -> None:
        _log.info("refused a request: %s", error)
        self._meter.note_reset(self.shared.now())
        if self.shared.recorder is not None:
            self.shared.recorder.refuse(status)

    def _may_open(self, stream_id: int) -> bool:
        """Whether one more request may be served; too many that may not are a flood."""
        most = self._settings.max_concurrent_streams
        if not self._over and stream_id <= self._last_stream_id and has_room(self._streams, most):
            return True
        self._meter.note_waste(self.shared.now(), "streams beyond what may be opened")
        return False

    def _begin(
        self,
        stream_id: int,
        head: Http2RequestHead,
        end_stream: bool,
        handshake: Handshake | None,
    ) -> None:
        shared = self.shared
        priority, weight = self._early.take(stream_id, head.priority)
        stream: Http2Stream
        if handshake is not None:
            stream = open_tunnel(self, stream_id, head, priority, handshake, self._scopes)
        else:
            stream = Http2Stream(self, stream_id, head, priority, request_ended=end_stream)
            extensions = {
                **self._extensions,
                "trioserve": TrioExtension(stream.scope, shared.background.nursery),
                "http.response.priority": {
                    **priority._asdict(),
                    "weight": weight.weight,
                    "depends_on": weight.depends_on,
                },
            }
            stream.exchange = HttpExchange(stream, self._scopes.make(head, "2", extensions))
            if shared.request_timeout != math.inf:
                stream.limit.set(stream.began + shared.request_timeout)
        self._streams[stream_id] = stream
        self._waits.busy()
        self._requests += 1
        if self._requests == shared.config.max_requests_per_connection:
            self._last_stream_id = stream_id  # an engine may have taken more frames already
            self._send_goaway(ErrorCode.NO_ERROR)
        self._nursery.start_soon(self._run_stream, stream)

    def on_data(self, stream_id: int, data: bytes, size: int, end_stream: bool) -> None:
        """See Listener."""
        if end_stream:
            self._waits.end_upload(stream_id)
        stream = self._streams.get(stream_id)
        if stream is None or not stream.takes_data:
            self._engine.acknowledge(stream_id, size)
            if stream is not None:
                stream.request_ended = end_stream
            return
        if size and not data and not end_stream:
            self._meter.note_waste(self.shared.now(), "DATA frames that hold padding only")
        stream.receive_data(data, size, end_stream)

    def on_trailers(self, stream_id: int, fields: Fields) -> None:
        """See Listener."""
        self._waits.end_upload(stream_id)
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        try:
            stream.receive_trailers(parse_trailers(fields, self.shared.config))
        except MalformedRequest as exc:
            _log.info("refused a request's trailers: %s", exc)
            self.reset_for_fault(stream, ErrorCode.PROTOCOL_ERROR)

    def on_reset(self, stream_id: int, code: int) -> None:
        """See Listener."""
        self._waits.end_upload(stream_id)
        stream = self._streams.get(stream_id)
        if stream is None:
            self._meter.note_waste(self.shared.now(), "streams that were reset")
            return
        if stream.gone:
            return
        if not stream.ended:
            self._meter.note_reset(self.shared.now())
        stream.leave(unreachable=True)

    def on_window(self, stream_id: int) -> None:
        """See Listener."""
        for one in (stream_id,) if stream_id else tuple(self._streams):
            stream = self._streams.get(one)
            if stream is not None and stream.has_output and self._engine.window(one) > 0:
                stream.end_stall()
                self.writer.enqueue(stream)

    def on_settings(self) -> None:
        """See Listener: windows may have changed."""
        self._waits.greeted()
        self.on_window(0)

    def on_priority(self, stream_id: int, priority: StreamPriority) -> None:
        """See Listener: told to applications only; RFC 9113 section 5.3.2 has given it up."""
        self._early.note_weight(stream_id, priority)

    def on_extension(self, frame_type: int, stream_id: int, payload: bytes) -> None:
        """See Listener."""
        if frame_type != PRIORITY_UPDATE:
            return
        prioritized, priority = parse_priority_update(stream_id, payload)
        stream = self._streams.get(prioritized)
        if stream is not None:
            waits = self.writer.withdraw(stream)
            stream.priority = priority
            if waits:
                self.writer.enqueue(stream)
        else:
            self._early.note(prioritized, priority)

    def on_goaway(self, code: int) -> None:
        """See Listener: the client means to end the connection when it has its responses."""
        self._leaving = True
        if not self._streams:
            self._end_soon()

    # -- a stream's task --------------------------------------------------------------------

    async def _run_stream(self, stream: Http2Stream) -> None:
        try:
            await stream.run()
        finally:
            self._end_stream(stream)

    def _end_stream(self, stream: Http2Stream) -> None:
        del self._streams[stream.id]
        unread = stream.close()
        if not self._failed:
            if not stream.ended:
                self._engine.reset(stream.id, ErrorCode.INTERNAL_ERROR)
            if unread:
                self._engine.acknowledge(stream.id, unread)
            self.writer.flush_soon()
        if not self._streams:
            self._waits.idle()
            self.note_deadline(self._waits.deadline)
            if self._leaving or self._last_stream_id != _ANY_STREAM:
                self._end_soon()
        self._ended.unpark_all()

    # -- from outside -----------------------------------------------------------------------

    def expire(self) -> None:
        """The deadline has passed."""
        now = self.shared.now()
        for stream in list(self._streams.values()):
            if stream.deadline <= now:
                stream.expire(now)
        for stream_id in self._waits.expired_uploads(now):
            self._engine.reset(stream_id, ErrorCode.NO_ERROR)
            self.writer.flush_soon()
        has_arrived = not self._streams and self.transport.has_arrived()
        if self._waits.expire(now, has_arrived=has_arrived):
            self._send_goaway(ErrorCode.NO_ERROR)
            self._end_soon()
        of_streams = min((stream.deadline for stream in self._streams.values()), default=math.inf)
        self.deadline = min(self._waits.deadline, of_streams)

    def begin_drain(self) -> None:
        """The server is about to stop: asks the client to open no more streams."""
        if not self._over and self._last_stream_id == _ANY_STREAM:
            self._engine.goaway(_ANY_STREAM, ErrorCode.NO_ERROR)
            self.writer.flush_soon()

    def drain(self) -> None:
        """No request is served after those that are under way; then the connection ends."""
        if not self._over:
            if self._last_stream_id == _ANY_STREAM:
                self._send_goaway(ErrorCode.NO_ERROR)
            for stream in list(self._streams.values()):
                stream.drain()
            if not self._streams:
                self._end_soon()

    def _end_soon(self) -> None:
        """Nothing more is read; ``run`` does what is left to be done."""
        self._over = True
        self.transport.interrupt()
