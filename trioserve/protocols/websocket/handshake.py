# SPDX-License-Identifier: MIT
"""The opening handshake: RFC 6455 section 4.2 over HTTP/1.1, RFC 8441 over HTTP/2.

An upgrade is validated here before anything else sees it, and by one policy, whichever engine
carries the messages then.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from trioserve.errors import AppProtocolError
from trioserve.protocols.errors import RemoteProtocolError
from trioserve.protocols.fields import FIELD_NAME, Special, encode_fields, field_info
from trioserve.protocols.websocket.compression import Deflate, negotiate_deflate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trioserve.protocols.http1 import DefaultFields, RequestHead
    from trioserve.types import Headers

__all__ = [
    "Handshake",
    "accept_fields",
    "encode_switch",
    "is_websocket_upgrade",
    "parse_handshake",
]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION: Final = b"13"
#: Fields of the answer that are the server's business.
_FORBIDDEN: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-connection",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_DATE_OR_SERVER: Final = int(Special.DATE | Special.SERVER)


class Handshake(NamedTuple):
    """A client's request for a WebSocket.

    Attributes:
        key: Sec-WebSocket-Key; empty over HTTP/2, which has none.
        subprotocols: that it offers, in its order.
        deflate: the compression that its offers come to; None = they come to none.
    """

    key: bytes
    subprotocols: list[str]
    deflate: Deflate | None


def is_websocket_upgrade(request: RequestHead) -> bool:
    """Whether an HTTP/1.1 request asks for a WebSocket (RFC 9110 section 7.8)."""
    upgrade = request.upgrade
    return upgrade is not None and any(
        name.strip(b" \t").lower() == b"websocket" for name in upgrade.split(b",")
    )


def parse_handshake(headers: Headers, *, method: str, has_body: bool, http2: bool) -> Handshake:
    """What is asked for.

    Args:
        headers: the request's.
        method: its method; over HTTP/2 that of the extended CONNECT.
        has_body: it says that it has one.
        http2: by RFC 8441, which leaves the key out.

    Raises:
        RemoteProtocolError: 400, or 426 with the version that is spoken (RFC 6455 section 4.2.2).
    """
    if not http2 and method != "GET":
        raise RemoteProtocolError(400, "a WebSocket begins with GET (RFC 6455 section 4.1)")
    if has_body:
        raise RemoteProtocolError(400, "a WebSocket's request has no body (RFC 6455 section 4.1)")
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name.startswith(b"sec-websocket-"):
            found.setdefault(name, []).append(value)
    if found.get(b"sec-websocket-version") != [_VERSION]:
        spoken = [(b"sec-websocket-version", _VERSION)]
        if not http2:
            spoken += [(b"upgrade", b"websocket")]
        raise RemoteProtocolError(
            426, "Sec-WebSocket-Version must be 13 (RFC 6455 section 4.2.2)", headers=spoken
        )
    key = b""
    if not http2:
        keys = found.get(b"sec-websocket-key", [])
        if len(keys) != 1 or not _is_key(keys[0]):
            raise RemoteProtocolError(
                400, "Sec-WebSocket-Key must be one, 16 bytes in base64 (RFC 6455 section 4.2.1)"
            )
        key = keys[0]
    subprotocols = _parse_subprotocols(found.get(b"sec-websocket-protocol", []))
    deflate = negotiate_deflate(found.get(b"sec-websocket-extensions", []))
    return Handshake(key, subprotocols, deflate)


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == 16
    except binascii.Error:
        return False


def _parse_subprotocols(values: Iterable[bytes]) -> list[str]:
    names = [name.strip(b" \t") for name in b",".join(values).split(b",")]
    names = [name for name in names if name]
    if not all(map(FIELD_NAME.fullmatch, names)):
        raise RemoteProtocolError(
            400, "Sec-WebSocket-Protocol is no list of tokens (RFC 6455 section 4.1)"
        )
    return [name.decode("ascii") for name in names]


def accept_fields(
    handshake: Handshake,
    subprotocol: str | None,
    headers: Iterable[tuple[bytes, bytes]],
    deflate: Deflate | None,
) -> Headers:
    """The fields that accept the handshake, over either version of HTTP.

    Raises:
        AppProtocolError: a subprotocol that the client hasn't offered, or a field that is the
            server's to send.
    """
    fields: Headers = []
    if subprotocol is not None:
        if subprotocol not in handshake.subprotocols:
            offered = ", ".join(handshake.subprotocols) or "none"
            raise AppProtocolError(
                f'"subprotocol" of websocket.accept must be one that the client offers ({offered}),'
                f" got {subprotocol!r} (RFC 6455 section 4.2.2)"
            )
        fields.append((b"sec-websocket-protocol", subprotocol.encode("ascii")))
    if deflate is not None:
        fields.append((b"sec-websocket-extensions", deflate.response))
    for name, value in headers:
        if field_info(name)[0][2:-2] in _FORBIDDEN:
            raise AppProtocolError(
                f"{name!r} can't be among the headers of websocket.accept: the server sends it"
            )
        fields.append((name, value))
    return fields


def encode_switch(key: bytes, fields: Headers, defaults: DefaultFields) -> bytes:
    """The 101 that accepts a handshake over HTTP/1.1.

    Raises:
        AppProtocolError: a bad name or value.
    """
    seen = 0
    for name, _ in fields:
        seen |= field_info(name)[1] & _DATE_OR_SERVER
    return b"".join(
        (
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade"
            b"\r\nsec-websocket-accept: ",
            base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()),
            encode_fields(fields, frozenset()),
            defaults.blocks[seen],
            b"\r\n\r\n",
        )
    )
