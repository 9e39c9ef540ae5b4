# SPDX-License-Identifier: MIT
"""An exception, taken apart into text: bounded, and nothing of it is kept.

The application's own code runs here (``__str__``, ``__repr__``, ``__notes__``), so this is a
border: whatever it raises is text, too. What is left out is counted, and said.

===================  =======================================================================
exceptions in all    60; of a group 15; one after another in a chain 15
frames in all        300; of one exception the first and last 15; equal ones once, counted
a message            8,000 characters; 10 notes of 2,000 characters each
===================  =======================================================================
"""

from __future__ import annotations

import itertools
import os
import sys
import sysconfig
import traceback
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs

from trioserve.loading import is_app_file
from trioserve.reloading.excerpts import MAX_LINE, Line, Span, cut, excerpt, single

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType

__all__ = ["Frame", "LeftOut", "Report", "Syntax", "make_report"]

_MAX_EXCEPTIONS: Final = 60
_MAX_CHAIN: Final = 15
_MAX_GROUP: Final = 15
_MAX_FRAMES: Final = 300
_MAX_FRAMES_AT_EITHER_END: Final = 15
_MAX_MESSAGE: Final = 8_000
_MAX_NOTE: Final = 2_000
_MAX_NOTES: Final = 10
#: How far the end of a chain is looked for, to say how much of it is left out.
_MAX_COUNTED: Final = 10_000

_PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

#: How the exception before this one is related to it.
Link: TypeAlias = Literal["cause", "context"]


@attrs.frozen
class Frame:
    """A call in a traceback.

    Attributes:
        filename, line, name: as Python has them.
        is_library: of the standard library, of an installed package, or of trioserve.
        source: the lines around it; empty where they can't be read.
        text: it as Python prints it, with its lines indented.
        repeated: how many more times it follows, as in a recursion.
    """

    filename: str
    line: int
    name: str
    is_library: bool
    source: tuple[Line, ...]
    text: str
    repeated: int = 0


@attrs.frozen
class LeftOut:
    """Frames that are not shown."""

    count: int


@attrs.frozen
class Syntax:
    """Where a SyntaxError lies."""

    filename: str
    line: int
    source: tuple[Line, ...]


@attrs.frozen
class Report:
    """An exception with all that belongs to it.

    Attributes:
        kind: its type, as Python prints it.
        message: may have several lines, or be empty.
        notes: of ``add_note``.
        frames: most recent call last.
        syntax: of a SyntaxError.
        earlier: its cause or context; None where there is none, or it is left out.
        link: what ``earlier`` is to it.
        chain_left_out: exceptions of its chain that are not shown; -1 = it was shown already.
        parts: of a group.
        parts_left_out: how many more there are.
    """

    kind: str
    message: str
    notes: tuple[str, ...]
    frames: tuple[Frame | LeftOut, ...]
    syntax: Syntax | None
    earlier: Report | None
    link: Link
    chain_left_out: int
    parts: tuple[Report, ...]
    parts_left_out: int


def make_report(exc: BaseException) -> Report:
    """Takes an exception apart, with its chain and its parts."""
    return _Reporter().report(exc, 1)


