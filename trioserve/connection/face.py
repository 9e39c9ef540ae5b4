# SPDX-License-Identifier: MIT
"""What a server knows of a connection, whichever protocol it speaks."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Connection"]


class Connection(Protocol):
    """An open connection; its task is its own."""

    @property
    def deadline(self) -> float:
        """When ``expire`` is to be called, by the server's clock; inf = never."""

    def expire(self) -> None:
        """The deadline has passed: ends what waits for the client."""

    def begin_drain(self) -> None:
        """The server is about to stop: the client is told, where the protocol has a word for it."""

    def drain(self) -> None:
        """The server is stopping: an idle connection ends now, a busy one after what it is at."""
