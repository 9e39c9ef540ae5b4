# SPDX-License-Identifier: MIT
"""The receiving half of a connection: bytes in, request heads and body bytes out.

Pure: it has no clock and no socket. The caller feeds what came and asks::

    receive_data(data)                 as bytes come
    next_request()  → RequestHead      or None: more bytes are needed
    next_body()     → bytes            b"": more bytes are needed, unless request_complete

Buffered at any time: one unfinished head (bounded by the limits) or what one read brought.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from trioserve.protocols.http1.body import ChunkedDecoder
from trioserve.protocols.http1.errors import RemoteProtocolError
from trioserve.protocols.http1.parsers import make_field_parser
from trioserve.protocols.http1.request import (
    CHUNKED,
    FIELDS,
    RequestHead,
    inspect_fields,
    parse_request_line,
    resolve_target,
)

if TYPE_CHECKING:
    from trioserve.config import Http1Options
    from trioserve.types import Headers

__all__ = ["RequestReader"]

#: Whatever the limits are set to, no head is larger.
MAX_HEAD_SIZE: Final = 1024 * 1024
#: RFC 9112 section 2.2: at least one empty line before a request line is to be ignored.
MAX_LEADING_EMPTY_LINES: Final = 2

#: An LF without its CR, or a CR that something else than LF follows.
_BARE_LINE_END: Final = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")
_TOKEN_START: Final = frozenset(
    b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz\r"
)


class RequestReader:
    """Requests of one connection, in order.

    Attributes:
        request_complete: the current request's body has been taken whole (or it has none).
        body_size: bytes of the current body that were handed out so far.
    """

    __slots__ = (
        "_buffer",
        "_decoder",
        "_empty_lines",
        "_host",
        "_options",
        "_parser",
        "_pos",
        "_remaining",
        "_scanned",
        "body_size",
        "request_complete",
    )

    def __init__(self, options: Http1Options) -> None:
        self._options = options
        self._parser = make_field_parser(options.http)
        self._buffer: bytes | bytearray = b""
        self._pos = 0  # where in the buffer the unread bytes begin
        self._scanned = 0  # up to where the end of an unfinished head has been looked for
        self._empty_lines = 0
        self._host: bytes | None = None
        self._decoder: ChunkedDecoder | None = None
        self._remaining = 0
        self.request_complete = True
        self.body_size = 0

    @property
    def has_data(self) -> bool:
        """There are bytes that nobody has taken yet."""
        return len(self._buffer) > self._pos

    @property
    def head_begun(self) -> bool:
        """Part of a head has come: its sender gets a 408 rather than a silent close."""
        return self.request_complete and len(self._buffer) > self._pos

    def receive_data(self, data: bytes) -> None:
        """Appends what the peer sent."""
        if len(self._buffer) == self._pos:
            self._buffer = data
            self._pos = 0
            self._scanned = 0
            return
        if not isinstance(self._buffer, bytearray):
            self._buffer = bytearray(self._buffer[self._pos :])
            self._scanned -= self._pos
            self._pos = 0
        self._buffer += data

    def next_request(self) -> RequestHead | None:
        """The next request's head, once it is there in full.

        Raises:
            RemoteProtocolError: the head breaks the policy or a limit; the connection is over.
        """
        buffer = self._buffer
        pos = self._pos
        end = buffer.find(b"\r\n\r\n", max(pos, self._scanned - 3)) + 4
        if end < 4:
            self._check_unfinished(pos)
            return None
        if buffer.startswith(b"\r\n", pos):
            return self._skip_empty_line()
        if pos == 0 and end == len(buffer):
            head = bytes(buffer)
            self._buffer = b""
        else:
            head = bytes(buffer[pos:end])
            self._pos = end
        self._scanned = 0
        request = self._parse(head)
        self._begin_body(request.content_length)
        return request

    def _parse(self, head: bytes) -> RequestHead:
        line_end = head.find(b"\r\n")
        limit = self._options.limit_request_line
        if line_end > limit > 0:
            raise RemoteProtocolError(414, f"the request line is longer than {limit} bytes")
        self._check_size(head, line_end)
        method, target, minor_version = parse_request_line(head[:line_end])
        authority = None
        if target[0] != 0x2F or method == "CONNECT":
            target, authority = resolve_target(method, target)
        raw_path, _, query = target.partition(b"?")
        request = RequestHead(method, raw_path, query, minor_version, [])
        self._parse_fields(request, head, line_end)
        if authority is not None:
            # RFC 9112 section 3.2.2: the target's authority replaces Host.
            request.headers = [
                (name, authority if name == b"host" else value) for name, value in request.headers
            ]
        return request

    def _parse_fields(self, request: RequestHead, head: bytes, line_end: int) -> None:
        try:
            request.headers = self._parser.parse(head, line_end)
        except RemoteProtocolError:
            # Where only a parser's own framing rules object, policy has the first word, so that
            # both parsers end in the same status.
            if FIELDS.fullmatch(head, line_end + 2):
                request.headers = _split_fields(head, line_end)
                self._limit_fields(len(request.headers))
                inspect_fields(request, head, self._host)
            raise
        self._limit_fields(len(request.headers))
        self._host = inspect_fields(request, head, self._host)

    def _limit_fields(self, count: int) -> None:
        limit = self._options.limit_request_fields
        if count > limit > 0:
            raise RemoteProtocolError(431, f"more than {limit} header fields")

    def _check_size(self, head: bytes, line_end: int) -> None:
        limit = self._options.limit_request_field_size
        if len(head) - line_end <= limit or limit <= 0:
            if len(head) > MAX_HEAD_SIZE:
                raise RemoteProtocolError(431, f"a head is larger than {MAX_HEAD_SIZE} bytes")
            return
        if max(map(len, head[line_end + 2 :].split(b"\r\n"))) > limit:
            raise RemoteProtocolError(431, f"a header field is longer than {limit} bytes")

    def _skip_empty_line(self) -> RequestHead | None:
        self._empty_lines += 1
        if self._empty_lines > MAX_LEADING_EMPTY_LINES:
            raise RemoteProtocolError(400, "too many empty lines before a request (RFC 9112 2.2)")
        self._pos += 2
        self._scanned = self._pos
        request = self.next_request()
        if request is not None:
            self._empty_lines = 0
        return request

    def _check_unfinished(self, pos: int) -> None:
        """Refuses at once what no further byte can mend, and what is too large already."""
        buffer = self._buffer
        if len(buffer) == pos:
            return
        if buffer[pos] not in _TOKEN_START:
            raise RemoteProtocolError(400, "a request must begin with a method (RFC 9112 3.1)")
        scanned = max(pos, self._scanned - 1)
        if _BARE_LINE_END.search(buffer, scanned):
            raise RemoteProtocolError(400, "a line must end in CRLF (RFC 9112 section 2.2)")
        self._scanned = len(buffer)
        line_end = buffer.find(b"\r\n", pos)
        limit = self._options.limit_request_line
        if limit > 0 and (len(buffer) - pos - 1 if line_end < 0 else line_end - pos) > limit:
            raise RemoteProtocolError(414, f"the request line is longer than {limit} bytes")
        self._check_unfinished_fields(pos)

    def _check_unfinished_fields(self, pos: int) -> None:
        options = self._options
        buffer = self._buffer
        size = len(buffer) - pos
        if size > MAX_HEAD_SIZE:
            raise RemoteProtocolError(431, f"a head is larger than {MAX_HEAD_SIZE} bytes")
        limit = options.limit_request_field_size
        last_line = buffer.rfind(b"\n")
        if 0 < limit < len(buffer) - last_line - 2 and last_line > pos:
            raise RemoteProtocolError(431, f"a header field is longer than {limit} bytes")
        # A field line has at least four bytes, so counting can wait until there could be enough.
        limit = options.limit_request_fields
        if limit > 0 and size > 4 * limit and buffer.count(b"\n", pos) > limit + 1:
            raise RemoteProtocolError(431, f"more than {limit} header fields")

    def _begin_body(self, content_length: int) -> None:
        self.body_size = 0
        self.request_complete = content_length == 0
        if content_length == 0:
            return
        self._parser.start_over()
        if content_length == CHUNKED:
            options = self._options
            self._decoder = ChunkedDecoder(
                options.limit_request_fields or MAX_HEAD_SIZE,
                options.limit_request_field_size or MAX_HEAD_SIZE,
            )
        else:
            self._remaining = content_length

    def next_body(self) -> bytes:
        """What has come of the current body and was not handed out yet.

        An empty result means that more bytes are needed, or that request_complete is true.

        Raises:
            RemoteProtocolError: malformed chunked framing; the connection is over.
        """
        if self.request_complete or len(self._buffer) == self._pos:
            return b""
        data = self._take(self._remaining if self._decoder is None else None)
        if self._decoder is None:
            self._remaining -= len(data)
            self.request_complete = not self._remaining
        else:
            decoder = self._decoder
            data = decoder.feed(data)
            if decoder.done:
                self.request_complete = True
                self._decoder = None
                self._buffer = decoder.unused
        self.body_size += len(data)
        return data

    def _take(self, limit: int | None) -> bytes:
        """Up to ``limit`` buffered bytes, without a copy where the whole buffer is taken."""
        buffer, pos = self._buffer, self._pos
        end = len(buffer) if limit is None else min(len(buffer), pos + limit)
        if end == len(buffer):
            self._buffer = b""
            self._pos = 0
            return bytes(buffer) if pos == 0 else bytes(buffer[pos:])
        self._pos = end
        return bytes(buffer[pos:end])


def _split_fields(head: bytes, line_end: int) -> Headers:
    """The fields of a head that the FIELDS grammar accepts."""
    fields = []
    for line in head[line_end + 2 : -4].split(b"\r\n"):
        name, _, value = line.partition(b":")
        fields.append((name.lower(), value.strip(b" \t")))
    return fields
