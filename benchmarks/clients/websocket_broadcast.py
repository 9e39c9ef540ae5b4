# SPDX-License-Identifier: MIT
"""The load of a broadcast: one publisher, many subscribers, and a window between them."""

from __future__ import annotations

import time
from collections import deque

from benchmarks.clients.websocket_load import Load, Peer, naming
from benchmarks.clients.websocket_wire import connect, expect


class Broadcast(Load):
    """One connection sends messages, each of which comes to all the others; those are counted."""

    def __init__(self, size: int, in_flight: int) -> None:
        super().__init__(size, in_flight)
        self._subscribers: list[Peer] = []
        #: How many deliveries are still to come of each message under way.
        self._missing: deque[int] = deque()

    def open(self, port: int, connections: int) -> None:
        """See Load. The publisher is one more, and the last."""
        for number in range(connections):
            with naming(f"subscriber {number + 1} of {connections}"):
                self._subscribers.append(self._add(connect(port, "/subscribe")))
        with naming("the publisher"):
            self._publisher = self._add(connect(port, "/publish"))
            self._publisher.socket.sendall(self._frames[1])
        for number, peer in enumerate(self._subscribers):
            with naming(f"subscriber {number + 1} of {connections}"):
                expect(peer.socket, self._reply)
        self._unblock()

    def _begin(self, now: float) -> None:
        self._missing.clear()
        self._publish(self.in_flight, now)

    def _arrived(self, peer: Peer, count: int, now: float) -> None:
        # A subscriber that awaits n messages has just had those before the last n.
        end = len(self._missing) - len(peer.awaited)
        for index in range(end - count, end):
            self._missing[index] -= 1
        whole = 0
        while self._missing and not self._missing[0]:
            self._missing.popleft()
            whole += 1
        if whole and now < self._deadline:
            self._publish(whole, now)

    def _publish(self, count: int, now: float) -> None:
        """A message goes out when one has come to all: the slowest subscriber sets the pace."""
        alive = [peer for peer in self._subscribers if not peer.failure]
        if self._publisher.failure or not alive:
            return
        self._missing.extend([len(alive)] * count)
        for peer in alive:
            peer.awaited.extend([now] * count)
        self._owed += count * len(alive)
        self._send(self._publisher, self._frames[count])

    def _fail(self, peer: Peer, reason: str) -> None:
        """A lost subscriber holds up nobody; without the publisher there is nothing to wait for."""
        if peer.failure:
            return
        if peer is self._publisher:
            super()._fail(peer, reason)
            for subscriber in self._subscribers:
                self._owed -= len(subscriber.awaited)
                subscriber.awaited.clear()
            return
        count = len(peer.awaited)
        super()._fail(peer, reason)
        self._arrived(peer, count, time.perf_counter())
