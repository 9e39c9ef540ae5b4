# SPDX-License-Identifier: MIT
"""A report as Python prints a traceback, for terminals: each line printable, whatever came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trioserve.escaping import printable
from trioserve.reloading.report import LeftOut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trioserve.reloading.excerpts import Line
    from trioserve.reloading.report import Frame, Report, Syntax

__all__ = ["as_text", "chain_left_out", "last_line"]

_LINKS: Final = {
    "cause": "The above exception was the direct cause of the following exception:",
    "context": "During handling of the above exception, another exception occurred:",
}
_RULE: Final = "----------------"


def as_text(report: Report) -> str:
    """The whole report, its cause first, as Python has it; ends with a newline."""
    lines = (line for block in _lines(report) for line in block.split("\n"))
    return "".join(f"{printable(line)}\n" for line in lines)


def last_line(report: Report) -> str:
    """``Type: message``, as it ends a traceback; the message may have several lines."""
    return f"{report.kind}: {report.message}" if report.message else report.kind


def chain_left_out(report: Report) -> str:
    """What is said in place of the earlier exceptions that are not shown; "" if all are."""
    count = report.chain_left_out
    if count < 0:
        return "(The exception before it is shown elsewhere here.)"
    return f"… and {count:,} more exceptions before it" if count else ""


def _lines(report: Report) -> Iterator[str]:
    if report.earlier is not None:
        yield from _lines(report.earlier)
    elif report.chain_left_out:
        yield chain_left_out(report)
    if report.earlier is not None or report.chain_left_out > 0:
        yield f"\n{_LINKS[report.link]}\n"
    if report.frames:
        what = "Exception Group Traceback" if report.parts else "Traceback"
        yield f"{what} (most recent call last):"
    for frame in report.frames:
        yield from _frame_lines(frame)
    if report.syntax is not None:
        yield from _syntax_lines(report.syntax)
    yield last_line(report)
    yield from report.notes
    yield from _part_lines(report)


def _frame_lines(frame: Frame | LeftOut) -> Iterator[str]:
    if isinstance(frame, LeftOut):
        yield f"  … {frame.count:,} more calls are left out here"
        return
    yield frame.text
    if frame.repeated:
        yield f"  [Previous line repeated {frame.repeated:,} more times]"


def _syntax_lines(syntax: Syntax) -> Iterator[str]:
    yield f'  File "{syntax.filename}", line {syntax.line}'
    for line in syntax.source:
        if line.is_marked:
            yield from _marked(line)


def _marked(line: Line) -> Iterator[str]:
    # Tabs stay, so that the marks stand under what they mean.
    bare = line.text.lstrip()
    yield f"    {bare}"
    if line.columns is not None:
        start, stop = (max(column - len(line.text) + len(bare), 0) for column in line.columns)
        before = "".join(char if char == "\t" else " " for char in bare[:start].ljust(start))
        yield f"    {before}{'^' * max(stop - start, 1)}"


def _part_lines(report: Report) -> Iterator[str]:
    total = len(report.parts) + report.parts_left_out
    for number, part in enumerate(report.parts, 1):
        yield f"  +-+{_RULE} {number} of {total:,} {_RULE}"
        for block in _lines(part):
            yield from (f"    | {line}" for line in block.split("\n"))
    if report.parts_left_out:
        yield f"  +-+{_RULE} … and {report.parts_left_out:,} more {_RULE}"
    elif report.parts:
        yield f"    +{_RULE * 2}"
