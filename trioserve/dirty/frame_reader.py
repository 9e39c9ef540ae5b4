# SPDX-License-Identifier: MIT
"""Bytes from a stream to frames, at whatever places the stream cuts them. Pure.

    while True:
        target = reader.wanted()
        if target is None:
            frames = reader.feed(sock.recv(65536))
        else:
            frames = reader.filled(sock.recv_into(target))
        … handle the frames …
        if reader.error is not None: answer with an ERROR frame, close

What is not whole yet is either a part of a header, which is put before the next bytes, or a part of
a payload, which is collected in a buffer. At first that has 256 KiB at most, whatever the length,
so that one which is only claimed costs little; once these have come, it has room for all.
"""

from __future__ import annotations

import mmap
from typing import Final

from trioserve.dirty.errors import DirtyProtocolError
from trioserve.dirty.frame_header import (
    DEFAULT_MAX_FRAME_SIZE,
    HEADER_SIZE,
    TYPES_BY_WORD,
    Frame,
    Payload,
    is_version_1,
    type_name,
    unpack_header,
    what_is_wrong,
)

#: From this size on a payload is a view of where it was received, not a copy as bytes.
_VIEW_SIZE: Final = 64 * 1024
#: If this much of a payload is missing, it is worth to be received in its place.
_WANTED_SIZE: Final = 64 * 1024
#: What a length that was made up can cost: a bytearray is zeroed, so all of it is memory.
_FIRST_SIZE: Final = 256 * 1024
#: A buffer up to this is zeroed, too, once the first one is full: malloc gives the same memory
#: again and again, where new pages cost five times as much. Beyond it, it doesn't; then memory is
#: taken only where something is put into it.
_ZEROED_SIZE: Final = 32 * 1024 * 1024


