# SPDX-License-Identifier: MIT
"""Each operation of each transport, cancelled at each of its awaits in turn."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio

from trioserve.errors import ClientDisconnectedError
from trioserve.transports import Peer

from .cancelling import cancelled_at, cancelled_at_each_await
from .links import Kind, Link, finish, open_link, read_all

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

DATA = b"".join(b"%07d\n" % number for number in range(20_000))  # 160 kB


async def write(link: Link) -> None:
    await finish(link.transport.write(DATA))


async def write_all(link: Link) -> None:
    await finish(link.transport.write_all([DATA[:70_000], DATA[70_000:]]))


async def send_file(link: Link) -> None:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(DATA)
        await link.transport.send_file(file, 0, len(DATA))


@pytest.mark.parametrize("operation", [write, write_all, send_file])
async def test_a_write_that_is_cancelled_anywhere_leaves_a_beginning_and_a_reset(
    kind: Kind, operation: Callable[[Link], Awaitable[None]]
) -> None:
    async def once(number: int) -> bool:
        async with open_link(kind, buffer_size=8192) as link, trio.open_nursery() as nursery:
            received: list[tuple[bytes, bool]] = []

            async def read() -> None:
                received.append(await read_all(link.client))

            nursery.start_soon(read)

            async def run() -> None:
                await operation(link)

            cancelled = await cancelled_at(number, run)
            lost = link.transport.peer is Peer.LOST
            if lost:
                with pytest.raises(ClientDisconnectedError):
                    await finish(link.transport.write(b"more"))
            else:  # the cancellation, if there was one, came after the last byte
                await finish(link.transport.write(b"more"))
            await finish(link.transport.close())
        data, reset = received[0]
        if lost:
            assert cancelled
            assert reset
            assert DATA.startswith(data)
        else:
            assert (data, reset) == (DATA + b"more", False)
        return cancelled

    assert await cancelled_at_each_await(once) >= 1


async def test_a_receive_that_is_cancelled_anywhere_loses_nothing(kind: Kind) -> None:
    async def once(number: int) -> bool:
        async with open_link(kind, buffer_size=8192) as link, trio.open_nursery() as nursery:
            received = bytearray()

            async def receive() -> None:
                while data := await link.transport.receive():
                    received.extend(data)

            async def send() -> None:
                await link.client.send_all(DATA)
                await link.client.send_eof()

            nursery.start_soon(send)
            cancelled = await cancelled_at(min(number, 1000), receive)
            await receive()
            assert received == DATA
        return cancelled and number < 8

    assert await cancelled_at_each_await(once) >= 1


async def test_an_end_of_writing_that_is_cancelled_anywhere_can_still_be_closed(
    kind: Kind,
) -> None:
    async def once(number: int) -> bool:
        async with open_link(kind) as link:

            async def end() -> None:
                await finish(link.transport.shut_down_writing())
                await finish(link.transport.close())

            cancelled = await cancelled_at(number, end)
            await finish(link.transport.close())
            assert link.sock.fileno() == -1
            with suppress(trio.BrokenResourceError):
                assert await link.client.receive_some(1) == b""
        return cancelled

    await cancelled_at_each_await(once)
