# SPDX-License-Identifier: MIT
"""The wire's codec against gunicorn's, in one process: no pool is asked."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.core.report import Findings, Table, Verdict
from benchmarks.core.suite import Suite
from benchmarks.dirty.contenders import GUNICORN, US
from benchmarks.dirty.rounds import TURNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.core.options import Options
    from benchmarks.core.servers import Server
    from benchmarks.dirty_codec import Result

TARGET = 2.0


def run(options: Options, servers: Sequence[Server]) -> Findings:
    """Times both codecs, alternating."""
    # Not before it is asked for: it imports gunicorn's dirty wing.
    codec = importlib.import_module("benchmarks.dirty_codec")
    results: list[Result] = codec.measure(rounds=options.rounds * TURNS)
    table = Table("", codec.COLUMNS, codec.rows(results))
    verdicts = [verdict(way, [r for r in results if r.way == way]) for way in ("encode", "decode")]
    extent = f"rounds: {options.rounds}, {TURNS} turns in each"
    return Findings(extent, [table], verdicts, [asdict(r) for r in results])


def verdict(way: str, results: Sequence[Result]) -> Verdict:
    """Judges the worst of one way; the median of all shapes stands beside."""
    worst = min(results, key=lambda result: result.ratio)
    middle = median(result.ratio for result in results)
    said = f"{worst.ratio:.2f} x at the least ({worst.what}), {middle:.1f} x in the middle"
    return Verdict(f"{way}: ≥ {TARGET:g} x gunicorn's codec", said, worst.ratio >= TARGET)


SUITE = Suite(
    name="dirty_codec",
    title="Dirty wire: the codec",
    about=(
        "Values and frames of gunicorn's own shapes, encoded and decoded by both; both make the"
        " same bytes. The ratio is gunicorn's time over ours: above 1 is better."
    ),
    servers=(US, GUNICORN[0]),
    run=run,
)
