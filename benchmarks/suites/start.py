# SPDX-License-Identifier: MIT
"""From exec to the first successful response."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from benchmarks.core import procfs
from benchmarks.core.comparison import limit_verdict
from benchmarks.core.measure import Failure
from benchmarks.core.options import MEBIBYTE
from benchmarks.core.processes import StartError, running
from benchmarks.core.report import Findings, Table, show
from benchmarks.core.rounds import progress
from benchmarks.core.statistics import rotate, spread
from benchmarks.core.suite import Suite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.core.options import Options
    from benchmarks.core.servers import Server

APP = "benchmarks.apps.plaintext:app"
TARGET_SECONDS = 0.35


@dataclass(frozen=True, slots=True)
class Start:
    """One start: seconds to the first response, resident memory of the tree right after it."""

    seconds: float
    rss_mib: float


def run(options: Options, servers: Sequence[Server]) -> Findings:
    """Starts the servers in turns, options.starts times each.

    A first start that is not counted puts every module into the page cache and its bytecode on
    disk: a server that is started often is the subject, not a disk.
    """
    results: dict[str, list[Start | Failure]] = {server.name: [] for server in servers}
    for server in servers:
        _start(server)
    for number in range(options.starts):
        for server in rotate(servers, number):
            outcome = _start(server)
            results[server.name].append(outcome)
            progress(f"start {number + 1}/{options.starts}, {server.name}: {outcome}")
    rows = [_row(server, results[server.name]) for server in servers]
    columns = ("server", "first response after s", "RSS MiB", "failures")
    seconds = [o.seconds for o in results.get("trioserve", []) if isinstance(o, Start)]
    verdict = limit_verdict(
        f"start to first response ≤ {TARGET_SECONDS} s", spread(seconds), TARGET_SECONDS, "s", 3
    )
    raw = {name: [asdict(o) for o in outcomes] for name, outcomes in results.items()}
    extent = f"starts of each: {options.starts}"
    return Findings(extent, [Table("", columns, rows)], [verdict], raw)


def _start(server: Server) -> Start | Failure:
    try:
        with running(server, APP) as target:
            rss = procfs.resident_bytes(target.pid) / MEBIBYTE
            return Start(target.started_in, rss)
    except StartError as exc:
        progress(f"{server.name}: {exc}: {exc.log}")
        return Failure(str(exc))


def _row(server: Server, outcomes: Sequence[Start | Failure]) -> list[str]:
    good = [outcome for outcome in outcomes if isinstance(outcome, Start)]
    failures = {outcome.failure for outcome in outcomes if isinstance(outcome, Failure)}
    return [
        server.label,
        show(spread(start.seconds for start in good), 3),
        show(spread(start.rss_mib for start in good), 1),
        "; ".join(sorted(failures)) or "0",
    ]


SUITE = Suite(
    name="start",
    title="Start",
    about=(
        "From exec to the end of the first successful response, Python's own start included, and"
        " the resident memory of the whole process tree right after."
    ),
    servers=("trioserve", "uvicorn-uvloop", "hypercorn-trio"),
    run=run,
)
