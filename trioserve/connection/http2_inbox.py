# SPDX-License-Identifier: MIT
"""What has come of a request's body and was not taken yet.

The client has a window for it (RFC 9113 section 5.2), which counts bytes and padding. What they
cost here must be near that: frames of a byte each are put together, since an object for each would
need a hundred times their size.
"""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["Http2Inbox"]

#: Bytes that are taken as one piece, at most about.
JOIN_SIZE: Final = 128 * 1024
#: Below this a frame's data is not kept by itself.
SMALL_SIZE: Final = 512


class Http2Inbox:
    """Pieces of a body, in order; true while there are some."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: deque[tuple[bytes | bytearray, int]] = deque()

    def __len__(self) -> int:
        return len(self._pieces)

    def add(self, data: bytes, size: int) -> None:
        """Adds the data of a frame, ``size`` bytes of which count for flow control."""
        pieces = self._pieces
        if len(data) >= SMALL_SIZE:
            pieces.append((data, size))
            return
        if pieces:
            last, before = pieces[-1]
            if isinstance(last, bytearray) and len(last) < JOIN_SIZE:
                last += data
                pieces[-1] = (last, before + size)
                return
        pieces.append((bytearray(data), size))

    def take(self) -> tuple[bytes, int]:
        """The next of it, with the bytes that count for flow control."""
        pieces = self._pieces
        data, size = pieces.popleft()
        if not pieces:
            return bytes(data), size
        parts = [data]
        joined = len(data)
        while pieces and joined < JOIN_SIZE:
            data, more = pieces.popleft()
            parts.append(data)
            joined += len(data)
            size += more
        return b"".join(parts), size

    def clear(self) -> int:
        """Drops all of it; returns the bytes that count for flow control."""
        unread = sum(size for _, size in self._pieces)
        self._pieces.clear()
        return unread
