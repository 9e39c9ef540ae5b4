# SPDX-License-Identifier: MIT
"""What is logged of an exchange's end, whichever version of HTTP carried it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from trioserve.logs import AccessEntry, log_app_error

if TYPE_CHECKING:
    from trioserve.asgi.exchange import HttpExchange
    from trioserve.context import ServerContext

__all__ = ["log_access", "log_cancellation", "log_failure", "log_return"]

_log = logging.getLogger("trioserve.error")


def log_return(exchange: HttpExchange) -> None:
    """The application has returned before its response was complete."""
    if exchange.disconnected:
        return
    _log.error(
        "the application returned %s for %s %s",
        "before its response was complete" if exchange.response_started else "without a response",
        exchange.scope["method"],
        exchange.scope["path"],
    )


def log_failure(exchange: HttpExchange, failure: BaseException) -> None:
    """The application has raised."""
    if exchange.told and exchange.disconnected:
        # The application was told that the client is gone, and that is how it stopped.
        _log.info(
            "client left %s %s, and the application ended with %s",
            exchange.scope["method"],
            exchange.scope["path"],
            type(failure).__name__,
            exc_info=failure if _log.isEnabledFor(logging.DEBUG) else None,
        )
    else:
        log_app_error(failure, exchange.scope)


def log_cancellation(exchange: HttpExchange, *, by_timeout: bool) -> None:
    """The application was cancelled: after its grace, by request_timeout, or by itself."""
    method, path = exchange.scope["method"], exchange.scope["path"]
    if exchange.disconnected:
        _log.info("client left %s %s, cancelled after the grace period", method, path)
    elif by_timeout:
        _log.warning("%s %s was cancelled by request_timeout", method, path)
    else:
        _log.warning("%s %s was cancelled by the application", method, path)


def log_access(
    shared: ServerContext, exchange: HttpExchange, began: float, *, has_body: bool
) -> None:
    """The access log's line, where somebody reads it.

    Args:
        began: when the exchange did, by the server's clock.
        has_body: its response's body is sent (no HEAD, 204 or 304).
    """
    access_log = shared.access_log
    if access_log is None:
        return
    access_log(
        AccessEntry(
            exchange.scope,
            exchange.status or 499,
            exchange.headers,
            exchange.body_size if has_body else 0,
            shared.now() - began,
            exchange.disconnected and not exchange.response_complete,
        )
    )
