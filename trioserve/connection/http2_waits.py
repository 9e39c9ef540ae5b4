# SPDX-License-Identifier: MIT
"""What an HTTP/2 connection as a whole waits for its client for, and how long.

==============  ==================================================================
wait            ends
==============  ==================================================================
first request   header_timeout after the connection began; keep_alive_timeout once
                the client's SETTINGS are there
next request    keep_alive_timeout after the last stream ended
header section  header_timeout after its first byte, however it trickles in
==============  ==================================================================

The waits of a stream (for its body, for its client to take what is sent) are in http2_stream.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trioserve.context import ServerContext

__all__ = ["Http2Waits"]


class Http2Waits:
    """See this file's head.

    Attributes:
        deadline: of the earliest wait; inf = there is none.
    """

    __slots__ = ("_head", "_idle", "_is_new", "_shared")

    def __init__(self, shared: ServerContext) -> None:
        self._shared = shared
        self._head = math.inf
        self._idle = shared.now() + shared.header_timeout
        self._is_new = True

    @property
    def deadline(self) -> float:
        """See above."""
        return min(self._head, self._idle)

    def greeted(self) -> None:
        """The client's SETTINGS are there; those that follow change nothing."""
        if self._is_new:
            self._is_new = False
            self._idle = self._shared.now() + self._shared.keep_alive_timeout

    def busy(self) -> None:
        """There is a stream."""
        self._is_new = False
        self._idle = math.inf

    def idle(self) -> None:
        """There is none any more."""
        self._idle = self._shared.now() + self._shared.keep_alive_timeout

    def note_head(self, now: float, *, under_way: bool) -> None:
        """Whether a header section has begun and not ended."""
        if not under_way:
            self._head = math.inf
        elif self._head == math.inf:
            self._head = now + self._shared.header_timeout

    def expire(self, now: float, *, has_arrived: bool) -> bool:
        """Whether a wait is over; unread bytes (``has_arrived``) prolong that for a request."""
        if self._head > now and self._idle <= now and has_arrived:
            self._idle = now + self._shared.header_timeout
            return False
        if self.deadline > now:
            return False
        self._idle = self._head = math.inf
        return True
