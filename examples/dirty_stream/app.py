# SPDX-License-Identifier: MIT
"""A stream from a worker process to a browser, as server-sent events. The page is at /; whoever
leaves it, or presses Stop, ends the generator in the worker.

Nothing is written to a client that isn't there to read it, and nothing runs ahead: a slow reader
slows its own generator down.

make run EXAMPLE=dirty_stream
trioserve app:app --app-dir examples/dirty_stream --config examples/dirty_stream/trioserve.toml
curl -N 'http://127.0.0.1:8000/write?words=20&pause=0.2'
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import trio

from trioserve.dirty import DirtyError, get_client

if TYPE_CHECKING:
    from trioserve.dirty import DirtyStream
    from trioserve.types import Receive, Scope, Send

PAGE = (Path(__file__).parent / "page.html").read_bytes()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise RuntimeError("only HTTP is spoken here")
    if scope["path"] == "/write":
        await write(scope, receive, send)
    elif scope["path"] == "/":
        await respond(send, 200, b"text/html; charset=utf-8", PAGE)
    else:
        await respond(send, 404, b"text/plain", b"not found\n")


async def write(scope: Scope, receive: Receive, send: Send) -> None:
    query = parse_qs(scope["query_string"].decode())
    words = int(query.get("words", ["60"])[0])
    pause = float(query.get("pause", ["0.1"])[0])
    try:
        # Leaving this block, in whatever way, ends the generator in the worker.
        async with (
            get_client().stream("writer:Writer", "write", words, pause, timeout=0) as stream,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(cancel_on_disconnect, receive, nursery.cancel_scope)
            await send_events(stream, send)
            nursery.cancel_scope.cancel()
    except DirtyError as exc:  # before the first event: no worker, or too many calls already
        await respond(send, 503, b"text/plain", f"{exc}\n".encode())


async def send_events(stream: DirtyStream, send: Send) -> None:
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    try:
        async for word in stream:
            await send_event(send, "word", word)
    except DirtyError as exc:  # the worker died, say: what has come is kept, and the page says it
        await send_event(send, "failed", str(exc))
    else:
        await send_event(send, "end", "")
    await send({"type": "http.response.body"})


async def send_event(send: Send, name: str, data: str) -> None:
    event = f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
    await send({"type": "http.response.body", "body": event, "more_body": True})


async def cancel_on_disconnect(receive: Receive, cancel_scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # the request's body, which doesn't matter here
    cancel_scope.cancel()


async def respond(send: Send, status: int, content_type: bytes, body: bytes) -> None:
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
