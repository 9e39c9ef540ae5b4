# SPDX-License-Identifier: MIT
"""Lines of source around the place that a traceback or a SyntaxError names.

Positions are those of Python: lines from 1, columns from 0 in characters. Everything here is
text by the time it is returned, so that a page stays as it is when the file is saved again.
"""

from __future__ import annotations

import linecache
from typing import Any, Final

import attrs

__all__ = ["MAX_LINE", "Line", "Span", "cut", "excerpt", "single"]

#: Lines shown before and after the marked ones; marked ones, at most.
_AROUND: Final = 3
_MAX_MARKED: Final = 8
#: Characters of a line that are shown.
MAX_LINE: Final = 240


@attrs.frozen
class Line:
    """A line of source.

    Attributes:
        number: from 1.
        text: without its end, at most MAX_LINE characters.
        is_marked: it is what the traceback points at.
        columns: start and end of the part of it that is meant; None = all of it.
    """

    number: int
    text: str
    is_marked: bool = False
    columns: tuple[int, int] | None = None


@attrs.frozen
class Span:
    """From a line and column to another; a column that isn't known is None.

    Attributes:
        in_bytes: columns count bytes of UTF-8, as those of code objects do, not characters.
    """

    line: int
    end_line: int
    column: int | None = None
    end_column: int | None = None
    in_bytes: bool = False


def cut(text: str, limit: int) -> str:
    """The text, or its beginning and how much there is more of it."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… and {len(text) - limit:,} more characters"


def excerpt(filename: str, names: dict[str, Any], span: Span) -> tuple[Line, ...]:
    """The lines around a place, as the file has them now; none where it can't be read.

    Args:
        names: the globals of the code, whose loader may know its source where no file does.
    """
    lines = _lines_of(filename, names)
    if not 1 <= span.line <= len(lines):
        return ()
    end = min(max(span.end_line, span.line), span.line + _MAX_MARKED - 1, len(lines))
    first, last = max(span.line - _AROUND, 1), min(end + _AROUND, len(lines))
    shown = [
        _line(number, lines[number - 1].rstrip("\r\n"), span, end)
        for number in range(first, last + 1)
    ]
    return tuple(_without_blank_edges(shown))


def _lines_of(filename: str, names: dict[str, Any]) -> list[str]:
    try:
        linecache.checkcache(filename)
        linecache.lazycache(filename, names)
        return linecache.getlines(filename)
    except Exception:
        # A loader of the application's can be asked here, and the name can be any text.
        return []


def single(text: str, span: Span) -> tuple[Line, ...]:
    """The one line that is known, where there is no file to read."""
    return (_line(span.line, text.partition("\n")[0].rstrip("\r\n"), span, span.line),)


def _line(number: int, text: str, span: Span, end: int) -> Line:
    shown = cut(text, MAX_LINE)
    if not span.line <= number <= end:
        return Line(number, shown)
    return Line(number, shown, is_marked=True, columns=_columns(number, text, span))


def _columns(number: int, text: str, span: Span) -> tuple[int, int] | None:
    if span.column is None or span.end_column is None:
        return None
    bare = text.strip()
    first = len(text) - len(text.lstrip())
    last = first + len(bare)
    start, stop = first, last
    if number == span.line:
        start = _characters(text, span.column) if span.in_bytes else span.column
    if number == span.end_line:
        stop = _characters(text, span.end_column) if span.in_bytes else span.end_column
    stop = min(stop, MAX_LINE)
    # As Python has it: a mark under everything says nothing.
    if start >= stop or (start <= first and stop >= last):
        return None
    return start, stop


def _characters(text: str, count: int) -> int:
    """How many characters so many bytes are."""
    if text.isascii():
        return count
    return len(text.encode("utf-8", "replace")[:count].decode("utf-8", "ignore"))


def _without_blank_edges(lines: list[Line]) -> list[Line]:
    while lines and not lines[0].is_marked and not lines[0].text.strip():
        del lines[0]
    while lines and not lines[-1].is_marked and not lines[-1].text.strip():
        del lines[-1]
    return lines
