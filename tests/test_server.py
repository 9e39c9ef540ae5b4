# SPDX-License-Identifier: MIT
"""A server as a whole, over real sockets: what it starts, what it leaves, what it survives."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Literal, TypeAlias

import pytest
import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

from trioserve.addresses import format_bound
from trioserve.config import Config
from trioserve.server import open_server
from trioserve.transports import ReadinessWatcher

from .server_clients import (
    GET,
    LAST,
    app,
    ask,
    ask_once,
    dial,
    nothing_left,
    start,
)
from .transports.cancelling import cancelled_at, cancelled_at_each_await
from .transports.links import tcp_pair
from .variants import variants

if TYPE_CHECKING:
    from trioserve.types import ASGIApp, Receive, Scope, Send

Kind: TypeAlias = Literal["socket", "stream"]


@pytest.fixture(params=variants(["socket", "stream"], fast=["socket"]), autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    """Every test runs over both transports."""
    if request.param == "stream":
        monkeypatch.setattr(ReadinessWatcher, "supported", False)
    elif not ReadinessWatcher.supported:
        pytest.skip("needs Linux's epoll")
    kind: Kind = request.param
    return kind


async def test_several_servers_in_one_program() -> None:
    async def named(name: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": name})

    def make(name: bytes) -> ASGIApp:
        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            await named(name, scope, receive, send)

        return run

    async with nothing_left(), trio.open_nursery() as nursery:
        addresses = [await start(nursery, make(b"%d" % number)) for number in range(3)]
        for number, address in enumerate(addresses):
            assert (await ask_once(address)).endswith(b"\r\n\r\n%d" % number)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("state", ["idle", "background", "busy", "half a head", "half a body"])
async def test_cancelling_is_a_clean_stop_whatever_the_connections_do(state: str) -> None:
    entered: list[None] = []

    async def busy(scope: Scope, receive: Receive, send: Send) -> None:
        entered.append(None)
        if state == "busy":
            await trio.sleep_forever()
        if state == "half a body":
            while (await receive())["type"] == "http.request":
                pass
        await app(scope, receive, send)
        if state == "background":
            await trio.sleep_forever()

    async with nothing_left():
        clients = []
        async with trio.open_nursery() as nursery:
            address = await start(nursery, busy)
            for _ in range(10):
                clients.append(await dial(address))
                request = GET
                if state == "half a head":
                    request = GET[:20]
                elif state == "half a body":
                    request = GET[:-2] + b"Content-Length: 10\r\n\r\nhalf"
                await clients[-1].send_all(request)
            await wait_all_tasks_blocked(0.02)
            if state == "background":
                for client in clients:  # hands each connection over
                    await client.receive_some(65536)
                    await client.send_all(GET)
                await wait_all_tasks_blocked(0.02)
            nursery.cancel_scope.cancel()
        assert len(entered) == {"half a head": 0, "background": 20}.get(state, 10)
        for client in clients:
            with contextlib.suppress(trio.BrokenResourceError):
                while await client.receive_some(65536):
                    pass
            await client.aclose()


async def test_cancelling_gives_the_application_its_shutdown() -> None:
    events: list[str] = []

    async def with_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)
            return
        for phase in ("startup", "shutdown"):
            events.append((await receive())["type"])
            await send({"type": f"lifespan.{phase}.complete"})

    async with nothing_left(), trio.open_nursery() as nursery:
        address = await start(nursery, with_lifespan, lifespan="on")
        assert await ask_once(address)
        nursery.cancel_scope.cancel()
    assert events == ["lifespan.startup", "lifespan.shutdown"]


@pytest.mark.slow  # a server a step
async def test_a_server_that_is_cancelled_anywhere_leaves_nothing() -> None:
    async def with_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def run() -> None:
        async with open_server(with_lifespan, Config(graceful_timeout=1)) as server:
            client, sock = tcp_pair()
            with client:
                address = format_bound(sock.getsockname(), sock.family)
                server.accept_socket(
                    sock, client.getsockname(), address=address, on_closed=lambda: None
                )
                client.send(GET)
                await wait_all_tasks_blocked()
                await trio.lowlevel.checkpoint()

    async def once(number: int) -> bool:
        async with nothing_left():
            return await cancelled_at(number, run)

    assert await cancelled_at_each_await(once) >= 3


async def test_max_connections_are_served_and_the_next_one_waits() -> None:
    async with nothing_left(), trio.open_nursery() as nursery:
        address = await start(nursery, max_connections=3)
        clients = [await dial(address) for _ in range(3)]
        for client in clients:
            assert await ask(client)
        async with await dial(address) as waiting:
            await waiting.send_all(LAST)
            with trio.move_on_after(0.05) as patience:
                await waiting.receive_some(65536)
            assert patience.cancelled_caught
            await clients.pop().aclose()
            assert await waiting.receive_some(65536)
        for client in clients:
            assert await ask(client)
            await client.aclose()
        nursery.cancel_scope.cancel()


async def test_the_reaper_sleeps_while_there_is_no_connection(kind: Kind) -> None:
    clock = trio.testing.MockClock(autojump_threshold=0)

    async def main() -> None:
        async with open_server(app, Config(lifespan="off", keep_alive_timeout=1)) as server:
            await trio.sleep(100)
            assert trio.lowlevel.current_statistics().seconds_to_next_deadline == float("inf")
            client, sock = tcp_pair()
            address = format_bound(sock.getsockname(), sock.family)
            server.accept_socket(
                sock, client.getsockname(), address=address, on_closed=lambda: None
            )
            await wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().seconds_to_next_deadline <= 1
            client.close()
            await trio.sleep(100)
            assert not server.connections
            assert trio.lowlevel.current_statistics().seconds_to_next_deadline == float("inf")

    await trio.to_thread.run_sync(lambda: trio.run(main, clock=clock))
