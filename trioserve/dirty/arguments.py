# SPDX-License-Identifier: MIT
"""What callers give to clients, checked where they give it: in one way for all clients. Pure."""

from __future__ import annotations

import math

from trioserve.dirty import frames
from trioserve.dirty.descriptions import shown

__all__ = ["checked_timeout", "manage_fields"]


def checked_timeout(timeout: object) -> float:
    """A timeout in seconds; inf for 0, which is none.

    Raises:
        TypeError: it is no number.
        ValueError: it is below 0, or NaN.
    """
    # What counts as a number has a __float__: numpy's and Decimals, too; strings don't.
    if isinstance(timeout, bool) or not hasattr(type(timeout), "__float__"):
        raise TypeError(f"timeout must be a number of seconds, got {shown(timeout)}")
    try:
        seconds = float(timeout)  # type: ignore[arg-type]
    except OverflowError:
        seconds = math.copysign(math.inf, timeout > 0 or -1)  # type: ignore[operator]
    if not seconds >= 0:
        raise ValueError(f"timeout must be 0 (none) or more seconds, got {shown(timeout)}")
    return seconds or math.inf


def manage_fields(operation: object, count: object) -> tuple[int, int]:
    """What a MANAGE frame holds.

    Raises:
        TypeError: the count is no int.
        ValueError: there is no such operation, or the count is below 1.
    """
    code = frames.MANAGE_OPERATIONS.get(operation) if isinstance(operation, str) else None
    if code is None:
        raise ValueError(f'operation must be "add" or "remove", got {shown(operation)}')
    if not isinstance(count, int) or isinstance(count, bool):
        raise TypeError(f"count must be an int, got {shown(count)}")
    if count < 1:
        raise ValueError(f"count must be 1 or more, got {shown(count)}")
    return code, count
