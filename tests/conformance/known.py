# SPDX-License-Identifier: MIT
"""Cases that an engine passes NON-STRICT, and why that is left so."""

from __future__ import annotations

from typing import Final

__all__ = ["ENGINES", "KNOWN_NON_STRICT"]

#: The Close frame for what comes next overtakes the echo of the message before it: RFC 6455 section
#: 7.1.7 has an endpoint fail the connection at once. Which cases it is depends on what comes in one
#: piece, so a run has some of them OK.
_OVERTAKEN: Final = "the next frame's error is found before the application has sent its echo"

#: By engine, then by case.
KNOWN_NON_STRICT: Final[dict[str, dict[str, str]]] = {
    "websockets": dict.fromkeys(
        ("6.4.3", "6.4.4"), "text is decoded frame by frame, so not before the frame is whole"
    ),
    "trio-websocket": dict.fromkeys(
        ("3.2", "3.3", "3.4", "4.1.3", "4.1.4", "4.1.5", "4.2.3", "4.2.4", "4.2.5", "5.15"),
        _OVERTAKEN,
    ),
}

#: Values of the setting ``websocket_engine``, without ``auto``, which is one of them.
ENGINES: Final = tuple(KNOWN_NON_STRICT)
