# SPDX-License-Identifier: MIT
"""An ASGI app that holds what it is given: a POST's body is never taken, and never answered.

Everything else is as in plaintext. Trio only: it ends when its server cancels it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from benchmarks.apps import plaintext

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """See this file's head."""
    if scope["type"] == "http" and scope["method"] == "POST":
        await trio.sleep_forever()
    await plaintext.app(scope, receive, send)
