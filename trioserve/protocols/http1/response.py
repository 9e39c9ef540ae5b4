# SPDX-License-Identifier: MIT
"""A response's bytes: its head, its framing, its body (RFC 9112 sections 4 to 7).

How a body is framed follows from the request and the head, by the first row that fits:

====================================  ==========  ==========================================
request and head                      framing     what is written
====================================  ==========  ==========================================
HEAD, 204, 304                        NO_BODY     no body, whatever the application sends
trailers announced, HTTP/1.1          CHUNKED     ``transfer-encoding: chunked``
Content-Length given                  LENGTH      exactly that much, or the connection ends
the whole body is known with the head LENGTH      Content-Length added
HTTP/1.1                              CHUNKED     ``transfer-encoding: chunked``
HTTP/1.0                              UNTIL_CLOSE the end of the connection ends the body
====================================  ==========  ==========================================
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from trioserve.errors import AppProtocolError
from trioserve.protocols.fields import (
    FORBIDDEN_IN_TRAILERS,
    KNOWN_FIELDS,
    Special,
    check_status,
    encode_field_block,
    encode_fields,
    field_info,
    parse_length,
    reason_phrase,
    same_length,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["DefaultFields", "Framing", "ResponseEncoder"]


class Framing(Enum):
    """How the end of a response's body is told."""

    NO_BODY = auto()
    LENGTH = auto()
    CHUNKED = auto()
    UNTIL_CLOSE = auto()


# An enum's member costs two look-ups each time it is named.
_NO_BODY: Final = Framing.NO_BODY
_LENGTH: Final = Framing.LENGTH
_CHUNKED: Final = Framing.CHUNKED
_UNTIL_CLOSE: Final = Framing.UNTIL_CLOSE

_STATUS_LINES: Final[dict[int, bytes]] = {}
_LENGTH_PREFIX: Final = b"\r\ncontent-length: "
_NOTHING: Final = frozenset[bytes]()
_CONTENT_LENGTH: Final = int(Special.CONTENT_LENGTH)
_CONNECTION: Final = int(Special.CONNECTION)


def _status_line(status: int) -> bytes:
    line = _STATUS_LINES.get(status)
    if line is None:
        line = b"HTTP/1.1 %d %s" % (check_status(status), reason_phrase(status).encode())
        _STATUS_LINES[status] = line
    return line


class DefaultFields:
    """The Server and Date fields, for each case of what the application says itself.

    ``blocks[seen]`` is what is to be added when the application has sent the fields ``seen``
    (Special.DATE, Special.SERVER), and ``counts[seen]`` how many lines that is. A line begins
    with its CRLF here.
    """

    __slots__ = ("blocks", "counts", "fields")

    def __init__(self, server: bytes, date: bytes) -> None:
        self.blocks = (server + date, server, date, b"")
        self.counts = tuple(block.count(b"\r\n") for block in self.blocks)
        #: The same as HTTP/2 has them.
        self.fields = tuple(
            [(name, value) for name, _, value in lines]
            for lines in (
                [line.partition(b": ") for line in block.split(b"\r\n") if line]
                for block in self.blocks
            )
        )


