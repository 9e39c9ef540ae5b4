# SPDX-License-Identifier: MIT
"""Frames of WebSocket by their bytes (RFC 6455 section 5.2): any of them, malformed ones included.

Independent of the libraries below the server.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

__all__ = [
    "BINARY",
    "CLOSE",
    "CONT",
    "PING",
    "PONG",
    "TEXT",
    "Frame",
    "close_payload",
    "frame",
    "split_frames",
]

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_MASK: Final = b"\x12\x34\x56\x78"


class Frame(NamedTuple):
    """One that came.

    Attributes:
        rsv: the three reserved bits, RSV1 is 4.
    """

    fin: bool
    rsv: int
    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        """Of a Close frame; 1005 where it has none."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else 1005

    @property
    def reason(self) -> str:
        """Of a Close frame."""
        return self.payload[2:].decode()


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = _MASK,
    length: bytes | None = None,
) -> bytes:
    """Any frame; ``length`` takes the place of the payload's length field, mask bit left out."""
    size = len(payload)
    first = fin << 7 | rsv << 4 | opcode
    if length is None:
        if size < 126:
            length = bytes([size])
        elif size < 65536:
            length = b"\x7e" + struct.pack("!H", size)
        else:
            length = b"\x7f" + struct.pack("!Q", size)
    if mask is None:
        return bytes([first]) + length + payload
    long_mask = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(long_mask, "big")
    return bytes([first, length[0] | 0x80]) + length[1:] + mask + masked.to_bytes(size, "big")


def close_payload(code: int, reason: str = "") -> bytes:
    """Of a Close frame."""
    return struct.pack("!H", code) + reason.encode()


def split_frames(buffer: bytearray) -> list[Frame]:
    """Takes the whole frames of a server out of ``buffer``: none of them may be masked."""
    found = []
    while len(buffer) >= 2:
        first, second = buffer[0], buffer[1]
        assert not second & 0x80, "a server's frame is masked"
        size, at = second, 2
        if size == 126:
            size, at = int.from_bytes(buffer[2:4], "big"), 4
        elif size == 127:
            size, at = int.from_bytes(buffer[2:10], "big"), 10
        if len(buffer) < at + size:
            break
        payload = bytes(buffer[at : at + size])
        del buffer[: at + size]
        found.append(Frame(bool(first & 0x80), first >> 4 & 7, first & 15, payload))
    return found
