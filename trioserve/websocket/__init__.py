# SPDX-License-Identifier: MIT
"""A WebSocket after its handshake: engines over pipes. See README.md."""

from trioserve.websocket.engine import Engine, EngineFactory
from trioserve.websocket.engines import find_engine
from trioserve.websocket.pipe import Pipe

__all__ = ["Engine", "EngineFactory", "Pipe", "find_engine"]
