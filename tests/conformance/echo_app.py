# SPDX-License-Identifier: MIT
"""What the suite of cases talks to: an application that sends every message back as it came."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Echoes text as text and bytes as bytes, until the client goes."""
    if scope["type"] != "websocket":
        raise RuntimeError("only WebSocket is spoken here")
    await receive()  # websocket.connect
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        # One of the two is None, or isn't there.
        if (text := message.get("text")) is not None:
            echo = {"type": "websocket.send", "text": text}
        else:
            echo = {"type": "websocket.send", "bytes": message["bytes"]}
        try:
            await send(echo)
        except OSError:  # closed, maybe for what came behind this message
            return
