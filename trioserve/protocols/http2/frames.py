# SPDX-License-Identifier: MIT
"""How frames are written down (RFC 9113 sections 4.1 and 6): numbers and layouts.

======  =====  ==================================================
offset  bytes  field of a frame's header, big-endian
======  =====  ==================================================
0       3      length of the payload
3       1      type
4       1      flags
5       4      a reserved bit, and the stream's id; 0 = the connection
======  =====  ==================================================
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from trioserve.protocols.http2.engine import LocalSettings, StreamPriority
from trioserve.protocols.http2.errors import ErrorCode, Http2ConnectionError

__all__ = [
    "ACK",
    "DEFAULT_WINDOW",
    "END_HEADERS",
    "END_STREAM",
    "FRAME_HEADER",
    "FRAME_HEADER_SIZE",
    "HAS_PRIORITY",
    "MAX_FRAME_SIZE",
    "MAX_WINDOW",
    "MIN_FRAME_SIZE",
    "PADDED",
    "SETTING",
    "STREAM_ID",
    "WORD",
    "Frame",
    "Setting",
    "broken",
    "check_setting",
    "encode_settings",
    "read_priority",
    "unpad",
]

#: Two bytes and one of the length, type, flags, stream.
FRAME_HEADER: Final = struct.Struct(">HBBBL")
FRAME_HEADER_SIZE: Final = 9
WORD: Final = struct.Struct(">L")
SETTING: Final = struct.Struct(">HL")
STREAM_ID: Final = 0x7FFFFFFF

#: RFC 9113 sections 6.5.2 and 6.9.
DEFAULT_WINDOW: Final = 65_535
MAX_WINDOW: Final = 2**31 - 1
MIN_FRAME_SIZE: Final = 2**14
MAX_FRAME_SIZE: Final = 2**24 - 1

END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20


class Frame(IntEnum):
    """Types."""

    DATA = 0x0
    HEADERS = 0x1
    PRIORITY = 0x2
    RST_STREAM = 0x3
    SETTINGS = 0x4
    PUSH_PROMISE = 0x5
    PING = 0x6
    GOAWAY = 0x7
    WINDOW_UPDATE = 0x8
    CONTINUATION = 0x9


class Setting(IntEnum):
    """Identifiers of SETTINGS."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6
    ENABLE_CONNECT_PROTOCOL = 0x8  # RFC 8441 section 3
    NO_RFC7540_PRIORITIES = 0x9  # RFC 9218 section 2.1


_SWITCHES: Final = frozenset(
    {Setting.ENABLE_PUSH, Setting.ENABLE_CONNECT_PROTOCOL, Setting.NO_RFC7540_PRIORITIES}
)


def encode_settings(settings: LocalSettings) -> bytes:
    """The payload of the SETTINGS frame that announces these."""
    values = {
        Setting.MAX_CONCURRENT_STREAMS: settings.max_concurrent_streams,
        Setting.INITIAL_WINDOW_SIZE: settings.initial_window_size,
        Setting.MAX_FRAME_SIZE: settings.max_frame_size,
        Setting.MAX_HEADER_LIST_SIZE: settings.max_header_list_size,
        Setting.ENABLE_CONNECT_PROTOCOL: 1,  # WebSocket
        Setting.NO_RFC7540_PRIORITIES: 1,  # streams are ordered by RFC 9218
    }
    return b"".join(SETTING.pack(code, value) for code, value in values.items())


def check_setting(code: int, value: int) -> None:
    """Raises Http2ConnectionError for a value that RFC 9113 section 6.5.2 doesn't allow."""
    if code in _SWITCHES and value > 1:
        raise broken(ErrorCode.PROTOCOL_ERROR, f"setting {code} is 0 or 1", "6.5.2")
    if code == Setting.INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
        raise broken(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond 2**31 - 1", "6.5.2")
    if code == Setting.MAX_FRAME_SIZE and not MIN_FRAME_SIZE <= value <= MAX_FRAME_SIZE:
        raise broken(ErrorCode.PROTOCOL_ERROR, f"frames of {value} bytes", "6.5.2")


def broken(code: ErrorCode, what: str, section: str) -> Http2ConnectionError:
    """The error for a peer that broke a section of RFC 9113."""
    return Http2ConnectionError(code, f"{what} (RFC 9113 section {section})")


def unpad(payload: bytes) -> bytes:
    """What a padded frame carries (RFC 9113 section 6.1).

    Raises:
        Http2ConnectionError: it has more padding than there are bytes.
    """
    if not payload or payload[0] >= len(payload):
        raise broken(ErrorCode.PROTOCOL_ERROR, "more padding than frame", "6.1")
    return payload[1 : len(payload) - payload[0]]


def read_priority(payload: bytes) -> StreamPriority:
    """The five bytes of a PRIORITY frame, or before a header section (RFC 9113 section 6.3)."""
    word = WORD.unpack_from(payload)[0]
    return StreamPriority(payload[4] + 1, word & STREAM_ID, bool(word >> 31))
