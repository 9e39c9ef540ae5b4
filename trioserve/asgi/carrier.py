# SPDX-License-Identifier: MIT
"""What an exchange needs of the connection below it: the face that every HTTP version has.

Above this line the words are RFC 9110's (a response, a body, trailers), below it each version's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from trioserve.types import Headers

__all__ = ["Carrier"]


class Carrier(Protocol):
    """Carries one exchange at a time.

    Methods that send return None when nothing is left to wait for, so that the fast path has no
    coroutine; else an awaitable that ends when the peer has taken enough.

    Raises:
        ClientDisconnectedError: from anything that sends, once the client can't be reached.
        AppProtocolError: what was to be sent isn't legal; nothing of it was.
    """

    @property
    def request_trailers(self) -> Headers:
        """The trailer fields that came after the request's body; once that has ended."""

    async def receive_body(self) -> tuple[bytes, bool] | None:
        """Body bytes and whether more will come; None if the client left or broke its framing.

        *Cancellation*: nothing that has arrived gets lost. What has arrived already is returned
        without a checkpoint.
        """

    def send_response(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
        more: bool,
        trailers: bool,
    ) -> Awaitable[None] | None:
        """The head with the first of the body."""

    def send_body(self, body: bytes, more: bool, trailers: bool) -> Awaitable[None] | None:
        """More of the body."""

    def send_file(
        self,
        head: tuple[int, Iterable[tuple[bytes, bytes]]] | None,
        file: BinaryIO | str,
        offset: int | None,
        count: int | None,
        more: bool,
        trailers: bool,
    ) -> Awaitable[int]:
        """Body from a file, by path or open; ``head`` goes before it where it wasn't sent.

        Returns: how many bytes of body went out.
        """

    def send_trailers(
        self, headers: Iterable[tuple[bytes, bytes]], more: bool
    ) -> Awaitable[None] | None:
        """Trailer fields after the body."""

    def send_interim(
        self, status: int, headers: Iterable[tuple[bytes, bytes]]
    ) -> Awaitable[None] | None:
        """A 1xx response before the final one."""

    def response_completed(self) -> None:
        """The exchange's response is out; what the application does now is its own affair."""
