# SPDX-License-Identifier: MIT
"""A stream handler for streams that may break at any time, and the report that they did."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from typing import TextIO

from trioserve.escaping import escape, tame

__all__ = ["ServerStreamHandler", "complain"]


class ServerStreamHandler(logging.StreamHandler[TextIO]):
    """Writes records to a stream that may be closed, a lost pipe, or a file on a full disk.

    Each record is one write and one flush, which block while the stream's reader is slow.
    Characters that the stream's encoding lacks are written as backslash escapes.

    *Errors handled here*: the first failure is reported on stderr (unless
    ``logging.raiseExceptions`` is false), those after it are dropped. Each record is tried anew,
    so the log goes on when the disk has room again.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._has_complained = False

    def format(self, record: logging.LogRecord) -> str:
        """The record's text, in characters that the stream can take."""
        text = super().format(record)
        if text.isascii():
            return text
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        return text.encode(encoding, "backslashreplace").decode(encoding)

    def handleError(self, record: logging.LogRecord) -> None:
        """Report the exception that is being handled, the first time."""
        if self._has_complained:
            return
        self._has_complained = True
        complain(f"can't write the log {record.name}; later failures won't be shown")


def complain(what: str) -> None:
    """Report the exception that is being handled on stderr, where there is one. Never raises.

    With ``logging.raiseExceptions`` false nothing is reported.
    """
    exc = sys.exception()
    if not logging.raiseExceptions or sys.stderr is None or exc is None:
        return
    # A stream's failure needs no traceback; anything else is a mistake in somebody's code.
    is_plain = isinstance(exc, OSError)
    reason = escape(f"{type(exc).__name__}: {exc}") if is_plain else f"\n{traceback.format_exc()}"
    text = tame(f"trioserve: {what}: {reason.rstrip()}").encode("ascii", "backslashreplace")
    # stderr may be the very stream that broke. ValueError: "I/O operation on closed file".
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{text.decode()}\n")
        sys.stderr.flush()
