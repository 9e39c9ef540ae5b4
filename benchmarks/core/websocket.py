# SPDX-License-Identifier: MIT
"""WebSocket for core/rounds.py: its workloads, made by clients/websocket.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.clients.websocket import generating
from benchmarks.core.load import LoadError
from benchmarks.core.measure import Failure, Outcome, measure

if TYPE_CHECKING:
    from benchmarks.core.options import Options
    from benchmarks.core.processes import RunningServer


@dataclass(frozen=True, slots=True)
class WebSocketWorkload:
    """One thing that clients do over WebSocket; see generating().

    Attributes:
        name: key in results.json.
        title: heading in the tables.
        size: bytes of a message.
        kind: what is counted: "echo", messages that come back; "broadcast", that are delivered.
    """

    name: str
    title: str
    connections: int
    size: int
    in_flight: int = 1
    kind: str = "echo"

    def turn(self, target: RunningServer, options: Options) -> Outcome:
        """One server's turn: connections with a message each, a warm-up, the measurement.

        All over the same connections: opening them is not measured, whereas a server that is slow
        at it would otherwise pay a thousand times.
        """
        try:
            with generating(
                target.port,
                self.kind,
                connections=self.connections,
                size=self.size,
                in_flight=self.in_flight,
            ) as generator:
                warm = measure(target, lambda: generator.load(options.warm_up_seconds))
                if isinstance(warm, Failure):
                    return warm
                return measure(target, lambda: generator.load(options.seconds))
        except LoadError as exc:
            return Failure("the server ended" if target.died() else str(exc))
