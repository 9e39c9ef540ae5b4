# SPDX-License-Identifier: MIT
"""What is logged of the end of an exchange or a WebSocket, whichever version of HTTP carried it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from trioserve.logs import AccessEntry, log_app_error

if TYPE_CHECKING:
    from trioserve.asgi.exchange import HttpExchange
    from trioserve.asgi.websocket import WebSocketExchange
    from trioserve.context import ServerContext

    Exchange = HttpExchange | WebSocketExchange

__all__ = ["log_access", "log_cancellation", "log_failure", "log_return"]

_log = logging.getLogger("trioserve.error")


def log_return(exchange: Exchange) -> None:
    """The application has returned before its response was complete."""
    if exchange.disconnected:
        return
    _log.error(
        "the application returned %s for %s",
        "before its response was complete" if exchange.response_started else "without a response",
        _name(exchange),
    )


def log_failure(exchange: Exchange, failure: BaseException) -> None:
    """The application has raised."""
    if exchange.told and exchange.disconnected:
        # The application was told that the client is gone, and that is how it stopped.
        _log.info(
            "client left %s, and the application ended with %s",
            _name(exchange),
            type(failure).__name__,
            exc_info=failure if _log.isEnabledFor(logging.DEBUG) else None,
        )
    else:
        log_app_error(failure, exchange.scope)


def log_cancellation(exchange: Exchange, *, by_timeout: bool) -> None:
    """The application was cancelled: after its grace, by request_timeout, or by itself."""
    name = _name(exchange)
    if exchange.disconnected:
        _log.info("client left %s, cancelled after the grace period", name)
    elif by_timeout:
        _log.warning("%s was cancelled by request_timeout", name)
    else:
        _log.warning("%s was cancelled by the application", name)


def _name(exchange: Exchange) -> str:
    return f"{exchange.scope.get('method', 'WebSocket')} {exchange.scope['path']}"


def log_access(shared: ServerContext, exchange: Exchange, began: float, *, has_body: bool) -> None:
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
