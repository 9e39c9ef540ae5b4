# SPDX-License-Identifier: MIT
"""What is logged of the end of an exchange or a WebSocket, whichever version of HTTP carried it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from trioserve.logs import AccessEntry, log_app_error

if TYPE_CHECKING:
    from trioserve.asgi.exchange import HttpExchange
    from trioserve.asgi.websocket import WebSocketExchange
    from trioserve.context import ServerContext

    Exchange = HttpExchange | WebSocketExchange

__all__ = [
    "count_exchange",
    "log_access",
    "log_cancellation",
    "log_failure",
    "log_return",
    "note_disconnect",
]

#: nginx's "client closed request": where there is no status since nobody was there to get it.
_LEFT: Final = 499
#: Where there is none since the server was stopped.
_CANCELLED: Final = 503

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


def count_exchange(
    shared: ServerContext,
    exchange: HttpExchange,
    method: str,
    seconds: float,
    *,
    cancelled: bool = False,
) -> None:
    """The exchange is over, as far as its client is concerned; counts it where somebody asks.

    Args:
        method: as it came; the application may have changed the one of its scope.
        seconds: that it took.
        cancelled: together with its connection.
    """
    if shared.recorder is not None:
        status = exchange.status or (_CANCELLED if cancelled else _LEFT)
        shared.recorder.end_exchange((method, status, seconds))


def note_disconnect(shared: ServerContext, exchange: HttpExchange, *, answered: bool) -> None:
    """Before the server ends an exchange in its application's place: whether its client has left.

    Args:
        answered: no client has left: it was told what is wrong with its request.
    """
    if shared.recorder is not None and exchange.disconnected and not answered:
        shared.recorder.note_disconnect()


def log_access(
    shared: ServerContext, exchange: Exchange, seconds: float, *, has_body: bool
) -> None:
    """The access log's line, where somebody reads it.

    Args:
        seconds: that the exchange took.
        has_body: its response's body is sent (no HEAD, 204 or 304).
    """
    access_log = shared.access_log
    if access_log is None:
        return
    access_log(
        AccessEntry(
            exchange.scope,
            exchange.status or _LEFT,
            exchange.headers,
            exchange.body_size if has_body else 0,
            seconds,
            exchange.disconnected and not exchange.response_complete,
        )
    )
