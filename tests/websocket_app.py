# SPDX-License-Identifier: MIT
"""An application for tests of WebSocket over whole processes: an echo that tells what is held."""

from __future__ import annotations

import gc
import json
import os
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """``/stats`` tells of tasks, descriptors and memory; WebSockets are echoed."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(_stats()).encode()})
        return
    assert scope["type"] == "websocket", scope["type"]
    await receive()
    subprotocol = next(iter(scope["subprotocols"]), None)
    await send({"type": "websocket.accept", "subprotocol": subprotocol})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]})
    print("closed", message["code"], message["reason"], flush=True)


def _stats() -> dict[str, int]:
    gc.collect()
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {
        "tasks": trio.lowlevel.current_statistics().tasks_living,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "resident": resident,
    }
