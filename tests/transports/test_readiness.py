# SPDX-License-Identifier: MIT
"""The watcher by itself: whose events reach whom, and what closing leaves behind."""

from __future__ import annotations

import contextlib
import os
import select
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioserve.transports import Peer, ReadinessWatcher, SocketTransport

from .links import reset_on_close, tcp_pair

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.skipif(not ReadinessWatcher.supported, reason="needs Linux's epoll")


@attrs.define
class Seen:
    """Collects events; may do something with the first."""

    events: list[int] = attrs.field(factory=list)
    then: Callable[[], None] = lambda: None

    def on_event(self, events: int) -> None:
        self.events.append(events)
        self.then()


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[ReadinessWatcher]:
    watcher = ReadinessWatcher()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.run)
        yield watcher
        nursery.cancel_scope.cancel()


@pytest.fixture
def pair() -> tuple[socket.socket, socket.socket]:
    return tcp_pair()


async def test_each_arrival_is_told_once(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair
    seen = Seen()
    async with running() as watcher:
        with client, server:
            watcher.register(server, seen)
            client.send(b"a")
            await wait_all_tasks_blocked(0.01)
            assert seen.events == [select.EPOLLIN]
            client.send(b"b")  # the first wasn't read, and still this is new
            await wait_all_tasks_blocked(0.01)
            assert seen.events == [select.EPOLLIN] * 2
            client.close()
            await wait_all_tasks_blocked(0.01)
            assert seen.events[-1] & select.EPOLLRDHUP
            watcher.unregister(server)


async def test_a_reset_is_an_error(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair
    seen = Seen()
    async with running() as watcher:
        with server:
            watcher.register(server, seen)
            reset_on_close(client)
            client.close()
            await wait_all_tasks_blocked(0.01)
            assert seen.events[-1] & (select.EPOLLERR | select.EPOLLHUP)
            watcher.unregister(server)


async def test_one_who_was_closed_earlier_in_the_same_batch_is_not_told() -> None:
    pairs = [tcp_pair() for _ in range(20)]
    others = [server for _, server in pairs]
    collectors = [Seen() for _ in pairs]

    async with running() as watcher:

        def close_all() -> None:
            for server in others:
                if server.fileno() >= 0:
                    watcher.unregister(server)
                    server.close()

        for (_, server), seen in zip(pairs, collectors, strict=True):
            seen.then = close_all
            watcher.register(server, seen)
        for client, _ in pairs:
            client.send(b"x")
        await wait_all_tasks_blocked(0.01)
        for client, _ in pairs:
            client.close()
    assert sum(len(seen.events) for seen in collectors) == 1


async def test_transports_that_close_each_other_in_one_batch() -> None:
    pairs = [tcp_pair() for _ in range(10)]
    async with running() as watcher:
        transports = [SocketTransport(server, watcher, 1) for _, server in pairs]

        def close_the_others() -> None:
            for transport in transports:
                transport.close()

        for transport in transports:
            transport.on_activity = close_the_others
        for client, _ in pairs:
            reset_on_close(client)
            client.close()
        await wait_all_tasks_blocked(0.01)
        assert all(server.fileno() == -1 for _, server in pairs)
        assert max(transport.peer for transport in transports) is Peer.LOST


async def test_a_number_that_is_used_again_belongs_to_the_new_socket() -> None:
    async with running() as watcher:
        for _ in range(50):
            client, server = tcp_pair()
            seen = Seen()
            with client, server:
                watcher.register(server, seen)
                await wait_all_tasks_blocked()
                client.send(b"x")
                client.close()
                await wait_all_tasks_blocked()
                watcher.unregister(server)
            assert 1 <= len(seen.events) <= 2


async def test_unregistering_is_idempotent_and_works_after_the_end(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    client, server = pair
    with client, server:
        async with running() as watcher:
            watcher.register(server, Seen())
        watcher.unregister(server)
        watcher.unregister(server)


async def test_its_end_frees_its_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with running():
        assert len(os.listdir("/proc/self/fd")) == before + 1
    assert len(os.listdir("/proc/self/fd")) == before


async def test_more_sockets_than_one_batch_holds() -> None:
    pairs = [tcp_pair() for _ in range(300)]
    collectors = [Seen() for _ in pairs]
    async with running() as watcher:
        for (_, server), seen in zip(pairs, collectors, strict=True):
            watcher.register(server, seen)
        for client, _ in pairs:
            client.send(b"x")
        await wait_all_tasks_blocked(0.01)
        assert all(seen.events == [select.EPOLLIN] for seen in collectors)
        for client, server in pairs:
            watcher.unregister(server)
            client.close()
            server.close()
