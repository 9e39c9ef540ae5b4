# SPDX-License-Identifier: MIT
"""What a worker weighs before its app brings anything."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from benchmarks.core.comparison import limit_verdict
from benchmarks.core.measure import Failure
from benchmarks.core.report import Findings, Table, show
from benchmarks.core.rounds import progress
from benchmarks.core.statistics import rotate, spread
from benchmarks.core.suite import Suite
from benchmarks.dirty.contenders import CONTENDERS, US
from benchmarks.dirty.rounds import CallerError, fleet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.core.options import Options
    from benchmarks.core.servers import Server
    from benchmarks.dirty.rounds import Caller

POOLS = (US, "gunicorn-dirty", "process-pool", "trio-parallel", "anyio-process")
TARGET_MIB = 30.0


@dataclass(frozen=True, slots=True)
class Weight:
    """A worker's resident memory, MiB; and what of it no other process shares."""

    rss_mib: float
    private_mib: float


def run(options: Options, servers: Sequence[Server]) -> Findings:
    """Weighs a fresh worker of each pool, options.rounds times."""
    results: dict[str, list[Weight | Failure]] = {server.name: [] for server in servers}
    for number in range(options.rounds):
        order = rotate(servers, number)
        with fleet(order) as callers:
            for server in order:
                outcome = _weigh(callers[CONTENDERS[server.name].pool])
                results[server.name].append(outcome)
                progress(f"round {number + 1}/{options.rounds}, memory, {server.name}: {outcome}")
    rows = [_row(server, results[server.name]) for server in servers]
    columns = ("pool", "worker's RSS MiB", "private MiB", "failures")
    ours = [o.rss_mib for o in results.get(US, []) if isinstance(o, Weight)]
    verdict = limit_verdict(
        f"a dirty worker's own RSS ≤ {TARGET_MIB:g} MiB", spread(ours), TARGET_MIB, "MiB"
    )
    raw = {name: [asdict(o) for o in outcomes] for name, outcomes in results.items()}
    return Findings(f"rounds: {options.rounds}", [Table("", columns, rows)], [verdict], raw)


def _weigh(caller: Caller) -> Weight | Failure:
    try:
        answer = caller.ask({"kind": "memory"})
    except CallerError as exc:
        return Failure(str(exc))
    return Failure(answer["failure"]) if "failure" in answer else Weight(**answer)


def _row(server: Server, outcomes: Sequence[Weight | Failure]) -> list[str]:
    good = [outcome for outcome in outcomes if isinstance(outcome, Weight)]
    failures = {outcome.failure for outcome in outcomes if isinstance(outcome, Failure)}
    return [
        server.label,
        show(spread(weight.rss_mib for weight in good), 1),
        show(spread(weight.private_mib for weight in good), 1),
        "; ".join(sorted(failures)) or "0",
    ]


SUITE = Suite(
    name="dirty_memory",
    title="Dirty pool: a worker's memory",
    about=(
        "Resident memory of a worker that has answered a call, with an app or a function that"
        " imports nothing. gunicorn and ProcessPoolExecutor fork: what their workers share with"
        " the parent is resident in both, and private to neither."
    ),
    servers=POOLS,
    run=run,
)
