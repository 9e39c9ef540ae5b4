# SPDX-License-Identifier: MIT
"""Files on their way to a client: the same over both transports."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioserve.errors import ClientDisconnectedError
from trioserve.transports import Peer

from .links import LARGE, SMALL, Kind, Link, finish, open_link, read_all

if TYPE_CHECKING:
    from collections.abc import Iterator


async def write(link: Link, data: bytes) -> None:
    await finish(link.transport.write(data))


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BinaryIO]:
    path = tmp_path_factory.mktemp("files") / "large"
    path.write_bytes(LARGE)
    with path.open("rb") as file:
        yield file


@pytest.mark.parametrize(
    ("offset", "count", "sent"),
    [(0, len(LARGE), len(LARGE)), (7, 100, 100), (len(LARGE) - 5, 100, 5), (0, 0, 0)],
)
async def test_a_file_is_sent_in_part_and_as_far_as_it_goes(
    kind: Kind,
    large_file: BinaryIO,
    offset: int,
    count: int,
    sent: int,
) -> None:
    async with open_link(kind, buffer_size=SMALL) as link, trio.open_nursery() as nursery:

        async def send() -> None:
            assert await link.transport.send_file(large_file, offset, count) == sent
            await finish(link.transport.shut_down_writing())

        nursery.start_soon(send)
        assert await read_all(link.client) == (LARGE[offset : offset + sent], False)


async def test_a_file_is_not_mixed_with_what_others_write(kind: Kind, large_file: BinaryIO) -> None:
    async with open_link(kind, buffer_size=SMALL) as link, trio.open_nursery() as nursery:
        nursery.start_soon(link.transport.send_file, large_file, 0, len(LARGE))
        await wait_all_tasks_blocked(0.05)
        nursery.start_soon(write, link, b"after")
        received = bytearray()
        while len(received) < len(LARGE) + 5:
            received += await link.client.receive_some(65536)
    assert received == LARGE + b"after"


async def test_a_file_waits_for_its_turn_and_is_not_sent_after_a_loss(
    kind: Kind, large_file: BinaryIO
) -> None:
    async with open_link(kind, buffer_size=SMALL) as link, trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def first() -> None:
            with scope:
                await write(link, b"-" * 1_000_000)

        async def send() -> None:
            with pytest.raises(ClientDisconnectedError):
                await link.transport.send_file(large_file, 0, 1000)

        nursery.start_soon(first)
        await wait_all_tasks_blocked(0.01)
        nursery.start_soon(send)
        await wait_all_tasks_blocked(0.05)
        scope.cancel()
        await wait_all_tasks_blocked(0.05)
        await finish(link.transport.close())
        received, _ = await read_all(link.client)
        assert set(received) <= set(b"-")


async def test_a_file_to_a_client_that_goes_is_an_error(kind: Kind, large_file: BinaryIO) -> None:
    async with open_link(kind, buffer_size=SMALL) as link, trio.open_nursery() as nursery:

        async def send() -> None:
            with pytest.raises(ClientDisconnectedError):
                await link.transport.send_file(large_file, 0, len(LARGE))
            assert link.transport.peer is Peer.LOST

        nursery.start_soon(send)
        await wait_all_tasks_blocked(0.05)
        await link.client_leaves(reset=True)


async def test_a_file_that_is_cancelled_is_the_last(kind: Kind, large_file: BinaryIO) -> None:
    async with open_link(kind, buffer_size=SMALL) as link:
        with trio.move_on_after(0.05) as scope:
            await link.transport.send_file(large_file, 0, len(LARGE))
        assert scope.cancelled_caught
        assert link.transport.peer is Peer.LOST
        with pytest.raises(ClientDisconnectedError):
            await link.transport.send_file(large_file, 0, 10)
