# SPDX-License-Identifier: MIT
"""One measured load: its own figures, and what it cost the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.core import procfs
from benchmarks.core.load import LoadError

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.core.load import LoadResult
    from benchmarks.core.processes import RunningServer


@dataclass(frozen=True, slots=True)
class Measurement:
    """A load that gave figures.

    Attributes:
        per_second: requests (or messages, or calls) a second.
        cpu_us: user and system time of the server's whole process tree, µs a request. Steadier
            than per_second on a noisy machine.
        errors: failed requests among them.
        p50_ms, p99_ms, mean_ms, max_ms: latencies; which of them there are is the load generator's
            business.
        load_percent: see LoadResult.
    """

    requests: int
    per_second: float
    cpu_us: float
    p50_ms: float | None
    p99_ms: float | None
    errors: int
    mean_ms: float | None = None
    max_ms: float | None = None
    load_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there are no figures. Stands in reports, so it names no paths."""

    failure: str


Outcome = Measurement | Failure


def measure(target: RunningServer, load: Callable[[], LoadResult]) -> Outcome:
    """Runs the load and reads the server's CPU time right before and right after it.

    Errors handled here: a failing load generator, a server that ends under load or answers nothing.
    """
    before = procfs.cpu_seconds(target.pid)
    try:
        result = load()
    except LoadError as exc:
        return Failure(str(exc))
    spent = procfs.cpu_seconds(target.pid) - before
    if target.died():
        return Failure("the server ended under load")
    if result.requests == 0:
        return Failure(f"no response, {result.errors} errors")
    return Measurement(
        result.requests,
        result.per_second,
        spent / result.requests * 1e6,
        result.p50_ms,
        result.p99_ms,
        result.errors,
        result.mean_ms,
        result.max_ms,
        result.load_percent,
    )
