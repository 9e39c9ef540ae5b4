# SPDX-License-Identifier: MIT
"""What a case of the corpus is, and the few words in which the topics write theirs.

A case is raw bytes, the replies they must get and the fate of the connection after them. Its
name begins with the RFC and the section that demands the outcome: ``9112-6.3 two lengths``.

The raw bytes of a case are enough for the server to decide: it never waits for more. So the
same case can be run whole, in pieces, behind another request and with data after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict, Unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CRLF",
    "Case",
    "Fate",
    "Reply",
    "Seen",
    "bad",
    "chunked",
    "endless",
    "get",
    "good",
    "post",
    "request",
]

#: ``either``: the server may keep or close, but must not take what follows for something else.
Fate: TypeAlias = Literal["keep", "close", "either"]

CRLF = b"\r\n"


class Seen(TypedDict, total=False):
    """What the application saw of one request; bytes as latin-1 text."""

    method: str
    path: str
    raw_path: str
    query_string: str
    http_version: str
    headers: list[tuple[str, str]]
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One final response.

    Attributes:
        status: The status code; several where the RFC leaves the choice to the server.
        sees: What the application must have seen, key by key; a missing key is not compared.
        head: The request was HEAD, so no content may follow whatever Content-Length says.
        may_continue: 100 Continue may come first where the request arrives in pieces.
        announces_close: A last reply says ``connection: close``; False where the reason to
            close can come after the reply.
    """

    status: int | tuple[int, ...]
    sees: Seen = field(default_factory=Seen)
    head: bool = False
    may_continue: bool = False
    announces_close: bool = True

    @property
    def statuses(self) -> tuple[int, ...]:
        """The status codes that will do."""
        return self.status if isinstance(self.status, tuple) else (self.status,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Raw bytes, the replies they must get, and what becomes of the connection.

    Attributes:
        name: Unique; begins with RFC and section.
        raw: Sent as the mode of the run wants it.
        expect: The final responses, in order.
        fate: Whether the connection goes on after the last of them.
        after_continue: Sent once 100 Continue has come for the last request of `raw`.
        half_close: Our side of the connection ends after `raw`: a message cut short. Then
            `expect` is empty, and no more than one 4xx may come.
        endless: The refusal is for what goes on without an end: what comes behind it would end it.
        settings: Keyword arguments for ``trioserve.Config``.
    """

    name: str
    raw: bytes
    expect: tuple[Reply, ...]
    fate: Fate
    after_continue: bytes = b""
    half_close: bool = False
    endless: bool = False
    settings: Mapping[str, int] = field(default_factory=dict)


def request(line: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    """A message of these lines, each ended by CRLF, and the empty line."""
    return CRLF.join((line, *fields, b"", b"")) + body


def get(*fields: bytes, target: bytes = b"/", version: bytes = b"HTTP/1.1") -> bytes:
    """A GET with ``Host: h`` and then these fields."""
    return request(b"GET " + target + b" " + version, b"Host: h", *fields)


def post(*fields: bytes, body: bytes = b"", target: bytes = b"/") -> bytes:
    """An HTTP/1.1 POST with ``Host: h`` and then these fields."""
    return request(b"POST " + target + b" HTTP/1.1", b"Host: h", *fields, body=body)


def chunked(*lines: bytes, target: bytes = b"/") -> bytes:
    """A POST in chunks; `lines` are all of its body, each ended by CRLF."""
    body = CRLF.join((*lines, b""))
    return post(b"Transfer-Encoding: chunked", body=body, target=target)


def good(name: str, raw: bytes, *, fate: Fate = "keep", **sees: Unpack[Seen]) -> Case:
    """One request that is answered 200."""
    return Case(name=name, raw=raw, expect=(Reply(status=200, sees=sees),), fate=fate)


def bad(name: str, raw: bytes, *, status: int | tuple[int, ...] = 400) -> Case:
    """One request that is refused, and the connection with it."""
    return Case(name=name, raw=raw, expect=(Reply(status=status),), fate="close")


def endless(name: str, raw: bytes, *, status: int | tuple[int, ...] = 400) -> Case:
    """One request without an end, refused when it is too long."""
    return replace(bad(name, raw, status=status), endless=True)
