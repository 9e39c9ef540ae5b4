# SPDX-License-Identifier: MIT
"""The loggers' names, and what the server installs on them."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Final, TextIO, cast

from trioserve.errors import ConfigError
from trioserve.logs.files import LogFile, open_log_file
from trioserve.logs.handler import ServerStreamHandler
from trioserve.logs.json_format import JsonFormatter
from trioserve.logs.text_format import LineFormatter, TextFormatter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trioserve.config import LogOptions

__all__ = [
    "access_logger",
    "configure_logging",
    "error_logger",
    "give_logs",
    "reopen_logs",
    "set_log_level",
]

access_logger: Final = logging.getLogger("trioserve.access")
error_logger: Final = logging.getLogger("trioserve.error")

_LEVELS: Final = ("critical", "error", "warning", "info", "debug")


def configure_logging(options: LogOptions) -> None:
    """Install the server's handlers on its two loggers, and stop both from propagating.

    ``log_level`` is the error logger's; the access log is ``access_log``'s alone. The root
    logger is never touched. A logger that has handlers of the program's own is left as it is,
    level and propagation included. Calling this again replaces what it installed, so that new
    options, or another ``sys.stdout``, take effect. A standard stream that is None (closed when
    the process began) gets no log.

    Raises:
        ConfigError: a log file can't be opened. Then both loggers are as they were.
        KeyError: ``log_level`` is none of logging's names (the configuration checks that).
    """
    is_json = options.log_format == "json"
    level = logging.getLevelNamesMapping()[options.log_level.upper()]
    access_stream = _open(sys.stdout, "access_log_file", options) if options.access_log else None
    try:
        error_stream = _open(sys.stderr, "error_log_file", options)
    except ConfigError:
        _close(access_stream)
        raise
    _install(
        access_logger,
        logging.INFO,
        access_stream,
        JsonFormatter() if is_json else LineFormatter(),
    )
    _install(
        error_logger,
        level,
        error_stream,
        JsonFormatter() if is_json else TextFormatter(),
    )


def set_log_level(level: str) -> None:
    """Changes the least severe level of the error log, from now on, in this process.

    Raises:
        ConfigError: it is none of those that ``log_level`` may be.
    """
    if level not in _LEVELS:
        raise ConfigError(f"log_level {level!r}: expected one of {', '.join(_LEVELS)}")
    error_logger.setLevel(logging.getLevelNamesMapping()[level.upper()])


def reopen_logs() -> None:
    """Opens the log files anew: after a rotation by renaming, new files. Streams stay as they are.

    *Errors handled here*: one that can't be opened is logged as an error, and the file of before
    goes on being used.
    """
    for handler, file in _log_files():
        try:
            with _locked(handler):
                file.reopen()
        except OSError as exc:
            error_logger.error(
                "the log %s can't be opened anew: %s; the file that was open is written to",
                file.path,
                exc.strerror,
            )


def give_logs(uid: int, gid: int) -> None:
    """Makes the log files a user's and a group's (-1: as it is), who will have to reopen them.

    *Errors handled here*: a file that can't be given away is logged as a warning.
    """
    for _, file in _log_files():
        try:
            file.give(uid, gid)
        except OSError as exc:
            error_logger.warning(
                "the log %s can't be given to user %d, group %d: %s",
                file.path,
                uid,
                gid,
                exc.strerror,
            )


def _log_files() -> Iterator[tuple[logging.Handler, LogFile]]:
    for logger in (access_logger, error_logger):
        for handler in logger.handlers:
            if isinstance(handler, ServerStreamHandler):
                stream: object = handler.stream
                if isinstance(stream, LogFile):
                    yield handler, stream


def _open(standard: TextIO | None, setting: str, options: LogOptions) -> TextIO | None:
    path: str = getattr(options, setting)
    # A LogFile has all of a TextIO that a StreamHandler asks for.
    return standard if path == "-" else cast("TextIO", open_log_file(setting, path))


@contextlib.contextmanager
def _locked(handler: logging.Handler) -> Iterator[None]:
    handler.acquire()
    try:
        yield
    finally:
        handler.release()


def _close(stream: object) -> None:
    if isinstance(stream, LogFile):
        stream.close()


def _install(
    logger: logging.Logger, level: int, stream: TextIO | None, formatter: logging.Formatter
) -> None:
    foreign = [handler for handler in logger.handlers if not _is_ours(handler)]
    for handler in [handler for handler in logger.handlers if _is_ours(handler)]:
        logger.removeHandler(handler)
        handler.close()
        with _locked(handler):  # another thread may be in the midst of a line
            _close(getattr(handler, "stream", None))
    if foreign:
        _close(stream)
        return
    logger.setLevel(level)
    logger.propagate = False
    # Without any handler, logging's last resort would write to stderr.
    handler = _NoHandler() if stream is None else ServerStreamHandler(stream)
    handler.setFormatter(formatter)
    logger.addHandler(handler)


class _NoHandler(logging.NullHandler):
    """Told apart from a NullHandler of the program's own, which is left in its place."""


def _is_ours(handler: logging.Handler) -> bool:
    return isinstance(handler, ServerStreamHandler | _NoHandler)
