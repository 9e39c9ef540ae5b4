# SPDX-License-Identifier: MIT
"""The echo of larger values: arrays, lists of floats, bytes up to 10 MiB."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.core.report import Findings
from benchmarks.core.suite import Suite
from benchmarks.dirty.contenders import CONTENDERS, GUNICORN, OURS
from benchmarks.dirty.rounds import Workload, echo, extent, raw, run_rounds
from benchmarks.dirty.tables import at_least, at_most, pool_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.core.options import Options
    from benchmarks.core.servers import Server

POOLS = [
    name for name in CONTENDERS if name not in ("trioserve-relayed-async", "trioserve-blocking")
]
WITH_ARRAYS = [name for name in POOLS if name not in GUNICORN]
COLUMNS = ("p50_ms", "p99_ms", "cpu_us")

NOTHING = Workload(**echo("bytes-0", "No bytes", "0 B"), contenders=POOLS)
SMALL = Workload(**echo("bytes-20", "20 bytes", "20 B"), contenders=POOLS)
FLOATS = Workload(**echo("floats", "1,536 floats as a list", "floats"), contenders=POOLS)
ARRAY = Workload(**echo("array", "1,536 floats as a numpy array", "array"), contenders=WITH_ARRAYS)
LARGE = Workload(**echo("bytes-1m", "1 MiB of bytes", "1 MiB"), contenders=POOLS)
HUGE = Workload(**echo("bytes-10m", "10 MiB of bytes", "10 MiB"), contenders=POOLS)


def run(options: Options, servers: Sequence[Server]) -> Findings:
    """Measures one caller's echo of each value."""
    workloads = [NOTHING, SMALL, FLOATS, ARRAY, LARGE, HUGE]
    rounds = run_rounds(servers, workloads, options)
    executor = ["process-pool"]
    floats, array = FLOATS.name, ARRAY.name
    verdicts = [
        at_most(rounds, floats, "1,536 floats: p50 ≤ ProcessPoolExecutor's", OURS, executor, 1),
        at_least(
            rounds,
            floats,
            "1,536 floats: ≥ 20 x faster than gunicorn",
            OURS,
            GUNICORN,
            20,
            attribute="p50_ms",
        ),
        at_most(rounds, array, "as an array: p50 ≤ ProcessPoolExecutor's", OURS, executor, 1),
        at_least(
            rounds,
            array,
            "as an array: ≥ 20 x faster than gunicorn's list",
            OURS,
            GUNICORN,
            20,
            attribute="p50_ms",
            of=floats,
        ),
        at_most(
            rounds, array, "as an array: p50 ≤ 1.5 x that of 20 B", OURS, [], 1.5, of=SMALL.name
        ),
    ]
    for workload, size in ((LARGE, "1 MiB"), (HUGE, "10 MiB")):
        verdicts += [
            at_least(
                rounds,
                workload.name,
                f"{size}: ≥ {bound} x faster than {name}",
                OURS,
                peers,
                bound,
                attribute="p50_ms",
            )
            for name, peers, bound in (
                ("gunicorn", GUNICORN, 8),
                ("ProcessPoolExecutor", executor, 3),
            )
        ]
    tables = [pool_table(workload, servers, rounds, COLUMNS) for workload in workloads]
    return Findings(extent(options), tables, verdicts, raw(rounds))


SUITE = Suite(
    name="dirty_payloads",
    title="Dirty pool: payloads",
    about=(
        "One caller's echo of other values. gunicorn's wire has no arrays: what is judged there is"
        " its list of floats. x is `trioserve, def` divided by the pool of that row: below 1 is"
        " better. For gunicorn, the better of its two clients in each round is the one to beat."
    ),
    servers=tuple(POOLS),
    run=run,
)
