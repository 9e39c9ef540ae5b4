# SPDX-License-Identifier: MIT
"""Policy over a request's header section: RFC 9113 sections 8.1 to 8.5, strictly.

A section that breaks a rule of HTTP/2 is *malformed*: no status could be trusted to reach whoever
made it, and its stream is reset. One that only asks for too much gets a status, as over HTTP/1.1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from trioserve.protocols.errors import RemoteProtocolError
from trioserve.protocols.http2.errors import MalformedRequest
from trioserve.protocols.targets import KNOWN_METHODS, TARGET, parse_content_length, valid_host

if TYPE_CHECKING:
    from trioserve.config import Http1Options
    from trioserve.protocols.http2.engine import Fields
    from trioserve.types import Headers

__all__ = ["UNKNOWN", "Http2RequestHead", "parse_request", "parse_trailers"]

#: ``content_length`` of a body whose length the client doesn't say.
UNKNOWN: Final = -1

#: RFC 9113 section 8.2: names are tokens in lower case.
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]++")
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++")
#: RFC 9113 section 8.2.1, and RFC 9110 section 5.5 for the other controls; of values joined by LF.
_BAD_VALUE: Final = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\n[\t ]|[\t ]\n")
#: What RFC 9113 section 6.5.2 adds to the size of each field.
_FIELD_OVERHEAD: Final = 32


class _Kind:
    """What a name means here. Numbers: an enum's members are hashed by a function in Python."""

    PLAIN = 1
    METHOD = 2
    SCHEME = 3
    AUTHORITY = 4
    PATH = 5
    FORBIDDEN = 6
    TE = 7
    HOST = 8
    LENGTH = 9
    COOKIE = 10
    EXPECT = 11
    PRIORITY = 12
    PROTOCOL = 13


_PLAIN: Final = _Kind.PLAIN
_COOKIE: Final = _Kind.COOKIE
_HOST: Final = _Kind.HOST

#: name → kind. Filled as names come, and bounded, as names are: clients make them up.
_KINDS: Final[dict[bytes, int]] = {
    b":method": _Kind.METHOD,
    b":scheme": _Kind.SCHEME,
    b":authority": _Kind.AUTHORITY,
    b":path": _Kind.PATH,
    b":protocol": _Kind.PROTOCOL,
    # RFC 9113 section 8.2.2: fields of one connection have no place in HTTP/2.
    b"connection": _Kind.FORBIDDEN,
    b"keep-alive": _Kind.FORBIDDEN,
    b"proxy-connection": _Kind.FORBIDDEN,
    b"transfer-encoding": _Kind.FORBIDDEN,
    b"upgrade": _Kind.FORBIDDEN,
    b"te": _Kind.TE,
    b"host": _Kind.HOST,
    b"content-length": _Kind.LENGTH,
    b"cookie": _Kind.COOKIE,
    b"expect": _Kind.EXPECT,
    b"priority": _Kind.PRIORITY,
}
_KNOWN_LIMIT: Final = 1024
_KNOWN_SIZE: Final = 64
_PSEUDO: Final = {
    _Kind.METHOD: ":method",
    _Kind.SCHEME: ":scheme",
    _Kind.AUTHORITY: ":authority",
    _Kind.PATH: ":path",
    _Kind.PROTOCOL: ":protocol",
}


class Http2RequestHead:
    """A request's head after policy.

    Attributes:
        method: case-sensitive.
        raw_path: the path's bytes before percent-decoding, without the query.
        query: the bytes after the first "?", or empty.
        headers: as ASGI wants them: ``host`` first, from ``:authority`` where there is one; one
            ``cookie`` (RFC 9113 section 8.2.3); no pseudo-header fields.
        content_length: bytes of the body; 0 where there is none, UNKNOWN (-1) where it isn't said.
        expect_continue: the client waits for a 100 before it sends its body.
        priority: the value of the priority field (RFC 9218), or empty.
        protocol: that an extended CONNECT asks for (RFC 8441 section 4), else None.
    """

    __slots__ = (
        "content_length",
        "expect_continue",
        "headers",
        "method",
        "priority",
        "protocol",
        "query",
        "raw_path",
    )

    def __init__(self, method: str, raw_path: bytes, query: bytes, headers: Headers) -> None:
        self.method = method
        self.raw_path = raw_path
        self.query = query
        self.headers = headers
        self.content_length = UNKNOWN
        self.expect_continue = False
        self.priority = b""
        self.protocol: bytes | None = None


