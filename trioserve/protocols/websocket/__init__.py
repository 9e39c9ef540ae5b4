# SPDX-License-Identifier: MIT
"""WebSocket without input or output: the handshake, its extension, frames. See README.md."""

from trioserve.protocols.websocket.closing import (
    ABNORMAL,
    GOING_AWAY,
    INTERNAL_ERROR,
    NO_STATUS,
    NORMAL,
    RESTART,
    Closed,
    check_close,
)
from trioserve.protocols.websocket.compression import Deflate, negotiate_deflate
from trioserve.protocols.websocket.handshake import (
    Handshake,
    accept_fields,
    encode_switch,
    is_websocket_upgrade,
    parse_handshake,
)

__all__ = [
    "ABNORMAL",
    "GOING_AWAY",
    "INTERNAL_ERROR",
    "NORMAL",
    "NO_STATUS",
    "RESTART",
    "Closed",
    "Deflate",
    "Handshake",
    "accept_fields",
    "check_close",
    "encode_switch",
    "is_websocket_upgrade",
    "negotiate_deflate",
    "parse_handshake",
]
