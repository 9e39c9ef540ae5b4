# SPDX-License-Identifier: MIT
"""An application that counts its requests."""

from __future__ import annotations

from typing import Any

from trioserve.counting import counted


async def nothing(*_: Any) -> Any:
    raise AssertionError("nobody asks for anything here")


async def test_the_limit_is_told_each_time_and_the_lifespan_does_not_count() -> None:
    kinds: list[str] = []
    told: list[int] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        kinds.append(scope["type"])

    counting = counted(app, 2, lambda: told.append(len(kinds)))
    for kind in ("lifespan", "http", "websocket", "http", "http"):
        await counting({"type": kind}, nothing, nothing)
    assert kinds == ["lifespan", "http", "websocket", "http", "http"]
    assert told == [2, 4]  # as the second and the fourth request began
