# SPDX-License-Identifier: MIT
"""Which engine; its module is loaded by the first WebSocket that needs it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trioserve.websocket.engine import EngineFactory

__all__ = ["find_engine"]


def find_engine(name: str) -> EngineFactory:
    """For ``--websocket-engine``: auto is websockets where that is installed."""
    if name == "auto":
        name = "trio-websocket" if find_spec("websockets") is None else "websockets"
    if name == "websockets":
        from trioserve.websocket.sansio_engine import open_sansio_engine

        return open_sansio_engine
    from trioserve.websocket.trio_engine import open_trio_engine

    return open_trio_engine
