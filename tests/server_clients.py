# SPDX-License-Identifier: MIT
"""What the tests of a whole server share: a start, a question, and a look at what is left."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import trio

import trioserve
from trioserve.config import Config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trioserve.addresses import BoundAddress
    from trioserve.types import ASGIApp, Receive, Scope, Send

__all__ = [
    "GET",
    "LAST",
    "app",
    "ask",
    "ask_once",
    "descriptors",
    "dial",
    "living",
    "nothing_left",
    "start",
]

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def start(nursery: trio.Nursery, app: ASGIApp = app, **options: Any) -> BoundAddress:
    settings = {"bind": ["127.0.0.1:0"], "lifespan": "off", "access_log": False, **options}
    addresses = await nursery.start(trioserve.serve, app, Config().with_changes(**settings))
    first: BoundAddress = addresses[0]
    return first


async def dial(address: BoundAddress) -> trio.SocketStream:
    assert address.host is not None
    assert address.port is not None
    return await trio.open_tcp_stream(address.host, address.port)


async def ask(stream: trio.SocketStream, request: bytes = GET) -> bytes:
    """The answer, which must come in one piece, as small ones do."""
    await stream.send_all(request)
    return bytes(await stream.receive_some(65536))


async def ask_once(address: BoundAddress) -> bytes:
    async with await dial(address) as stream:
        return await ask(stream, LAST)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def living() -> int:
    return trio.lowlevel.current_statistics().tasks_living


@contextlib.asynccontextmanager
async def nothing_left(patience: float = 30) -> AsyncIterator[None]:
    """After the block there are as many tasks and descriptors as before it."""
    before = (living(), descriptors())
    with trio.fail_after(patience):
        yield
    assert (living(), descriptors()) == before
