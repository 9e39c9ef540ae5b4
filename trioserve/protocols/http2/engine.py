# SPDX-License-Identifier: MIT
"""The face of an HTTP/2 engine: frames, header compression, stream states, flow-control windows.

An engine knows the protocol; what a request may look like, who may go first and how much is too
much is policy, and stands in the other files. There are two engines, behind one class: the
library h2, and jh2, which has h2's interface and compresses headers in Rust.

A Listener's methods are called from ``receive``, in the order of the frames. They may call the
engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from trioserve.protocols.http2.errors import ErrorCode

__all__ = ["Engine", "Fields", "Listener", "LocalSettings", "StreamPriority"]

#: A header section, pseudo-header fields included.
Fields: TypeAlias = Sequence[tuple[bytes, bytes]]


class LocalSettings(NamedTuple):
    """What this side allows (RFC 9113 section 6.5.2).

    Attributes:
        max_concurrent_streams: announced; whoever uses the engine holds it (an engine must not end
            a connection for a client that hasn't read it yet).
        initial_window_size: bytes of a request's body that may come before any are taken.
        max_frame_size: bytes of a frame's payload that is taken, 16,384 to 16,777,215.
        max_header_list_size: bytes of a header section, as RFC 9113 section 6.5.2 counts them.
        connection_window_size: bytes of all bodies that may come before any are taken.
    """

    max_concurrent_streams: int
    initial_window_size: int
    max_frame_size: int
    max_header_list_size: int
    connection_window_size: int


class StreamPriority(NamedTuple):
    """RFC 7540 section 5.3, deprecated by RFC 9113: what a client says of a stream."""

    weight: int = 16
    depends_on: int = 0
    exclusive: bool = False


class Listener(Protocol):
    """Is told what has come."""

    def on_request(
        self, stream_id: int, fields: Fields, end_stream: bool, priority: StreamPriority | None
    ) -> None:
        """A header section has opened a stream."""

    def on_data(self, stream_id: int, data: bytes, size: int, end_stream: bool) -> None:
        """A DATA frame; ``size`` bytes, padding included, are to be acknowledged."""

    def on_trailers(self, stream_id: int, fields: Fields) -> None:
        """A header section has ended a request."""

    def on_reset(self, stream_id: int, code: int) -> None:
        """The stream has ended, by the peer's wish or for its fault."""

    def on_window(self, stream_id: int) -> None:
        """More may be sent on this stream; 0 = perhaps on any."""

    def on_priority(self, stream_id: int, priority: StreamPriority) -> None:
        """A PRIORITY frame."""

    def on_extension(self, frame_type: int, stream_id: int, payload: bytes) -> None:
        """A frame of a type that RFC 9113 doesn't know."""

    def on_settings(self) -> None:
        """The peer has sent SETTINGS."""

    def on_goaway(self, code: int) -> None:
        """The peer will open no more streams."""


class Engine(Protocol):
    """One connection, the server's side.

    What it wants to send collects inside; ``take`` gives it, in order.

    Attributes:
        max_frame_size: bytes of a frame's payload that the peer takes.
        highest_stream_id: of those that the peer has opened.
        unsent: bytes that ``take`` would give.
    """

    @property
    def max_frame_size(self) -> int:
        """See above."""

    @property
    def highest_stream_id(self) -> int:
        """See above."""

    @property
    def unsent(self) -> int:
        """See above."""

    def receive(self, data: bytes) -> None:
        """Takes bytes from the peer and tells the Listener.

        Raises:
            Http2ConnectionError: the peer broke the protocol. Its GOAWAY is ready to be taken.
        """

    def send_headers(self, stream_id: int, fields: Fields, end_stream: bool) -> None:
        """A header section: interim, final or trailers; names are in lower case.

        Nothing if the stream was reset, as for ``send_data``: of what came in one piece, an earlier
        frame may be answered when a later one has ended its stream.
        """

    def send_data(self, stream_id: int, data: bytes | memoryview, end_stream: bool) -> None:
        """A DATA frame; within ``window`` and ``max_frame_size``."""

    def window(self, stream_id: int) -> int:
        """Bytes that the peer takes now on this stream, 0 or less if none."""

    def acknowledge(self, stream_id: int, size: int) -> None:
        """``size`` bytes of what came have been taken: the peer may send as many more."""

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """Ends a stream (RST_STREAM); nothing if it has ended already."""

    def goaway(self, last_stream_id: int, code: ErrorCode, debug: bytes = b"") -> None:
        """Says that later streams are not looked at; earlier ones go on."""

    def take(self) -> bytes:
        """What is to be sent."""
