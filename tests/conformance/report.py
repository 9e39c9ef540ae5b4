# SPDX-License-Identifier: MIT
"""A run as text: a table that is Markdown, and below it what isn't simply OK."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.conformance.verdicts import KINDS, Verdict, wrong

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["GROUPS", "render"]

#: As the suite calls them. There is no 8, and 11 is gone.
GROUPS: Final = {
    1: "Framing",
    2: "Pings and pongs",
    3: "Reserved bits",
    4: "Opcodes",
    5: "Fragmentation",
    6: "UTF-8",
    7: "Closing handshake",
    9: "Limits and throughput",
    10: "Fragments made by the client",
    12: "Compression, of various data",
    13: "Compression, with various parameters",
}


def render(verdicts: Sequence[Verdict], known: Mapping[str, str]) -> str:
    """All that is to be said of a run.

    Args:
        known: cases that may be NON-STRICT, with the reason.
    """
    lines = [*_table(verdicts), ""]
    bad = {verdict.case for verdict in wrong(verdicts, known)}
    for verdict in verdicts:
        if verdict.kind != "OK":
            lines.append(f"{verdict.case} {verdict.kind}: {verdict.description}")
        if verdict.case in bad:
            lines.append(f"    expected: {verdict.expectation}")
            lines += [f"    {line}" for line in verdict.details]
        elif verdict.kind == "NON-STRICT":
            lines.append(f"    known: {known[verdict.case]}")
    better = [
        verdict.case for verdict in verdicts if verdict.kind == "OK" and verdict.case in known
    ]
    if better:
        lines.append(f"OK although known as NON-STRICT (known.py): {', '.join(better)}")
    return "\n".join(lines)


def _table(verdicts: Sequence[Verdict]) -> Iterable[str]:
    yield f"| Group | Cases | {' | '.join(KINDS)} |"
    yield f"|---|---|{'---|' * len(KINDS)}"
    for number, title in GROUPS.items():
        of_group = [v for v in verdicts if v.case.partition(".")[0] == str(number)]
        if of_group:
            yield _row(f"{number}. {title}", of_group)
    yield _row("All", verdicts)


def _row(title: str, verdicts: Sequence[Verdict]) -> str:
    counts = Counter(verdict.kind for verdict in verdicts)
    cells = [title, len(verdicts), *(counts[kind] or "" for kind in KINDS)]
    return f"| {' | '.join(map(str, cells))} |"
