# SPDX-License-Identifier: MIT
"""What a request asks for, as every version of HTTP says it: method, target, host, body length.

The rules are RFC 9110's and RFC 3986's; how each version writes them down is its own affair.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from trioserve.protocols.errors import RemoteProtocolError

__all__ = ["KNOWN_METHODS", "TARGET", "parse_content_length", "valid_host"]

#: Visible ASCII but "#": a request target has no fragment. Browsers send characters such as
#: ``{}|^"`` unescaped in queries, so RFC 3986's narrower set would refuse honest clients.
TARGET: Final = re.compile(rb"[\x21\x22\x24-\x7e]++")

#: The methods of RFC 9110 section 9.3, spelled once. Any other token is a method too.
KNOWN_METHODS: Final = {
    name.encode(): name
    for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
}

#: RFC 9110 section 7.2 and RFC 3986 section 3.2.2, without userinfo, lists and paths.
_HOST: Final = re.compile(
    rb"(?:[A-Za-z0-9\-._~!$&'()*+;=%]++|\[([0-9A-Fa-f:.]++)\]|\[[vV][0-9A-Fa-f]++\.[\w.:~\-]++\])"
    rb"(?::([0-9]{0,5}))?"
)
_DIGITS: Final = re.compile(rb"[0-9]++")
#: The largest body length that a signed 64-bit integer holds: what a peer in C can still count.
_MAX_CONTENT_LENGTH: Final = 2**63 - 1


def valid_host(value: bytes) -> bool:
    """Whether it is one host with an optional port."""
    match = _HOST.fullmatch(value)
    if match is None or (match[2] and int(match[2]) > 65535):
        return False
    if match[1] is None:
        return True
    try:
        ipaddress.IPv6Address(match[1].decode("ascii"))
    except ValueError:
        return False
    return True


def parse_content_length(value: bytes) -> int:
    """The number of a Content-Length field.

    Raises:
        RemoteProtocolError: 400, it is no decimal number below 2**63.
    """
    if not _DIGITS.fullmatch(value) or len(value) > 19 or int(value) > _MAX_CONTENT_LENGTH:
        raise RemoteProtocolError(
            400, "Content-Length must be one decimal number below 2**63 (RFC 9110 section 8.6)"
        )
    return int(value)
