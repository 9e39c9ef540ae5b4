# SPDX-License-Identifier: MIT
"""The stash: in the arbiter's process, from other processes, from within an action."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.core.report import Findings, Verdict, show
from benchmarks.core.rounds import figures
from benchmarks.core.statistics import spread
from benchmarks.core.suite import Suite
from benchmarks.dirty.contenders import US
from benchmarks.dirty.rounds import Workload, extent, raw, run_rounds
from benchmarks.dirty.tables import LATENCY, THROUGHPUT, at_least, at_most, failures, pool_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.core.options import Options
    from benchmarks.core.rounds import Round
    from benchmarks.core.servers import Server

AWAITED, BLOCKING, GUNICORN = "trioserve-relayed", "trioserve-blocking", "gunicorn-dirty-blocking"
REMOTE = (AWAITED, BLOCKING, GUNICORN)
IN_PROCESS_US = 5.0


def _workload(
    name: str, title: str, kind: str, operation: str, names: Sequence[str], callers: int = 1
) -> Workload:
    command = {"kind": kind, "operation": operation, "value": "20 B", "callers": callers}
    return Workload(f"{name}-{operation}", title.format(operation), command, names)


def _both(name: str, title: str, kind: str, names: Sequence[str], callers: int = 1) -> list[Any]:
    return [_workload(name, title, kind, op, names, callers) for op in ("get", "put")]


DIRECT = _both("direct", "`await client.stash.{}` in the arbiter's process", "repeat", [US])
FUNCTIONS = _both("functions", "`stash.{}` in the arbiter's process", "functions", [US])
ALONE = _both("remote-1", "{} from another process, 1 caller", "repeat", REMOTE)
SOME = _both("remote-32", "{} from another process, 32 callers", "repeat", REMOTE, 32)
INSIDE = _both("inside", "{} from within an action", "inside", [US, GUNICORN])


def run(options: Options, servers: Sequence[Server]) -> Findings:
    """Measures get and put everywhere."""
    workloads = [*DIRECT, *FUNCTIONS, *ALONE, *SOME, *INSIDE]
    rounds = run_rounds(servers, workloads, options)
    verdicts = [_in_process(rounds, workload) for workload in (*DIRECT, *FUNCTIONS)]
    theirs = [GUNICORN]
    for alone, some in zip(ALONE, SOME, strict=True):
        op = alone.command["operation"]
        for name, words in ((AWAITED, "awaited"), (BLOCKING, "by threads")):
            half, twice = (
                f"{op}, {words}: p50 ≤ 0.5 x gunicorn's",
                f"{op}, {words}, 32 callers: ≥ 2 x gunicorn's",
            )
            verdicts += [
                at_most(rounds, alone.name, half, [name], theirs, 0.5),
                at_least(rounds, some.name, twice, [name], theirs, 2),
            ]
    tables = []
    for workload in workloads:
        columns = THROUGHPUT if workload in SOME else LATENCY
        us = US if US in workload.contenders else AWAITED
        tables.append(pool_table(workload, servers, rounds, columns, things="ops", us=us))
    return Findings(extent(options), tables, verdicts, raw(rounds))


def _in_process(rounds: Sequence[Round], workload: Workload) -> Verdict:
    """Judges the p50 of what needs no trip."""
    target = f"{workload.title}: p50 ≤ {IN_PROCESS_US:g} µs"
    values = figures(rounds, workload.name, US, "p50_ms")
    found = spread(None if value is None else value * 1e3 for value in values)
    if found is None:
        return Verdict(target, "—", None)
    flaw = failures(rounds, workload.name, US)
    said = f"{show(found, 2)} µs" + (f"; {flaw}" if flaw else "")
    return Verdict(target, said, found.median <= IN_PROCESS_US and not flaw)


SUITE = Suite(
    name="dirty_stash",
    title="Stash",
    about=(
        "get and put of a value of 20 bytes under one key. gunicorn's stash has a blocking client"
        " only, one a thread; trioserve's awaits in tasks of one Trio loop (`relayed`), or blocks"
        " in threads. x is the first of ours in the table divided by that row: below 1 is better"
        " for p50 and CPU."
    ),
    servers=(US, *REMOTE),
    run=run,
)
