# SPDX-License-Identifier: MIT
"""Applications for tests of whole processes. They tell on stdout what happens to them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send


def tell(text: str) -> None:
    print(text, flush=True)


class App:
    """Counts the requests that began; its paths are its methods."""

    def __init__(self) -> None:
        self.begun = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.run_lifespan(receive, send)
            return
        self.begun += 1
        handle = {
            "/hang": self.hang,
            "/boom": self.boom,
            "/slow": self.be_slow,
            "/thread": self.block_a_thread,
        }.get(scope["path"])
        if handle is not None:
            await handle()
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"3")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok\n"})

    async def run_lifespan(self, receive: Receive, send: Send) -> None:
        for _ in range(2):
            phase = (await receive())["type"]
            tell(f"{phase}, {self.begun} requests begun")
            await send({"type": f"{phase}.complete"})

    async def hang(self) -> None:
        tell("hanging")
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            tell("cancelled")
            raise

    async def block_a_thread(self) -> None:
        await trio.to_thread.run_sync(self.block)

    def block(self) -> None:
        tell("blocking")
        threading.Event().wait(600)

    async def boom(self) -> None:
        raise ValueError("the app's own mistake")

    async def be_slow(self) -> None:
        await trio.sleep(0.002)


app = App()


async def starts_never(scope: Scope, receive: Receive, send: Send) -> None:
    tell((await receive())["type"])
    await trio.sleep_forever()


async def fails_to_start(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def ignores_its_shutdown(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    tell((await receive())["type"])
    await trio.sleep_forever()
