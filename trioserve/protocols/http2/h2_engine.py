# SPDX-License-Identifier: MIT
"""The engine on the library h2, or on jh2, which has the same interface.

Three things are done beside the library, since it has no other way to them:

- The first SETTINGS frame is ours: h2 announces what it enforces, and it ends the whole connection
  of a client that opens a stream too many, which may not have read the limit yet.
- GOAWAY is ours: h2 takes it for the connection's end, either way, but streams that are under way
  go on after it (RFC 9113 section 6.8).
- Header sections are not validated by h2 but by request.py and response.py, once; and the length
  of a body by its stream: h2 ends the connection of all requests where one is malformed.

And some of RFC 9113 and RFC 7541 that the library doesn't have: see ``_make_connection_class``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from trioserve.protocols.http2.engine import StreamPriority
from trioserve.protocols.http2.errors import ErrorCode, Http2ConnectionError
from trioserve.protocols.http2.frames import (
    DEFAULT_WINDOW,
    FRAME_HEADER,
    WORD,
    Frame,
    encode_settings,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from trioserve.protocols.http2.engine import Fields, Listener, LocalSettings

__all__ = ["H2Engine"]

_UNLIMITED: Final = 2**31 - 1
#: RFC 9113 section 6.5.2: of both tables of header compression. A client may allow the encoder's to
#: grow to 4 GiB, and have its own connection fill it; more than the default isn't used.
_MAX_TABLE_SIZE: Final = 4096
#: A header section may be this much larger than announced and is still answered (431), where
#: beyond it the connection ends: decoding it would cost too much.
_HEADER_LIST_MARGIN: Final = 4


class H2Engine:
    """See Engine.

    Args:
        listener: is told what comes.
        settings: what is announced to the peer.
        package: "h2" or "jh2".
    """

    def __init__(self, listener: Listener, settings: LocalSettings, package: str = "h2") -> None:
        library = _library(package)
        self._library = library
        self._listener = listener
        self._before: list[bytes] = []
        connection = self._h2 = library.make_connection()
        values = {
            library.codes.MAX_CONCURRENT_STREAMS: _UNLIMITED,
            library.codes.INITIAL_WINDOW_SIZE: max(settings.initial_window_size, DEFAULT_WINDOW),
            library.codes.MAX_FRAME_SIZE: settings.max_frame_size,
            library.codes.HEADER_TABLE_SIZE: _MAX_TABLE_SIZE,
        }
        connection.local_settings = library.settings_class(client=False, initial_values=values)
        # jh2 takes the peer for a browser before it has said anything; RFC 9113 has other defaults.
        connection.remote_settings = library.settings_class(
            client=True,
            initial_values={
                library.codes.INITIAL_WINDOW_SIZE: DEFAULT_WINDOW,
                library.codes.HEADER_TABLE_SIZE: _MAX_TABLE_SIZE,
            },
        )
        connection.decoder.max_allowed_table_size = _MAX_TABLE_SIZE
        connection.max_inbound_frame_size = settings.max_frame_size
        connection.decoder.max_header_list_size = (
            settings.max_header_list_size * _HEADER_LIST_MARGIN
        )
        connection.initiate_connection()
        connection.clear_outbound_data_buffer()
        if settings.initial_window_size < DEFAULT_WINDOW:
            # Holds from the peer's acknowledgement on; until then it may send by the default.
            connection.local_settings[library.codes.INITIAL_WINDOW_SIZE] = (
                settings.initial_window_size
            )
        self._send_raw(_encode_frame(Frame.SETTINGS, encode_settings(settings)))
        increment = settings.connection_window_size - DEFAULT_WINDOW
        if increment > 0:
            connection.increment_flow_control_window(increment)

    @property
    def max_frame_size(self) -> int:
        """See Engine."""
        size: int = self._h2.max_outbound_frame_size
        return size

    @property
    def highest_stream_id(self) -> int:
        """See Engine."""
        stream_id: int = self._h2.highest_inbound_stream_id
        return stream_id

    @property
    def unsent(self) -> int:
        """See Engine: the library has no other word for what it holds."""
        return sum(map(len, self._before)) + len(self._h2._data_to_send)

    def receive(self, data: bytes) -> None:
        """See Engine."""
        library = self._library
        try:
            events = self._h2.receive_data(data)
        except library.protocol_error as exc:
            code = _code_of(exc)
            reason = str(exc)
            self.goaway(self.highest_stream_id, code, reason.encode())
            raise Http2ConnectionError(code, reason, announced=True) from exc
        except BaseException as exc:
            if exc.__class__.__name__ != "PanicException":
                raise
            # From jh2's decoder, in Rust: a header block that it wasn't ready for.
            raise Http2ConnectionError(ErrorCode.COMPRESSION_ERROR, str(exc)) from exc
        listener = self._listener
        handlers = library.handlers
        for event in events:
            handler = handlers.get(event.__class__)
            if handler is not None:
                handler(listener, event)

    def send_headers(self, stream_id: int, fields: Fields, end_stream: bool) -> None:
        """See Engine."""
        if self._is_open(stream_id):
            self._h2.send_headers(stream_id, fields, end_stream)

    def send_data(self, stream_id: int, data: bytes | memoryview, end_stream: bool) -> None:
        """See Engine."""
        if self._is_open(stream_id):
            self._h2.send_data(stream_id, data, end_stream)

    def window(self, stream_id: int) -> int:
        """See Engine."""
        if not self._is_open(stream_id):
            return 0
        size: int = self._h2.local_flow_control_window(stream_id)
        return size

    def acknowledge(self, stream_id: int, size: int) -> None:
        """See Engine."""
        if size:
            self._h2.acknowledge_received_data(size, stream_id)

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """See Engine."""
        if self._is_open(stream_id):
            self._h2.reset_stream(stream_id, code)

    def goaway(self, last_stream_id: int, code: ErrorCode, debug: bytes = b"") -> None:
        """See Engine."""
        payload = WORD.pack(last_stream_id) + WORD.pack(code) + debug
        self._send_raw(_encode_frame(Frame.GOAWAY, payload))

    def take(self) -> bytes:
        """See Engine."""
        data: bytes = self._h2.data_to_send()
        if not self._before:
            return data
        self._before.append(data)
        data = b"".join(self._before)
        self._before.clear()
        return data

    def _is_open(self, stream_id: int) -> bool:
        """Whether the library still has something to do with the stream."""
        stream = self._h2.streams.get(stream_id)
        return stream is not None and not stream.closed

    def _send_raw(self, frame: bytes) -> None:
        self._before += (self._h2.data_to_send(), frame)


def _code_of(exc: Exception) -> ErrorCode:
    """The code for a GOAWAY; where the library has but one for all, what RFC 9113 says."""
    code = int(getattr(exc, "error_code", ErrorCode.PROTOCOL_ERROR))
    if str(exc).startswith("Error decoding header block"):
        return ErrorCode.COMPRESSION_ERROR  # section 4.3
    if "ack" in str(exc.__context__).lower().split():
        return ErrorCode.FRAME_SIZE_ERROR  # section 6.5: an acknowledgement that isn't empty
    return ErrorCode(code) if code <= max(ErrorCode) else ErrorCode.PROTOCOL_ERROR


def _encode_frame(frame_type: int, payload: bytes) -> bytes:
    """A frame of stream 0 without flags (RFC 9113 section 4.1)."""
    size = len(payload)
    return FRAME_HEADER.pack(size >> 8, size & 0xFF, frame_type, 0, 0) + payload


# -- the library's events ---------------------------------------------------------------------


def _on_request(listener: Listener, event: Any) -> None:
    updated = event.priority_updated
    listener.on_request(
        event.stream_id,
        event.headers,
        event.stream_ended is not None,
        None if updated is None else _priority_of(updated),
    )


def _on_data(listener: Listener, event: Any) -> None:
    listener.on_data(
        event.stream_id,
        event.data,
        event.flow_controlled_length,
        event.stream_ended is not None,
    )


def _priority_of(event: Any) -> StreamPriority:
    return StreamPriority(event.weight, event.depends_on, bool(event.exclusive))


_HANDLERS: Final[dict[str, Callable[[Listener, Any], None]]] = {
    "RequestReceived": _on_request,
    "DataReceived": _on_data,
    "TrailersReceived": lambda listener, event: listener.on_trailers(
        event.stream_id, event.headers
    ),
    "StreamReset": lambda listener, event: listener.on_reset(
        event.stream_id, int(event.error_code)
    ),
    "WindowUpdated": lambda listener, event: listener.on_window(event.stream_id or 0),
    "PriorityUpdated": lambda listener, event: listener.on_priority(
        event.stream_id, _priority_of(event)
    ),
    "UnknownFrameReceived": lambda listener, event: listener.on_extension(
        event.frame.type, event.frame.stream_id, event.frame.body
    ),
    "RemoteSettingsChanged": lambda listener, _: listener.on_settings(),
    "ConnectionTerminated": lambda listener, event: listener.on_goaway(int(event.error_code)),
}


def _make_connection_class(base: Any, terminated: Any, error: type[Exception], codes: Any) -> Any:
    """The library's connection, and what RFC 9113 has beyond it."""

    class Connection(base):  # type: ignore[misc]
        def _receive_goaway_frame(self, frame: Any) -> tuple[list[Any], list[Any]]:
            """Goes on: a GOAWAY of the peer only says that it opens no more streams."""
            try:
                event = terminated(error_code=frame.error_code)
            except TypeError:  # older versions make events empty
                event = terminated()
            event.error_code = frame.error_code
            return [], [event]

        def _receive_rst_stream_frame(self, frame: Any) -> Any:
            if frame.stream_id > self.highest_inbound_stream_id or frame.stream_id % 2 == 0:
                raise error("RST_STREAM for a stream that is idle (RFC 9113 section 6.4)")
            return super()._receive_rst_stream_frame(frame)

        def _receive_settings_frame(self, frame: Any) -> Any:
            size = frame.settings.get(codes.HEADER_TABLE_SIZE, 0)
            if size > _MAX_TABLE_SIZE:
                frame.settings[codes.HEADER_TABLE_SIZE] = _MAX_TABLE_SIZE
            return super()._receive_settings_frame(frame)

        def _receive_naked_continuation(self, frame: Any) -> Any:
            """Whatever has become of its stream (RFC 9113 section 6.10)."""
            raise error("CONTINUATION outside of a header section (RFC 9113 section 6.10)")

        def _begin_new_stream(self, *args: Any) -> Any:
            stream = super()._begin_new_stream(*args)
            stream._initialize_content_length = stream._track_content_length = _ignore
            return stream

        def _terminate_connection(self, error_code: Any) -> None:
            """GOAWAY is ours."""

    return Connection


def _ignore(*_: Any) -> None:
    """Does nothing."""


class _Library:
    """What is used of a package."""

    def __init__(self, package: str) -> None:
        def load(name: str) -> ModuleType:
            return import_module(f"{package}.{name}")

        connection, events, exceptions = load("connection"), load("events"), load("exceptions")
        settings = load("settings")
        self.codes: Any = settings.SettingCodes
        self.settings_class: Any = settings.Settings
        self.protocol_error: type[Exception] = exceptions.ProtocolError
        self.handlers = {getattr(events, name): handler for name, handler in _HANDLERS.items()}
        config = load("config").H2Configuration(
            client_side=False,
            header_encoding=None,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )

        Connection = _make_connection_class(
            connection.H2Connection, events.ConnectionTerminated, self.protocol_error, self.codes
        )
        self.make_connection: Callable[[], Any] = lambda: Connection(config=config)


_libraries: dict[str, _Library] = {}


def _library(package: str) -> _Library:
    """Loaded when a connection first needs it: a server without HTTP/2 doesn't pay for it."""
    if package not in _libraries:
        _libraries[package] = _Library(package)
    return _libraries[package]
