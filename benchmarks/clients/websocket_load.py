# SPDX-License-Identifier: MIT
"""Messages to a WebSocket server as fast as it answers: one thread, one epoll, no library.

The first message of each connection is compared byte by byte when it comes back. After that the
same frame is sent again and again, and of what comes only the bytes are counted: a reply is there
when its known size is. The first byte of each frame is looked at, so that pings are answered, and
anything else that is no reply fails the connection. A load ends when every message has its reply.
"""

from __future__ import annotations

import select
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.clients.idle_connections import ClientError
from benchmarks.clients.websocket_wire import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    client_frame,
    payload,
    server_frame,
)
from benchmarks.core.load import LoadResult

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

# Seconds without a byte on any connection, after which those that are owed a reply are given up.
SILENCE = 10.0
# Seconds for all servers' side of the closing handshake; not measured.
CLOSE_TIMEOUT = 2.0
# More than a reply of any workload; one receive then takes all that is there.
BUFFER_SIZE = 1 << 18
NORMAL_CLOSURE = (1000).to_bytes(2)
REPLIES_ONLY = bytes([BINARY])


@dataclass(slots=True, eq=False)
class Peer:
    """One connection.

    Attributes:
        partial: bytes received of a reply that is not whole.
        control: the beginning of a frame that is no reply, and not whole.
        awaited: when those messages were sent, in order, whose replies are still to come.
        unsent: what the socket did not take.
        failure: why it is closed; empty while it is open.
    """

    socket: socket.socket
    partial: int = 0
    control: bytes = b""
    awaited: deque[float] = field(default_factory=deque)
    unsent: bytes = b""
    failure: str = ""


