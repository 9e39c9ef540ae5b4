# SPDX-License-Identifier: MIT
"""The access log: one record for each exchange, by a function made when the server starts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from trioserve.access_format import AccessEntry, compile_access_format
from trioserve.logs.handler import complain
from trioserve.logs.setup import access_logger

if TYPE_CHECKING:
    from trioserve.config import LogOptions

__all__ = ["AccessLog", "AccessRecord", "make_access_log"]

#: Logs one exchange. Raises no Exception and never checkpoints; it may block in a write.
AccessLog: TypeAlias = Callable[[AccessEntry], None]


class AccessRecord(logging.LogRecord):
    """The record of an access line. A filter finds the exchange itself in ``access``."""

    access: AccessEntry

    def __init__(self, common: Mapping[str, Any], line: str, entry: AccessEntry) -> None:
        # LogRecord's own __init__ asks for thread, process, task and file names each time. They
        # are the same for every request, so they are copied from a record made once.
        now = time.time()
        self.__dict__.update(common)
        self.msg = line
        self.created = now
        self.msecs = int(now % 1 * 1000) + 0.0
        self.relativeCreated += now * 1000
        self.access = entry


def make_access_log(options: LogOptions) -> AccessLog | None:
    """The function to call once a request. Call this in the server's thread, when it starts.

    The record's message is the line that ``access_log_format`` gives; its attribute ``access`` is
    the entry. Handlers and filters on ``trioserve.access`` and, where it propagates, its parents
    apply, and may change while the server runs.

    Returns:
        None when nobody would read the log: ``access_log`` is off, the logger is not enabled for
        INFO, or no handler would take a record. Then the server builds no entries at all.

    Raises:
        ConfigError: the format is wrong (`compile_access_format`).

    *Errors handled here*: an Exception of the program's own filters and handlers is reported on
    stderr, the first time only.
    """
    if not options.access_log:
        return None
    logger = access_logger
    if not logger.isEnabledFor(logging.INFO) or not _has_taker(logger):
        return None
    make_record = _record_maker(logger, compile_access_format(options.access_log_format))
    has_complained = False

    def access_log(entry: AccessEntry) -> None:
        nonlocal has_complained
        if not logger.isEnabledFor(logging.INFO):
            return
        try:
            logger.handle(make_record(entry))
        except Exception:  # a border: filters, handlers and record factories are foreign code
            if not has_complained:
                has_complained = True
                complain("the access log failed; later failures won't be shown")

    return access_log


def _record_maker(
    logger: logging.Logger, render: Callable[[AccessEntry], str]
) -> Callable[[AccessEntry], logging.LogRecord]:
    common = _common_attributes(logger.name)

    def make_record(entry: AccessEntry) -> logging.LogRecord:
        line = render(entry)
        if logging.getLogRecordFactory() is logging.LogRecord:
            return AccessRecord(common, line, entry)
        # The program's formatters may rely on attributes that its own factory sets.
        extra = {"access": entry}
        return logger.makeRecord(
            logger.name, logging.INFO, __file__, 0, line, (), None, "access_log", extra
        )

    return make_record


def _common_attributes(name: str) -> dict[str, Any]:
    record = logging.LogRecord(name, logging.INFO, __file__, 0, "", None, None, "access_log")
    # relativeCreated counts from when logging was imported; kept as its offset from the epoch.
    record.relativeCreated -= record.created * 1000
    return dict(record.__dict__)


def _has_taker(logger: logging.Logger) -> bool:
    """Whether a handler that the logger's records reach would take one of level INFO."""
    current: logging.Logger | None = logger
    while current is not None:
        for handler in current.handlers:
            if handler.level <= logging.INFO and not isinstance(handler, logging.NullHandler):
                return True
        current = current.parent if current.propagate else None
    return False
