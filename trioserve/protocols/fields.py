# SPDX-License-Identifier: MIT
"""Header fields as every version of HTTP sees them (RFC 9110 section 5).

Rule of this file: a field that leaves the server was checked here, whoever made it. What an
application gives is checked once a name (the table remembers) and once a block (values).
"""

from __future__ import annotations

import re
from enum import IntFlag
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from trioserve.errors import AppProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "FIELD_NAME",
    "FORBIDDEN_IN_TRAILERS",
    "KNOWN_FIELDS",
    "NOT_IN_VALUES",
    "TOKEN",
    "Special",
    "check_status",
    "encode_field_block",
    "field_info",
    "parse_length",
    "reason_phrase",
    "same_length",
]

#: RFC 9110 section 5.6.2.
TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
FIELD_NAME: Final = re.compile(TOKEN + rb"++")

#: What a field value must not hold: controls other than HTAB (RFC 9110 section 5.5). CR and LF are
#: among them, and each line of a finished block has exactly one of both: see encode_field_block.
NOT_IN_VALUES: Final = bytes([*range(9), *range(10, 32), 127])

#: RFC 9110 section 6.5.1: fields that frame, route, authenticate or change how a body is read.
FORBIDDEN_IN_TRAILERS: Final = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"expect",
        b"host",
        b"keep-alive",
        b"max-forwards",
        b"proxy-authorization",
        b"proxy-connection",
        b"range",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


class Special(IntFlag):
    """Response fields that the server itself has to look at."""

    NONE = 0
    DATE = 1
    SERVER = 2
    CONTENT_LENGTH = 4
    CONNECTION = 8
    #: Framing and hop-by-hop fields are the server's: what an application says there is left out
    #: (ASGI: "transfer-encoding … should be ignored").
    HOP_BY_HOP = 16


_SPECIAL: Final = {
    b"date": Special.DATE,
    b"server": Special.SERVER,
    b"content-length": Special.CONTENT_LENGTH,
    b"connection": Special.CONNECTION,
    b"transfer-encoding": Special.HOP_BY_HOP,
    b"keep-alive": Special.HOP_BY_HOP,
    b"proxy-connection": Special.HOP_BY_HOP,
}

#: name as the application wrote it → (b"\r\nname: ", what is special about it). It is filled as
#: names come and bounded, so an application that makes names up can't make it grow.
KNOWN_FIELDS: Final[dict[bytes, tuple[bytes, int]]] = {}
_KNOWN_LIMIT: Final = 1024


def field_info(name: Any) -> tuple[bytes, int]:
    """``(b"\\r\\nname: ", special)`` for a name that an application used; names are lower-cased.

    Raises:
        AppProtocolError: it is no bytes object, or no token (RFC 9110 section 5.1).
    """
    if isinstance(name, bytes) and name in KNOWN_FIELDS:
        return KNOWN_FIELDS[name]
    if not isinstance(name, bytes) or not FIELD_NAME.fullmatch(name):
        raise AppProtocolError(
            f"a response header name must be bytes holding a token (RFC 9110 section 5.1), "
            f"got {name!r}"
        )
    lower = name.lower()
    info = (b"\r\n" + lower + b": ", int(_SPECIAL.get(lower, Special.NONE)))
    if len(KNOWN_FIELDS) < _KNOWN_LIMIT:
        KNOWN_FIELDS[name] = info
    return info


def encode_field_block(pieces: list[Any], count: int) -> bytes:
    """Joins the pieces of a block that holds CRLF ``count`` times, and proves it clean.

    One pass in C finds every control character: a block of n lines must hold n CR and n LF and
    nothing else of the kind, so a value that smuggles a line in can't get through.

    Raises:
        AppProtocolError: a value is no bytes, or holds CR, LF, NUL or another control character.
    """
    try:
        block = b"".join(pieces)
    except TypeError:
        bad = next(piece for piece in pieces if not isinstance(piece, (bytes, bytearray)))
        raise AppProtocolError(f"a response header value must be bytes, got {bad!r}") from None
    if len(block) - len(block.translate(None, NOT_IN_VALUES)) != 2 * count:
        # A field's first piece is CRLF, its name and a colon; its value is the next.
        fields = (pair for pair in pairwise(pieces) if bytes(pair[0][:2]) == b"\r\n")
        values = (bytes(value) for prefix, value in fields if prefix[-2:] == b": ")
        bad = next(filter(_count_controls, values), block)
        raise AppProtocolError(
            "a response header value holds CR, LF, NUL or another control character "
            f"(RFC 9110 section 5.5): {bad!r}"
        )
    return block


def _count_controls(data: bytes) -> int:
    return len(data) - len(data.translate(None, NOT_IN_VALUES))


def encode_fields(headers: Iterable[tuple[bytes, bytes]], forbidden: frozenset[bytes]) -> bytes:
    """A block of plain fields, each after its CRLF: of an interim response or a trailer section.

    Raises:
        AppProtocolError: a bad name or value, or a name that is ``forbidden`` there.
    """
    lines: list[bytes] = []
    for name, value in headers:
        prefix, _ = field_info(name)
        if prefix[2:-2] in forbidden:
            raise AppProtocolError(
                f"{name!r} is not allowed here (RFC 9110 section 6.5.1): it would change how the "
                "message is framed or routed"
            )
        lines += (prefix, value)
    return encode_field_block(lines, len(lines) // 2)


#: As RFC 9110 has them; older versions of Python know older names.
_RENAMED: Final = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def reason_phrase(status: int) -> str:
    """The registered phrase, or "Unknown": some clients take a missing phrase for an error."""
    if status in _RENAMED:
        return _RENAMED[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def check_status(status: object) -> int:
    """A final status code.

    Raises:
        AppProtocolError: no int from 200 to 999 (interim responses have messages of their own).
    """
    if isinstance(status, int) and 200 <= status <= 999:
        return status
    raise AppProtocolError(
        f'"status" of http.response.start must be an int from 200 to 999, got {status!r}'
    )


def same_length(value: Any, before: bytes | None) -> bytes:
    """The Content-Length of an application that may say it twice, but not differently."""
    if not isinstance(value, (bytes, bytearray)):
        raise AppProtocolError(f"content-length must be bytes holding a number, got {value!r}")
    if before is not None and before != value:
        raise AppProtocolError(f"two different content-length headers: {before!r} and {value!r}")
    return bytes(value)


def parse_length(value: bytes) -> int:
    """The number of an application's Content-Length."""
    if value.isdigit() and len(value) < 20:
        return int(value)
    raise AppProtocolError(f"content-length must be a decimal number, got {value!r}")
