# SPDX-License-Identifier: MIT
"""An application that says when it has been asked often enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from trioserve.types import ASGIApp, Receive, Scope, Send

__all__ = ["counted"]


def counted(app: ASGIApp, limit: int, reached: Callable[[], object]) -> ASGIApp:
    """Return ``app``, which calls ``reached`` when request number ``limit`` begins.

    WebSockets are requests; the lifespan is none. What comes after it is served as before, and
    ``reached`` is called again after as many, in case that it was in vain.
    """
    left = limit

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal left
        if scope["type"] != "lifespan":
            left -= 1
            if left == 0:
                left = limit
                reached()
        await app(scope, receive, send)

    return counting
