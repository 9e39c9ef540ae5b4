# SPDX-License-Identifier: MIT
"""What an HTTP/2 stream has to send, and how it waits for its client to take it.

No task of its own. What the client can't take yet waits here, and while it is more than HIGH_WATER
whoever sends waits as well: a slow client bounds what its own response may hold.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

import trio

from trioserve.errors import ClientDisconnectedError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from trioserve.connection.http2 import Http2Connection
    from trioserve.protocols.http2 import Priority
    from trioserve.types import Headers

__all__ = ["HIGH_WATER", "LOW_WATER", "Http2Output"]

#: Bytes of a response that may wait for its client before the application waits, too; and to how
#: many they must fall before it goes on.
HIGH_WATER: Final = 64 * 1024
LOW_WATER: Final = 16 * 1024


class Http2Output:
    """The sending half of a stream.

    Attributes:
        id: the stream's.
        priority: of its response (RFC 9218).
        request_ended: all of the request has come.
        ended: all of the response is with the engine.
        gone: the stream was reset, by either side, or its connection is lost.
        stall_timeout: seconds that the client may take nothing.
    """

    __slots__ = (
        "_connection",
        "_last",
        "_out",
        "_out_size",
        "_out_trailers",
        "_room",
        "_stalled_at",
        "_writer",
        "ended",
        "gone",
        "id",
        "priority",
        "request_ended",
        "stall_timeout",
    )

    def __init__(
        self,
        connection: Http2Connection,
        stream_id: int,
        priority: Priority,
        *,
        request_ended: bool,
    ) -> None:
        self._connection = connection
        self._writer = connection.writer
        self.id = stream_id
        self.priority = priority
        self.request_ended = request_ended
        self.ended = self.gone = False
        self.stall_timeout = connection.shared.write_timeout
        self._out: deque[bytes | memoryview] = deque()
        self._out_size = 0
        self._out_trailers: Headers | None = None
        self._last = False  # what is in _out is the end of the body
        self._room: trio.lowlevel.ParkingLot | None = None
        self._stalled_at = math.inf  # of the wait for the client to take what is in _out

    def _check_reachable(self) -> None:
        if self.gone:
            raise ClientDisconnectedError("the client has disconnected")

    def _send_data(self, body: bytes | memoryview, *, last: bool) -> Awaitable[None] | None:
        """Sends it as soon as the client takes it; ``last`` ends the stream."""
        writer = self._writer
        if self._put(body, last=last):
            return writer.pause(len(body))
        if last or self._out_size > HIGH_WATER:
            return self._wait_for_room(0 if last else LOW_WATER)
        return writer.pause(len(body))

    def _put(self, body: bytes | memoryview, *, last: bool) -> bool:
        """Sends it without a wait; whether it is with the engine already."""
        writer = self._writer
        if not self._out and writer.send_data_at_once(self.id, body, end=last):
            if last:
                self._end()
            return True
        if body:
            self._out.append(body)
            self._out_size += len(body)
        self._last = last
        writer.enqueue(self)
        return False

    @property
    def has_output(self) -> bool:
        """Something waits to be sent."""
        return bool(self._out) or (self._last and not self.ended)

    def write_frame(self, window: int, max_frame_size: int) -> bool:
        """Gives the next of it to the engine.

        Args:
            window: bytes that the client takes now.
            max_frame_size: of a frame that it takes.

        Returns:
            Whether there is more that could go now.
        """
        if self._out:
            if window <= 0:
                self._begin_stall()
                return False
            piece = self._out[0]
            size = min(len(piece), window, max_frame_size)
            cut = size == window < len(piece)
            if size == len(piece):
                self._out.popleft()
            else:
                piece = memoryview(piece)
                self._out[0] = piece[size:]
                piece = piece[:size]
            self._out_size -= size
            ends = self._last and not self._out and self._out_trailers is None
            self._writer.send_data(self.id, piece, end=ends, cut=cut)
            if ends:
                self._end()
            elif self._out or not self._last:
                self._tell_of_room()
                return bool(self._out)
        if self._last and not self.ended:
            self._send_end()
        self._tell_of_room()
        return False

    def _send_end(self) -> None:
        """The end of the stream, without a byte of body: needs no window."""
        if self._out_trailers:
            self._writer.send_headers(self.id, self._out_trailers, end=True)
        else:
            self._writer.send_data(self.id, b"", end=True)
        self._end()

    def _end(self) -> None:
        self.ended = True
        self._stalled_at = math.inf
        self._connection.response_ended(self)

    def _begin_stall(self) -> None:
        """The client lets nothing be sent: it has stall_timeout to think better of it.

        Where others go first, or the socket takes no more, the stream isn't what stalls: a client
        that takes nothing at all is lost by the transport's own deadline.
        """
        if self._stalled_at == math.inf:
            self._stalled_at = self._connection.shared.now() + self.stall_timeout
            self._connection.note_deadline(self._stalled_at)

    def end_stall(self) -> None:
        """The client lets more be sent."""
        self._stalled_at = math.inf

    async def _wait_for_room(self, size: int) -> None:
        """Until no more than ``size`` bytes wait; for 0: until the end has gone, too."""
        if self._room is None:
            self._room = trio.lowlevel.ParkingLot()
        while not self.gone and (self._out_size > size or (size == 0 and self.has_output)):
            await self._room.park()
        if not self.ended:  # all that there was is with the engine: that is as good as sent
            self._check_reachable()

    def _tell_of_room(self) -> None:
        if self._room is not None and self._out_size <= LOW_WATER:
            self._room.unpark_all()

    def _drop_output(self) -> None:
        self._writer.withdraw(self)
        self._out.clear()
        self._out_size = 0
        self._out_trailers = None
        self._last = False
        self._stalled_at = math.inf
        self._tell_of_room()
