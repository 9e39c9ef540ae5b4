# SPDX-License-Identifier: MIT
"""A connection's task, cancelled at each of its awaits in turn: nothing of it is left."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import h11
import pytest
import trio

from tests.transports.cancelling import cancelled_at, cancelled_at_each_await
from trioserve.connection import Http1Connection

from .service import Client, Kind, Service, chunk, get, open_service, post, read_body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trioserve.types import Receive, Scope, Send


#: How a client sees a connection that ends in the middle of it.
ENDED = (
    AssertionError,
    h11.RemoteProtocolError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads, answers in parts, and awaits a little of its own."""
    await trio.lowlevel.checkpoint()
    body = await read_body(receive) if scope["path"] != "/unread" else b"unread"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await trio.lowlevel.checkpoint()
    await send({"type": "http.response.body", "body": b"x" * 50_000})
    await trio.lowlevel.checkpoint()


async def keep_alive(client: Client) -> None:
    for _ in range(2):
        await client.request(get())
    await client.request(get("/", "Connection: close"))


async def upload(client: Client) -> None:
    await client.send(post(b"", "Expect: 100-continue", length=8))
    await client.receive()
    await client.send(b"half")
    await client.request(b"half")
    await client.send_eof()


async def upload_that_nobody_reads(client: Client) -> None:
    await client.request(post(b"half", target="/unread", length=8))
    await client.send(b"half" + get())
    await client.response()
    await client.leave()


async def bad_request(client: Client) -> None:
    await client.send(b"GET / HTTP/1.1\r\n")
    await client.request(b"\r\n")
    await client.rest()


async def bad_body(client: Client) -> None:
    head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(head + chunk(b"good"))
    await client.request(b"bad\r\r\n")


@pytest.mark.parametrize(
    "conversation", [keep_alive, upload, upload_that_nobody_reads, bad_request, bad_body]
)
async def test_a_connection_that_is_cancelled_anywhere_leaves_nothing(
    kind: Kind, conversation: Callable[[Client], Awaitable[None]]
) -> None:
    async def once(number: int) -> bool:
        tasks = trio.lowlevel.current_statistics().tasks_living
        descriptors = len(os.listdir("/proc/self/fd"))
        cancelled = False
        async with open_service(kind, app) as service, trio.open_nursery() as nursery:
            run = Http1Connection.run

            async def run_and_cancel(connection: Http1Connection) -> None:
                nonlocal cancelled
                cancelled = await cancelled_at(number, run, connection)

            client = _connect(service, nursery, run_and_cancel)
            with contextlib.suppress(*ENDED):
                await conversation(client)
            await client.leave()
            while service.connections:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert len(os.listdir("/proc/self/fd")) == descriptors
        return cancelled

    assert await cancelled_at_each_await(once) >= 1


def _connect(
    service: Service, nursery: trio.Nursery, run: Callable[[Http1Connection], Awaitable[None]]
) -> Client:
    """A connection whose task is ours instead of the server's."""
    start_soon = service.server._nursery.start_soon

    def start(async_fn: Any, *args: Any) -> None:
        if getattr(async_fn, "__func__", None) is Http1Connection.run:
            nursery.start_soon(run, async_fn.__self__)
        else:
            start_soon(async_fn, *args)

    vars_of_nursery: Any = service.server._nursery
    vars_of_nursery.start_soon = start
    return service.connect()
