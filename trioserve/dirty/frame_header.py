# SPDX-License-Identifier: MIT
"""The 16 bytes before each payload, ``>2sBBIQ``: magic, version, type, payload size, request id.

Magic, version and type are handled as one uint32, since they are right or wrong together.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

#: What a FrameReader gives: a view if the payload is large.
Payload: TypeAlias = bytes | memoryview
#: Type, request id, payload.
Frame: TypeAlias = tuple[int, int, Payload]

HEADER_SIZE: Final = 16
#: Bytes of payload; the default of the setting ``dirty_max_frame_size``.
DEFAULT_MAX_FRAME_SIZE: Final = 64 * 1024 * 1024

#: A header's first four bytes, to which the type is added.
HEADER_WORD: Final = int.from_bytes(b"GD\x01\x00", "big")

pack_header = struct.Struct(">IIQ").pack
unpack_header = struct.Struct(">IIQ").unpack_from


class FrameType:
    """Frame types: plain ints. Those from 40 hex on are ours (see HELLO in the README)."""

    REQUEST: Final = 0x01
    RESPONSE: Final = 0x02
    ERROR: Final = 0x03
    CHUNK: Final = 0x04
    END: Final = 0x05
    STASH: Final = 0x10
    STATUS: Final = 0x11
    MANAGE: Final = 0x12
    HELLO: Final = 0x40
    CANCEL: Final = 0x41
    CREDIT: Final = 0x42
    PING: Final = 0x43
    PONG: Final = 0x44
    DRAIN: Final = 0x45
    REVOKE: Final = 0x46
    TASKS: Final = 0x47


_NAMES: Final[dict[int, str]] = {
    value: name for name, value in vars(FrameType).items() if name.isupper()
}

#: The types by a header's first four bytes.
TYPES_BY_WORD: Final[dict[int, int]] = {
    HEADER_WORD | frame_type: frame_type for frame_type in _NAMES
}


def type_name(frame_type: int) -> str:
    """A type as errors name it."""
    return _NAMES.get(frame_type) or f"0x{frame_type:02x}"


def is_version_1(word: int) -> bool:
    """Whether magic and version are those that we know, whatever the type."""
    return word >> 8 == HEADER_WORD >> 8


def what_is_wrong(word: int) -> str:
    """What is wrong with a header's first four bytes, which are not in TYPES_BY_WORD."""
    magic, version, frame_type = word >> 16, word >> 8 & 0xFF, word & 0xFF
    if magic != HEADER_WORD >> 16:
        return f'expected a frame, which begins with "GD", got {magic.to_bytes(2, "big")!r}'
    if version != HEADER_WORD >> 8 & 0xFF:
        return f"expected version 1 of the protocol, got {version}"
    return f"0x{frame_type:02x} is no frame type"
