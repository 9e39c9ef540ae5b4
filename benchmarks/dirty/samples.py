# SPDX-License-Identifier: MIT
"""What a calling process measures, and what it answers."""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.core import procfs

if TYPE_CHECKING:
    from collections.abc import Sequence

# Of the measured load; not counted.
WARM_UP = 0.25
PAUSE = 0.005  # seconds between the chunks of a stream of which only the first is timed
CALIBRATION = 64  # chunks of the first stream, which finds out how many a load needs


class WrongAnswerError(Exception):
    """An echo, a stream or a table gave back something else than it was given."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One load: seconds of each call, and of all."""

    latencies: Sequence[float]
    elapsed: float


class CpuMeter:
    """CPU seconds of this process and all its descendants, since it was made.

    By each process's CPU clock, which has no ticks: a load here is short. A descendant that ends
    meanwhile takes its time with it.
    """

    def __init__(self) -> None:
        self._before = _cpu_seconds()

    def spent(self) -> float:
        return sum(now - self._before.get(pid, 0.0) for pid, now in _cpu_seconds().items())


def _cpu_seconds() -> dict[int, float]:
    found = {}
    for stat in procfs.tree(os.getpid()):
        # It may have ended between the listing and the reading.
        with contextlib.suppress(OSError):
            # clock_getcpuclockid(3), which Python has not: CPUCLOCK_SCHED is 2.
            found[stat.pid] = time.clock_gettime((~stat.pid << 3) | 2)
    return found


def of_calls(sample: Sample, cpu: float) -> dict[str, Any]:
    """Sums a load of calls up, in the fields of a Measurement."""
    ordered = sorted(sample.latencies)
    count = len(ordered)
    return {
        "requests": count,
        "per_second": count / sample.elapsed,
        "cpu_us": cpu / count * 1e6,
        "p50_ms": ordered[count // 2] * 1e3,
        "p99_ms": ordered[count * 99 // 100] * 1e3,
        "errors": 0,
    }


def of_chunks(count: int, elapsed: float, cpu: float) -> dict[str, Any]:
    """Sums one stream up, in the fields of a Measurement; a request is a chunk."""
    return {
        "requests": count,
        "per_second": count / elapsed,
        "cpu_us": cpu / count * 1e6,
        "p50_ms": None,
        "p99_ms": None,
        "errors": 0,
    }


def next_count(count: int, elapsed: float, seconds: float) -> int:
    """How many chunks the next stream has, if `count` took `elapsed`, so that it takes `seconds`.

    At most 16 times as many: what a stream costs to begin makes the first ones look slow.
    """
    return max(1, min(count * 16, int(count * seconds / max(elapsed, 1e-6))))


def of_memory(pid: int) -> dict[str, Any]:
    """Reads a worker's memory: MiB resident, and of those what no other process shares."""
    fields = parse_rollup(Path(f"/proc/{pid}/smaps_rollup").read_text())
    private = fields["Private_Clean"] + fields["Private_Dirty"]
    return {"rss_mib": fields["Rss"] / 1024, "private_mib": private / 1024}


def parse_rollup(text: str) -> dict[str, int]:
    """Reads /proc/PID/smaps_rollup: field → KiB."""
    return {name: int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.M)}


def of_failure(exc: BaseException) -> dict[str, Any]:
    """Says why there are no figures, without a path: it may stand in a report."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    words = re.sub(r"/\S+", "…", str(exc)).partition("\n")[0]
    return {"failure": f"{type(exc).__name__}: {words:.100}"}
