# SPDX-License-Identifier: MIT
"""What a WebSocketExchange needs of what is below it, over either version of HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from trioserve.protocols.websocket import Closed

__all__ = ["Messages", "WebSocketCarrier"]


class Messages(Protocol):
    """What goes through an open WebSocket."""

    async def receive(self) -> str | bytes | None:
        """The next message; None once it is closed. One task at a time.

        *Cancellation*: no message is lost.
        """

    def send(self, message: str | bytes) -> Awaitable[None] | None:
        """One whole message; None when nothing is left to wait for.

        Raises:
            ClientDisconnectedError: it is closed, or the client can't be reached.
        """


class WebSocketCarrier(Protocol):
    """Carries one WebSocket.

    Methods that send return None when nothing is left to wait for, else an awaitable that ends when
    the peer has taken enough.

    Raises:
        ClientDisconnectedError: from anything that sends, once the client can't be reached.
        AppProtocolError: what was to be sent isn't legal; nothing of it was.
    """

    @property
    def messages(self) -> Messages:
        """Both ways; once it is accepted."""

    @property
    def closed(self) -> Closed:
        """How it was closed; ABNORMAL where nobody has said."""

    def accept(
        self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]
    ) -> Awaitable[None] | None:
        """Answers the handshake: from now on there are messages."""

    def close(self, closed: Closed) -> Awaitable[None] | None:
        """Begins the closing handshake."""

    def refuse(self, status: int, reason: str) -> Awaitable[None] | None:
        """Answers the handshake with an error of our own."""

    def send_response(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        more: bool,
        trailers: bool,
    ) -> Awaitable[None] | None:
        """Answers the handshake with a response: the application's denial."""

    def send_body(self, body: bytes, more: bool, trailers: bool) -> Awaitable[None] | None:
        """More of its body."""
