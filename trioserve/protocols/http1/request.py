# SPDX-License-Identifier: MIT
"""Policy over a request's head: what RFC 9112 leaves lenient is strict here.

The parsers (httptools, h11) split a head into fields; everything that decides what a request *is*
(its version, target, host, framing and fate of the connection) stands in this file, so both
have one policy. Whatever two servers in a row could read differently is refused: request smuggling
begins where they disagree.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from trioserve.protocols.errors import RemoteProtocolError
from trioserve.protocols.fields import FIELD_NAME, TOKEN
from trioserve.protocols.targets import KNOWN_METHODS, parse_content_length, valid_host

if TYPE_CHECKING:
    from trioserve.types import Headers

__all__ = ["CHUNKED", "FIELDS", "RequestHead", "inspect_fields", "parse_request_line"]

#: ``content_length`` of a chunked body.
CHUNKED: Final = -1

#: Field lines with nothing that RFC 9112 section 5 only tolerates (obs-fold, bare CR or LF).
FIELDS: Final = re.compile(rb"(?:" + TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n")

_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?]*+)(.*+)", re.DOTALL)
_VERSION: Final = re.compile(rb"HTTP/([0-9])\.([0-9])")
_TRANSFER_ENCODING: Final = re.compile(rb"\r\ntransfer-encoding:[ \t]*+([^\r\n]*+)", re.IGNORECASE)
_CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*+([^\r\n]*+)", re.IGNORECASE)

_INSPECTED: Final = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade"}
)


class RequestHead:
    """A request's head after policy.

    Attributes:
        target: as sent.
        authority: where the target brings its own (absolute form), else None.
        method: as sent; methods are case-sensitive (RFC 9110 section 9.1).
        raw_path: the path's bytes before percent-decoding, without the query.
        query: the bytes after the first "?", or empty.
        minor_version: 0 or 1; 1.2 to 1.9 are spoken to as 1.1 (RFC 9110 section 2.5).
        headers: names lower-cased, values without surrounding white space, in the wire's order.
        content_length: bytes of the body, 0 where there is none, CHUNKED (-1) for chunked.
        keep_alive: the client expects the connection to persist (RFC 9112 section 9.3).
        expect_continue: it waits for a 100 before it sends the body (RFC 9110 section 10.1.1).
        upgrade: the protocols that it would rather speak (RFC 9110 section 7.8), as sent.
    """

    __slots__ = (
        "authority",
        "content_length",
        "expect_continue",
        "headers",
        "keep_alive",
        "method",
        "minor_version",
        "query",
        "raw_path",
        "target",
        "upgrade",
    )

    headers: Headers

    def __init__(
        self, method: str, target: bytes, raw_path: bytes, query: bytes, minor_version: int
    ) -> None:
        self.method = method
        self.target = target
        self.authority: bytes | None = None
        self.raw_path = raw_path
        self.query = query
        self.minor_version = minor_version
        self.content_length = 0
        self.keep_alive = minor_version == 1
        self.expect_continue = False
        self.upgrade: bytes | None = None


def parse_request_line(line: bytes) -> RequestHead:
    """A head without its fields, from a request line without its CRLF.

    The target's characters are left to the parser of the fields, which sees them too.

    Raises:
        RemoteProtocolError: 400 for anything but ``method SP target SP HTTP/1.x`` (RFC 9112
            section 3), 505 for another major version (RFC 9110 section 15.6.6), 501 for CONNECT.
    """
    try:
        method, target, version = line.split(b" ")
    except ValueError:
        raise RemoteProtocolError(
            400, "expected a request line of method, target and version, one space between each"
        ) from None
    if version == b"HTTP/1.1":
        minor = 1
    elif version == b"HTTP/1.0":
        minor = 0
    else:
        match = _VERSION.fullmatch(version)
        if match is None:
            raise RemoteProtocolError(400, "expected a version of the form HTTP/1.1")
        if match[1] != b"1":
            raise RemoteProtocolError(505, "this server speaks HTTP/1.1 and HTTP/1.0 here")
        minor = 1
    name = KNOWN_METHODS.get(method)
    if name is None:
        if not FIELD_NAME.fullmatch(method):
            raise RemoteProtocolError(400, "the method is no token (RFC 9110 section 9.1)")
        name = method.decode("ascii")
    if target[:1] == b"/" and name != "CONNECT":
        path, _, query = target.partition(b"?")
        return RequestHead(name, target, path, query, minor)
    path, authority = _resolve_target(name, target)
    path, _, query = path.partition(b"?")
    request = RequestHead(name, target, path, query, minor)
    request.authority = authority
    return request


def _resolve_target(method: str, target: bytes) -> tuple[bytes, bytes | None]:
    """The path with its query, and the authority where the target brings its own (RFC 9112 3.2).

    Raises:
        RemoteProtocolError: 400 for a form that the method doesn't have, 501 for CONNECT.
    """
    if method == "CONNECT":
        raise RemoteProtocolError(501, "CONNECT needs a proxy, and this is an origin server")
    if target == b"*":
        if method == "OPTIONS":
            return target, None
        raise RemoteProtocolError(400, 'only OPTIONS may ask for "*" (RFC 9112 section 3.2.4)')
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not valid_host(match[1]):
        raise RemoteProtocolError(
            400, "expected a target that begins with a slash, or an http URI (RFC 9112 section 3.2)"
        )
    rest: bytes = match[2]
    return (rest if rest[:1] == b"/" else b"/" + rest), match[1]


def inspect_fields(request: RequestHead, head: bytes, known_host: bytes | None) -> bytes | None:
    """Applies the policy over ``request.headers`` and fills in what follows from it.

    Args:
        request: its method, version and headers are set.
        head: the head's bytes, for what a parser's trimming hides.
        known_host: a Host value that passed before on this connection; it isn't checked again.

    Returns:
        The Host value, or None (HTTP/1.0).

    Raises:
        RemoteProtocolError: see the table of decisions in this folder's README.
    """
    host = length = connection = expect = upgrade = None
    chunked = False
    for name, value in request.headers:
        if name not in _INSPECTED:
            continue
        if name == b"host":
            if host is not None:
                raise RemoteProtocolError(400, "more than one Host (RFC 9112 section 3.2)")
            host = value
        elif name == b"content-length":
            length = value
        elif name == b"connection":
            connection = value if connection is None else connection + b"," + value
        elif name == b"expect":
            expect = value if expect is None else expect + b"," + value
        elif name == b"upgrade":
            upgrade = value if upgrade is None else upgrade + b"," + value
        else:
            chunked = True
    if host is None:
        if request.minor_version:
            raise RemoteProtocolError(400, "an HTTP/1.1 request needs a Host (RFC 9112 3.2)")
    elif host != known_host and not valid_host(host):
        raise RemoteProtocolError(400, "Host must be one host with an optional port (RFC 9110 7.2)")
    if chunked:
        _check_transfer_encoding(request, head, length)
        request.content_length = CHUNKED
    elif length is not None:
        values = _CONTENT_LENGTH.findall(head)  # h11 makes one of several equal ones
        if len(values) != 1:
            raise RemoteProtocolError(400, "more than one Content-Length (RFC 9112 section 6.3)")
        request.content_length = parse_content_length(values[0].rstrip(b" \t"))
    if connection is not None:
        options = [option.strip(b" \t") for option in connection.lower().split(b",")]
        request.keep_alive = _persists(request.minor_version, options)
        if request.minor_version and b"upgrade" in options:  # HTTP/1.0 knows no upgrade
            request.upgrade = upgrade
    if expect is not None and request.minor_version:
        if expect.lower() != b"100-continue":
            raise RemoteProtocolError(417, "the only expectation known is 100-continue")
        request.expect_continue = True
    return host


def _check_transfer_encoding(request: RequestHead, head: bytes, length: bytes | None) -> None:
    """Only one field that is exactly ``chunked`` gets past; anything around it is refused.

    It looks at the head itself, since parsers trim what other servers in the chain may not.
    """
    values = _TRANSFER_ENCODING.findall(head)
    if length is not None:
        raise RemoteProtocolError(
            400, "Content-Length together with Transfer-Encoding (RFC 9112 section 6.1)"
        )
    if not request.minor_version:
        raise RemoteProtocolError(400, "Transfer-Encoding in HTTP/1.0 (RFC 9112 section 6.1)")
    if len(values) != 1:
        raise RemoteProtocolError(400, "Transfer-Encoding must stand in one field (RFC 9112 6.1)")
    value = values[0].lower()
    if value == b"chunked":
        return
    codings = [coding.strip(b" \t") for coding in value.split(b",")]
    if codings[-1] != b"chunked" or value[-1:] in (b" ", b"\t"):
        raise RemoteProtocolError(400, "Transfer-Encoding must end in chunked (RFC 9112 6.3)")
    if b"chunked" in codings[:-1] or not all(map(FIELD_NAME.fullmatch, codings)):
        raise RemoteProtocolError(400, "Transfer-Encoding is malformed (RFC 9112 section 7)")
    raise RemoteProtocolError(501, "the only transfer coding known is chunked (RFC 9112 6.1)")


def _persists(minor_version: int, options: list[bytes]) -> bool:
    """RFC 9112 section 9.3: close wins; HTTP/1.0 persists only where it asks to."""
    if b"close" in options:
        return False
    return minor_version == 1 or b"keep-alive" in options
