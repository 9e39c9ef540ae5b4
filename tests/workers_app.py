# SPDX-License-Identifier: MIT
"""An application for tests of worker processes; each path does something to its worker."""

from __future__ import annotations

import os
import re
import sys
import time
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send

_ballast: list[bytes] = []


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")  # one write: several processes share the pipe
    sys.stdout.flush()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await run_lifespan(receive, send)
        return
    action = ACTIONS.get(scope["path"])
    text = str(os.getpid()) if action is None else str(await action(scope))
    headers = [(b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


async def run_lifespan(receive: Receive, send: Send) -> None:
    for _ in range(2):
        phase = (await receive())["type"]
        tell(f"{phase} in {os.getpid()}")
        await send({"type": f"{phase}.complete"})


async def blocks_in_sleep(_scope: Scope) -> None:
    tell(f"blocking {os.getpid()}")
    time.sleep(3600)  # noqa: ASYNC251 - that is the mistake


async def blocks_in_a_busy_loop(_scope: Scope) -> None:
    tell(f"blocking {os.getpid()}")
    while True:
        pass


async def blocks_in_c(_scope: Scope) -> None:
    """In code that never lets go of the GIL."""
    tell(f"blocking {os.getpid()}")
    re.match("(a+)+$", "a" * 64 + "b")


async def blocks_a_thread(_scope: Scope) -> None:
    tell(f"blocking {os.getpid()}")
    await trio.to_thread.run_sync(time.sleep, 3600)


async def exits(_scope: Scope) -> None:
    os._exit(7)


async def takes_memory(_scope: Scope) -> int:
    _ballast.append(b"x" * (64 << 20))
    return os.getpid()


async def waits(scope: Scope) -> int:
    """As long as the query says."""
    tell(f"waiting {os.getpid()}")
    await trio.sleep(float(scope["query_string"] or 3600))
    return os.getpid()


async def logs(_scope: Scope) -> int:
    sys.stderr.write("to stderr\n")
    sys.stdout.write("to stdout\n")
    sys.stdout.flush()
    return os.getpid()


ACTIONS = {
    "/blocks_in_sleep": blocks_in_sleep,
    "/blocks_in_a_busy_loop": blocks_in_a_busy_loop,
    "/blocks_in_c": blocks_in_c,
    "/blocks_a_thread": blocks_a_thread,
    "/exits": exits,
    "/takes_memory": takes_memory,
    "/waits": waits,
    "/logs": logs,
}
