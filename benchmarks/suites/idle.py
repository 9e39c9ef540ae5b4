# SPDX-License-Identifier: MIT
"""Thousands of idle keep-alive connections: what one of them costs to hold."""

from __future__ import annotations

import subprocess
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from benchmarks.clients.idle_connections import ClientError, holding
from benchmarks.core import procfs
from benchmarks.core.comparison import limit_verdict
from benchmarks.core.measure import Failure
from benchmarks.core.processes import RunningServer, StartError, running
from benchmarks.core.report import Findings, Table, show
from benchmarks.core.rounds import progress
from benchmarks.core.statistics import rotate, spread
from benchmarks.core.suite import Suite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.core.options import Options
    from benchmarks.core.servers import Server

APP = "benchmarks.apps.plaintext:app"
# Longer than the suite can take, so that no server tidies up while it is being watched.
KEEP_ALIVE = "600"
# "No CPU": a hundredth of a core, which a look at all connections once a second stays well below.
CPU_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Idleness:
    """One server holding its connections.

    Attributes:
        kib_each: growth of the process tree's resident memory a connection.
        cpu_seconds: its CPU time while nothing happened.
        held: connections still open at the end.
    """

    kib_each: float
    cpu_seconds: float
    held: int


def run(options: Options, servers: Sequence[Server]) -> Findings:
    """Measures each server in turn, options.rounds times."""
    results: dict[str, list[Idleness | Failure]] = {server.name: [] for server in servers}
    for number in range(options.rounds):
        for server in rotate(servers, number):
            outcome = _attempt(server, options)
            results[server.name].append(outcome)
            progress(f"round {number + 1}/{options.rounds}, idle, {server.name}: {outcome}")
    good = {
        name: [outcome for outcome in outcomes if isinstance(outcome, Idleness)]
        for name, outcomes in results.items()
    }
    rows = [_row(server, results[server.name], good[server.name]) for server in servers]
    count, seconds = options.idle_connections, options.idle_seconds
    columns = ("server", "RSS KiB/connection", f"CPU s in {seconds:g} s", "still open", "failures")
    ours = good.get("trioserve", [])
    verdicts = [
        limit_verdict(
            f"{count:,} idle connections: RSS ≤ 10 KiB each",
            spread(outcome.kib_each for outcome in ours),
            10,
            "KiB",
        ),
        limit_verdict(
            f"no CPU (≤ {CPU_SHARE:.0%} of a core)",
            spread(outcome.cpu_seconds / seconds * 100 for outcome in ours),
            CPU_SHARE * 100,
            "%",
            2,
        ),
    ]
    raw = {
        "connections": count,
        "seconds": seconds,
        "servers": {name: [asdict(o) for o in outcomes] for name, outcomes in results.items()},
    }
    extent = f"rounds: {options.rounds}, {count:,} connections, {seconds:g} s of idleness"
    return Findings(extent, [Table("", columns, rows)], verdicts, raw)


def _row(
    server: Server, outcomes: Sequence[Idleness | Failure], good: Sequence[Idleness]
) -> list[str]:
    failures = {outcome.failure for outcome in outcomes if isinstance(outcome, Failure)}
    return [
        server.label,
        show(spread(outcome.kib_each for outcome in good), 1),
        show(spread(outcome.cpu_seconds for outcome in good), 2),
        show(spread(outcome.held for outcome in good)),
        "; ".join(sorted(failures)) or "0",
    ]


def _attempt(server: Server, options: Options) -> Idleness | Failure:
    keep_alive = (server.keep_alive, KEEP_ALIVE) if server.keep_alive else ()
    try:
        with running(server, APP, *keep_alive) as target:
            return _watch(target, options)
    except StartError as exc:
        progress(f"{server.name}: {exc}: {exc.log}")
        return Failure(str(exc))
    except (OSError, ClientError, subprocess.SubprocessError) as exc:
        return Failure(f"{type(exc).__name__}: {exc}")


def _watch(target: RunningServer, options: Options) -> Idleness:
    """Reads the memory, opens the connections, reads it again, and lets time pass.

    The first few connections warm the server up, so that what it allocates once is not shared out
    among the connections.
    """
    with holding(target.port, 50):
        pass
    time.sleep(0.5)
    before = procfs.resident_bytes(target.pid)
    with holding(target.port, options.idle_connections) as holder:
        time.sleep(0.5)  # the last response's tail: write buffers, the loop's own pass
        grown = procfs.resident_bytes(target.pid) - before
        cpu = procfs.cpu_seconds(target.pid)
        time.sleep(options.idle_seconds)
        cpu = procfs.cpu_seconds(target.pid) - cpu
        held = holder.count_open()
    return Idleness(grown / 1024 / options.idle_connections, cpu, held)


SUITE = Suite(
    name="idle",
    title="Idle keep-alive connections",
    about="Connections that have made one request each and then say nothing.",
    servers=("trioserve", "uvicorn-uvloop"),
    run=run,
)