class FrameReader:
    """The frames of one stream.

    Args:
        max_frame_size: bytes of a payload that is taken.

    Attributes:
        error: what was wrong with the stream, from when it is known: look at it after the frames of
            each call were handled. The frames before the bad one are not lost: the call that
            meets it gives them, and each call after that raises the error. (It raises at once
            where no frame came before.)
        error_request_id: the id in the bad frame's header, 0 where there is none.
    """

    __slots__ = (
        "_buffer",
        "_collected",
        "_frame_type",
        "_max_frame_size",
        "_request_id",
        "_size",
        "_tail",
        "error",
        "error_request_id",
    )

    def __init__(self, max_frame_size: int = DEFAULT_MAX_FRAME_SIZE) -> None:
        self._max_frame_size = max_frame_size
        self._tail = b""
        # The frame under way, whose header has come; its payload's first _collected bytes are in
        # the buffer. Without a buffer there is none.
        self._buffer: bytearray | mmap.mmap | None = None
        self._frame_type = self._request_id = self._size = self._collected = 0
        self.error: DirtyProtocolError | None = None
        self.error_request_id = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Takes bytes that came; gives the frames that they end.

        A payload of less than 64 KiB is bytes; a longer one a view that can't be written to, of a
        buffer that is used for nothing else.

        Raises:
            DirtyProtocolError: see ``error``.
        """
        if self.error is not None:
            raise self.error
        frames: list[Frame] = []
        if self._buffer is not None:
            data = self._collect(data)
            if self._collected < self._size:
                return frames
            frames.append(self._finish())
        if self._tail:
            data = self._tail + data
        size = len(data)
        start = 0
        while size - start >= HEADER_SIZE:
            word, payload_size, request_id = unpack_header(data, start)
            frame_type = TYPES_BY_WORD.get(word)
            if frame_type is None or payload_size > self._max_frame_size:
                self._fail(word, payload_size, request_id, frames)
                return frames
            start += HEADER_SIZE
            stop = start + payload_size
            if stop > size:
                self._tail = b""
                self._begin(frame_type, request_id, payload_size, memoryview(data)[start:])
                return frames
            source: Payload = data if payload_size < _VIEW_SIZE else memoryview(data)
            frames.append((frame_type, request_id, source[start:stop]))
            start = stop
        self._tail = data[start:]
        return frames

    def wanted(self) -> memoryview | None:
        """Where to receive what comes next; None if it is to be fed.

        It is a place in the payload under way, if much of it is missing. It may be shorter than
        what is missing, and is good until ``filled`` is called.
        """
        if self._buffer is None or self._size - self._collected < _WANTED_SIZE:
            return None
        if self._collected == len(self._buffer):
            self._grow()
        return memoryview(self._buffer)[self._collected :]

    def filled(self, size: int) -> list[Frame]:
        """Takes the first ``size`` bytes of what ``wanted`` gave; gives the frame that they end."""
        if self._buffer is None or not 0 <= size <= len(self._buffer) - self._collected:
            raise ValueError(f"{size} bytes are more than were wanted")
        self._collected += size
        return [self._finish()] if self._collected == self._size else []

    @property
    def is_between_frames(self) -> bool:
        """Whether all that came was of frames that have ended."""
        return self._buffer is None and not self._tail

    def eof(self) -> None:
        """The stream has ended.

        Raises:
            DirtyProtocolError: in the middle of a frame.
        """
        if self.error is not None:
            raise self.error
        if self._buffer is not None:
            raise DirtyProtocolError(
                f"the stream ends after {self._collected:,} of {self._size:,} bytes of a"
                f" {type_name(self._frame_type)} frame's payload"
            )
        if self._tail:
            raise DirtyProtocolError(
                f"the stream ends after {len(self._tail)} of {HEADER_SIZE} bytes of header"
            )

    # -- the payload under way --------------------------------------------------------------

    def _begin(self, frame_type: int, request_id: int, size: int, data: memoryview) -> None:
        self._frame_type = frame_type
        self._request_id = request_id
        self._size = size
        self._collected = 0
        self._buffer = bytearray(min(size, _FIRST_SIZE))
        self._collect(data)

    def _collect(self, data: bytes | memoryview) -> bytes:
        """Copies what belongs to the payload; gives what comes after it."""
        assert self._buffer is not None
        stop = self._collected + len(data)
        if len(self._buffer) < min(stop, self._size):
            self._grow()
        taken = min(stop, self._size) - self._collected
        # By a view: a bytearray's own slice would copy once more.
        memoryview(self._buffer)[self._collected : self._collected + taken] = data[:taken]
        self._collected += taken
        return bytes(data[taken:])

    def _grow(self) -> None:
        # A new one: views of the old one may still be about, and forbid to resize it.
        assert self._buffer is not None
        size = self._size
        buffer = bytearray(size) if size <= _ZEROED_SIZE else _reserve(size)
        memoryview(buffer)[: self._collected] = memoryview(self._buffer)[: self._collected]
        self._buffer = buffer

    def _finish(self) -> Frame:
        buffer = self._buffer
        assert buffer is not None
        self._buffer = None
        payload: Payload
        payload = bytes(buffer) if self._size < _VIEW_SIZE else memoryview(buffer).toreadonly()
        return self._frame_type, self._request_id, payload

    def _fail(self, word: int, size: int, request_id: int, frames: list[Frame]) -> None:
        frame_type = TYPES_BY_WORD.get(word)
        if frame_type is None:
            what = what_is_wrong(word)
        else:
            what = (
                f"a {type_name(frame_type)} frame of {size:,} bytes:"
                f" dirty_max_frame_size is {self._max_frame_size:,}"
            )
        # An id is one only if the bytes around it are a header.
        self.error_request_id = request_id if is_version_1(word) else 0
        self.error = DirtyProtocolError(what)
        if not frames:
            raise self.error


def _reserve(size: int) -> mmap.mmap:
    """A buffer that takes memory only where something is put into it."""
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
