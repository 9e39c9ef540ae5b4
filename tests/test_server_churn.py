# SPDX-License-Identifier: MIT
"""Many connections that come and go badly, over both transports: nothing of them is left."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from typing import TYPE_CHECKING

import pytest
import trio
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
    descriptors,
    dial,
    living,
    nothing_left,
    start,
)
from .transports.links import reset_on_close, tcp_pair
from .variants import variants

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=variants(["socket", "stream"], fast=["socket"]), autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs over both transports."""
    if request.param == "stream":
        monkeypatch.setattr(ReadinessWatcher, "supported", False)
    elif not ReadinessWatcher.supported:
        pytest.skip("needs Linux's epoll")


@pytest.mark.slow  # two thousand connections
async def test_two_thousand_connections_leave_nothing() -> None:
    closed = 0
    all_closed = trio.Event()

    def count() -> None:
        nonlocal closed
        closed += 1
        if closed == 2000:
            all_closed.set()

    async with nothing_left(), open_server(app, Config(lifespan="off", access_log=False)) as server:
        await wait_all_tasks_blocked()  # the server's own tasks have begun
        before = (living(), descriptors())
        for number in range(2000):
            client, sock = tcp_pair()
            address = format_bound(sock.getsockname(), sock.family)
            server.accept_socket(sock, client.getsockname(), address=address, on_closed=count)
            match number % 5:
                case 0:
                    pass  # connects and closes
                case 1:
                    client.send(GET[:10])
                case 2:
                    client.send(GET)
                case 3:
                    client.send(LAST)
                case 4:
                    client.send(GET)
                    reset_on_close(client)
            if number % 3:
                await trio.lowlevel.checkpoint()
            client.close()
        await all_closed.wait()
        await wait_all_tasks_blocked()
        assert not server.connections
        assert (living(), descriptors()) == before


async def test_a_storm_of_resets_and_of_clients_that_go_at_once_is_survived() -> None:
    async with nothing_left(), trio.open_nursery() as nursery:
        address = await start(nursery, backlog=512)
        good = await dial(address)
        for number in range(600):
            with socket.create_connection((address.host, address.port)) as client:
                if number % 3:
                    reset_on_close(client)
                if number % 2:
                    client.send(GET * (number % 7))
            if number % 50 == 0:
                assert (await ask(good)).endswith(b"hello")
        assert (await ask_once(address)).endswith(b"hello")
        await good.aclose()
        nursery.cancel_scope.cancel()


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """Little room for further descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 24, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow  # accepting pauses for 0.1 s and more in real time
@pytest.mark.usefixtures("few_descriptors")
async def test_after_a_shortage_of_descriptors_everything_works_again() -> None:
    async with nothing_left(), trio.open_nursery() as nursery:
        address = await start(nursery)
        early = await dial(address)
        assert await ask(early)
        clients = []
        with contextlib.suppress(OSError):
            while True:
                clients.append(socket.create_connection((address.host, address.port)))
        assert len(clients) > 5
        await trio.sleep(0.3)  # the server tries, and fails
        assert (await ask(early)).endswith(b"hello")
        for client in clients:
            client.close()
        for _ in range(5):
            assert (await ask_once(address)).endswith(b"hello")
        assert (await ask(early)).endswith(b"hello")
        await early.aclose()
        await wait_all_tasks_blocked(0.05)
        nursery.cancel_scope.cancel()
