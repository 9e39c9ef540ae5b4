# SPDX-License-Identifier: MIT
"""Bytes → frames, after the preface (RFC 9113 sections 3.4 and 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trioserve.protocols.http2.errors import ErrorCode
from trioserve.protocols.http2.frames import FRAME_HEADER, FRAME_HEADER_SIZE, STREAM_ID, broken
from trioserve.protocols.negotiation import PREFACE

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FrameReader"]


class FrameReader:
    """What a client has sent, frame by frame.

    Args:
        max_frame_size: bytes of a payload that is taken.
    """

    __slots__ = ("_expected", "_max_frame_size", "_missing", "_pieces")

    def __init__(self, max_frame_size: int) -> None:
        self._max_frame_size = max_frame_size
        self._expected = PREFACE  # what is still to come of it
        self._pieces: list[bytes] = []  # the beginning of a frame
        self._missing = 0  # bytes until it can be looked at again

    def feed(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """Type, flags, stream and payload of each frame that is whole by now.

        Raises:
            Http2ConnectionError: no preface, or a frame that is too large. Those before were given.
        """
        if self._pieces:
            self._pieces.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        at = self._read_preface(data) if self._expected else 0
        size = len(data)
        limit = self._max_frame_size
        missing = FRAME_HEADER_SIZE
        while size - at >= FRAME_HEADER_SIZE:
            high, low, frame_type, flags, stream_id = FRAME_HEADER.unpack_from(data, at)
            length = high << 8 | low
            if length > limit:
                raise broken(
                    ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes, {limit} at most", "4.2"
                )
            start = at + FRAME_HEADER_SIZE
            if size - start < length:
                missing += length
                break
            at = start + length
            yield frame_type, flags, stream_id & STREAM_ID, data[start:at]
        if at < size:
            self._missing = missing - (size - at)
            self._pieces.append(data[at:])

    def _read_preface(self, data: bytes) -> int:
        """Takes what has come of the preface; returns where the frames begin."""
        expected = self._expected
        size = min(len(data), len(expected))
        if data[:size] != expected[:size]:
            raise broken(ErrorCode.PROTOCOL_ERROR, "no HTTP/2 preface", "3.4")
        self._expected = expected[size:]
        return size