class Load(ABC):
    """Connections, and what to do when a reply has come; `run` may be called several times.

    Attributes:
        in_flight: messages at a time that have no reply yet.
    """

    def __init__(self, size: int, in_flight: int) -> None:
        self.in_flight = in_flight
        self._reply = server_frame(payload(size))
        #: As many messages as there are to be sent at once, in one piece.
        self._frames = [client_frame(payload(size)) * count for count in range(in_flight + 1)]
        self._epoll = select.epoll()
        self._peers: dict[int, Peer] = {}
        self._owed = 0  # replies, of all connections
        self._deadline = 0.0

    def run(self, seconds: float) -> LoadResult:
        """Sends for so long, and waits for the last replies.

        Returns:
            Messages/s until the last reply; errors are the connections that have failed, in this
            load or before it. What each died of: `failures`.
        """
        latencies: list[float] = []
        began, cpu = time.perf_counter(), time.process_time()
        self._deadline = began + seconds
        self._begin(began)
        ended = self._pump(latencies, began)
        cpu = time.process_time() - cpu
        latencies.sort()
        count, elapsed = len(latencies), ended - began
        return LoadResult(
            count,
            count / elapsed if count else 0.0,
            percentile(latencies, 50),
            percentile(latencies, 99),
            self.failures().total(),
            load_percent=100 * cpu / elapsed if count else None,
        )

    def failures(self) -> Counter[str]:
        """Counts the connections that have failed, by reason."""
        return Counter(peer.failure for peer in self._peers.values() if peer.failure)

    def close(self) -> None:
        """Goes through the closing handshake, so that no server has an error to see to."""
        frame = client_frame(NORMAL_CLOSURE, CLOSE)
        left = {fd: peer for fd, peer in self._peers.items() if not peer.failure}
        for peer in left.values():
            with suppress(OSError):
                peer.socket.send(frame)
        deadline = time.monotonic() + CLOSE_TIMEOUT
        while left and (events := self._epoll.poll(max(0, deadline - time.monotonic()))):
            for fd, _ in events:
                if is_at_end(left[fd].socket):
                    left.pop(fd)
                    self._epoll.unregister(fd)
        for peer in self._peers.values():
            peer.socket.close()
        self._epoll.close()

    @abstractmethod
    def open(self, port: int, connections: int) -> None:
        """Opens them one after the other, and looks at the first message of each.

        Raises:
            ClientError: which of them failed, and how.
        """

    @abstractmethod
    def _begin(self, now: float) -> None:
        """Sends the first messages of a load."""

    @abstractmethod
    def _arrived(self, peer: Peer, count: int, now: float) -> None:
        """Sends what may be sent now that `count` replies more have come, if it is time."""

    def _add(self, connection: socket.socket) -> Peer:
        peer = Peer(connection)
        self._peers[connection.fileno()] = peer
        self._epoll.register(connection, select.EPOLLIN)
        return peer

    def _unblock(self) -> None:
        for peer in self._peers.values():
            peer.socket.setblocking(False)

    def _pump(self, latencies: list[float], now: float) -> float:
        """Takes replies until none is owed; returns when the last one came."""
        # Of locals only: this loop is what the load generator costs.
        buffer = bytearray(BUFFER_SIZE)
        size = len(self._reply)
        peers, poll = self._peers, self._epoll.poll
        clock, note = time.perf_counter, latencies.append
        while self._owed:
            events = poll(SILENCE)
            if not events:
                self._give_up()
            for fd, event in events:
                peer = peers[fd]
                if event & select.EPOLLOUT:
                    self._flush(peer)
                if not event & ~select.EPOLLOUT:
                    continue
                try:
                    received = peer.socket.recv_into(buffer)
                except BlockingIOError:
                    continue
                except OSError as exc:
                    self._fail(peer, type(exc).__name__)
                    continue
                if not received:
                    self._fail(peer, "closed by the server")
                    continue
                first = size - peer.partial if peer.partial else 0
                if peer.control or buffer[first:received:size].strip(REPLIES_ONLY):
                    received = self._sift(peer, bytes(buffer[:received]))
                count, peer.partial = divmod(peer.partial + received, size)
                if count > len(peer.awaited):
                    self._fail(peer, "more replies than messages")
                elif count:
                    now = clock()
                    for _ in range(count):
                        note(now - peer.awaited.popleft())
                    self._owed -= count
                    self._arrived(peer, count, now)
        for peer in list(peers.values()):
            if peer.partial and not peer.failure:
                self._fail(peer, f"{peer.partial} bytes that are no reply")
        return now

    def _sift(self, peer: Peer, data: bytes) -> int:
        """Takes out what is no reply and answers pings; returns how many bytes are left."""
        data, peer.control = peer.control + data, b""
        size, partial, at, kept = len(self._reply), peer.partial, 0, 0
        while at < len(data):
            if partial or data[at] == BINARY:
                piece = min(size - partial, len(data) - at)
                partial = (partial + piece) % size
                kept += piece
                at += piece
                continue
            # A control frame is never longer than 125 bytes, and never masked: section 5.5.
            end = at + 2 + data[at + 1] if at + 1 < len(data) else len(data) + 1
            if end > len(data):
                peer.control = data[at:]
                break
            content = data[at + 2 : end]
            if data[at] == PING:
                self._send(peer, client_frame(content, PONG))
            elif data[at] == CLOSE:
                self._fail(peer, f"closed by the server, code {int.from_bytes(content[:2])}")
            elif data[at] != PONG:
                self._fail(peer, f"a frame that begins with {data[at]:#x}")
                break
            at = end
        return kept

    def _send(self, peer: Peer, data: bytes) -> None:
        if peer.unsent:
            peer.unsent += data
            return
        try:
            sent = peer.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            self._fail(peer, type(exc).__name__)
            return
        if sent < len(data):
            peer.unsent = data[sent:]
            self._epoll.modify(peer.socket, select.EPOLLIN | select.EPOLLOUT)

    def _flush(self, peer: Peer) -> None:
        data, peer.unsent = peer.unsent, b""
        self._epoll.modify(peer.socket, select.EPOLLIN)
        self._send(peer, data)

    def _give_up(self) -> None:
        for peer in list(self._peers.values()):
            if peer.awaited:
                self._fail(peer, f"no reply in {SILENCE:.0f} s")

    def _fail(self, peer: Peer, reason: str) -> None:
        if peer.failure:
            return
        peer.failure = reason
        self._epoll.unregister(peer.socket)
        # Not closed before the end: another one would have its number.
        self._owed -= len(peer.awaited)
        peer.awaited.clear()


@contextmanager
def naming(whose: str) -> Iterator[None]:
    """Names the connection in the errors of the block."""
    try:
        yield
    except (OSError, ClientError) as exc:
        raise ClientError(f"{whose}: {exc}") from exc


def is_at_end(connection: socket.socket) -> bool:
    """Takes what there is; tells whether the other side has closed, in whatever way."""
    try:
        return connection.recv(BUFFER_SIZE) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def percentile(ordered: list[float], percent: int) -> float | None:
    """Of seconds in ascending order, in milliseconds; None of none."""
    if not ordered:
        return None
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] * 1e3
