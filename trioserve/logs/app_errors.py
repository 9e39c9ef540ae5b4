# SPDX-License-Identifier: MIT
"""What an application raised, in the error log."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from trioserve.access_format import request_target
from trioserve.escaping import escape
from trioserve.logs.handler import complain
from trioserve.logs.setup import error_logger
from trioserve.logs.text_format import format_traceback

if TYPE_CHECKING:
    from types import TracebackType

    from trioserve.types import Scope

__all__ = ["log_app_error"]


def log_app_error(exc: BaseException, scope: Scope) -> None:
    """Log an application's exception with its traceback and the request that met it, once.

    The frames of this package that lead to the application are left out, of the outermost
    exception only, and none are left out where there are no others. ``exc`` is not changed.

    *Errors handled here*: when a filter or handler of the program raises an Exception, that and
    the application's exception are written to stderr.
    """
    message = f"Exception in ASGI application ({_describe(scope)})"
    exc_info = (type(exc), exc, _without_own_frames(exc.__traceback__))
    try:
        error_logger.error("%s", message, exc_info=exc_info)
    except Exception:  # a border: filters and handlers are foreign code
        complain(f"{message}\n{format_traceback(exc_info)}\n\nThe error log failed")


def _describe(scope: Scope) -> str:
    kind = str(scope.get("type", "http"))
    if kind == "lifespan":
        return kind
    method = scope.get("method") or kind.upper()
    target = request_target(scope).decode("utf-8", "surrogateescape")
    return escape(f"{method} {target}") + _from(scope)


def _from(scope: Scope) -> str:
    client = scope.get("client")
    if not client:  # a Unix socket
        return ""
    host = escape(str(client[0]))
    return f" from [{host}]:{client[1]}" if ":" in host else f" from {host}:{client[1]}"


_PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def _without_own_frames(tb: TracebackType | None) -> TracebackType | None:
    current = tb
    while current is not None and current.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        current = current.tb_next
    return tb if current is None else current
