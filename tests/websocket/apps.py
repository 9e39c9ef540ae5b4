# SPDX-License-Identifier: MIT
"""Applications that tests of WebSocket serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trioserve.types import Message, Receive, Scope, Send

__all__ = ["Recorder", "accept", "echo"]


async def accept(receive: Receive, send: Send, **options: Any) -> None:
    """The opening handshake, from the application's side."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", **options})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends back each message as it came."""
    await accept(receive, send)
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]})


class Recorder:
    """An echo that keeps what it has seen.

    Attributes:
        scopes: of each WebSocket.
        messages: that came, in order.
        disconnect: the event that ended the last one.
    """

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.messages: list[str | bytes] = []
        self.disconnect: Message | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        await accept(receive, send)
        while (message := await receive())["type"] == "websocket.receive":
            self.messages.append(message["text"] if message["bytes"] is None else message["bytes"])
            await send(
                {"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]}
            )
        self.disconnect = message

    @property
    def code(self) -> int:
        """Of the disconnect."""
        assert self.disconnect is not None
        code: int = self.disconnect["code"]
        return code

    @property
    def reason(self) -> str:
        """Of the disconnect."""
        assert self.disconnect is not None
        reason: str = self.disconnect["reason"]
        return reason