def parse_request(
    fields: Fields, end_stream: bool, options: Http1Options, max_header_list_size: int
) -> Http2RequestHead:
    """The head that a header section is.

    Args:
        fields: as decoded, pseudo-header fields included.
        end_stream: no body comes.
        options: the limits of heads.
        max_header_list_size: as announced.

    Raises:
        MalformedRequest: it breaks RFC 9113 section 8.
        RemoteProtocolError: it asks for too much or for what there isn't: 414, 417, 431, 501.
    """
    pseudo: dict[int, bytes] = {}
    special: dict[int, list[bytes]] = {}
    headers: Headers = []
    for name, value in fields:
        kind = _KINDS.get(name) or _kind_of(name)
        if kind is _PLAIN:
            headers.append((name, value))
        elif kind in _PSEUDO:
            if headers or special:
                raise MalformedRequest(f"{_PSEUDO[kind]} after a field (RFC 9113 section 8.3)")
            if kind in pseudo:
                raise MalformedRequest(f"{_PSEUDO[kind]} twice (RFC 9113 section 8.3)")
            pseudo[kind] = value
        else:
            special.setdefault(kind, []).append(value)
            if kind is not _COOKIE and kind is not _HOST:
                headers.append((name, value))
    _check_values(fields)
    method = pseudo.get(_Kind.METHOD)
    if method is None or not _METHOD.fullmatch(method):
        raise MalformedRequest("no :method that is a token (RFC 9113 section 8.3.1)")
    host = _host_of(pseudo, special)
    path = _path_of(method, pseudo)
    if special:
        _check_special(special)
    if _COOKIE in special:
        headers.append((b"cookie", b"; ".join(special[_COOKIE])))
    _check_limits(fields, headers, path, options, max_header_list_size)
    protocol = pseudo.get(_Kind.PROTOCOL)
    if method == b"CONNECT" and protocol is None:
        raise RemoteProtocolError(501, "CONNECT needs a proxy, and this is an origin server")
    if host is not None:  # RFC 9113 section 8.3.1 needs none, and checks of proxies have none
        headers.insert(0, (b"host", host))
    raw_path, _, query = path.partition(b"?")
    head = Http2RequestHead(
        KNOWN_METHODS.get(method) or method.decode("ascii"), raw_path, query, headers
    )
    head.protocol = protocol
    if special:
        _apply_special(head, special)
    if end_stream:
        if head.content_length > 0:
            raise MalformedRequest(
                f"content-length {head.content_length} of a request without a body "
                "(RFC 9113 section 8.1.1)"
            )
        head.content_length = 0
        head.expect_continue = False
    return head


def parse_trailers(fields: Fields, options: Http1Options) -> Headers:
    """A request's trailer fields.

    Raises:
        MalformedRequest: they break RFC 9113 section 8.1 or are too many.
    """
    trailers: Headers = []
    for name, value in fields:
        kind = _KINDS.get(name) or _kind_of(name)
        if kind in _PSEUDO:
            raise MalformedRequest(f"{_PSEUDO[kind]} in a trailer section (RFC 9113 section 8.1)")
        if kind is _Kind.FORBIDDEN:
            raise MalformedRequest(f"{name!r} has no place in HTTP/2 (RFC 9113 section 8.2.2)")
        trailers.append((name, value))
    _check_values(fields)
    if len(trailers) > options.limit_request_fields:
        raise MalformedRequest(f"more than {options.limit_request_fields} trailers")
    return trailers


def _kind_of(name: bytes) -> int:
    if not _NAME.fullmatch(name):
        raise MalformedRequest(f"{name[:40]!r} is no field name in lower case (RFC 9113 8.2.1)")
    if len(name) <= _KNOWN_SIZE and len(_KINDS) < _KNOWN_LIMIT:
        _KINDS[bytes(name)] = _PLAIN
    return _PLAIN


def _check_values(fields: Fields) -> None:
    """One pass in C over all values: joined by LF, they must have no other control but HTAB."""
    block = b"\n".join([b"", *[value for _, value in fields], b""])
    if block.count(b"\n") != len(fields) + 1 or _BAD_VALUE.search(block):
        raise MalformedRequest(
            "a field value holds a control character, or begins or ends with white space "
            "(RFC 9113 section 8.2.1)"
        )


