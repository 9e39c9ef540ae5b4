# SPDX-License-Identifier: MIT
"""The face of a WebSocket engine: frames and the closing handshake, over a pipe.

An engine knows RFC 6455 from the end of the opening handshake on. When to ping, how long to wait
and what the application is told is policy, and stands in connection/websocket.py. Two engines:

==================  =========================================================================
sansio_engine.py    a shell of our own on the sans-IO protocol of ``websockets``: no task
trio_engine.py      trio-websocket's connection: the reference. It has a task that reads
==================  =========================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from contextlib import AbstractAsyncContextManager

    from trioserve.config import WebSocketOptions
    from trioserve.protocols.websocket import Closed, Deflate
    from trioserve.websocket.pipe import Pipe

__all__ = ["Engine", "EngineFactory", "Listener"]


class Listener(Protocol):
    """Is told what has come. Its methods must not block or raise."""

    def on_pong(self) -> None:
        """A Pong frame has come."""

    def on_closed(self, closed: Closed) -> None:
        """The client has closed it, or broken the protocol, or is lost: told once."""


class Engine(Protocol):
    """One WebSocket.

    Attributes:
        heard: bytes have come; whoever reads it sets it back.
        stalled: a pong may be late for a reason that isn't the client's: messages wait for the
            application before it, or our own go on before the ping.
    """

    heard: bool

    @property
    def stalled(self) -> bool:
        """See above."""

    def start(self, data: bytes) -> None:
        """The handshake is over; ``data`` has come after it already."""

    async def receive(self) -> str | bytes | None:
        """The next message; None once it is closed. One task at a time.

        *Cancellation*: no message is lost.
        """

    def send(self, message: str | bytes) -> Awaitable[None] | None:
        """One whole message; None when nothing is left to wait for.

        Raises:
            ClientDisconnectedError: it is closed, or the client can't be reached.
        """

    def ping(self, payload: bytes) -> None:
        """Sends a Ping frame."""

    def close(self, code: int, reason: str) -> None:
        """Sends a Close frame, if none was; messages that come from now on are dropped."""

    async def finish(self) -> None:
        """Until the closing handshake is over, or the client is lost. Not before close()."""

    def on_activity(self) -> None:
        """From the pipe: bytes have come that nobody waits for, or the peer goes."""


class EngineFactory(Protocol):
    """Opens engines of one kind. It owns their tasks, if they have any."""

    def __call__(
        self, pipe: Pipe, listener: Listener, options: WebSocketOptions, deflate: Deflate | None
    ) -> AbstractAsyncContextManager[Engine]:
        """Leaving the block ends the engine at once."""
