# SPDX-License-Identifier: MIT
"""The settings of WebSocket: a group like those in :mod:`.options`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final, Literal

import attrs

from trioserve.config import kinds
from trioserve.config.fields import setting
from trioserve.errors import ConfigError

__all__ = ["WebSocketOptions"]

_WEBSOCKET: Final = "WebSocket"
_ENGINE_NAMES: Final = kinds.choice("auto", "websockets", "trio-websocket")


def _is_usable_engine(value: Any) -> bool:
    if value == "websockets" and find_spec("websockets") is None:
        raise ConfigError(
            "websocket_engine 'websockets': websockets is not installed here; install it "
            '(pip install websockets), or use "auto" or "trio-websocket"'
        )
    return _ENGINE_NAMES.accepts(value)


_ENGINE: Final = attrs.evolve(_ENGINE_NAMES, accepts=_is_usable_engine)


@attrs.frozen(kw_only=True, slots=False)
class WebSocketOptions:
    """WebSocket: what carries it, limits, deadlines."""

    websocket_engine: Literal["auto", "websockets", "trio-websocket"] = setting(
        _WEBSOCKET,
        _ENGINE,
        "auto",
        "Frames: by the library websockets (auto, where it is installed), or by trio-websocket",
    )
    websocket_compression: Literal["on", "off"] = setting(
        _WEBSOCKET,
        kinds.choice("on", "off"),
        "on",
        "permessage-deflate, with clients that offer it",
    )
    websocket_max_message_size: int = setting(
        _WEBSOCKET,
        kinds.BYTES,
        16_777_216,
        "Largest message that is taken, decompressed, else it is closed with 1009; 0 = no limit",
    )
    websocket_max_queue: int = setting(
        _WEBSOCKET,
        kinds.AT_LEAST_ONE,
        32,
        "Messages that may wait for the app; beyond it, or 64 KiB, the client waits",
    )
    websocket_handshake_timeout: float = setting(
        _WEBSOCKET,
        kinds.SECONDS,
        30.0,
        "From the upgrade to the app's answer, else 503; 0 = no limit",
    )
    websocket_ping_interval: float = setting(
        _WEBSOCKET, kinds.SECONDS, 20.0, "Between two pings that the server sends; 0 = none"
    )
    websocket_ping_timeout: float = setting(
        _WEBSOCKET,
        kinds.SECONDS,
        20.0,
        "From a ping to its pong, or anything else, else it is closed; 0 = no limit",
    )
    websocket_close_timeout: float = setting(
        _WEBSOCKET,
        kinds.SECONDS,
        10.0,
        "For the client's half of the closing handshake; 0 = no limit",
    )
    websocket_send_timeout: float = setting(
        _WEBSOCKET,
        kinds.SECONDS,
        30.0,
        "Sending to a client without any progress, then it is lost; 0 = no limit",
    )

    @property
    def websocket_timeouts(self) -> list[float]:
        """Those that are kept by looking at the clock now and then; 0 is none of them."""
        timeouts = (
            self.websocket_handshake_timeout,
            self.websocket_ping_interval,
            self.websocket_ping_timeout,
            self.websocket_close_timeout,
            self.websocket_send_timeout,
        )
        return [timeout for timeout in timeouts if timeout]
