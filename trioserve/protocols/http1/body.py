# SPDX-License-Identifier: MIT
"""Chunked bodies, strictly (RFC 9112 section 7.1).

::

    chunked-body = *chunk last-chunk trailer-section CRLF
    chunk        = 1*HEXDIG [ extensions ] CRLF data CRLF

States: SIZE (a size line is due) → DATA → DATA_END (its CRLF) → SIZE … → TRAILERS → DONE.
Nothing is buffered but an unfinished line, and lines are bounded.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from trioserve.protocols.errors import RemoteProtocolError
from trioserve.protocols.fields import FORBIDDEN_IN_TRAILERS, TOKEN

if TYPE_CHECKING:
    from trioserve.types import Headers

__all__ = ["ChunkedDecoder"]

_QUOTED: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'
_SIZE_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,16})((?:;" + TOKEN + rb"++(?:=(?:" + TOKEN + rb"++|" + _QUOTED + rb"))?)*+)"
)
_TRAILER: Final = re.compile(rb"(" + TOKEN + rb"++):([\t\x20-\x7e\x80-\xff]*+)")

#: A size line: 16 digits and what a sane extension may add.
MAX_SIZE_LINE: Final = 1024
#: Bytes of extensions that one body may hold in all: they carry nothing that anybody reads.
MAX_EXTENSIONS: Final = 16 * 1024


class _State(Enum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILERS = auto()
    DONE = auto()


class ChunkedDecoder:
    """Bytes of the wire in, bytes of the body out.

    Attributes:
        done: the last chunk and the trailer section have come.
        unused: what followed the body (the next request's first bytes).
        trailers: the fields of the trailer section, names in lower case.
    """

    __slots__ = (
        "_extensions",
        "_line",
        "_max_field_size",
        "_max_fields",
        "_remaining",
        "_state",
        "done",
        "trailers",
        "unused",
    )

    def __init__(self, max_fields: int, max_field_size: int) -> None:
        self._state = _State.SIZE
        self._line = b""
        self._remaining = 0
        self._extensions = 0
        self.trailers: Headers = []
        self._max_fields = max_fields
        self._max_field_size = max_field_size
        self.done = False
        self.unused = b""

    def feed(self, data: bytes) -> bytes:
        """Decodes ``data`` and returns what it held of the body, maybe nothing.

        Raises:
            RemoteProtocolError: 400 for malformed framing, 431 for too many or too large trailers.
        """
        parts: list[bytes] = []
        pos = 0
        end = len(data)
        while pos < end and not self.done:
            if self._state is _State.DATA:
                taken = min(self._remaining, end - pos)
                parts.append(data[pos : pos + taken] if taken != end else data)
                pos += taken
                self._remaining -= taken
                if not self._remaining:
                    self._state = _State.DATA_END
            else:
                pos = self._feed_line(data, pos)
        if self.done:
            self.unused = data[pos:]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _feed_line(self, data: bytes, pos: int) -> int:
        """Consumes up to the end of the current line, or all of it if the line goes on."""
        limit = self._line_limit()
        newline = data.find(b"\n", pos)
        if newline < 0:
            self._line += data[pos:]
            if len(self._line) > limit + 1 or b"\r" in self._line[:-1]:
                raise self._bad_line(self._line)
            return len(data)
        line = self._line + data[pos : newline + 1]
        self._line = b""
        if line[-2:] != b"\r\n" or b"\r" in line[:-2] or len(line) - 2 > limit:
            raise self._bad_line(line)
        self._end_line(line[:-2])
        return newline + 1

    def _line_limit(self) -> int:
        if self._state is _State.TRAILERS:
            return self._max_field_size
        return MAX_SIZE_LINE if self._state is _State.SIZE else 0

    def _bad_line(self, line: bytes) -> RemoteProtocolError:
        if self._state is _State.TRAILERS and len(line) > self._max_field_size:
            return RemoteProtocolError(431, f"a trailer is longer than {self._max_field_size}")
        if self._state is _State.DATA_END:
            return RemoteProtocolError(400, "expected CRLF after a chunk's data (RFC 9112 7.1)")
        return RemoteProtocolError(
            400, f"expected a line of at most {self._line_limit()} bytes, ended by CRLF"
        )

    def _end_line(self, line: bytes) -> None:
        if self._state is _State.DATA_END:
            self._state = _State.SIZE
        elif self._state is _State.SIZE:
            self._begin_chunk(line)
        elif line:
            self._check_trailer(line)
        else:
            self._state = _State.DONE
            self.done = True

    def _begin_chunk(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise RemoteProtocolError(
                400, "expected a chunk size in hex, with well-formed extensions (RFC 9112 7.1)"
            )
        self._extensions += len(match[2])
        if self._extensions > MAX_EXTENSIONS:
            raise RemoteProtocolError(400, f"more than {MAX_EXTENSIONS} bytes of chunk extensions")
        self._remaining = int(match[1], 16)
        if self._remaining >= 2**63:
            raise RemoteProtocolError(400, "a chunk size must be below 2**63")
        self._state = _State.DATA if self._remaining else _State.TRAILERS

    def _check_trailer(self, line: bytes) -> None:
        match = _TRAILER.fullmatch(line)
        if match is None:
            raise RemoteProtocolError(400, "a trailer is no field line (RFC 9112 section 7.1.2)")
        if match[1].lower() in FORBIDDEN_IN_TRAILERS:
            raise RemoteProtocolError(400, "a trailer that frames or routes (RFC 9110 6.5.1)")
        self.trailers.append((match[1].lower(), match[2].strip(b" \t")))
        if len(self.trailers) > self._max_fields:
            raise RemoteProtocolError(431, f"more than {self._max_fields} trailers")
