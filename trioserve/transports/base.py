# SPDX-License-Identifier: MIT
"""The face of a transport, and what a peer's leaving is called."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["MESSAGE_COST", "POST_SIZE", "RECEIVE_SIZE", "YIELD_SIZE", "Peer", "Transport"]

#: Bytes asked for in one read.
RECEIVE_SIZE: Final = 64 * 1024
#: Bytes after which a task that never had to wait lets the others run.
YIELD_SIZE: Final = 64 * 1024
#: What a message counts for beside its bytes, so that endless small ones yield too.
MESSAGE_COST: Final = 256

#: Bytes that may wait to be written without a task that waits for them.
POST_SIZE: Final = 64 * 1024


class Peer(IntEnum):
    """Where the other side is. It only ever goes up."""

    PRESENT = 0
    #: It sent its last byte (EOF): it may still read, or be gone altogether.
    LEAVING = 1
    #: The connection is broken (reset, hung up, timed out): nothing reaches it.
    LOST = 2


class Transport(Protocol):
    """One peer's byte pipe. Only one task at a time may receive; several may write.

    Attributes:
        peer: where the other side is, as far as it's known without reading.
        readable: a receive() would probably not have to wait.
        can_sendfile: send_file works, from the kernel's page cache to the socket.
        write_timeout: seconds without progress after which a peer is given up.
        on_activity: called, in any task, when the peer goes or when bytes come that nobody waits
            for. It must not block or raise.
    """

    on_activity: Callable[[], None]
    write_timeout: float

    @property
    def peer(self) -> Peer:
        """See above."""

    @property
    def readable(self) -> bool:
        """See above."""

    @property
    def can_sendfile(self) -> bool:
        """See above."""

    async def receive(self) -> bytes:
        """What has come, at least a byte; b"" at EOF, when the connection is broken, and when
        it is interrupted.

        *Cancellation*: no byte is lost. No checkpoint where bytes are there, but for one every
        YIELD_SIZE bytes.
        """

    def take(self) -> bytes | None:
        """What has come already, as receive() gives it; None: nothing has."""

    def remind(self) -> None:
        """Calls on_activity once more after the tasks that can run now: there was more to take."""

    def has_arrived(self) -> bool:
        """Whether unread bytes (or EOF) are there now: asked anew, not from memory."""

    def interrupt(self) -> None:
        """Makes a receive() that is waiting now return b"" although nothing came."""

    def write(self, data: bytes) -> Awaitable[None] | None:
        """Writes what the peer takes at once; None if that was all, else a wait for the rest.

        The awaitable must be awaited. Writes of several tasks go out whole, in order.

        Raises:
            ClientDisconnectedError: at once or from the awaitable: the peer can't be reached, or
                took nothing for ``write_timeout``.

        *Cancellation*: what was left is not sent, and the transport is lost.
        """

    def write_all(self, pieces: Sequence[bytes]) -> Awaitable[None] | None:
        """As write, for pieces of one message; large ones are not copied together."""

    def write_soon(self, pieces: Sequence[bytes]) -> Awaitable[None] | None:
        """As write_all, but the pieces may wait until every task that can run now has run, so
        that small messages of one step leave together. The awaitable is a checkpoint if
        YIELD_SIZE bytes went by without one.

        What keeps such pieces from leaving later is told by the next write.
        """

    def post(self, data: bytes, *, urgent: bool = False) -> bool:
        """Writes a little soon, whole, between two messages, without anybody who waits for it.

        Args:
            urgent: even if too much was posted before.

        Returns:
            False, and nothing is written, where POST_SIZE bytes that were posted wait already.
        """

    def skip(self, size: int) -> None:
        """Counts ``size`` bytes that were not to be written (a HEAD's body) as if they had been."""

    def pause(self) -> Awaitable[None] | None:
        """A checkpoint to be awaited if YIELD_SIZE bytes went by without one, else None.

        Apart from write, so that a message that is out can count as sent before it.
        """

    async def send_file(self, file: BinaryIO, offset: int, count: int) -> int:
        """Sends ``count`` bytes of a file; returns how many the file really had."""

    def shut_down_writing(self) -> Awaitable[None] | None:
        """Sends EOF after all that was written; errors are nothing: the peer is gone then."""

    def abort(self) -> None:
        """The peer is given up: closing tells it so by a reset, and everybody waiting wakes."""

    def close(self) -> Awaitable[None] | None:
        """Frees the socket. Idempotent."""
