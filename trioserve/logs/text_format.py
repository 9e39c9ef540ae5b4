# SPDX-License-Identifier: MIT
"""The text form of both logs, and tracebacks shown whole."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any, Final

from trioserve.escaping import tame
from trioserve.timestamps import PerSecond, local_time

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["LineFormatter", "TextFormatter", "format_traceback"]


class LineFormatter(logging.Formatter):
    """An access line as it is: ``access_log_format`` has placed everything, and escaped it."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's message; that of a stranger's record is tamed, access lines are already."""
        return tame(record.getMessage())


class TextFormatter(logging.Formatter):
    """``[2026-11-22 12:00:00 +0000] [pid] [LEVEL] message``, then the traceback, whole.

    A line that begins with ``[`` begins a record, and nothing else does: text that a client
    brought into a message or an exception can't pass for another record.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stamp = PerSecond(local_time)

    def format(self, record: logging.LogRecord) -> str:
        """The record in as many lines as its message and traceback have."""
        parts = [record.getMessage()]
        if record.exc_info and record.exc_info[1] is not None:
            parts.append(self.formatException(record.exc_info))
        if record.stack_info:
            parts.append(record.stack_info)
        head = f"{self._stamp(record.created)} [{record.process}] [{record.levelname}] "
        return tame(head + "\n".join(parts))

    def formatException(self, ei: Any) -> str:
        """As `format_traceback`."""
        return format_traceback(ei)


# TracebackException shows 15 members of a group and 10 levels unless told otherwise. "Whole" needs
# some end all the same: a group of a million must not fill the disk.
_GROUP_WIDTH: Final = 1000
_GROUP_DEPTH: Final = 50


def format_traceback(exc_info: tuple[Any, BaseException, TracebackType | None]) -> str:
    """The traceback with causes, contexts, notes and all members of groups; no final newline."""
    kind, exc, tb = exc_info
    whole = traceback.TracebackException(
        kind, exc, tb, compact=True, max_group_width=_GROUP_WIDTH, max_group_depth=_GROUP_DEPTH
    )
    return "".join(whole.format()).rstrip("\n")
