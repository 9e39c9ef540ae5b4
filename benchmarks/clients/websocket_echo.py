# SPDX-License-Identifier: MIT
"""The load of an echo: a connection has so many messages under way, and each of them comes back."""

from __future__ import annotations

from benchmarks.clients.websocket_load import Load, Peer, naming
from benchmarks.clients.websocket_wire import connect, expect


class Echo(Load):
    """Every connection sends messages, each of which comes back to it."""

    def open(self, port: int, connections: int) -> None:
        """See Load."""
        for number in range(connections):
            with naming(f"connection {number + 1} of {connections}"):
                peer = self._add(connect(port, "/echo"))
                peer.socket.sendall(self._frames[1])
                expect(peer.socket, self._reply)
        self._unblock()

    def _begin(self, now: float) -> None:
        for peer in list(self._peers.values()):
            if not peer.failure:
                self._ask(peer, self.in_flight, now)

    def _arrived(self, peer: Peer, count: int, now: float) -> None:
        if now < self._deadline:
            self._ask(peer, count, now)

    def _ask(self, peer: Peer, count: int, now: float) -> None:
        peer.awaited.extend([now] * count)
        self._owed += count
        self._send(peer, self._frames[count])
