# SPDX-License-Identifier: MIT
"""The loggers' names, and what the server installs on them."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final, TextIO

from trioserve.logs.handler import ServerStreamHandler
from trioserve.logs.json_format import JsonFormatter
from trioserve.logs.text_format import LineFormatter, TextFormatter

if TYPE_CHECKING:
    from trioserve.config import LogOptions

__all__ = ["access_logger", "configure_logging", "error_logger"]

access_logger: Final = logging.getLogger("trioserve.access")
error_logger: Final = logging.getLogger("trioserve.error")


def configure_logging(options: LogOptions) -> None:
    """Install the server's handlers on its two loggers, and stop both from propagating.

    ``log_level`` is the error logger's; the access log is ``access_log``'s alone. The root
    logger is never touched. A logger that has handlers of the program's own is left as it is,
    level and propagation included. Calling this again replaces what it installed, so that new
    options, or another ``sys.stdout``, take effect. A standard stream that is None (closed when
    the process began) gets no log.

    Raises:
        KeyError: ``log_level`` is none of logging's names (the configuration checks that).
    """
    is_json = options.log_format == "json"
    level = logging.getLevelNamesMapping()[options.log_level.upper()]
    access_stream = sys.stdout if options.access_log else None
    _install(
        access_logger,
        logging.INFO,
        access_stream,
        JsonFormatter() if is_json else LineFormatter(),
    )
    _install(
        error_logger,
        level,
        sys.stderr,
        JsonFormatter() if is_json else TextFormatter(),
    )


def _install(
    logger: logging.Logger, level: int, stream: TextIO | None, formatter: logging.Formatter
) -> None:
    foreign = [handler for handler in logger.handlers if not _is_ours(handler)]
    for handler in [handler for handler in logger.handlers if _is_ours(handler)]:
        logger.removeHandler(handler)
        handler.close()
    if foreign:
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
