# SPDX-License-Identifier: MIT
"""Turns rounds of measurements into a table of ratios, and into verdicts about targets."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.core.measure import Failure
from benchmarks.core.report import Table, Verdict, show
from benchmarks.core.rounds import figures
from benchmarks.core.statistics import Spread, best, ratios, spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.core.rounds import Job, Round
    from benchmarks.core.servers import Server

US = "trioserve"
#: What wrk says of latencies: heading → attribute of a measurement; and what h2load does.
PERCENTILES = {"p50 ms": "p50_ms", "p99 ms": "p99_ms"}
MEAN_AND_MAX = {"mean ms": "mean_ms", "max ms": "max_ms"}
#: How busy the load generator was, where it says so.
LOAD_SHARE = {"load CPU %": "load_percent"}


def load_table(
    workload: Job,
    servers: Sequence[Server],
    rounds: Sequence[Round],
    more: Mapping[str, str] = PERCENTILES,
    unit: str = "request",
) -> Table:
    """Draws one workload: a row a server, with its ratios to trioserve where that was measured.

    Args:
        more: headings of further columns → attributes of a measurement.
        unit: what is counted.
    """
    columns = ("server", f"{unit}s/s", f"x {unit}s/s", f"CPU µs/{unit}", "x CPU", *more, "errors")
    rows = [_row(workload.name, server, rounds, more.values()) for server in servers]
    return Table(workload.title, columns, rows)


def _row(workload: str, server: Server, rounds: Sequence[Round], more: Iterable[str]) -> list[str]:
    def of(attribute: str) -> Spread | None:
        return spread(figures(rounds, workload, server.name, attribute))

    def over(attribute: str) -> str:
        return show(ratio(rounds, workload, US, [server.name], attribute), 2)

    return [
        server.label,
        show(of("per_second")),
        over("per_second"),
        show(of("cpu_us"), 1),
        over("cpu_us"),
        *(show(of(attribute), 2) for attribute in more),
        errors(rounds, workload, server.name),
    ]


def errors(rounds: Sequence[Round], workload: str, server: str) -> str:
    """Counts the failed requests of all rounds, or says why rounds have no figures."""
    outcomes = [round_[workload][server] for round_ in rounds]
    failures = {outcome.failure for outcome in outcomes if isinstance(outcome, Failure)}
    if failures:
        return "; ".join(sorted(failures))
    return f"{sum(outcome.errors for outcome in outcomes if not isinstance(outcome, Failure)):,}"


def flaws(rounds: Sequence[Round], workload: str, ours: str) -> str:
    """Says what forbids the word "met": a round of ours that failed, a request that did."""
    found = errors(rounds, workload, ours)
    return "" if found == "0" else f"; errors: {found}"


def ratio(
    rounds: Sequence[Round], workload: str, ours: str, peers: Sequence[str], attribute: str
) -> Spread | None:
    """Divides by the best peer's figure, round by round: the most requests/s, the least else."""
    columns = [figures(rounds, workload, peer, attribute) for peer in peers]
    theirs = best(columns, highest=attribute == "per_second")
    return ratios(figures(rounds, workload, ours, attribute), theirs)


def throughput_verdict(
    rounds: Sequence[Round],
    workload: str,
    target: str,
    peers: Sequence[str],
    bound: float,
    *,
    ours: str = US,
) -> Verdict:
    """Judges "at least `bound` times the best peer's requests/s"; the CPU's ratio stands beside."""
    found = ratio(rounds, workload, ours, peers, "per_second")
    if found is None:
        return Verdict(target, "—", None)
    flaw = flaws(rounds, workload, ours)
    # Theirs over ours, so that more is better in both.
    cpu = ratio(rounds, workload, ours, peers, "cpu_us")
    by_cpu = f"; by CPU {1 / cpu.median:.2f} x" if cpu is not None and cpu.median else ""
    return Verdict(target, f"{show(found, 2)} x{by_cpu}{flaw}", found.median >= bound and not flaw)


def latency_verdict(
    rounds: Sequence[Round], workload: str, target: str, peer: str, bound: float
) -> Verdict:
    """Judges "a p99 of at most `bound` times the peer's"."""
    found = ratio(rounds, workload, US, [peer], "p99_ms")
    if found is None:
        return Verdict(target, "—", None)
    flaw = flaws(rounds, workload, US)
    return Verdict(target, f"{show(found, 2)} x{flaw}", found.median <= bound and not flaw)


def limit_verdict(
    target: str, found: Spread | None, bound: float, unit: str, places: int = 1
) -> Verdict:
    """Judges "at most `bound`" of a plain figure."""
    if found is None:
        return Verdict(target, "—", None)
    return Verdict(target, f"{show(found, places)} {unit}", found.median <= bound)


def raw(rounds: Sequence[Round]) -> Any:
    """Makes rounds JSON-ready."""
    return [
        {
            workload: {server: asdict(outcome) for server, outcome in outcomes.items()}
            for workload, outcomes in round_.items()
        }
        for round_ in rounds
    ]
