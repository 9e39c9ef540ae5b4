# SPDX-License-Identifier: MIT
"""Writing to clients that read, that don't, and that go: the same over both transports."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioserve.errors import ClientDisconnectedError
from trioserve.transports import Peer
from trioserve.transports.base import YIELD_SIZE

from .links import LARGE, SMALL, Kind, Link, finish, open_link, read_all


async def write(link: Link, data: bytes) -> None:
    await finish(link.transport.write(data))


async def write_pieces(link: Link, pieces: list[bytes]) -> None:
    await finish(link.transport.write_all(pieces))


@pytest.mark.parametrize("sizes", [(3,), (1, 2, 3), (20_000, 30_000), (0, 0), (), (500_000, 1)])
async def test_pieces_arrive_in_order(kind: Kind, sizes: tuple[int, ...]) -> None:
    pieces = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    async with open_link(kind) as link, trio.open_nursery() as nursery:

        async def write_and_end() -> None:
            await write_pieces(link, pieces)
            await finish(link.transport.shut_down_writing())

        nursery.start_soon(write_and_end)
        assert await read_all(link.client) == (b"".join(pieces), False)


async def test_messages_of_several_tasks_go_out_whole_and_in_order(kind: Kind) -> None:
    messages = [bytes([97 + number]) * 40_000 for number in range(8)]
    async with open_link(kind, buffer_size=SMALL) as link, trio.open_nursery() as nursery:
        for number, message in enumerate(messages):
            if number % 2:
                nursery.start_soon(write, link, message)
            else:
                nursery.start_soon(write_pieces, link, [message[:100], message[100:]])
            await wait_all_tasks_blocked(0.002)
        received = b""
        while len(received) < sum(map(len, messages)):
            received += await link.client.receive_some(65536)
    assert received == b"".join(messages)


async def test_a_short_message_waits_behind_a_long_one(kind: Kind) -> None:
    async with open_link(kind, buffer_size=SMALL) as link, trio.open_nursery() as nursery:
        nursery.start_soon(write, link, LARGE)
        await wait_all_tasks_blocked(0.01)
        nursery.start_soon(write, link, b"short")
        received = bytearray()
        while len(received) < len(LARGE) + 5:
            received += await link.client.receive_some(65536)
    assert received == LARGE + b"short"


async def test_a_cancelled_write_is_the_last(kind: Kind) -> None:
    async with open_link(kind, buffer_size=SMALL) as link:
        with trio.move_on_after(0.01) as scope:
            await write(link, LARGE)
        assert scope.cancelled_caught
        assert link.transport.peer is Peer.LOST
        for again in (b"x", b"y" * 100_000):
            with pytest.raises(ClientDisconnectedError):
                await write(link, again)
            with pytest.raises(ClientDisconnectedError):
                await finish(link.transport.write_all([again, again]))
        await finish(link.transport.close())
        received, reset = await read_all(link.client)
        assert reset
        assert LARGE.startswith(received)


async def test_those_who_wait_to_write_fail_when_the_writer_before_them_is_cancelled(
    kind: Kind,
) -> None:
    async with open_link(kind, buffer_size=SMALL) as link, trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        failed: list[int] = []

        async def first() -> None:
            with scope:
                await write(link, LARGE)

        async def later(size: int) -> None:
            with pytest.raises(ClientDisconnectedError):
                await write(link, b"x" * size)
            failed.append(size)

        nursery.start_soon(first)
        await wait_all_tasks_blocked(0.01)
        nursery.start_soon(later, 1)
        nursery.start_soon(later, 100_000)
        await wait_all_tasks_blocked(0.01)
        scope.cancel()
        await wait_all_tasks_blocked(0.01)
        assert sorted(failed) == [1, 100_000]
        await finish(link.transport.close())
        received, _ = await read_all(link.client)
        assert LARGE.startswith(received)


async def test_a_message_that_is_cancelled_while_it_waits_is_not_left_out_silently(
    kind: Kind,
) -> None:
    # A client that got the messages before and after it could not tell that one is missing.
    async with open_link(kind, buffer_size=SMALL) as link, trio.open_nursery() as nursery:

        async def first() -> None:
            with pytest.raises(ClientDisconnectedError):
                await write(link, LARGE)

        nursery.start_soon(first)
        await wait_all_tasks_blocked(0.01)
        with trio.move_on_after(0.01) as scope:
            await write(link, b"between")
        assert scope.cancelled_caught
        assert link.transport.peer is Peer.LOST
        with pytest.raises(ClientDisconnectedError):
            await write(link, b"after")


async def test_a_client_that_reads_nothing_is_given_up(kind: Kind, clock: trio.abc.Clock) -> None:
    async with open_link(kind, write_timeout=5, buffer_size=SMALL) as link:
        began = trio.current_time()
        with pytest.raises(ClientDisconnectedError, match="read nothing for 5 s"):
            await write(link, LARGE)
        assert 5 <= trio.current_time() - began < 6
        assert link.transport.peer is Peer.LOST
        assert link.activity
        with pytest.raises(OSError, match="disconnected"):
            await write(link, b"more")
        await finish(link.transport.close())
        received, reset = await read_all(link.client)
        assert reset
        assert LARGE.startswith(received)


@pytest.mark.slow  # the kernel's own timers take part, so this can't be virtual
async def test_a_slow_client_is_not_given_up(kind: Kind) -> None:
    async with open_link(kind, write_timeout=0.4, buffer_size=65536) as link:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, link, LARGE)
            received = bytearray()
            while len(received) < len(LARGE):
                if len(received) < 800_000:
                    await trio.sleep(0.05)
                received += await link.client.receive_some(65536)
        assert received == LARGE


@pytest.mark.parametrize("reset", [False, True])
async def test_writing_to_a_client_that_goes_is_an_error(kind: Kind, reset: bool) -> None:
    async with open_link(kind, buffer_size=SMALL) as link, trio.open_nursery() as nursery:

        async def write_all() -> None:
            with pytest.raises(ClientDisconnectedError):
                await write(link, LARGE)
            assert link.transport.peer is Peer.LOST

        nursery.start_soon(write_all)
        await wait_all_tasks_blocked(0.01)
        await link.client_leaves(reset=reset)


async def test_an_abort_wakes_everybody_and_is_a_reset(kind: Kind) -> None:
    async with open_link(kind, buffer_size=SMALL) as link:
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                assert await link.transport.receive() == b""

            async def write_all() -> None:
                with pytest.raises(ClientDisconnectedError):
                    await write(link, LARGE)

            nursery.start_soon(receive)
            nursery.start_soon(write_all)
            await wait_all_tasks_blocked(0.01)
            link.transport.abort()
            link.transport.abort()
        assert link.activity
        await finish(link.transport.close())
        link.transport.abort()
        assert (await read_all(link.client))[1]


async def test_the_end_of_writing_leaves_reading_open(kind: Kind) -> None:
    async with open_link(kind) as link:
        await write(link, b"all")
        await finish(link.transport.shut_down_writing())
        assert await read_all(link.client) == (b"all", False)
        await link.client.send_all(b"answer")
        assert await link.transport.receive() == b"answer"


async def test_the_end_of_writing_to_a_client_that_has_gone_is_no_error(kind: Kind) -> None:
    async with open_link(kind) as link:
        await link.client_leaves(reset=True)
        await wait_all_tasks_blocked(0.01)
        await finish(link.transport.shut_down_writing())
        assert link.transport.peer is Peer.LOST


async def test_writing_without_end_lets_others_run(kind: Kind) -> None:
    async with open_link(kind) as link, trio.open_nursery() as nursery:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        async def read() -> None:
            while await link.client.receive_some(65536):
                pass

        nursery.start_soon(count)
        nursery.start_soon(read)
        since_turn = last_turn = 0
        for _ in range(2000):
            await write(link, b"x" * 1000)
            await finish(link.transport.pause())
            since_turn = since_turn + 1000 if turns == last_turn else 1000
            last_turn = turns
            assert since_turn <= 3 * YIELD_SIZE  # Trio runs the tasks of one turn in any order
        nursery.cancel_scope.cancel()
