# SPDX-License-Identifier: MIT
"""Where the streams of a connection are in their lives (RFC 9113 section 5.1)."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from trioserve.protocols.http2.errors import ErrorCode
from trioserve.protocols.http2.frames import broken

__all__ = ["Ending", "StreamState", "StreamTable"]

#: Ended streams that are remembered, at the least.
_MIN_ENDED: Final = 1000


class Ending(Enum):
    """How a stream has ended."""

    BOTH_SIDES = auto()
    RESET_BY_PEER = auto()
    RESET_BY_US = auto()


class StreamState:
    """One that hasn't ended.

    Attributes:
        send_window: bytes that the client takes.
        receive_window: bytes that it may send.
        taken: of those that came, not told to it yet.
        remote_closed, local_closed: that side has said its last.
    """

    __slots__ = ("local_closed", "receive_window", "remote_closed", "send_window", "taken")

    def __init__(self, send_window: int, receive_window: int, *, remote_closed: bool) -> None:
        self.send_window = send_window
        self.receive_window = receive_window
        self.taken = 0
        self.remote_closed = remote_closed
        self.local_closed = False


class StreamTable:
    """Those that haven't ended, and for a while those that have.

    What a client sends after its own end is an error, but what it sent before it heard of ours
    isn't: so it is known how a stream has ended.

    Args:
        max_concurrent: streams that a client may have; four times as many that ended are known.

    Attributes:
        live: open and half-closed ones, by id.
        highest: the greatest id that the client has used.
    """

    __slots__ = ("_ended", "_max_ended", "highest", "live")

    def __init__(self, max_concurrent: int) -> None:
        self._max_ended = max(_MIN_ENDED, 4 * max_concurrent)
        self.live: dict[int, StreamState] = {}
        self.highest = 0
        self._ended: dict[int, Ending] = {}

    def find(self, stream_id: int, frame: str) -> StreamState | None:
        """The stream that a frame is about; None if it has ended.

        Raises:
            Http2ConnectionError: it is idle.
        """
        stream = self.live.get(stream_id)
        if stream is None and (stream_id > self.highest or not stream_id % 2):
            raise broken(ErrorCode.PROTOCOL_ERROR, f"{frame} on an idle stream", "5.1")
        return stream

    def open(self, stream_id: int, stream: StreamState) -> None:
        """The client has opened it; all idle ones below it can't be any more (section 5.1.1)."""
        self.live[stream_id] = stream
        self.highest = stream_id

    def close_local(self, stream_id: int, stream: StreamState) -> None:
        """We have said our last on it."""
        stream.local_closed = True
        if stream.remote_closed:
            self.end(stream_id, Ending.BOTH_SIDES)

    def close_remote(self, stream_id: int, stream: StreamState) -> None:
        """The client has."""
        stream.remote_closed = True
        if stream.local_closed:
            self.end(stream_id, Ending.BOTH_SIDES)

    def end(self, stream_id: int, how: Ending) -> None:
        """It is closed."""
        del self.live[stream_id]
        self._ended[stream_id] = how
        if len(self._ended) > self._max_ended:
            del self._ended[next(iter(self._ended))]

    def reset_by_peer(self, stream_id: int) -> None:
        """The client has reset it, maybe after its end: what it sends from now on is late."""
        if stream_id in self.live:
            self.end(stream_id, Ending.RESET_BY_PEER)
        elif self._ended.get(stream_id) is Ending.BOTH_SIDES:
            self._ended[stream_id] = Ending.RESET_BY_PEER

    def ending(self, stream_id: int) -> Ending | None:
        """How it has ended; None if it never began, or too long ago."""
        return self._ended.get(stream_id)
