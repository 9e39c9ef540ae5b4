# SPDX-License-Identifier: MIT
"""What an application opens once, for all its requests. The startup puts a store and the time
into the lifespan's state; each request's scope has a shallow copy of that state, so what is *in*
the store is shared; the shutdown comes after the last request, and closes the store.

trioserve lifespan:app --app-dir examples --lifespan on
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trioserve.types import Receive, Scope, Send


class Store:
    """Stands for a pool of connections, a client, a cache."""

    def __init__(self) -> None:
        self.visits: dict[str, int] = {}

    def count(self, path: str) -> int:
        self.visits[path] = self.visits.get(path, 0) + 1
        return self.visits[path]


@contextlib.asynccontextmanager
async def open_store() -> AsyncIterator[Store]:
    print("the store opens", flush=True)
    store = Store()
    try:
        yield store
    finally:
        print(f"the store closes after {sum(store.visits.values())} visits", flush=True)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    handlers = {"lifespan": run_lifespan, "http": answer}
    await handlers[scope["type"]](scope, receive, send)


async def run_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()  # lifespan.startup
    async with open_store() as store:  # an exception here is a failed startup: exit code 3
        scope["state"]["store"] = store
        await send({"type": "lifespan.startup.complete"})
        await receive()  # lifespan.shutdown
    await send({"type": "lifespan.shutdown.complete"})


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    number = scope["state"]["store"].count(scope["path"])
    body = f"visit {number} of {scope['path']}\n".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
