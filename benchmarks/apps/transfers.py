# SPDX-License-Identifier: MIT
"""A raw ASGI app for bodies of any size that itself holds none of them.

GET  /download/N   a response of N bytes, with Content-Length, in messages of 64 KiB
POST any path      the request's body is read and dropped; the response is its length
GET  /             13 bytes, as in plaintext
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.apps import plaintext

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]

CHUNK = bytes(65536)


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Routes by method and path; see the module's table."""
    if scope["type"] != "http" or (scope["method"] == "GET" and scope["path"] == "/"):
        await plaintext.app(scope, receive, send)
    elif scope["method"] == "GET":
        await download(int(scope["path"].rpartition("/")[2]), send)
    else:
        await upload(receive, send)


async def download(size: int, send: Send) -> None:
    """Sends `size` bytes; how far ahead of the client it may run is the server's business."""
    await start(size, send)
    left = size
    while left > 0:
        chunk = CHUNK if left >= len(CHUNK) else CHUNK[:left]
        left -= len(chunk)
        await send({"type": "http.response.body", "body": chunk, "more_body": left > 0})


async def upload(receive: Receive, send: Send) -> None:
    """Reads to the end of the body and answers how many bytes it had."""
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    answer = str(size).encode()
    await start(len(answer), send)
    await send({"type": "http.response.body", "body": answer})


async def start(length: int, send: Send) -> None:
    """Sends the head of a 200 with a body of `length` bytes."""
    headers = [(b"content-length", str(length).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
