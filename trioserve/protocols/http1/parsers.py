# SPDX-License-Identifier: MIT
"""The two backends behind one face: a whole head goes in, its fields come out.

``parse(head, line_end, target)`` gets the bytes from the request line to the empty line, and gives
the fields with lower-cased names and trimmed values; it also answers for the target's characters.
The rest of the request line is not the parsers' business: llhttp knows a closed list of methods,
h11 another set of versions, so policy reads it for both (request.py). Nor is the body's framing
(body.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from trioserve.protocols.errors import RemoteProtocolError
from trioserve.protocols.http1.request import FIELDS
from trioserve.protocols.targets import TARGET

if TYPE_CHECKING:
    from trioserve.types import Headers

__all__ = ["FieldParser", "H11FieldParser", "HttptoolsFieldParser", "make_field_parser"]

#: Stand in for the client's request line where a parser must not judge it; h11 would miss a Host
#: in HTTP/1.1, and that is policy's business.
_PLAIN_LINE = b"GET / HTTP/1.1"
_PLAIN_LINE_FOR_H11 = b"GET / HTTP/1.0"


class FieldParser(Protocol):
    """One a connection: a parser may keep state between the heads of a connection."""

    def parse(self, head: bytes, line_end: int, target: bytes) -> Headers:
        """The fields of ``head``, whose request line ends at ``line_end`` and names ``target``.

        Raises:
            RemoteProtocolError: 400, with the parser's own reason.
        """
        ...


def _bad_target() -> RemoteProtocolError:
    return RemoteProtocolError(
        400, "the request target holds a character that no URI may hold there (RFC 9112 3.2)"
    )


class HttptoolsFieldParser:
    """llhttp, by the httptools package: the default on CPython."""

    __slots__ = ("_fields", "_parser")

    def __init__(self) -> None:
        self._fields: Headers = []
        self._parser = HttpRequestParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools for each field line."""
        self._fields.append((name.lower(), value))

    def parse(self, head: bytes, line_end: int, target: bytes) -> Headers:
        """See FieldParser."""
        self._fields = fields = []
        try:
            self._parser.feed_data(head)
        except HttpParserUpgrade:  # an Upgrade field: the head itself is fine
            self.start_over()
        except HttpParserError:
            fields = self._parse_alone(head, line_end, target)
        if b"#" in target:
            raise _bad_target()
        if b" \r\n" in head or b"\t\r\n" in head:  # llhttp leaves white space at a value's end
            fields = [(name, value.rstrip(b" \t")) for name, value in fields]
        return fields

    def start_over(self) -> None:
        """Forgets a message whose body was not fed to llhttp."""
        self._parser = HttpRequestParser(self)

    def _parse_alone(self, head: bytes, line_end: int, target: bytes) -> Headers:
        """The fields judged under a request line that is beyond reproach."""
        if not TARGET.fullmatch(target):
            raise _bad_target()
        self._fields = []
        self.start_over()
        try:
            self._parser.feed_data(_PLAIN_LINE + head[line_end:])
        except HttpParserUpgrade:
            pass
        except HttpParserError as exc:
            raise RemoteProtocolError(400, str(exc)) from None
        finally:
            self.start_over()
        return self._fields


class H11FieldParser:
    """h11, in Python. It reads some things generously, so a strict grammar stands before it."""

    __slots__ = ("_h11",)

    def __init__(self) -> None:
        import h11  # here, since with httptools nothing needs it, and it costs 15 ms of a start

        self._h11 = h11

    def parse(self, head: bytes, line_end: int, target: bytes) -> Headers:
        """See FieldParser."""
        if not TARGET.fullmatch(target):
            raise _bad_target()
        if not FIELDS.fullmatch(head, line_end + 2):
            raise RemoteProtocolError(
                400, "a field line is not of the form name, colon, value, CRLF (RFC 9112 section 5)"
            )
        h11 = self._h11
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head) + 1)
        connection.receive_data(_PLAIN_LINE_FOR_H11 + head[line_end:])
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as exc:
            raise RemoteProtocolError(400, str(exc)) from None
        assert isinstance(event, h11.Request)
        return list(event.headers)

    def start_over(self) -> None:
        """Nothing is kept between heads."""


try:
    from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
except ImportError:  # no wheel for this interpreter: h11 serves
    HTTPTOOLS_INSTALLED = False
else:
    HTTPTOOLS_INSTALLED = True


def make_field_parser(name: str) -> HttptoolsFieldParser | H11FieldParser:
    """The parser for ``--http``: "auto", "httptools" or "h11"."""
    if name == "h11" or (name == "auto" and not HTTPTOOLS_INSTALLED):
        return H11FieldParser()
    return HttptoolsFieldParser()
