# SPDX-License-Identifier: MIT
"""A response's header sections, and the account of its body (RFC 9113 section 8.1).

The rules are those of HTTP/1.1's encoder, where they are RFC 9110's: what leaves was checked here,
the server adds Date, Server and a Content-Length that it knows, and a body must have the length
that its head says. Fields of one connection are left out (RFC 9113 section 8.2.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from trioserve.errors import AppProtocolError
from trioserve.protocols.fields import (
    FORBIDDEN_IN_TRAILERS,
    NOT_IN_VALUES,
    Special,
    check_status,
    field_info,
    parse_length,
    same_length,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trioserve.protocols.http1 import DefaultFields
    from trioserve.types import Headers

__all__ = ["Http2Response"]

#: name as the application wrote it → (name in lower case, what is special about it).
_NAMES: Final[dict[bytes, tuple[bytes, int]]] = {}
_NAMES_LIMIT: Final = 1024
_STATUSES: Final[dict[int, tuple[bytes, bytes]]] = {}

_CONTENT_LENGTH: Final = int(Special.CONTENT_LENGTH)
_DATE_OR_SERVER: Final = int(Special.DATE | Special.SERVER)
#: Beside those that ``Special`` knows (RFC 9113 section 8.2.2).
_DROPPED: Final = frozenset({b"upgrade", b"te"})


class Http2Response:
    """One response.

    Attributes:
        has_body: bytes of its body are sent: no HEAD, 204 or 304.
        started: its head has been made.
    """

    __slots__ = ("_head_only", "_remaining", "has_body", "started")

    def __init__(self, *, head_only: bool) -> None:
        self._head_only = head_only
        self._remaining: int | None = None
        self.has_body = True
        self.started = False

    def make_head(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        body_size: int | None,
        defaults: DefaultFields,
    ) -> Headers:
        """The header section of the final response.

        Args:
            status: 200 to 999.
            headers: the application's.
            body_size: bytes of the whole body where they are known, else None.
            defaults: what to add where the application doesn't say it.

        Raises:
            AppProtocolError: a bad status, name, value or Content-Length; nothing has changed.
        """
        fields = [_STATUSES.get(status) or _status_field(status)]
        seen = 0
        length_value: bytes | None = None
        for name, value in headers:
            lower, special = _NAMES.get(name) or _name_info(name)
            if not special:
                fields.append((lower, value))
            elif special == _CONTENT_LENGTH:
                length_value = same_length(value, length_value)
            elif special <= _DATE_OR_SERVER:
                seen |= special
                fields.append((lower, value))
        _check_values(fields)
        length = None if length_value is None else parse_length(length_value)
        has_body, length = self._choose_length(status, length, body_size)
        if length is not None:
            fields.append((b"content-length", length_value or b"%d" % length))
        fields += defaults.fields[seen]
        self.has_body = has_body
        self._remaining = length if has_body else None
        self.started = True
        return fields

    def _choose_length(
        self, status: int, length: int | None, body_size: int | None
    ) -> tuple[bool, int | None]:
        """Whether there is a body, and the Content-Length to announce."""
        if status == 204:
            return False, None  # RFC 9110 section 8.6: no Content-Length in a 204
        if self._head_only or status == 304:
            # A HEAD's Content-Length is what GET would have: an empty body given tells nothing.
            return False, (body_size or None) if length is None else length
        if length is not None and body_size is not None and body_size != length:
            raise AppProtocolError(
                f"content-length says {length}, but the body has {body_size} bytes"
            )
        return True, body_size if length is None else length

    def count_body(self, size: int, more: bool) -> None:
        """Counts ``size`` bytes of body against Content-Length.

        Raises:
            AppProtocolError: more than it says, or less at the end.
        """
        if self._remaining is None:
            return
        remaining = self._remaining - size
        if remaining < 0:
            raise AppProtocolError(
                f"the body is longer than its content-length: {-remaining} bytes too many"
            )
        if remaining and not more:
            raise AppProtocolError(
                f"the body is shorter than its content-length: {remaining} bytes are missing"
            )
        self._remaining = remaining

    @staticmethod
    def make_trailers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """A trailer section's fields.

        Raises:
            AppProtocolError: a field that RFC 9110 section 6.5.1 forbids in trailers, or a bad one.
        """
        return _plain_fields(headers, FORBIDDEN_IN_TRAILERS)

    @staticmethod
    def make_interim(status: int, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """The header section of a 1xx response.

        Raises:
            AppProtocolError: a bad name or value.
        """
        fields = _plain_fields(headers, frozenset())
        # RFC 9110 section 8.6: a Content-Length has no place in a 1xx.
        fields = [field for field in fields if field[0] != b"content-length"]
        return [(b":status", b"%d" % status), *fields]


def _plain_fields(headers: Iterable[tuple[bytes, bytes]], forbidden: frozenset[bytes]) -> Headers:
    fields: Headers = []
    for name, value in headers:
        lower, special = _NAMES.get(name) or _name_info(name)
        if lower in forbidden:
            raise AppProtocolError(
                f"{name!r} is not allowed here (RFC 9110 section 6.5.1): it would change how the "
                "message is framed or routed"
            )
        if special <= _CONTENT_LENGTH:
            fields.append((lower, value))
    _check_values(fields)
    return fields


def _status_field(status: int) -> tuple[bytes, bytes]:
    field = (b":status", b"%d" % check_status(status))
    _STATUSES[status] = field
    return field


def _name_info(name: Any) -> tuple[bytes, int]:
    prefix, special = field_info(name)
    lower = prefix[2:-2]
    info = (lower, int(Special.HOP_BY_HOP) if lower in _DROPPED else special)
    if len(_NAMES) < _NAMES_LIMIT:
        _NAMES[name] = info
    return info


def _check_values(fields: Headers) -> None:
    """Proves all values clean in one pass; white space around one is taken off.

    Raises:
        AppProtocolError: a value is no bytes, or holds a control character (RFC 9110 section 5.5).
    """
    try:
        block = b"".join([value for _, value in fields])
    except TypeError:
        values: list[Any] = [value for _, value in fields]
        bad = next(value for value in values if not isinstance(value, (bytes, bytearray)))
        raise AppProtocolError(f"a response header value must be bytes, got {bad!r}") from None
    if len(block) != len(block.translate(None, NOT_IN_VALUES)):
        bad = next(v for _, v in fields if len(v) != len(v.translate(None, NOT_IN_VALUES)))
        raise AppProtocolError(
            "a response header value holds CR, LF, NUL or another control character "
            f"(RFC 9110 section 5.5): {bytes(bad)!r}"
        )
    for index, (name, value) in enumerate(fields):
        if value[:1] in _SPACES or value[-1:] in _SPACES or type(value) is not bytes:
            fields[index] = (name, bytes(value).strip(b" \t"))


_SPACES: Final = (b" ", b"\t")
