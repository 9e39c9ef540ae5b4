# SPDX-License-Identifier: MIT
"""The server that Prometheus scrapes: a small one of the usual kind, on addresses of its own.

No lifespan, no access log, few connections, short deadlines: a scraper is one client, and it must
cost the server next to nothing if there are many, or if it is slow.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import trio

from trioserve.config import Config
from trioserve.server import serve_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trioserve.addresses import BoundAddress
    from trioserve.listeners import Listener
    from trioserve.types import ASGIApp, Receive, Scope, Send

__all__ = ["make_metrics_app", "serve_metrics"]

_log = logging.getLogger("trioserve.error")

#: Seconds to gather and write down the figures.
COLLECT_TIMEOUT: Final = 5.0
#: See trioserve.metrics.prometheus, which needs a library that this doesn't.
_TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"
_PLAIN: Final = b"text/plain; charset=utf-8"


async def serve_metrics(
    config: Config,
    listeners: list[Listener],
    collect: Callable[[], Awaitable[bytes]],
    *,
    task_status: trio.TaskStatus[tuple[BoundAddress, ...]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answers GET and HEAD of /metrics on ``listeners``, until cancelled.

    Args:
        config: the server's; of it only ``backlog`` and ``server_header`` are this one's, too.
        listeners: opened by the caller, who closes them.
        collect: makes the text of ``trioserve.metrics.prometheus.render``. If it raises, or takes
            more than COLLECT_TIMEOUT, the answer is 503 and the reason is logged.
        task_status: is given where it listens.

    *Cancellation*: at once; a scrape under way is cut off.
    """
    own = Config(
        backlog=config.backlog,
        server_header=config.server_header,
        http=config.http,
        http_protocols=("h1",),
        access_log=False,
        lifespan="off",
        max_connections=64,
        max_body_size=1024,
        keep_alive_timeout=75.0,  # longer than most scrapers' interval
        header_timeout=5.0,
        body_timeout=5.0,
        write_timeout=5.0,
        graceful_timeout=0.0,
        asgi_disconnect_grace_period=0.0,
    )
    app = make_metrics_app(collect)
    await serve_until(trio.Event(), app, own, listeners, task_status=task_status)


def make_metrics_app(
    collect: Callable[[], Awaitable[bytes]], timeout: float = COLLECT_TIMEOUT
) -> ASGIApp:
    """The application of serve_metrics; ``timeout`` is collect's, in seconds."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"there is no {scope['type']} here")
        status, headers, body = await answer(scope)
        headers = [*headers, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def answer(scope: Scope) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        plain = [(b"content-type", _PLAIN)]
        if scope["path"] != "/metrics":
            return 404, plain, b"404 Not Found: the figures are at /metrics\n"
        if scope["method"] not in ("GET", "HEAD"):
            allow = (b"allow", b"GET, HEAD")
            return 405, [*plain, allow], b"405 Method Not Allowed: only GET and HEAD are\n"
        try:
            with trio.fail_after(timeout):
                text = await collect()
        except Exception:  # a border: what the figures are made from is all of the server
            _log.exception("the metrics can't be collected")
            return 503, plain, b"503 Service Unavailable: the metrics can't be collected\n"
        return 200, [(b"content-type", _TEXT)], text

    return app
