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

from trioserve.protocols.errors import RemoteProtocolError
from trioserve.protocols.http1.body import ChunkedDecoder
from trioserve.protocols.http1.parsers import make_field_parser
from trioserve.protocols.http1.request import (
    CHUNKED,
    FIELDS,
    RequestHead,
    inspect_fields,
    parse_request_line,
)

if TYPE_CHECKING:
    from trioserve.config import Http1Options
    from trioserve.types import Headers

__all__ = ["RequestReader"]

#: Whatever the limits are set to, no head is larger.
MAX_HEAD_SIZE: Final = 1024 * 1024
#: A client that repeats its last request to the letter (a poller, a health check) isn't parsed
#: again; larger heads are not kept for it.
REPEATED_HEAD_SIZE: Final = 1024
#: RFC 9112 section 2.2: at least one empty line before a request line is to be ignored.
MAX_LEADING_EMPTY_LINES: Final = 2

#: An LF without its CR, or a CR that something else than LF follows.
_BARE_LINE_END: Final = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")
_CR: Final = 13
_TOKEN_START: Final = frozenset(
    b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz\r"
)


class RequestReader:
    """Requests of one connection, in order.

    Attributes:
        buffer: what nobody has taken yet, from ``_pos`` on; empty when all is taken.
        request_complete: the current request's body has been taken whole (or it has none).
        body_size: bytes of the current body that were handed out so far.
        trailers: the fields after the last body, once it has been taken whole.
    """

    __slots__ = (
        "_decoder",
        "_empty_lines",
        "_host",
        "_last_head",
        "_last_request",
        "_options",
        "_parser",
        "_pos",
        "_remaining",
        "_scanned",
        "_small_head",
        "body_size",
        "buffer",
        "request_complete",
        "trailers",
    )

    def __init__(self, options: Http1Options) -> None:
        self._options = options
        self._parser = make_field_parser(options.http)
        # No limit but the number of fields can be broken by a head of at most this size.
        self._small_head = min(
            options.limit_request_line, options.limit_request_field_size, MAX_HEAD_SIZE
        )
        self._last_head = b""
        self._last_request: RequestHead
        self.buffer: bytes | bytearray = b""
        self._pos = 0  # where in the buffer the unread bytes begin
        self._scanned = 0  # up to where the end of an unfinished head has been looked for
        self._empty_lines = 0
        self._host: bytes | None = None
        self._decoder: ChunkedDecoder | None = None
        self._remaining = 0
        self.request_complete = True
        self.body_size = 0
        self.trailers: Headers = []

    def receive_data(self, data: bytes) -> None:
        """Appends what the peer sent."""
        if not self.buffer:
            self.buffer = data
            return
        if not isinstance(self.buffer, bytearray):
            self.buffer = bytearray(self.buffer[self._pos :])
            self._scanned -= self._pos
            self._pos = 0
        elif self._pos:
            # What was taken has to go: a client whose every segment ends inside a message would
            # otherwise make this grow for as long as it stays.
            del self.buffer[: self._pos]
            self._scanned -= self._pos
            self._pos = 0
        self.buffer += data

    def next_request(self) -> RequestHead | None:
        """The next request's head, once it is there in full. It is not to be changed.

        Raises:
            RemoteProtocolError: the head breaks the policy or a limit; the connection is over.
        """
        buffer = self.buffer
        pos = self._pos
        end = buffer.find(b"\r\n\r\n", self._scanned - 3 if self._scanned > pos + 3 else pos) + 4
        if end < 4:
            self._check_unfinished(pos)
            return None
        line_end = buffer.find(b"\r\n", pos)
        if line_end == pos:
            return self._skip_empty_line()
        if end == len(buffer):
            head = bytes(buffer) if pos == 0 else bytes(buffer[pos:])
            self.buffer = b""
            self._pos = 0
        else:
            head = bytes(buffer[pos:end])
            self._pos = end
        self._scanned = 0
        self._empty_lines = 0
        line_end -= pos
        request = self._last_request if head == self._last_head else self._parse(head, line_end)
        if request.content_length:
            self._begin_body(request.content_length)
        else:
            self.request_complete = True
            self.body_size = 0
            if self.trailers:
                self.trailers = []
        return request

    def _parse(self, head: bytes, line_end: int) -> RequestHead:
        try:
            if len(head) > self._small_head:
                self._check_limits(head, line_end)
            request = parse_request_line(head[:line_end])
            self._parse_fields(request, head, line_end)
        except RemoteProtocolError as exc:
            exc.head_only = head.startswith(b"HEAD ")
            raise
        if len(head) <= REPEATED_HEAD_SIZE:
            self._last_head = head
            self._last_request = request
        return request

    def _parse_fields(self, request: RequestHead, head: bytes, line_end: int) -> None:
        try:
            request.headers = fields = self._parser.parse(head, line_end, request.target)
        except RemoteProtocolError:
            # Where only a parser's own framing rules object, policy has the first word, so that
            # both parsers end in the same status.
            if FIELDS.fullmatch(head, line_end + 2):
                request.headers = _split_fields(head, line_end)
                inspect_fields(request, head, self._host)
            raise
        if len(fields) > self._options.limit_request_fields:
            raise self._too_many_fields()
        self._host = inspect_fields(request, head, self._host)
        if request.authority is not None:
            # RFC 9112 section 3.2.2: the target's authority replaces Host, or stands in for it.
            others = [field for field in fields if field[0] != b"host"]
            request.headers = [(b"host", request.authority), *others]

    def _too_many_fields(self) -> RemoteProtocolError:
        return RemoteProtocolError(
            431, f"more than {self._options.limit_request_fields} header fields"
        )

    def _check_limits(self, head: bytes, line_end: int) -> None:
        limit = self._options.limit_request_line
        if line_end > limit:
            raise RemoteProtocolError(414, f"the request line is longer than {limit} bytes")
        if len(head) > MAX_HEAD_SIZE:
            raise RemoteProtocolError(431, f"a head is larger than {MAX_HEAD_SIZE} bytes")
        limit = self._options.limit_request_field_size
        if limit < max(map(len, head[line_end + 2 :].split(b"\r\n"))):
            raise RemoteProtocolError(431, f"a header field is longer than {limit} bytes")

    def _skip_empty_line(self) -> RequestHead | None:
        self._empty_lines += 1
        if self._empty_lines > MAX_LEADING_EMPTY_LINES:
            raise RemoteProtocolError(400, "too many empty lines before a request (RFC 9112 2.2)")
        self._pos += 2
        if self._pos == len(self.buffer):
            self.buffer = b""
            self._pos = 0
            self._scanned = 0
            return None
        return self.next_request()

    def _check_unfinished(self, pos: int) -> None:
        """Refuses at once what no further byte can mend, and what is too large already."""
        buffer = self.buffer
        if not buffer:
            return
        if buffer[pos] == _CR and buffer[pos:] == b"\r\n":
            # Some clients end a body by an empty line. It begins no request: the connection is
            # idle, and ends like an idle one.
            self._skip_empty_line()
            return
        if buffer[pos] not in _TOKEN_START:
            raise RemoteProtocolError(400, "a request must begin with a method (RFC 9112 3.1)")
        scanned = max(pos, self._scanned - 1)
        if _BARE_LINE_END.search(buffer, scanned):
            raise RemoteProtocolError(400, "a line must end in CRLF (RFC 9112 section 2.2)")
        self._scanned = len(buffer)
        line_end = buffer.find(b"\r\n", pos)
        limit = self._options.limit_request_line
        if (len(buffer) - pos - 1 if line_end < 0 else line_end - pos) > limit:
            raise RemoteProtocolError(414, f"the request line is longer than {limit} bytes")
        self._check_unfinished_fields(pos)

    def _check_unfinished_fields(self, pos: int) -> None:
        options = self._options
        buffer = self.buffer
        size = len(buffer) - pos
        if size > MAX_HEAD_SIZE:
            raise RemoteProtocolError(431, f"a head is larger than {MAX_HEAD_SIZE} bytes")
        limit = options.limit_request_field_size
        last_line = buffer.rfind(b"\n")
        if limit < len(buffer) - last_line - 2 and last_line > pos:
            raise RemoteProtocolError(431, f"a header field is longer than {limit} bytes")
        # A field line has at least four bytes, so counting can wait until there could be enough.
        limit = options.limit_request_fields
        if size > 4 * limit and buffer.count(b"\n", pos) > limit + 1:
            raise self._too_many_fields()

    def _begin_body(self, content_length: int) -> None:
        self.body_size = 0
        self.trailers = []
        self.request_complete = False
        self._parser.start_over()
        if content_length == CHUNKED:
            options = self._options
            self._decoder = ChunkedDecoder(
                options.limit_request_fields, options.limit_request_field_size
            )
        else:
            self._remaining = content_length

    def next_body(self) -> bytes:
        """What has come of the current body and was not handed out yet.

        An empty result means that more bytes are needed, or that request_complete is true.

        Raises:
            RemoteProtocolError: malformed chunked framing; the connection is over.
        """
        if self.request_complete or not self.buffer:
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
                self.trailers = decoder.trailers
                self._decoder = None
                self.buffer = decoder.unused
                self._pos = 0
        self.body_size += len(data)
        return data

    def take_unread(self) -> bytes:
        """What has come after the last request: of another protocol, which takes over."""
        return self._take(None) if self.buffer else b""

    def _take(self, limit: int | None) -> bytes:
        """Up to ``limit`` buffered bytes, without a copy where the whole buffer is taken."""
        buffer, pos = self.buffer, self._pos
        end = len(buffer) if limit is None else min(len(buffer), pos + limit)
        if end == len(buffer):
            self.buffer = b""
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
