# SPDX-License-Identifier: MIT
"""Logging: two stdlib loggers, their handlers, and the access log.

====================  ======================================  ========
``trioserve.access``  one record a request, level INFO        stdout
``trioserve.error``   everything else, from ``log_level`` up  stderr
====================  ======================================  ========

or the files that the settings name, which are opened anew when they have been renamed.

Handlers and filters that a program installs on them work as on any logger.
Rule of this folder: no failure to log ever reaches the code that logged.
"""

from __future__ import annotations

from trioserve.access_format import AccessEntry, compile_access_format
from trioserve.logs.access import AccessLog, make_access_log
from trioserve.logs.app_errors import log_app_error
from trioserve.logs.json_format import JsonFormatter
from trioserve.logs.setup import (
    access_logger,
    configure_logging,
    error_logger,
    give_logs,
    reopen_logs,
    set_log_level,
)
from trioserve.logs.text_format import LineFormatter, TextFormatter

__all__ = [
    "AccessEntry",
    "AccessLog",
    "JsonFormatter",
    "LineFormatter",
    "TextFormatter",
    "access_logger",
    "compile_access_format",
    "configure_logging",
    "error_logger",
    "give_logs",
    "log_app_error",
    "make_access_log",
    "reopen_logs",
    "set_log_level",
]
