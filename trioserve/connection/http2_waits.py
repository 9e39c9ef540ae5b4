# SPDX-License-Identifier: MIT
"""What an HTTP/2 connection as a whole waits for its client for, and how long.

==============  ==================================================================
wait            ends
==============  ==================================================================
first request   header_timeout after the connection began; keep_alive_timeout once
                the client's SETTINGS are there
next request    keep_alive_timeout after the last stream ended
header section  header_timeout after its first byte, however it trickles in
unread upload   UPLOAD_TIMEOUT after its response, then it is reset; what comes till
                then is dropped. RFC 9113 section 8.1 allows that at once, but clients
                (curl 7.88) lose a response that comes together with a reset
==============  ==================================================================

The waits of a stream (for its body, for its client to take what is sent) are in http2_stream.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trioserve.context import ServerContext

__all__ = ["Http2Waits"]

UPLOAD_TIMEOUT: Final = 1.0


class Http2Waits:
    """See this file's head.

    Attributes:
        deadline: of the earliest wait; inf = there is none.
    """

    __slots__ = ("_head", "_idle", "_is_new", "_shared", "_uploads")

    def __init__(self, shared: ServerContext) -> None:
        self._shared = shared
        self._head = math.inf
        self._idle = shared.now() + shared.header_timeout
        self._is_new = True
        self._uploads: dict[int, float] = {}

    @property
    def deadline(self) -> float:
        """See above."""
        # All uploads have the same time, so the first one's ends first.
        return min(self._head, self._idle, next(iter(self._uploads.values()), math.inf))

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

    def begin_upload(self, stream_id: int, most: int) -> bool:
        """A response is out, and its request still comes; False if too many do."""
        if len(self._uploads) >= most:
            return False
        self._uploads[stream_id] = self._shared.now() + UPLOAD_TIMEOUT
        return True

    def end_upload(self, stream_id: int) -> None:
        """The request has ended; nothing if it had before."""
        self._uploads.pop(stream_id, None)

    def expired_uploads(self, now: float) -> list[int]:
        """The streams of those that come no longer; each is told once."""
        expired = [stream_id for stream_id, deadline in self._uploads.items() if deadline <= now]
        for stream_id in expired:
            del self._uploads[stream_id]
        return expired

    def expire(self, now: float, *, has_arrived: bool) -> bool:
        """Whether the connection's own wait is over.

        Unread bytes (``has_arrived``) prolong the one for a request.
        """
        if self._head > now and self._idle <= now and has_arrived:
            self._idle = now + self._shared.header_timeout
            return False
        if min(self._head, self._idle) > now:
            return False
        self._idle = self._head = math.inf
        return True
