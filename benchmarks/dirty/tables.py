# SPDX-License-Identifier: MIT
"""Turns rounds of pools into tables of ratios, and into verdicts about targets."""

from __future__ import annotations

import operator
from types import MappingProxyType
from typing import TYPE_CHECKING

from benchmarks.core.measure import Failure
from benchmarks.core.report import Table, Verdict, show
from benchmarks.core.rounds import figures
from benchmarks.core.statistics import Spread, best, ratios, spread
from benchmarks.dirty.contenders import CONTENDERS, US

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.core.rounds import Round
    from benchmarks.core.servers import Server
    from benchmarks.dirty.rounds import Workload

# attribute of a Measurement → what one of it is, and by how much it is multiplied for the table
_UNITS = {
    "per_second": ("{things}/s", 1.0),
    "p50_ms": ("p50 µs", 1e3),
    "p99_ms": ("p99 µs", 1e3),
    "cpu_us": ("CPU µs", 1.0),
}
LATENCY = ("p50_ms", "p99_ms", "per_second", "cpu_us")
THROUGHPUT = ("per_second", "p50_ms", "cpu_us")


def pool_table(
    workload: Workload,
    servers: Sequence[Server],
    rounds: Sequence[Round],
    attributes: Sequence[str] = LATENCY,
    *,
    things: str = "calls",
    us: str = US,
) -> Table:
    """Draws one workload: a row a pool; each figure with its ratio, `us` over the row's pool."""
    columns = ["pool"]
    for attribute in attributes:
        title = _UNITS[attribute][0].format(things=things)
        columns += [title] if attribute == "p99_ms" else [title, f"x {title.removesuffix(' µs')}"]
    rows = []
    for server in servers:
        if server.name in workload.contenders:
            row = [server.label]
            for attribute in attributes:
                row += _cells(rounds, workload.name, server.name, attribute, us)
            rows.append([*row, failures(rounds, workload.name, server.name) or "0"])
    return Table(workload.title, [*columns, "failures"], rows)


def _cells(rounds: Sequence[Round], workload: str, name: str, attribute: str, us: str) -> list[str]:
    factor = _UNITS[attribute][1]
    values = figures(rounds, workload, name, attribute)
    found = spread(None if value is None else value * factor for value in values)
    cell = show(found, _places(found))
    if attribute == "p99_ms":
        return [cell]
    return [cell, show(over(rounds, workload, us, [name], attribute), 2)]


def _places(found: Spread | None) -> int:
    return 1 if found is not None and found.median < 100 else 0


def failures(rounds: Sequence[Round], workload: str, name: str) -> str:
    """Says why rounds have no figures; nothing when all have."""
    outcomes = [round_[workload].get(name) for round_ in rounds]
    return "; ".join(sorted({o.failure for o in outcomes if isinstance(o, Failure)}))


def over(
    rounds: Sequence[Round],
    workload: str,
    us: str,
    peers: Sequence[str],
    attribute: str,
    of: str | None = None,
) -> Spread | None:
    """Divides ours by the best peer's figure, round by round: the most a second, the least else.

    Args:
        of: the peers' workload, if it is another one.
    """
    columns = [figures(rounds, of or workload, peer, attribute) for peer in peers]
    theirs = best(columns, highest=attribute == "per_second")
    return ratios(figures(rounds, workload, us, attribute), theirs)


def at_least(
    rounds: Sequence[Round],
    workload: str,
    target: str,
    ours: Sequence[str],
    peers: Sequence[str],
    bound: float,
    *,
    attribute: str = "per_second",
    of: str | None = None,
) -> Verdict:
    """Judges "at least `bound` times as fast as the best peer": all of ours have to be.

    Args:
        attribute: per_second; or a latency, and then it is theirs over ours.
    """
    found = {}
    by_cpu = {}
    for name in ours:
        ratio = over(rounds, workload, name, peers, attribute, of)
        found[name] = ratio if attribute == "per_second" else inverse(ratio)
        by_cpu[name] = inverse(over(rounds, workload, name, peers, "cpu_us", of))
    return _verdict(rounds, workload, target, found, operator.ge, bound, by_cpu)


def at_most(
    rounds: Sequence[Round],
    workload: str,
    target: str,
    ours: Sequence[str],
    peers: Sequence[str],
    bound: float,
    *,
    of: str | None = None,
) -> Verdict:
    """Judges "a p50 of at most `bound` times the best peer's": all of ours have to have it.

    Args:
        peers: none: each is compared with itself, by the workload `of`.
    """
    found = {name: over(rounds, workload, name, peers or [name], "p50_ms", of) for name in ours}
    return _verdict(rounds, workload, target, found, operator.le, bound)


def _verdict(
    rounds: Sequence[Round],
    workload: str,
    target: str,
    found: dict[str, Spread | None],
    holds: Callable[[float, float], bool],
    bound: float,
    by_cpu: Mapping[str, Spread | None] = MappingProxyType({}),
) -> Verdict:
    known = {name: ratio for name, ratio in found.items() if ratio is not None}
    if not known:
        return Verdict(target, "—", None)
    flaws = {failures(rounds, workload, name) for name in known} - {""}
    said = []
    for name, ratio in known.items():
        whose = f"{CONTENDERS[name].label}: " if len(found) > 1 else ""
        cpu = by_cpu.get(name)
        beside = f", by CPU {cpu.median:.2f} x" if cpu is not None else ""
        said.append(f"{whose}{show(ratio, 2)} x{beside}")
    met = all(holds(ratio.median, bound) for ratio in known.values())
    return Verdict(target, "; ".join([*said, *sorted(flaws)]), met and not flaws)


def inverse(ratio: Spread | None) -> Spread | None:
    """The other way round; of three rounds and more, the median's is the median of the others."""
    if ratio is None or not ratio.low:
        return None
    return Spread(1 / ratio.median, 1 / ratio.high, 1 / ratio.low)
