# SPDX-License-Identifier: MIT
"""What write_soon puts off: it leaves with the step, in order, and is never lost or unbounded."""

from __future__ import annotations

import random

import pytest
import trio

from trioserve.errors import ClientDisconnectedError
from trioserve.transports import Peer
from trioserve.transports.base import YIELD_SIZE

from .links import LARGE, SMALL, Kind, Link, finish, open_link, read_all


async def write_soon(link: Link, data: bytes) -> None:
    await finish(link.transport.write_soon([data]))


async def write_for_ever(link: Link, size: int) -> None:
    while True:
        await write_soon(link, LARGE[:size])
        await trio.lowlevel.checkpoint()


async def receive_exactly(link: Link, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        data = await link.client.receive_some(65536)
        assert data, f"EOF after {len(received)} of {size} bytes"
        received += data
    return bytes(received)


async def test_what_was_put_off_arrives_without_a_further_write(kind: Kind) -> None:
    async with open_link(kind) as link:
        await write_soon(link, b"one")
        await write_soon(link, b"two")
        assert await receive_exactly(link, 6) == b"onetwo"
        await write_soon(link, b"three")
        assert await receive_exactly(link, 5) == b"three"


async def test_small_messages_of_one_step_leave_together() -> None:
    async with open_link("socket") as link:
        for number in range(10):
            assert link.transport.write_soon([b"%d" % number]) is None
        assert await link.client.receive_some(100) == b"0123456789"


@pytest.mark.parametrize("size", [1, 1000, 70_000])
async def test_every_other_write_goes_behind_what_was_put_off(kind: Kind, size: int) -> None:
    async with open_link(kind) as link:
        await write_soon(link, b"first")
        await finish(link.transport.write(b"a" * size))
        await write_soon(link, b"second")
        await finish(link.transport.write_all([b"b" * size, b"c"]))
        await write_soon(link, b"last")
        await finish(link.transport.shut_down_writing())
        received, _ = await read_all(link.client)
        assert received == b"first" + b"a" * size + b"second" + b"b" * size + b"c" + b"last"


async def test_a_full_socket_gets_the_rest_when_it_can_take_it(kind: Kind) -> None:
    """The rest of a flush leaves although nobody writes again, and nothing overtakes it."""
    async with open_link(kind, buffer_size=SMALL) as link, trio.open_nursery() as nursery:
        pieces = [bytes([65 + number]) * 16_000 for number in range(20)]

        async def write_them() -> None:
            for number, piece in enumerate(pieces):
                waiting = (
                    link.transport.write(piece)
                    if number % 3 == 2
                    else link.transport.write_soon([piece])
                )
                await finish(waiting)
                if number % 4 == 1:
                    await trio.sleep(0.001)

        nursery.start_soon(write_them)
        expected = b"".join(pieces)
        assert await receive_exactly(link, len(expected)) == expected


async def test_messages_of_many_tasks_stay_whole_however_they_are_written(kind: Kind) -> None:
    choice = random.Random(7)
    async with open_link(kind, buffer_size=SMALL) as link:

        async def write_messages(name: bytes) -> None:
            for number in range(60):
                message = b"<%s%02d%s>" % (name, number, b"." * choice.choice([0, 900, 9000]))
                way = choice.randrange(3)
                if way == 0:
                    await write_soon(link, message)
                elif way == 1:
                    await finish(link.transport.write(message))
                else:
                    await finish(link.transport.write_all([message[:5], message[5:]]))
                if choice.random() < 0.2:
                    await trio.lowlevel.checkpoint()

        async def write_all_of_them() -> None:
            async with trio.open_nursery() as nursery:
                for name in (b"a", b"b", b"c"):
                    nursery.start_soon(write_messages, name)
            await finish(link.transport.shut_down_writing())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_all_of_them)
            received, reset = await read_all(link.client)
    assert not reset
    messages = received.replace(b".", b"").split(b">")
    assert messages.pop() == b""
    for name in (b"a", b"b", b"c"):
        own = [message for message in messages if message.startswith(b"<" + name)]
        assert own == [b"<%s%02d" % (name, number) for number in range(60)]


async def test_what_is_put_off_is_bounded_and_yields() -> None:
    async with open_link("socket") as link:
        awaited = 0
        for _ in range(1000):
            waiting = link.transport.write_soon([b"x" * 1000])
            if waiting is not None:
                awaited += 1
                await waiting
            pending = link.transport._pending  # type: ignore[attr-defined]
            assert sum(len(piece) for piece in pending) < YIELD_SIZE
            if awaited == 5:
                break
        assert awaited == 5


async def test_closing_sends_what_was_put_off(kind: Kind) -> None:
    async with open_link(kind) as link:
        await write_soon(link, b"the end")
        await finish(link.transport.close())
        assert await read_all(link.client) == (b"the end", False)


async def test_a_client_that_goes_is_told_by_the_next_write(kind: Kind) -> None:
    async with open_link(kind) as link:
        await link.client_leaves(reset=True)
        with pytest.raises(ClientDisconnectedError):
            await write_for_ever(link, 1000)
        assert link.transport.peer is Peer.LOST


async def test_a_client_that_does_not_read_is_given_up(kind: Kind, clock: trio.abc.Clock) -> None:
    async with open_link(kind, write_timeout=2, buffer_size=SMALL) as link:
        with pytest.raises(ClientDisconnectedError):
            await write_for_ever(link, 20_000)
