# SPDX-License-Identifier: MIT
"""What a suite found, as Markdown, and the file that keeps the sections of all suites.

A section stands between two markers, so that a run of one suite replaces its own and no other:

    <!-- suite: NAME -->
    …
    <!-- end: NAME -->
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.core.statistics import Spread

HEADER = """\
# Benchmark results

Written by `make bench`; how it measures, and how to read it: docs/benchmarking.md. Figures are
medians with (least - greatest) of the rounds. The machine drifts, so absolute figures only place
things; a comparison is a ratio of two servers measured one after the other in the same round, and
the median of those. x is trioserve divided by the server of that row: above 1 is better for
requests/s, below 1 is better for CPU.
"""

_SECTION = re.compile(
    r"<!-- suite: (?P<name>\S+) -->\n(?P<text>.*?)<!-- end: (?P=name) -->\n", re.S
)


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text; the first column is left-aligned, the others right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target of the project beside what was measured; met is None when it could not be."""

    target: str
    measured: str
    met: bool | None


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a suite has to say.

    Attributes:
        extent: how much was measured, in words: "3 rounds of 4 s".
        raw: every figure, JSON-ready, for results.json.
    """

    extent: str
    tables: Sequence[Table]
    verdicts: Sequence[Verdict]
    raw: Any


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Draws a table that is Markdown and can be read on a terminal as it is."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        others = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join([first, *others]) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(columns), line(rule), *map(line, rows)]) + "\n"


def render(title: str, preamble: str, findings: Findings) -> str:
    """Writes one suite's section, without its markers."""
    parts = [f"## {title}\n", preamble + "\n"]
    for table in findings.tables:
        heading = [f"### {table.title}\n"] if table.title else []
        parts += [*heading, markdown_table(table.columns, table.rows)]
    if findings.verdicts:
        words = {True: "met", False: "**missed**", None: "not measured"}
        rows = [(v.target, v.measured, words[v.met]) for v in findings.verdicts]
        parts += [
            "### Targets\n" if findings.tables else "",
            markdown_table(("target", "measured", "verdict"), rows),
        ]
    return "\n".join(part for part in parts if part)


def merge(existing: str, sections: Mapping[str, str], order: Sequence[str]) -> str:
    """Puts new sections into the text of a results file.

    Args:
        existing: the file as it is; empty when there is none. What is outside markers is dropped.
        sections: suite name → new text.
        order: names of all suites there are; sections of others are kept, after these.
    """
    texts = {match["name"]: match["text"] for match in _SECTION.finditer(existing)}
    texts |= sections
    names = [name for name in order if name in texts]
    names += sorted(set(texts) - set(names))
    marked = [f"<!-- suite: {n} -->\n{texts[n].strip()}\n<!-- end: {n} -->\n" for n in names]
    return "\n".join([HEADER, *marked])


def show(spread: Spread | None, places: int = 0) -> str:
    """Says a spread: `1,234 (1,200 - 1,300)`; a dash when there is none."""
    if spread is None:
        return "—"
    middle, low, high = (f"{x:,.{places}f}" for x in (spread.median, spread.low, spread.high))
    return middle if low == high else f"{middle} ({low} - {high})"
