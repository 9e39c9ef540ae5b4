# SPDX-License-Identifier: MIT
"""A quarter of a millisecond of Python a request: what more processes are for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchmarks.apps.plaintext import BODY, FINISH, START, lifespan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_RECORD = {"id": 7, "name": "item", "price": 8.75, "tags": ["first", "second"], "parent": None}
_RECORDS = [_RECORD] * 300

__all__ = ["BODY", "app"]


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answers every request with BODY, once it has worked for it."""
    if scope["type"] != "http":
        await lifespan(receive, send)
        return
    json.dumps(_RECORDS)
    await send(START.copy())
    await send(FINISH.copy())
