# SPDX-License-Identifier: MIT
"""Receiving, and what a transport knows of its peer: the same over both."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioserve.errors import ClientDisconnectedError
from trioserve.transports import Peer
from trioserve.transports.base import YIELD_SIZE

from .links import Kind, Link, finish, open_link


def peer_of(link: Link) -> Peer:
    """A call, so that mypy doesn't take it for unchanged."""
    return link.transport.peer


async def test_what_came_is_received_and_then_the_end(kind: Kind) -> None:
    async with open_link(kind) as link:
        transport = link.transport
        assert peer_of(link) is Peer.PRESENT
        await link.client.send_all(b"hello")
        assert await transport.receive() == b"hello"
        await link.client.send_eof()
        assert await transport.receive() == b""
        assert peer_of(link) is Peer.LEAVING
        assert await transport.receive() == b""


async def test_what_came_before_the_end_is_not_lost(kind: Kind) -> None:
    async with open_link(kind) as link:
        await link.client.send_all(b"last words")
        await link.client.send_eof()
        await wait_all_tasks_blocked(0.01)
        assert link.transport.peer is Peer.LEAVING
        assert await link.transport.receive() == b"last words"
        assert await link.transport.receive() == b""


async def test_a_reset_is_an_end_with_a_lost_peer(kind: Kind) -> None:
    async with open_link(kind) as link:
        await link.client_leaves(reset=True)
        assert await link.transport.receive() == b""
        assert link.transport.peer is Peer.LOST
        with pytest.raises(ClientDisconnectedError):
            await finish(link.transport.write(b"x"))


async def test_a_waiting_receive_is_woken_by_a_reset(kind: Kind) -> None:
    async with open_link(kind) as link, trio.open_nursery() as nursery:

        async def receive() -> None:
            assert await link.transport.receive() == b""
            assert link.transport.peer is Peer.LOST

        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        await link.client_leaves(reset=True)


async def test_bytes_that_nobody_waits_for_are_told_of(kind: Kind) -> None:
    async with open_link(kind) as link:
        with trio.move_on_after(0):
            await link.transport.receive()  # shows that nothing is left
        del link.activity[:]
        await link.client.send_all(b"x")
        await wait_all_tasks_blocked(0.01)
        assert link.activity
        assert link.transport.readable
        assert link.transport.has_arrived()


@pytest.mark.parametrize("reset", [False, True])
async def test_a_peer_that_leaves_while_nobody_waits_is_told_of(kind: Kind, reset: bool) -> None:
    async with open_link(kind) as link:
        await wait_all_tasks_blocked(0.01)
        del link.activity[:]
        await link.client_leaves(reset=reset)
        await wait_all_tasks_blocked(0.01)
        assert link.activity
        assert link.transport.peer is (Peer.LOST if reset else Peer.LEAVING)


async def test_has_arrived_asks_anew(kind: Kind) -> None:
    async with open_link(kind) as link:
        await wait_all_tasks_blocked(0.01)
        assert not link.transport.has_arrived()
        await link.client.send_all(b"x")
        await wait_all_tasks_blocked(0.01)
        assert link.transport.has_arrived()
        assert await link.transport.receive() == b"x"
        assert not link.transport.has_arrived()
        await link.client_leaves()
        await wait_all_tasks_blocked(0.01)
        assert link.transport.has_arrived()


async def test_an_interrupt_ends_one_wait_and_no_other(kind: Kind) -> None:
    async with open_link(kind) as link, trio.open_nursery() as nursery:
        received: list[bytes] = []

        async def receive_twice() -> None:
            received.append(await link.transport.receive())
            received.append(await link.transport.receive())

        nursery.start_soon(receive_twice)
        await wait_all_tasks_blocked(0.01)
        link.transport.interrupt()
        await wait_all_tasks_blocked(0.01)
        assert received == [b""]
        await link.client.send_all(b"x")
        await wait_all_tasks_blocked(0.01)
        assert received == [b"", b"x"]


async def test_an_interrupt_while_nobody_waits_is_nothing(kind: Kind) -> None:
    async with open_link(kind) as link:
        link.transport.interrupt()
        await link.client.send_all(b"x")
        assert await link.transport.receive() == b"x"


@pytest.mark.parametrize("turn", range(8))
async def test_an_interrupt_together_with_bytes_does_not_reach_the_next_wait(
    kind: Kind, turn: int
) -> None:
    # Trio runs the tasks of one turn in any order, so each order is tried several times.
    async with open_link(kind) as link, trio.open_nursery() as nursery:
        received: list[bytes] = []

        async def receive() -> None:
            while len(received) < 2:
                received.append(await link.transport.receive())

        async def interrupt_as_soon_as_bytes_are_there() -> None:
            for _ in range(10):
                await trio.lowlevel.checkpoint()
                if not received and link.transport.has_arrived():
                    link.transport.interrupt()
                    return

        nursery.start_soon(receive)
        await wait_all_tasks_blocked(0.01)
        nursery.start_soon(interrupt_as_soon_as_bytes_are_there)
        await link.client.send_all(b"x")
        await wait_all_tasks_blocked(0.01)
        await link.client.send_all(b"y")
        await wait_all_tasks_blocked(0.01)
        assert received in ([b"x", b"y"], [b"", b"x"])
        nursery.cancel_scope.cancel()


async def test_a_cancelled_receive_loses_nothing(kind: Kind) -> None:
    async with open_link(kind) as link:
        received = b""
        sent = b"".join(b"%04d" % number for number in range(200))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.client.send_all, sent)
            while len(received) < len(sent):
                with trio.CancelScope() as scope:
                    scope.cancel()
                    received += await link.transport.receive()
                if scope.cancelled_caught:
                    await trio.lowlevel.checkpoint()
        assert received == sent


async def test_what_has_arrived_is_received_without_a_checkpoint(kind: Kind) -> None:
    async with open_link(kind) as link:
        await link.client.send_all(b"x")
        await wait_all_tasks_blocked(0.01)
        with trio.CancelScope() as scope:
            scope.cancel()
            assert await link.transport.receive() == b"x"
        assert not scope.cancelled_caught


async def test_receiving_without_end_lets_others_run(kind: Kind) -> None:
    async with open_link(kind) as link, trio.open_nursery() as nursery:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        async def send() -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while True:
                    await link.client.send_all(b"x" * YIELD_SIZE)

        nursery.start_soon(count)
        nursery.start_soon(send)
        received = since_turn = last_turn = 0
        while received < 100 * YIELD_SIZE:
            size = len(await link.transport.receive())
            received += size
            since_turn = since_turn + size if turns == last_turn else size
            last_turn = turns
            assert since_turn <= 3 * YIELD_SIZE  # Trio runs the tasks of one turn in any order
        nursery.cancel_scope.cancel()


async def test_a_closed_transport_receives_nothing_and_closes_again(kind: Kind) -> None:
    async with open_link(kind) as link:
        for _ in range(2):
            await finish(link.transport.close())
        assert link.sock.fileno() == -1
        assert await link.client.receive_some(1) == b""
