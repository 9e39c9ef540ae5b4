# SPDX-License-Identifier: MIT
"""Two worker processes on two cores against one process."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks.apps.plaintext import BODY
from benchmarks.core import cores
from benchmarks.core.comparison import ratio, raw
from benchmarks.core.processes import running
from benchmarks.core.report import Findings, Table, Verdict, show
from benchmarks.core.rounds import Workload, figures, run_rounds
from benchmarks.core.statistics import spread
from benchmarks.core.suite import Suite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.core.options import Options
    from benchmarks.core.rounds import Round
    from benchmarks.core.servers import Server

APP = "benchmarks.apps.working:app"
WORK = Workload("work", "", "/", 64, lambda body: body == BODY)
TARGET = 1.7
#: One process → the same server with two workers.
PAIRS = {
    "trioserve": "trioserve-workers",
    "uvicorn-uvloop": "uvicorn-workers",
    "gunicorn-asgi": "gunicorn-workers",
}


def run(options: Options, servers: Sequence[Server]) -> Findings:
    """Measures each server in both forms, and judges ours."""
    start = partial(running, side=cores.everywhere)
    rounds = run_rounds(APP, servers, [WORK], options, start=start)
    columns = ("server", "requests/s", "x one process", "CPU µs/request", "p50 ms", "p99 ms")
    rows = [_row(server, rounds) for server in servers]
    return Findings(options.loads(), [Table("", columns, rows)], [_verdict(rounds)], raw(rounds))


def _row(server: Server, rounds: Sequence[Round]) -> list[str]:
    single = next((one for one, two in PAIRS.items() if two == server.name), None)
    over = ratio(rounds, WORK.name, server.name, [single], "per_second") if single else None
    return [
        server.label,
        *(show(spread(figures(rounds, WORK.name, server.name, "per_second")), 0),),
        show(over, 2) if over else "",
        *(
            show(spread(figures(rounds, WORK.name, server.name, attribute)), places)
            for attribute, places in (("cpu_us", 0), ("p50_ms", 1), ("p99_ms", 1))
        ),
    ]


def _verdict(rounds: Sequence[Round]) -> Verdict:
    target = f"two workers ≥ {TARGET} x one process"
    found = ratio(rounds, WORK.name, PAIRS["trioserve"], ["trioserve"], "per_second")
    if found is None:
        return Verdict(target, "—", None)
    return Verdict(target, f"{show(found, 2)} x", found.median >= TARGET)


SUITE = Suite(
    name="workers",
    title="Worker processes",
    about="A raw ASGI app that works for a quarter of a millisecond a request, `wrk -t1 -c64`; "
    "servers on both cores, beside the load generator, whose share is small at so few requests/s.",
    servers=tuple(name for pair in PAIRS.items() for name in pair),
    run=run,
)
