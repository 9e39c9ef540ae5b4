# SPDX-License-Identifier: MIT
"""Times of day as the logs write them, rendered once a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PerSecond", "common_log_time", "local_time", "utc_time"]


class PerSecond:
    """A text that depends on the whole second only, rendered once for each.

    Called with a time of the epoch, in seconds. Time zones are asked anew each second, so that a
    change to or from summer time shows.
    """

    __slots__ = ("_render", "_second", "_text")

    def __init__(self, render: Callable[[int], str]) -> None:
        self._render = render
        self._second: int | None = None
        self._text = ""

    def __call__(self, now: float) -> str:
        second = int(now)
        if second != self._second:
            self._text = self._render(second)
            self._second = second
        return self._text


# strftime's %b follows the process's locale; the common log format's months are English.
_MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"


def common_log_time(second: int) -> str:
    """``[22/Nov/2026:12:00:00 +0000]``, local time, as access logs have it."""
    t = time.localtime(second)
    month = _MONTHS[4 * t.tm_mon - 4 : 4 * t.tm_mon - 1]
    return f"[{t.tm_mday:02}/{month}/{t.tm_year:04}:{_clock(t)} {_utc_offset(t)}]"


def local_time(second: int) -> str:
    """``[2026-11-22 12:00:00 +0000]``, local time, as error logs have it."""
    t = time.localtime(second)
    return f"[{t.tm_year:04}-{t.tm_mon:02}-{t.tm_mday:02} {_clock(t)} {_utc_offset(t)}]"


def utc_time(second: int) -> str:
    """``2026-11-22T12:00:00``: RFC 3339 in UTC, without the fraction and the ``Z``."""
    t = time.gmtime(second)
    return f"{t.tm_year:04}-{t.tm_mon:02}-{t.tm_mday:02}T{_clock(t)}"


def _clock(t: time.struct_time) -> str:
    return f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"


def _utc_offset(t: time.struct_time) -> str:
    minutes = t.tm_gmtoff // 60
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02}{rest:02}"
