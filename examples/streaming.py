# SPDX-License-Identifier: MIT
"""Server-sent events that stop the moment their reader leaves. Two tasks share a request: one
sends an event every interval, the other waits for ``http.disconnect`` and then cancels the first.
Nobody has to notice a failed write, so it works however rare the events are.

trioserve streaming:app --app-dir examples
curl -N 'http://127.0.0.1:8000/?interval=0.5'
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import trio

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise RuntimeError("only HTTP is spoken here")
    query = parse_qs(scope["query_string"].decode())
    interval = float(query.get("interval", ["1"])[0])
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_on_disconnect, receive, nursery.cancel_scope)
        await send_events(send, interval)


async def cancel_on_disconnect(receive: Receive, cancel_scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # the request's body, which doesn't matter here
    cancel_scope.cancel()


async def send_events(send: Send, interval: float) -> None:
    number = 0
    try:
        while True:
            event = f"id: {number}\ndata: tick {number}\n\n".encode()
            await send({"type": "http.response.body", "body": event, "more_body": True})
            number += 1
            await trio.sleep(interval)
    finally:
        print(f"the reader left after {number} events", flush=True)
