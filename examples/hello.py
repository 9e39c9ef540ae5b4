# SPDX-License-Identifier: MIT
"""The smallest application: one coroutine, no framework, the same answer to every request.

trioserve hello:app --app-dir examples
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send

BODY = b"Hello from Trio!\n"
HEADERS = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(BODY))]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise RuntimeError(f"there is nothing here for {scope['type']!r}")  # "no lifespan"
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
