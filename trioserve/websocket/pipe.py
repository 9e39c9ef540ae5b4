# SPDX-License-Identifier: MIT
"""The bytes below a WebSocket: a transport (HTTP/1.1), or a stream of HTTP/2 (RFC 8441)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from trioserve.transports import Peer

__all__ = ["Pipe"]


class Pipe(Protocol):
    """A peer's byte pipe. The words are trioserve.transports.Transport's, which is one."""

    @property
    def peer(self) -> Peer:
        """Where the other side is."""

    async def receive(self) -> bytes:
        """What has come, at least a byte; b"" at its end, and when it is interrupted."""

    def take(self) -> bytes | None:
        """What has come already; None: nothing has."""

    def remind(self) -> None:
        """Tells of activity once more after the tasks that can run now: there was more to take."""

    def interrupt(self) -> None:
        """Makes a receive() that is waiting now return b""."""

    def write(self, data: bytes) -> Awaitable[None] | None:
        """Writes it; None if nothing is left to wait for."""

    def write_all(self, pieces: Sequence[bytes]) -> Awaitable[None] | None:
        """Writes the pieces of one message."""

    def write_soon(self, pieces: Sequence[bytes]) -> Awaitable[None] | None:
        """As write_all, but what is written in one step of all tasks leaves together."""

    def post(self, data: bytes, *, urgent: bool = False) -> bool:
        """Writes a little, with nobody who waits; False if too much waits already.

        Args:
            urgent: there is nothing more after it, and it is taken in any case.
        """

    def skip(self, size: int) -> None:
        """Counts towards the next pause."""

    def pause(self) -> Awaitable[None] | None:
        """A checkpoint to be awaited, where one is due."""

    def abort(self) -> None:
        """The peer is given up."""
