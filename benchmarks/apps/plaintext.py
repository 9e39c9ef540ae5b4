# SPDX-License-Identifier: MIT
"""The smallest honest ASGI app: 13 bytes, two messages, nothing of a framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BODY = b"Hello, world!"
START: dict[str, Any] = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", b"13")],
}
FINISH: dict[str, Any] = {"type": "http.response.body", "body": BODY}


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answers every request with BODY, whatever its method and path."""
    if scope["type"] != "http":
        await lifespan(receive, send)
        return
    # Copies: a server may write into the message it is given.
    await send(START.copy())
    await send(FINISH.copy())


async def lifespan(
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Goes through the lifespan protocol, so that no server has to log its absence."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
