# SPDX-License-Identifier: MIT
"""Which way messages are compressed: the negotiation of permessage-deflate (RFC 7692 section 7).

The first offer that can be met is. What both sides' windows cost is bounded by us: 2**12 bytes are
some 40 KB a connection, where zlib's most would be 300.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from trioserve.protocols.errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Parameters = list[tuple[str, str | None]]

__all__ = ["MEMORY_LEVEL", "Deflate", "negotiate_deflate"]

#: Of both windows, in bits, where the client doesn't ask for less.
WINDOW_BITS: Final = 12
#: zlib's memLevel, which goes with such a window.
MEMORY_LEVEL: Final = 5
#: zlib can't compress with less.
_LEAST_BITS: Final = 9
_MOST_BITS: Final = 15

_CHARACTER: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_TOKEN: Final = _CHARACTER + "++"
#: What a quoted string says must be a token, too.
_QUOTED: Final = rf'"((?:\\?{_CHARACTER})++)"'
_SPACE: Final = r"[ \t]*+"
_PARAMETER: Final = re.compile(
    rf"{_SPACE};{_SPACE}({_TOKEN})(?:{_SPACE}={_SPACE}(?:({_TOKEN})|{_QUOTED}))?"
)
_NAME: Final = re.compile(rf"{_SPACE}({_TOKEN})")
_END: Final = re.compile(rf"{_SPACE}(?:,{_SPACE}|\Z)")
_BITS: Final = re.compile(r"[89]|1[0-5]")


class Deflate(NamedTuple):
    """What was agreed on.

    Attributes:
        server_no_context_takeover, client_no_context_takeover: that side begins each message anew.
        server_max_window_bits, client_max_window_bits: of that side's window, 9 to 15.
        response: the value of the field that tells the client.
    """

    server_no_context_takeover: bool
    client_no_context_takeover: bool
    server_max_window_bits: int
    client_max_window_bits: int
    response: bytes


def negotiate_deflate(values: Iterable[bytes]) -> Deflate | None:
    """The answer to a client's Sec-WebSocket-Extensions fields; None: nothing is compressed.

    Raises:
        RemoteProtocolError: 400, they are no list of extensions (RFC 6455 section 9.1).
    """
    for name, parameters in list(_parse_extensions(values)):  # all are read, whichever is met
        if name == "permessage-deflate":
            deflate = _meet(parameters)
            if deflate is not None:
                return deflate
    return None


def _parse_extensions(values: Iterable[bytes]) -> Iterator[tuple[str, Parameters]]:
    text = ",".join(value.decode("latin-1") for value in values)
    at = 0
    while at < len(text):
        if (end := _END.match(text, at)) and end.end() > at:  # lists may have empty elements
            at = end.end()
            continue
        match = _NAME.match(text, at)
        if match is None:
            raise _malformed()
        name = match[1]
        at = match.end()
        parameters: Parameters = []
        while (match := _PARAMETER.match(text, at)) is not None:
            quoted = match[3]
            value = match[2] if quoted is None else quoted.replace("\\", "")
            parameters.append((match[1], value))
            at = match.end()
        if not (end := _END.match(text, at)):
            raise _malformed()
        at = end.end()
        yield name, parameters


def _malformed() -> RemoteProtocolError:
    return RemoteProtocolError(
        400, "Sec-WebSocket-Extensions is no list of extensions (RFC 6455 section 9.1)"
    )


def _meet(parameters: Parameters) -> Deflate | None:
    """What an offer comes to; None if it asks for what there isn't, and is declined."""
    asked = dict(parameters)
    if len(asked) < len(parameters):
        return None
    server_fresh, client_fresh = False, False
    server_bits, client_bits = WINDOW_BITS, _MOST_BITS
    for name, value in asked.items():
        if name == "server_no_context_takeover" and value is None:
            server_fresh = True
        elif name == "client_no_context_takeover" and value is None:
            client_fresh = True
        elif name == "server_max_window_bits" and value and _BITS.fullmatch(value):
            server_bits = min(server_bits, int(value))
        elif name == "client_max_window_bits" and (value is None or _BITS.fullmatch(value)):
            client_bits = min(WINDOW_BITS, int(value or _MOST_BITS))
        else:
            return None
    if server_bits < _LEAST_BITS:
        return None
    if client_bits < _LEAST_BITS:
        # The client keeps to it without our asking (section 7.1.2.2), and a larger window reads it.
        client_bits = _MOST_BITS
    words = ["permessage-deflate"]
    if server_fresh:
        words.append("server_no_context_takeover")
    if client_fresh:
        words.append("client_no_context_takeover")
    words.append(f"server_max_window_bits={server_bits}")
    if client_bits < _MOST_BITS:
        words.append(f"client_max_window_bits={client_bits}")
    return Deflate(server_fresh, client_fresh, server_bits, client_bits, "; ".join(words).encode())
