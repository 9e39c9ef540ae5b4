# SPDX-License-Identifier: MIT
"""One connection of a BlockingDirtyClient: used by one call at a time.

The deadlines are the kernel's (SO_RCVTIMEO, SO_SNDTIMEO): Python's own timeouts poll before each
system call, and each of them lets go of the GIL, which other threads wait for.
"""

from __future__ import annotations

import math
import os
import socket
import struct
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from trioserve.dirty import frames
from trioserve.dirty.errors import (
    DirtyConnectionError,
    DirtyError,
    DirtyProtocolError,
    DirtyTimeoutError,
)
from trioserve.dirty.frames import FrameReader, FrameType
from trioserve.dirty.paths import check_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trioserve.dirty.frames import Parts, Payload

__all__ = ["BlockingConnection"]

_RECEIVE_SIZE: Final = 256 * 1024
_CONNECT_TIMEOUT: Final = 5.0
#: Seconds until the next try at an arbiter that has too many connections waiting.
_RETRY_INTERVAL: Final = 0.02
#: Seconds beyond a call's timeout in which the arbiter says itself that it is over.
_TIMEOUT_MARGIN: Final = 1.0
_TIMEVAL: Final = struct.Struct("@ll")
#: Seconds that the kernel is told at most: it, too, has limits. What is left is waited for anew.
_LONGEST_WAIT: Final = 1e6
#: Seconds by which a wait may end too early or too late: for less the kernel is not told again.
_TIMEOUT_TOLERANCE: Final = 0.05


