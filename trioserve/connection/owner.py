# SPDX-License-Identifier: MIT
"""What a wire tells the connection that it belongs to."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Owner"]


class Owner(Protocol):
    """Has a wire."""

    def client_left(self, *, unreachable: bool) -> None:
        """The client of the current exchange leaves, or broke its request's framing."""

    def body_taken(self) -> None:
        """The application took more of the body."""

    def response_completed(self) -> None:
        """The response of the current exchange is out."""
