# SPDX-License-Identifier: MIT
"""Close codes and reasons (RFC 6455 section 7.4, and the registry that it began)."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from trioserve.errors import AppProtocolError

__all__ = [
    "ABNORMAL",
    "GOING_AWAY",
    "INTERNAL_ERROR",
    "NORMAL",
    "NO_STATUS",
    "RESTART",
    "Closed",
    "check_close",
    "cut_reason",
    "may_be_sent",
]

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
#: Never on the wire: a Close frame without a code has come.
NO_STATUS: Final = 1005
#: Never on the wire: no Close frame has come.
ABNORMAL: Final = 1006
INTERNAL_ERROR: Final = 1011
RESTART: Final = 1012

#: Bytes of a reason: a control frame has 125, and the code takes two.
MAX_REASON_SIZE: Final = 123

#: Those below 3000 that a Close frame may have.
_DEFINED: Final = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})


class Closed(NamedTuple):
    """How a WebSocket was closed.

    Attributes:
        code: of the client's Close frame; NO_STATUS where it had none; ABNORMAL where none came;
            ours, where this side has ended it.
        reason: beside it.
    """

    code: int
    reason: str


def check_close(code: Any, reason: Any) -> Closed:
    """An application's code and reason, as a Close frame can carry them.

    Returns:
        Them; a reason of more than 123 bytes is cut.

    Raises:
        AppProtocolError: no code that may be sent, or a reason that is no text.
    """
    if code is None:
        code = NORMAL
    if not isinstance(code, int) or not may_be_sent(code):
        raise AppProtocolError(
            '"code" of websocket.close must be 1000 to 1003, 1007 to 1014 or 3000 to 4999 '
            f"(RFC 6455 section 7.4), got {code!r}"
        )
    if reason is not None and not isinstance(reason, str):
        raise AppProtocolError(f'"reason" of websocket.close must be a str, got {reason!r}')
    return Closed(code, cut_reason(reason or ""))


def may_be_sent(code: int) -> bool:
    """Whether a Close frame can have this code, whoever sends it."""
    return code in _DEFINED or 3000 <= code <= 4999


def cut_reason(reason: str) -> str:
    """As much of it as a Close frame holds, whole characters."""
    data = reason.encode("utf-8", "replace")
    return data[:MAX_REASON_SIZE].decode("utf-8", "ignore")