class BlockingConnection:
    """A connection to the arbiter.

    Args:
        path: its socket.
        max_frame_size: bytes of a payload that is taken.
        deadline: on the monotonic clock; connecting takes no longer, nor more than 5 s.

    Attributes:
        is_clean: between two calls: nothing of the last one can come any more.

    Raises:
        DirtyConnectionError: nobody listens there, or somebody else's arbiter.
    """

    def __init__(self, path: str, max_frame_size: int, deadline: float) -> None:
        self._path = path
        self._reader = FrameReader(max_frame_size)
        self._arrived: deque[tuple[int, int, Payload]] = deque()
        self._process = os.getpid()
        self._wait_limit = math.inf  # what the kernel has been told
        self.is_clean = True
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._connect(min(deadline, time.monotonic() + _CONNECT_TIMEOUT))
            check_server(self._sock, path)
            self._sock.setblocking(True)
        except OSError as exc:
            self._sock.close()
            raise self._lost(str(exc)) from exc
        except DirtyConnectionError:
            self._sock.close()
            raise

    def _connect(self, deadline: float) -> None:
        self._sock.setblocking(False)
        while True:
            try:
                self._sock.connect(self._path)
            except BlockingIOError:
                # The queue of the listener is full. A blocking connect() would wait without end.
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_RETRY_INTERVAL)
            else:
                return

    def close(self) -> None:
        """Ends the call that is under way, if one is."""
        self._sock.close()

    def is_alive(self) -> bool:
        """Whether it can be used for another call.

        Not if the arbiter has closed it, or has sent a byte that nobody asked for; and not in a
        process that was forked from the one that made it, which may go on using it.
        """
        if self._process != os.getpid():
            return False
        try:
            self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def send(self, parts: Parts, deadline: float, timeout: float) -> None:
        """Sends a request.

        Args:
            parts: of its frame.
            deadline: of the call, on the monotonic clock.
            timeout: the same in seconds, for the error.

        Raises:
            DirtyConnectionError: the arbiter did not take all of it.
            DirtyTimeoutError: nor did it within the time.
            DirtyError: what it said instead.
        """
        self.is_clean = False
        try:
            for part in parts:
                self._send_part(part, deadline, timeout)
        except DirtyTimeoutError:
            self.close()
            raise
        except OSError as exc:
            refusal = self._refusal()
            self.close()
            raise refusal or self._lost(str(exc)) from exc

    def _send_part(self, part: bytes | memoryview, deadline: float, timeout: float) -> None:
        rest = part
        while rest:
            self._limit_wait(deadline, timeout)
            try:
                sent = self._sock.send(rest)
            except BlockingIOError:
                continue  # the time is over, or all but
            if sent == len(rest):
                return
            rest = memoryview(rest)[sent:]

    def _refusal(self) -> DirtyError | None:
        """What the arbiter said before it closed the connection under a request."""
        self._sock.setblocking(False)
        try:
            self._receive()
        except (OSError, DirtyProtocolError):
            return None
        for frame_type, _, payload in self._arrived:
            if frame_type == FrameType.ERROR:
                return frames.decode_error(payload)
        return None

    def replies(
        self, request_id: int, deadline: float, timeout: float
    ) -> Iterator[tuple[int, Payload]]:
        """CHUNKs, and a RESPONSE.

        Args:
            request_id: of the call.
            deadline, timeout: as for ``send``.

        Raises:
            DirtyError: what an ERROR says, or why no more comes.
        """
        while True:
            frame_type, payload = self.reply(request_id, deadline, timeout)
            if frame_type != FrameType.END:
                yield frame_type, payload
            if frame_type != FrameType.CHUNK:
                return

    def reply(self, request_id: int, deadline: float, timeout: float) -> tuple[int, Payload]:
        """The next of the replies: a CHUNK, an END or a RESPONSE. See ``replies``."""
        frame_type, came_id, payload = self._next_frame(deadline, timeout)
        if frame_type == FrameType.ERROR and came_id in (request_id, 0):
            self.is_clean = came_id != 0 and not self._arrived
            raise frames.decode_error(payload)
        if came_id != request_id:
            raise self._lost(f"a reply to request {came_id} came for request {request_id}")
        if frame_type != FrameType.CHUNK:
            # A byte beyond it would be taken for a reply to the next request.
            self.is_clean = not self._arrived and self._reader.is_between_frames
        return frame_type, payload

    def _next_frame(self, deadline: float, timeout: float) -> tuple[int, int, Payload]:
        while not self._arrived:
            self._limit_wait(deadline, timeout)
            try:
                size = self._receive()
            except BlockingIOError:
                continue  # the time is over, or all but
            except OSError as exc:
                raise self._lost(str(exc)) from exc
            if not size:
                raise self._lost("it closed the connection")
        return self._arrived.popleft()

    def _receive(self) -> int:
        """Reads once: bytes that came, 0 at the end."""
        if self._reader.error is not None:
            raise self._reader.error
        target = self._reader.wanted()
        if target is not None:
            size = self._sock.recv_into(target)
            self._arrived.extend(self._reader.filled(size) if size else ())
            return size
        data = self._sock.recv(_RECEIVE_SIZE)
        self._arrived.extend(self._reader.feed(data) if data else ())
        return len(data)

    def _limit_wait(self, deadline: float, timeout: float) -> None:
        """Has the kernel end the wait that follows when the time is over.

        Raises:
            DirtyTimeoutError: it is.
        """
        limit = math.inf
        if deadline != math.inf:
            limit = deadline + _TIMEOUT_MARGIN - time.monotonic()
            if limit <= 0:
                raise self._too_late(timeout)
            limit = min(limit, _LONGEST_WAIT)
            if abs(limit - self._wait_limit) <= _TIMEOUT_TOLERANCE:
                return  # as most calls, which have the timeout of the one before
        if limit != self._wait_limit:
            self._wait_limit = limit
            # A time of 0 would be none.
            seconds = 0.0 if limit == math.inf else max(limit, _TIMEOUT_TOLERANCE)
            value = _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1_000_000))
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)

    def _too_late(self, timeout: float) -> DirtyTimeoutError:
        return DirtyTimeoutError(
            f"no answer from the dirty arbiter at {self._path} within {timeout:g} s",
            timeout=timeout,
        )

    def _lost(self, reason: str) -> DirtyConnectionError:
        return DirtyConnectionError(
            f"the dirty arbiter at {self._path} can't be reached: {reason}", socket_path=self._path
        )
