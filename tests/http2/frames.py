# SPDX-License-Identifier: MIT
"""Frames of HTTP/2 by their bytes (RFC 9113 section 4.1): any of them, malformed ones included.

Independent of the libraries below the server: only header compression is hpack's.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

import hpack

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ACK",
    "CONTINUATION",
    "DATA",
    "END_HEADERS",
    "END_STREAM",
    "GOAWAY",
    "HEADERS",
    "PADDED",
    "PING",
    "PREFACE",
    "PRIORITY",
    "PRIORITY_FLAG",
    "PRIORITY_UPDATE",
    "PUSH_PROMISE",
    "RST_STREAM",
    "SETTINGS",
    "WINDOW_UPDATE",
    "Frame",
    "block",
    "continuation",
    "data",
    "frame",
    "get",
    "goaway",
    "headers",
    "ping",
    "post",
    "priority",
    "priority_update",
    "rst_stream",
    "settings",
    "split_frames",
    "window_update",
]

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
PRIORITY_UPDATE = 16

END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITY_FLAG = 0x4, 0x8, 0x20


class Frame(NamedTuple):
    """One that came."""

    type: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def code(self) -> int:
        """The error code of a RST_STREAM or GOAWAY."""
        at = 0 if self.type == RST_STREAM else 4
        return int.from_bytes(self.payload[at : at + 4], "big")

    @property
    def last_stream_id(self) -> int:
        """Of a GOAWAY."""
        return int.from_bytes(self.payload[:4], "big")

    @property
    def increment(self) -> int:
        """Of a WINDOW_UPDATE."""
        return int.from_bytes(self.payload, "big")

    @property
    def ends(self) -> bool:
        """It ends its stream, our way."""
        return self.type in (DATA, HEADERS) and bool(self.flags & END_STREAM)


def frame(
    kind: int, flags: int, stream_id: int, payload: bytes = b"", length: int | None = None
) -> bytes:
    """Any frame; ``length`` may be a lie."""
    size = len(payload) if length is None else length
    return struct.pack(">HBBBL", size >> 8, size & 255, kind, flags, stream_id) + payload


def split_frames(buffer: bytearray) -> Iterable[Frame]:
    """Takes the whole frames out of ``buffer``."""
    while len(buffer) >= 9:
        high, low, kind, flags, stream_id = struct.unpack(">HBBBL", buffer[:9])
        end = 9 + (high << 8 | low)
        if len(buffer) < end:
            return
        payload = bytes(buffer[9:end])
        del buffer[:end]
        yield Frame(kind, flags, stream_id & 0x7FFFFFFF, payload)


def block(*fields: tuple[bytes, bytes] | tuple[str, str]) -> bytes:
    """A header block that needs no dynamic table, so that it fits into any connection."""
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    encoder.table_size_changes.clear()
    return encoder.encode([hpack.NeverIndexedHeaderTuple(*field) for field in fields])


def get(path: str = "/", *fields: tuple[str, str], method: str = "GET") -> bytes:
    """The header block of a request."""
    return block(
        (":method", method),
        (":scheme", "http"),
        (":authority", "test"),
        (":path", path),
        *fields,
    )


def post(path: str = "/", *fields: tuple[str, str]) -> bytes:
    """The same of one that may have a body."""
    return get(path, *fields, method="POST")


def headers(
    stream_id: int,
    fragment: bytes,
    *,
    end_stream: bool = True,
    end_headers: bool = True,
    flags: int = 0,
) -> bytes:
    """HEADERS with (a part of) a header block."""
    flags |= end_stream * END_STREAM | end_headers * END_HEADERS
    return frame(HEADERS, flags, stream_id, fragment)


def continuation(stream_id: int, fragment: bytes, *, end_headers: bool = True) -> bytes:
    """CONTINUATION."""
    return frame(CONTINUATION, end_headers * END_HEADERS, stream_id, fragment)


def data(stream_id: int, body: bytes = b"", *, end_stream: bool = False, pad: int = -1) -> bytes:
    """DATA, padded where ``pad`` is 0 or more."""
    flags = end_stream * END_STREAM
    if pad >= 0:
        return frame(DATA, flags | PADDED, stream_id, bytes([pad]) + body + bytes(pad))
    return frame(DATA, flags, stream_id, body)


def settings(*pairs: tuple[int, int]) -> bytes:
    """SETTINGS."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HL", *pair) for pair in pairs))


def ping(payload: bytes = b"8 octets", flags: int = 0) -> bytes:
    """PING."""
    return frame(PING, flags, 0, payload)


def goaway(last_stream_id: int = 0, code: int = 0, debug: bytes = b"") -> bytes:
    """GOAWAY."""
    return frame(GOAWAY, 0, 0, struct.pack(">LL", last_stream_id, code) + debug)


def rst_stream(stream_id: int, code: int = 8) -> bytes:
    """RST_STREAM, CANCEL."""
    return frame(RST_STREAM, 0, stream_id, struct.pack(">L", code))


def window_update(stream_id: int, increment: int) -> bytes:
    """WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, 0, stream_id, struct.pack(">L", increment))


def priority(stream_id: int, depends_on: int = 0, weight: int = 16) -> bytes:
    """PRIORITY (RFC 7540)."""
    return frame(PRIORITY, 0, stream_id, struct.pack(">LB", depends_on, weight - 1))


def priority_update(stream_id: int, value: bytes) -> bytes:
    """PRIORITY_UPDATE (RFC 9218)."""
    return frame(PRIORITY_UPDATE, 0, 0, struct.pack(">L", stream_id) + value)
