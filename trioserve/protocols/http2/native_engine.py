# SPDX-License-Identifier: MIT
"""The engine of our own: RFC 9113's frames, streams and windows, for a server.

The rule of this file: a frame has one method, found in the table at the end, and each thing that
can be wrong with it stands where it is read, with the section that says so. What breaks the
connection raises Http2ConnectionError; what breaks a stream resets it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from trioserve.protocols.http2.errors import ErrorCode
from trioserve.protocols.http2.frame_reader import FrameReader
from trioserve.protocols.http2.frames import (
    ACK,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FRAME_HEADER,
    FRAME_HEADER_SIZE,
    HAS_PRIORITY,
    MAX_WINDOW,
    MIN_FRAME_SIZE,
    PADDED,
    SETTING,
    STREAM_ID,
    WORD,
    Frame,
    Setting,
    broken,
    check_setting,
    encode_settings,
    read_priority,
    unpad,
)
from trioserve.protocols.http2.header_coding import (
    HeaderDecoder,
    HeaderEncoder,
    HeaderListTooLarge,
)
from trioserve.protocols.http2.header_table import HpackError
from trioserve.protocols.http2.stream_table import Ending, StreamState, StreamTable

if TYPE_CHECKING:
    from trioserve.protocols.http2.engine import (
        Fields,
        Listener,
        LocalSettings,
        StreamPriority,
    )

__all__ = ["NativeEngine"]

#: A header section may be this much larger than announced and is still answered (431).
_HEADER_LIST_MARGIN: Final = 4

# A name of the module's costs less than a member of an enum.
(
    _DATA,
    _HEADERS,
    _PRIORITY,
    _RST_STREAM,
    _SETTINGS,
    _,
    _PING,
    _GOAWAY,
    _WINDOW_UPDATE,
    _CONTINUATION,
) = Frame


class NativeEngine:
    """See Engine.

    Args:
        listener: is told what comes.
        settings: what is announced to the peer.
    """

    __slots__ = (
        "_block",
        "_decoder",
        "_encoder",
        "_greeted",
        "_initial_receive_window",
        "_initial_send_window",
        "_listener",
        "_out",
        "_reader",
        "_receive_window",
        "_send_window",
        "_settings",
        "_streams",
        "_taken",
        "max_frame_size",
        "unsent",
    )

    def __init__(self, listener: Listener, settings: LocalSettings) -> None:
        self._listener = listener
        self._settings = settings
        self._decoder = HeaderDecoder(settings.max_header_list_size * _HEADER_LIST_MARGIN)
        self._encoder = HeaderEncoder()
        self._streams = StreamTable(settings.max_concurrent_streams)
        self._reader = FrameReader(settings.max_frame_size)
        self.unsent = 0
        #: The header section that is under way: its stream, flags, priority and pieces.
        self._block: tuple[int, int, StreamPriority | None, list[bytes]] | None = None
        self._out: list[bytes | memoryview] = []
        self._send_window = self._initial_send_window = DEFAULT_WINDOW
        # What is announced holds from the client's acknowledgement on; until then it may send by
        # the default, if that is more.
        self._initial_receive_window = max(DEFAULT_WINDOW, settings.initial_window_size)
        self._receive_window = settings.connection_window_size
        self._taken = 0
        self._greeted = False  # the client's SETTINGS have come
        self.max_frame_size = MIN_FRAME_SIZE
        self._announce(settings)

    def _announce(self, settings: LocalSettings) -> None:
        self._send(_SETTINGS, 0, 0, encode_settings(settings))
        if settings.connection_window_size > DEFAULT_WINDOW:
            increment = settings.connection_window_size - DEFAULT_WINDOW
            self._send(_WINDOW_UPDATE, 0, 0, WORD.pack(increment))

    @property
    def highest_stream_id(self) -> int:
        """See Engine."""
        return self._streams.highest

    # -- what is to be sent -----------------------------------------------------------------

    def take(self) -> bytes:
        """See Engine."""
        data = b"".join(self._out)
        self._out.clear()
        self.unsent = 0
        return data

    def _send(self, frame_type: int, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._out.append(FRAME_HEADER.pack(size >> 8, size & 255, frame_type, flags, stream_id))
        self._out.append(payload)
        self.unsent += FRAME_HEADER_SIZE + size

    def send_headers(self, stream_id: int, fields: Fields, end_stream: bool) -> None:
        """See Engine."""
        stream = self._streams.live.get(stream_id)
        if stream is None:
            return
        block = self._encoder.encode(fields)
        flags = END_STREAM if end_stream else 0
        limit = self.max_frame_size
        if len(block) <= limit:
            self._send(_HEADERS, flags | END_HEADERS, stream_id, block)
        else:
            self._send(_HEADERS, flags, stream_id, block[:limit])
            for at in range(limit, len(block), limit):
                last = at + limit >= len(block)
                piece = block[at : at + limit]
                self._send(_CONTINUATION, END_HEADERS if last else 0, stream_id, piece)
        if end_stream:
            self._streams.close_local(stream_id, stream)

    def send_data(self, stream_id: int, data: bytes | memoryview, end_stream: bool) -> None:
        """See Engine."""
        stream = self._streams.live.get(stream_id)
        if stream is None:
            return
        size = len(data)
        self._out.append(
            FRAME_HEADER.pack(
                size >> 8, size & 255, _DATA, END_STREAM if end_stream else 0, stream_id
            )
        )
        self._out.append(data)
        self.unsent += FRAME_HEADER_SIZE + size
        self._send_window -= size
        stream.send_window -= size
        if end_stream:
            self._streams.close_local(stream_id, stream)

    def window(self, stream_id: int) -> int:
        """See Engine."""
        stream = self._streams.live.get(stream_id)
        return 0 if stream is None else min(self._send_window, stream.send_window)

    def acknowledge(self, stream_id: int, size: int) -> None:
        """See Engine: in steps of half a window, so that small reads cost no frame each."""
        self._taken += size
        if self._taken * 2 >= self._settings.connection_window_size:
            self._send(_WINDOW_UPDATE, 0, 0, WORD.pack(self._taken))
            self._receive_window += self._taken
            self._taken = 0
        stream = self._streams.live.get(stream_id)
        if stream is None or stream.remote_closed:
            return
        stream.taken += size
        if stream.taken * 2 >= self._settings.initial_window_size:
            self._send(_WINDOW_UPDATE, 0, stream_id, WORD.pack(stream.taken))
            stream.receive_window += stream.taken
            stream.taken = 0

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """See Engine."""
        if stream_id in self._streams.live:
            self._send(_RST_STREAM, 0, stream_id, WORD.pack(code))
            self._streams.end(stream_id, Ending.RESET_BY_US)

    def goaway(self, last_stream_id: int, code: ErrorCode, debug: bytes = b"") -> None:
        """See Engine."""
        self._send(_GOAWAY, 0, 0, WORD.pack(last_stream_id) + WORD.pack(code) + debug)

    # -- what comes -------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """See Engine."""
        for frame_type, flags, stream_id, payload in self._reader.feed(data):
            self._on_frame(frame_type, flags, stream_id, payload)

    def _on_frame(self, frame_type: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is not None:
            if frame_type != _CONTINUATION or stream_id != self._block[0]:
                raise broken(
                    ErrorCode.PROTOCOL_ERROR, "a frame in the middle of a header section", "6.10"
                )
        elif not self._greeted:
            if frame_type != _SETTINGS or flags & ACK:
                raise broken(ErrorCode.PROTOCOL_ERROR, "the first frame is no SETTINGS", "3.4")
            self._greeted = True
        if frame_type < len(_HANDLERS):
            where, length, handler = _HANDLERS[frame_type]
            if where is not None and where != (stream_id > 0):
                raise broken(
                    ErrorCode.PROTOCOL_ERROR,
                    f"a frame of type {frame_type} on stream {stream_id}",
                    f"6.{frame_type + 1}",
                )
            if length is not None and len(payload) != length:
                raise broken(
                    ErrorCode.FRAME_SIZE_ERROR,
                    f"a frame of type {frame_type} of {len(payload)} bytes, not {length}",
                    f"6.{frame_type + 1}",
                )
            handler(self, flags, stream_id, payload)
        else:
            self._listener.on_extension(frame_type, stream_id, payload)

    def _fail_stream(self, stream_id: int, code: ErrorCode) -> None:
        """The client has broken the protocol on one stream (RFC 9113 section 5.4.2)."""
        self.reset(stream_id, code)
        self._listener.on_reset(stream_id, code)

    # -- a method for each frame ------------------------------------------------------------

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        data = unpad(payload) if flags & PADDED else payload
        stream = self._streams.find(stream_id, "DATA")
        self._receive_window -= size
        if self._receive_window < 0:
            raise broken(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the connection's window", "6.9")
        if stream is None:
            self.acknowledge(stream_id, size)
            if self._streams.ending(stream_id) is not Ending.RESET_BY_US:
                self._refuse_late(stream_id)
            return
        if stream.remote_closed:
            self.acknowledge(stream_id, size)
            self._fail_stream(stream_id, ErrorCode.STREAM_CLOSED)
            return
        stream.receive_window -= size
        if stream.receive_window < 0:
            self.acknowledge(stream_id, size)
            self._fail_stream(stream_id, ErrorCode.FLOW_CONTROL_ERROR)
            return
        ended = bool(flags & END_STREAM)
        if ended:
            self._streams.close_remote(stream_id, stream)
        self._listener.on_data(stream_id, data, size, ended)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags & PADDED:
            payload = unpad(payload)
        priority = None
        if flags & HAS_PRIORITY:
            if len(payload) < 5:
                raise broken(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without its priority", "6.2")
            priority = read_priority(payload)
            payload = payload[5:]
        if flags & END_HEADERS:
            self._on_block(stream_id, flags, priority, payload)
        else:
            self._block = stream_id, flags, priority, [payload]

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None:
            raise broken(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS", "6.10")
        stream_id, first_flags, priority, pieces = self._block
        pieces.append(payload)
        if flags & END_HEADERS:
            self._block = None
            self._on_block(stream_id, first_flags, priority, b"".join(pieces))

    def _on_block(
        self, stream_id: int, flags: int, priority: StreamPriority | None, block: bytes
    ) -> None:
        """A whole header section. It is decoded whatever its stream is: both tables must agree."""
        try:
            fields = self._decoder.decode(block)
        except HpackError as exc:
            raise broken(ErrorCode.COMPRESSION_ERROR, str(exc), "4.3") from exc
        except HeaderListTooLarge as exc:
            raise broken(ErrorCode.ENHANCE_YOUR_CALM, str(exc), "10.5.1") from exc
        ended = bool(flags & END_STREAM)
        stream = self._streams.live.get(stream_id)
        if stream is not None:
            self._on_second_block(stream_id, stream, fields, ended)
            return
        if stream_id <= self._streams.highest:
            self._on_late_block(stream_id)
            return
        if not stream_id % 2:
            raise broken(ErrorCode.PROTOCOL_ERROR, "a client's streams have odd ids", "5.1.1")
        self._streams.open(
            stream_id,
            StreamState(
                self._initial_send_window, self._initial_receive_window, remote_closed=ended
            ),
        )
        if priority is not None and priority.depends_on == stream_id:
            self._fail_stream(stream_id, ErrorCode.PROTOCOL_ERROR)  # RFC 7540 section 5.3.1
            return
        self._listener.on_request(stream_id, fields, ended, priority)

    def _on_second_block(
        self, stream_id: int, stream: StreamState, fields: Fields, ended: bool
    ) -> None:
        """Trailers (RFC 9113 section 8.1), if anything."""
        if stream.remote_closed:
            self._fail_stream(stream_id, ErrorCode.STREAM_CLOSED)
        elif not ended:
            self._fail_stream(stream_id, ErrorCode.PROTOCOL_ERROR)
        else:
            self._streams.close_remote(stream_id, stream)
            self._listener.on_trailers(stream_id, fields)

    def _on_late_block(self, stream_id: int) -> None:
        ending = self._streams.ending(stream_id)
        if ending is None:
            raise broken(ErrorCode.PROTOCOL_ERROR, "an id below that of another stream", "5.1.1")
        if ending is Ending.BOTH_SIDES:
            raise broken(ErrorCode.STREAM_CLOSED, "HEADERS on a stream that has ended", "5.1")
        if ending is Ending.RESET_BY_PEER:
            self._refuse_late(stream_id)
        # Else it was under way when we reset the stream.

    def _refuse_late(self, stream_id: int) -> None:
        """The client sends on a stream that it has ended itself."""
        self._send(_RST_STREAM, 0, stream_id, WORD.pack(ErrorCode.STREAM_CLOSED))

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        live = stream_id in self._streams.live
        if not live and stream_id <= self._streams.highest:
            return  # it has ended: its client may not know yet
        if len(payload) != 5:
            if not live:
                raise broken(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY has 5 bytes", "6.3")
            self._fail_stream(stream_id, ErrorCode.FRAME_SIZE_ERROR)
            return
        priority = read_priority(payload)
        if priority.depends_on != stream_id:
            self._listener.on_priority(stream_id, priority)
        elif live:
            self._fail_stream(stream_id, ErrorCode.PROTOCOL_ERROR)  # RFC 7540 section 5.3.1
        else:
            raise broken(ErrorCode.PROTOCOL_ERROR, "a stream depends on itself", "5.3.1 of 7540")

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        live = self._streams.find(stream_id, "RST_STREAM") is not None
        self._streams.reset_by_peer(stream_id)
        if not live:
            return
        self._listener.on_reset(stream_id, WORD.unpack(payload)[0])

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags & ACK:
            if payload:
                raise broken(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement with settings", "6.5")
            self._on_settings_acknowledged()
            return
        if len(payload) % 6:
            raise broken(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS has six bytes for each", "6.5")
        values = {}
        for code, value in SETTING.iter_unpack(payload):
            check_setting(code, value)
            if code == Setting.HEADER_TABLE_SIZE:  # each counts: RFC 7541 section 4.2
                self._encoder.resize(value)
            values[code] = value
        for code, value in values.items():  # the last of each: an earlier one has no effect left
            self._on_setting(code, value)
        self._send(_SETTINGS, ACK, 0, b"")
        self._listener.on_settings()

    def _on_settings_acknowledged(self) -> None:
        difference = self._settings.initial_window_size - self._initial_receive_window
        if difference:
            self._initial_receive_window += difference
            for stream in self._streams.live.values():
                stream.receive_window += difference

    def _on_setting(self, code: int, value: int) -> None:
        if code == Setting.MAX_FRAME_SIZE:
            self.max_frame_size = value
        elif code == Setting.INITIAL_WINDOW_SIZE:
            difference = value - self._initial_send_window
            self._initial_send_window = value
            for stream in self._streams.live.values():
                stream.send_window += difference
                if stream.send_window > MAX_WINDOW:
                    raise broken(
                        ErrorCode.FLOW_CONTROL_ERROR, "a stream's window beyond 2**31 - 1", "6.9.2"
                    )

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise broken(ErrorCode.PROTOCOL_ERROR, "a client can't push", "8.4")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not flags & ACK:
            self._send(_PING, ACK, 0, payload)

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) < 8:
            raise broken(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY has 8 bytes or more", "6.8")
        self._listener.on_goaway(WORD.unpack_from(payload, 4)[0])

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        increment = WORD.unpack(payload)[0] & STREAM_ID
        if stream_id:
            self._widen_stream(stream_id, increment)
            return
        if not increment:
            raise broken(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing", "6.9")
        self._send_window += increment
        if self._send_window > MAX_WINDOW:
            raise broken(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond 2**31 - 1", "6.9.1")
        self._listener.on_window(0)

    def _widen_stream(self, stream_id: int, increment: int) -> None:
        stream = self._streams.find(stream_id, "WINDOW_UPDATE")
        if stream is None:
            return  # section 5.1: it may come for a while
        if not increment:
            self._fail_stream(stream_id, ErrorCode.PROTOCOL_ERROR)
            return
        stream.send_window += increment
        if stream.send_window > MAX_WINDOW:
            self._fail_stream(stream_id, ErrorCode.FLOW_CONTROL_ERROR)
            return
        self._listener.on_window(stream_id)


_Handler = Callable[[NativeEngine, int, int, bytes], None]

#: By type: on a stream (True), on the connection (False), or either (None); its length, if it has
#: one; its method.
_HANDLERS: Final[tuple[tuple[bool | None, int | None, _Handler], ...]] = (
    (True, None, NativeEngine._on_data),
    (True, None, NativeEngine._on_headers),
    (True, None, NativeEngine._on_priority),
    (True, 4, NativeEngine._on_rst_stream),
    (False, None, NativeEngine._on_settings),
    (True, None, NativeEngine._on_push_promise),
    (False, 8, NativeEngine._on_ping),
    (False, None, NativeEngine._on_goaway),
    (None, 4, NativeEngine._on_window_update),
    (True, None, NativeEngine._on_continuation),
)