def _host_of(pseudo: dict[int, bytes], special: dict[int, list[bytes]]) -> bytes | None:
    """The one host that the request is for (RFC 9113 section 8.3.1)."""
    authority = pseudo.get(_Kind.AUTHORITY)
    hosts = special.get(_HOST, ())
    if len(hosts) > 1:
        raise MalformedRequest("more than one host (RFC 9110 section 7.2)")
    for value in (authority, *hosts):
        if value is not None and not valid_host(value):
            raise MalformedRequest("not one host with an optional port (RFC 9113 section 8.3.1)")
    if authority is None:
        return hosts[0] if hosts else None
    if hosts and hosts[0].lower() != authority.lower():
        raise MalformedRequest("host and :authority differ (RFC 9113 section 8.3.1)")
    return authority


def _path_of(method: bytes, pseudo: dict[int, bytes]) -> bytes:
    scheme, path = pseudo.get(_Kind.SCHEME), pseudo.get(_Kind.PATH)
    if _Kind.PROTOCOL in pseudo:
        if method != b"CONNECT" or _Kind.AUTHORITY not in pseudo:
            raise MalformedRequest(":protocol is for CONNECT, with :authority (RFC 8441 section 4)")
    elif method == b"CONNECT":
        if scheme is not None or path is not None or _Kind.AUTHORITY not in pseudo:
            raise MalformedRequest("CONNECT has :authority only (RFC 9113 section 8.5)")
        return b""
    if scheme is None or path is None:
        raise MalformedRequest("no :scheme or no :path (RFC 9113 section 8.3.1)")
    if scheme.lower() not in (b"http", b"https"):
        raise MalformedRequest(f":scheme {scheme[:20]!r} is not served here")
    if not TARGET.fullmatch(path) or (path[:1] != b"/" and not _is_asterisk(method, path)):
        raise MalformedRequest(":path is no absolute path (RFC 9113 section 8.3.1)")
    return path


def _is_asterisk(method: bytes, path: bytes) -> bool:
    return path == b"*" and method == b"OPTIONS"


def _check_special(special: dict[int, list[bytes]]) -> None:
    if _Kind.FORBIDDEN in special:
        raise MalformedRequest("a field of one connection only (RFC 9113 section 8.2.2)")
    if any(value.lower() != b"trailers" for value in special.get(_Kind.TE, ())):
        raise MalformedRequest('te may only be "trailers" (RFC 9113 section 8.2.2)')
    if len(special.get(_Kind.LENGTH, ())) > 1:
        raise MalformedRequest("more than one content-length (RFC 9110 section 8.6)")


def _apply_special(head: Http2RequestHead, special: dict[int, list[bytes]]) -> None:
    if _Kind.LENGTH in special:
        try:
            head.content_length = parse_content_length(special[_Kind.LENGTH][0])
        except RemoteProtocolError as exc:
            raise MalformedRequest(exc.reason) from None
    if _Kind.EXPECT in special:
        if b",".join(special[_Kind.EXPECT]).lower() != b"100-continue":
            raise RemoteProtocolError(417, "the only expectation known is 100-continue")
        head.expect_continue = True
    if _Kind.PRIORITY in special:
        head.priority = b",".join(special[_Kind.PRIORITY])


def _check_limits(
    fields: Fields, headers: Headers, path: bytes, options: Http1Options, max_header_list_size: int
) -> None:
    """As over HTTP/1.1: of the fields as applications see them, cookies put together."""
    if len(path) > options.limit_request_line:
        raise RemoteProtocolError(414, f"the path is longer than {options.limit_request_line}")
    if len(headers) >= options.limit_request_fields + 1:  # the host isn't among them yet
        raise RemoteProtocolError(431, f"more than {options.limit_request_fields} header fields")
    limit = options.limit_request_field_size
    for name, value in headers:
        if len(name) + len(value) > limit:
            raise RemoteProtocolError(431, f"a header field is longer than {limit} bytes")
    if sum(len(name) + len(value) + _FIELD_OVERHEAD for name, value in fields) > (
        max_header_list_size
    ):
        raise RemoteProtocolError(431, f"the head is larger than {max_header_list_size} bytes")
