# SPDX-License-Identifier: MIT
"""The round trip of a small call: alone, and with many callers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.core.report import Findings
from benchmarks.core.suite import Suite
from benchmarks.dirty.contenders import CONTENDERS, GUNICORN, OURS, RELAYED
from benchmarks.dirty.rounds import Workload, echo, extent, raw, run_rounds
from benchmarks.dirty.tables import LATENCY, THROUGHPUT, at_least, at_most, pool_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.core.options import Options
    from benchmarks.core.servers import Server

ALONE = Workload(**echo("calls-1", "1 caller", "20 B"))
SOME = Workload(**echo("calls-32", "32 callers", "20 B", 32))
MANY = Workload(**echo("calls-256", "256 callers", "20 B", 256))


def run(options: Options, servers: Sequence[Server]) -> Findings:
    """Measures the echo at 1, 32 and 256 callers."""
    rounds = run_rounds(servers, [ALONE, SOME, MANY], options)
    one, some = ALONE.name, SOME.name
    theirs = GUNICORN[:1]
    verdicts = [
        at_most(rounds, one, "p50 ≤ 0.2 x gunicorn's async client", OURS, theirs, 0.2),
        at_most(rounds, one, "p50 ≤ anyio.to_process's", OURS, ["anyio-process"], 1),
        at_least(rounds, some, "32 callers: ≥ 10 x gunicorn's async client", OURS, theirs, 10),
        at_least(rounds, some, "≥ 3 x ProcessPoolExecutor", OURS, ["process-pool"], 3),
        at_least(rounds, some, "≥ 3 x anyio.to_process", OURS, ["anyio-process"], 3),
        at_most(rounds, one, "relayed: p50 ≤ 0.5 x gunicorn's best", RELAYED, GUNICORN, 0.5),
        at_least(rounds, some, "relayed, 32 callers: ≥ 3 x gunicorn's best", RELAYED, GUNICORN, 3),
    ]
    tables = [
        pool_table(ALONE, servers, rounds, LATENCY),
        pool_table(SOME, servers, rounds, THROUGHPUT),
        pool_table(MANY, servers, rounds, THROUGHPUT),
    ]
    return Findings(extent(options), tables, verdicts, raw(rounds))


SUITE = Suite(
    name="dirty_calls",
    title="Dirty pool: calls",
    about=(
        "An echo of 20 bytes in one other process. The calling process makes the load itself, as"
        " that of a web server does, so its own part of a call is measured with the rest; CPU is"
        " that of all processes of a pool, the caller's among them. gunicorn's pool and trioserve"
        ' "relayed" (and its blocking client) have an arbiter between, in a process of its own.'
        " x is `trioserve, def` (workers = 0) divided by the pool of that row: below 1 is better"
        " for p50 and CPU."
    ),
    servers=tuple(CONTENDERS),
    run=run,
)
