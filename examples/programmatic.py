# SPDX-License-Identifier: MIT
"""Two servers and a task of the program's own in one nursery: a public site, an admin site on
another port, and a clock that both show. ``nursery.start`` returns when a server is up, with its
real addresses; cancelling the nursery is a clean stop of all of it.

python examples/programmatic.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

import trioserve

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send


class Program:
    """What the tasks share."""

    def __init__(self) -> None:
        self.ticks = 0
        self.stopping = trio.Event()

    async def run_clock(self) -> None:
        while True:
            self.ticks += 1
            await trio.sleep(0.1)

    async def public(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, f"tick {self.ticks}\n")

    async def admin(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (scope["method"], scope["path"]) == ("POST", "/stop"):
            await answer(send, "stopping\n")
            self.stopping.set()
        else:
            await answer(send, f"{self.ticks} ticks so far; POST /stop ends this\n")


async def answer(send: Send, text: str) -> None:
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


async def main() -> None:
    program = Program()
    config = trioserve.Config(bind=["127.0.0.1:0"], lifespan="off")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(program.run_clock)
        (public,) = await nursery.start(trioserve.serve, program.public, config)
        (admin,) = await nursery.start(trioserve.serve, program.admin, config)
        print(f"public {public.url}", flush=True)
        print(f"admin {admin.url}", flush=True)
        await program.stopping.wait()
        nursery.cancel_scope.cancel()
    print(f"stopped after {program.ticks} ticks")


if __name__ == "__main__":
    trio.run(main)
