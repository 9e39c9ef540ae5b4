# SPDX-License-Identifier: MIT
"""What a peer did wrong on the wire, with the status that tells it so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trioserve.types import Headers

__all__ = ["RemoteProtocolError", "body_too_large"]


class RemoteProtocolError(Exception):
    """The client broke the protocol, or asked for more than a limit allows.

    Attributes:
        status: the status code to answer with, as long as no response has begun.
        reason: one sentence for the client: what was expected and where the RFC says so.
        head_only: the answer may have no body, since the request was a HEAD.
        headers: fields that the answer has beside the usual ones.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        *,
        head_only: bool = False,
        headers: Headers | None = None,
    ) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason
        self.head_only = head_only
        self.headers: Headers = headers or []


def body_too_large(limit: float, *, head_only: bool = False) -> RemoteProtocolError:
    """A request's body is beyond ``max_body_size``."""
    return RemoteProtocolError(413, f"the body is larger than {limit} bytes", head_only=head_only)