class _Reporter:
    """What may still be shown, and what was."""

    def __init__(self) -> None:
        self._exceptions = _MAX_EXCEPTIONS
        self._frames = _MAX_FRAMES
        self._seen: set[int] = set()

    def report(self, exc: BaseException, in_chain: int) -> Report:
        """
        Args:
            in_chain: which one of its chain it is, from 1.
        """
        self._seen.add(id(exc))
        self._exceptions -= 1
        kind, message = _kind(exc), _message(exc)
        frames = tuple(self._frames_of(exc.__traceback__))
        parts, parts_left_out = self._parts_of(exc)
        before, link = _before(exc)
        earlier, chain_left_out = None, 0
        if before is not None:
            if id(before) in self._seen:
                chain_left_out = -1
            elif in_chain >= _MAX_CHAIN or not self._exceptions:
                chain_left_out = _length(before)
            else:
                earlier = self.report(before, in_chain + 1)
        return Report(
            kind,
            message,
            tuple(_notes(exc)),
            frames,
            _syntax(exc),
            earlier,
            link,
            chain_left_out,
            parts,
            parts_left_out,
        )

    def _parts_of(self, exc: BaseException) -> tuple[tuple[Report, ...], int]:
        if not isinstance(exc, BaseExceptionGroup):
            return (), 0
        shown: list[Report] = []
        for part in exc.exceptions[:_MAX_GROUP]:
            if not self._exceptions:
                break
            # A group can't be part of itself: only chains have rings.
            shown.append(self.report(part, 1))
        return tuple(shown), len(exc.exceptions) - len(shown)

    def _frames_of(self, calls: TracebackType | None) -> Iterator[Frame | LeftOut]:
        counted = _without_repetitions(_of_application(calls))
        either = min(_MAX_FRAMES_AT_EITHER_END, self._frames // 2)
        middle = len(counted) - 2 * either
        if middle > 0:
            omitted = sum(1 + repeated for _, repeated in counted[either : either + middle])
            tail = counted[either + middle :]
            self._frames -= 2 * either
            yield from map(_frame, counted[:either])
            yield LeftOut(omitted)
            yield from map(_frame, tail)
            return
        self._frames -= len(counted)
        yield from map(_frame, counted)


# -- frames ---------------------------------------------------------------------------------

#: A frame, the instruction it is at, and its line.
_Call: TypeAlias = "tuple[FrameType, int, int]"


def _of_application(calls: TracebackType | None) -> Iterator[_Call]:
    """The calls without those of trioserve that led to the application, and of the import system.

    trioserve's calls further in stay: they were made by the application.
    """
    begun = False
    while calls is not None:
        filename = calls.tb_frame.f_code.co_filename
        begun = begun or not filename.startswith(_PACKAGE)
        if begun and is_app_file(filename):
            yield calls.tb_frame, calls.tb_lasti, calls.tb_lineno
        calls = calls.tb_next


def _without_repetitions(calls: Iterator[_Call]) -> list[tuple[_Call, int]]:
    """Each call with the number of times that it follows itself."""
    found: list[tuple[_Call, int]] = []
    for _, same in itertools.groupby(calls, lambda call: (call[0].f_code, call[2])):
        first, *others = same
        found.append((first, len(others)))
    return found


def _frame(counted: tuple[_Call, int]) -> Frame:
    (frame, instruction, line), repeated = counted
    code = frame.f_code
    positions = next(itertools.islice(code.co_positions(), instruction // 2, None), None)
    _, end_line, column, end_column = positions or (None, None, None, None)
    span = Span(line, end_line or line, column, end_column, in_bytes=True)
    source = excerpt(code.co_filename, frame.f_globals, span)
    text = f'  File "{code.co_filename}", line {line}, in {code.co_name}'
    if source:
        summary = traceback.FrameSummary(
            code.co_filename,
            line,
            code.co_name,
            end_lineno=end_line,
            colno=column,
            end_colno=end_column,
        )
        text = "".join(traceback.StackSummary.from_list([summary]).format())
    return Frame(
        code.co_filename,
        line,
        code.co_name,
        _is_library(code.co_filename),
        source,
        "\n".join(cut(row, MAX_LINE) for row in text.rstrip("\n").split("\n")),
        repeated,
    )


_LIBRARY_FOLDERS: Final = tuple(
    path + os.sep
    for path in {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib")}
    if path
)


def _is_library(filename: str) -> bool:
    installed = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
    return (
        filename.startswith(("<frozen ", "<attrs generated ", _PACKAGE, *_LIBRARY_FOLDERS))
        or installed[0] in filename
        or installed[1] in filename
    )


# -- what an exception says -----------------------------------------------------------------


def _kind(exc: BaseException) -> str:
    kind = type(exc)
    module: Any = kind.__module__
    if not isinstance(module, str) or module in ("__main__", "builtins"):
        return kind.__qualname__
    return f"{module}.{kind.__qualname__}"


def _message(exc: BaseException) -> str:
    if isinstance(exc, SyntaxError) and isinstance(exc.msg, str):
        return cut(exc.msg, _MAX_MESSAGE)
    return _text(exc, "exception", _MAX_MESSAGE)


def _text(value: Any, what: str, limit: int) -> str:
    """``str(value)``, whatever that does."""
    try:
        text = str(value)
    except (Exception, SystemExit) as exc:
        return f"<{what} str() failed: {type(exc).__qualname__}>"
    # It may be a subclass with methods of its own; this is the text alone.
    return cut(str.__getitem__(text, slice(None)), limit)


def _notes(exc: BaseException) -> Iterator[str]:
    try:
        notes = getattr(exc, "__notes__", None)
        given = list(notes) if isinstance(notes, (list, tuple)) else [notes]
    except (Exception, SystemExit) as failure:
        yield f"<__notes__ failed: {type(failure).__qualname__}>"
        return
    if notes is None:
        return
    for note in given[:_MAX_NOTES]:
        yield _text(note, "note", _MAX_NOTE)
    if len(given) > _MAX_NOTES:
        yield f"… and {len(given) - _MAX_NOTES:,} more notes"


def _before(exc: BaseException) -> tuple[BaseException | None, Link]:
    if exc.__cause__ is not None:
        return exc.__cause__, "cause"
    if exc.__suppress_context__:
        return None, "context"
    return exc.__context__, "context"


def _length(exc: BaseException) -> int:
    """How many exceptions a chain has from here on, unless it is a ring or very long."""
    seen: set[int] = set()
    following: BaseException | None = exc
    while following is not None and id(following) not in seen and len(seen) < _MAX_COUNTED:
        seen.add(id(following))
        following = _before(following)[0]
    return len(seen)


def _syntax(exc: BaseException) -> Syntax | None:
    if not isinstance(exc, SyntaxError):
        return None
    line = exc.lineno
    if not isinstance(line, int) or not 0 < line < sys.maxsize:
        return None
    filename = exc.filename if isinstance(exc.filename, str) else "<string>"
    offset, end_offset = exc.offset, exc.end_offset
    end_line = exc.end_lineno if isinstance(exc.end_lineno, int) else line
    column = offset - 1 if isinstance(offset, int) and offset > 0 else None
    end = end_offset - 1 if isinstance(end_offset, int) and end_offset > 0 else None
    if column is not None and (end is None or (end_line <= line and end <= column)):
        end, end_line = column + 1, line
    span = Span(line, max(end_line, line), column, end)
    source = excerpt(filename, {}, span)
    if not source and isinstance(exc.text, str):
        source = single(exc.text, span)
    return Syntax(filename, line, source)