class ResponseEncoder:
    """One response after another of a connection, as bytes. Pure: it writes nothing itself.

    Attributes:
        keep_alive: the connection persists after this response. False only gets told to the
            client if it is so before the head is encoded.
        started: the head has been encoded.
        framing: see the table above; known once started.
    """

    __slots__ = (
        "_chunk_line",
        "_chunk_size",
        "_head_only",
        "_minor_version",
        "_remaining",
        "framing",
        "keep_alive",
        "started",
    )

    def __init__(self) -> None:
        self.keep_alive = True
        self.started = False
        self.framing = Framing.NO_BODY
        self._head_only = False
        self._minor_version = 1
        self._remaining = 0
        self._chunk_size = 0
        self._chunk_line = b""

    def begin(self, minor_version: int, head_only: bool, keep_alive: bool) -> None:
        """The next response answers a request of ``minor_version``, a HEAD if ``head_only``."""
        self.started = False
        self.keep_alive = keep_alive
        self._minor_version = minor_version
        self._head_only = head_only

    def encode_head(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        body_size: int | None,
        trailers: bool,
        defaults: DefaultFields,
    ) -> bytes:
        """The status line and the header section.

        Args:
            status: 200 to 999.
            headers: the application's; hop-by-hop fields among them are the server's business
                and are left out, but ``connection: close`` is obeyed.
            body_size: bytes of the whole body where they are known, else None.
            trailers: the application announced a trailer section.
            defaults: what to add where the application doesn't say it.

        Raises:
            AppProtocolError: a bad status, name, value or Content-Length. Nothing has changed
                then, so that an error response can still be encoded.
        """
        pieces = [_STATUS_LINES.get(status) or _status_line(status), b""]
        seen = 0
        keep_alive = self.keep_alive
        length_value: bytes | None = None
        for name, value in headers:
            prefix, special = KNOWN_FIELDS.get(name) or field_info(name)
            if not special:
                pieces.append(prefix)
                pieces.append(value)
            elif special == _CONTENT_LENGTH:
                length_value = same_length(value, length_value)
            elif special == _CONNECTION:
                keep_alive = not _says_close(value) and keep_alive
            elif special < _CONTENT_LENGTH:
                seen |= special
                pieces += (prefix, value)
        length = None if length_value is None else parse_length(length_value)
        # A CRLF for each of the application's fields, and two for the end of the head.
        count = len(pieces) // 2 + 1 + defaults.counts[seen]
        pieces[1] = defaults.blocks[seen]
        framing, length = self._choose_framing(status, length, body_size, trailers)
        if length is not None:
            pieces.append(_LENGTH_PREFIX)
            pieces.append(length_value or b"%d" % length)
            count += 1
        elif framing is _CHUNKED:
            pieces.append(b"\r\ntransfer-encoding: chunked")
            count += 1
        elif framing is _UNTIL_CLOSE:
            keep_alive = False
        if not keep_alive:
            pieces.append(b"\r\nconnection: close")
            count += 1
        elif not self._minor_version:
            pieces.append(b"\r\nconnection: keep-alive")
            count += 1
        pieces.append(b"\r\n\r\n")
        head = encode_field_block(pieces, count)
        self.keep_alive = keep_alive
        self.framing = framing
        self._remaining = length or 0
        self.started = True
        return head

    def _choose_framing(
        self, status: int, length: int | None, body_size: int | None, trailers: bool
    ) -> tuple[Framing, int | None]:
        """The framing, and the Content-Length to announce."""
        if status == 204:
            return _NO_BODY, None  # RFC 9110 section 8.6: no Content-Length in a 204
        if self._head_only or status == 304:
            # A HEAD's Content-Length is what GET would have: an empty body given tells nothing.
            return _NO_BODY, (body_size or None) if length is None else length
        if trailers and self._minor_version:
            return _CHUNKED, None
        if length is not None:
            if body_size is not None and body_size != length:
                raise AppProtocolError(
                    f"content-length says {length}, but the body has {body_size} bytes"
                )
            return _LENGTH, length
        if body_size is not None:
            return _LENGTH, body_size
        return (_CHUNKED if self._minor_version else _UNTIL_CLOSE), None

    def encode_body(self, body: bytes, more: bool, trailers: bool) -> Sequence[bytes]:
        """The pieces of one body message; large ones are handed on as they are, without a copy.

        Raises:
            AppProtocolError: more than Content-Length says, or less at the end. Nothing of this
                message is to be written then, and the connection can't go on.
        """
        if self.framing is _LENGTH:
            self.count_body(len(body), more)
            return (body,)
        if self.framing is _CHUNKED:
            end = b"" if more else b"0\r\n" if trailers else b"0\r\n\r\n"
            if not body:
                return (end,) if end else ()
            size = len(body)
            if size != self._chunk_size:  # chunks of a stream mostly have one size
                self._chunk_size = size
                self._chunk_line = b"%x\r\n" % size
            return (self._chunk_line, body, b"\r\n" + end if end else b"\r\n")
        if self.framing is _UNTIL_CLOSE:
            return (body,)
        return ()

    def count_body(self, size: int, more: bool) -> None:
        """Counts ``size`` bytes against Content-Length, as encode_body does.

        Raises:
            AppProtocolError: as encode_body.
        """
        if self.framing is not _LENGTH:
            return
        remaining = self._remaining - size
        if remaining < 0:
            self.keep_alive = False
            raise AppProtocolError(
                f"the body is longer than its content-length: {-remaining} bytes too many"
            )
        if remaining and not more:
            self.keep_alive = False
            raise AppProtocolError(
                f"the body is shorter than its content-length: {remaining} bytes are missing"
            )
        self._remaining = remaining

    def encode_trailers(self, headers: Iterable[tuple[bytes, bytes]], more: bool) -> bytes:
        """A trailer section's lines; the first call also ends the body, the last the message.

        An HTTP/1.0 client, or a response without body, gets none of it.

        Raises:
            AppProtocolError: a field that RFC 9110 section 6.5.1 forbids in trailers.
        """
        block = encode_fields(headers, FORBIDDEN_IN_TRAILERS)
        if self.framing is not _CHUNKED:
            return b""
        # The last line's CRLF, or the last chunk's, is there already; each line brings its next.
        return block[2:] + b"\r\n" * bool(block) + (b"" if more else b"\r\n")

    def encode_interim(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """A 1xx response (RFC 9110 section 15.2); empty for HTTP/1.0, which knows none.

        Raises:
            AppProtocolError: a bad name or value.
        """
        block = encode_fields(headers, _NOTHING)
        if not self._minor_version:
            return b""
        return b"HTTP/1.1 %d %s%s\r\n\r\n" % (status, reason_phrase(status).encode(), block)


def _says_close(value: Any) -> bool:
    """Whether an application's Connection field ends the connection."""
    if isinstance(value, (bytes, bytearray)):
        return b"close" in value.lower()
    raise AppProtocolError(f"a response header value must be bytes, got {value!r}")
