# SPDX-License-Identifier: MIT
"""How much is measured: what the command line leaves open, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Options:
    """The size of a run.

    Attributes:
        rounds: how often the servers take their turns.
        seconds: length of each measured load; wrk takes whole seconds.
        warm_up_seconds: load before each measured one, not counted.
        idle_connections: how many connections the idle suite holds.
        idle_seconds: how long it watches them.
        warm_up_requests: requests before the memory suite's first reading.
        total_requests: requests, those included, before its second.
        body_sizes: bytes of the bodies it streams, each way.
        starts: how often the start suite starts each server.
    """

    rounds: int = 3
    seconds: int = 4
    warm_up_seconds: int = 1
    idle_connections: int = 10_000
    idle_seconds: float = 10.0
    warm_up_requests: int = 20_000
    total_requests: int = 200_000
    body_sizes: tuple[int, ...] = (100 * MEBIBYTE, 1024 * MEBIBYTE)
    starts: int = 5

    def loads(self) -> str:
        """Says how much the suites of alternating loads measure."""
        return f"rounds: {self.rounds}, loads of {self.seconds} s each"


# Tries the harness out in a minute or two; its figures are no results.
QUICK = Options(
    rounds=1,
    seconds=1,
    idle_connections=1_000,
    idle_seconds=2.0,
    warm_up_requests=5_000,
    total_requests=20_000,
    body_sizes=(10 * MEBIBYTE, 100 * MEBIBYTE),
    starts=1,
)
