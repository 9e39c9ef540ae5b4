# SPDX-License-Identifier: MIT
"""What a peer did wrong on the wire, with the status that tells it so."""

from __future__ import annotations

__all__ = ["RemoteProtocolError"]


class RemoteProtocolError(Exception):
    """The client broke the protocol, or asked for more than a limit allows.

    Attributes:
        status: the status code to answer with, as long as no response has begun.
        reason: one sentence for the client: what was expected and where the RFC says so.
        head_only: the answer may have no body, since the request was a HEAD.
    """

    def __init__(self, status: int, reason: str, *, head_only: bool = False) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason
        self.head_only = head_only
