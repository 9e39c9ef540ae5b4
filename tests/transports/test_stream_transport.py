# SPDX-License-Identifier: MIT
"""Any Trio stream as a transport: what only this one has to bear."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from trioserve.errors import ClientDisconnectedError
from trioserve.transports import Peer, StreamTransport
from trioserve.transports.base import RECEIVE_SIZE
from trioserve.transports.stream_transport import READ_AHEAD_SIZE

from .links import finish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def reading(transport: StreamTransport) -> AsyncIterator[StreamTransport]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.run_reader)
        yield transport
        nursery.cancel_scope.cancel()


async def test_reading_goes_on_once_something_was_taken() -> None:
    client, server = lockstep_stream_pair()
    data = bytes(range(256)) * 4000
    async with (
        reading(StreamTransport(server, math.inf)) as transport,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(client.send_all, data)
        received = b""
        while len(received) < len(data):
            received += await transport.receive()
        assert received == data


class Odd(trio.abc.Stream):
    """A stream that fails in a way that Trio's streams don't."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        raise self.error

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        raise self.error

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


async def test_an_unknown_failure_of_a_stream_is_logged_and_ends_its_connection_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = Odd(ZeroDivisionError("odd"))
    async with reading(StreamTransport(stream, math.inf)) as transport:
        assert await transport.receive() == b""
        assert transport.peer is Peer.LOST
        await transport.close()
    assert stream.closed


@pytest.mark.parametrize("error", [trio.BrokenResourceError(), trio.ClosedResourceError()])
async def test_a_broken_stream_is_a_client_that_has_gone(error: Exception) -> None:
    transport = StreamTransport(Odd(error), math.inf)
    with pytest.raises(ClientDisconnectedError):
        await finish(transport.write(b"x"))
    assert transport.peer is Peer.LOST


async def test_a_stream_without_half_close_keeps_its_end_for_closing() -> None:
    transport = StreamTransport(Odd(ValueError()), math.inf)
    await transport.shut_down_writing()
    assert transport.peer is Peer.PRESENT


class Endless(Odd):
    """A stream that always brings more, and counts how much."""

    read = 0

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        self.read += max_bytes or 0
        return b"x" * (max_bytes or 0)


async def test_what_is_read_ahead_is_bounded() -> None:
    stream = Endless(ValueError())
    async with reading(StreamTransport(stream, math.inf)) as transport:
        await wait_all_tasks_blocked()
        assert stream.read <= READ_AHEAD_SIZE + RECEIVE_SIZE
        taken = len(await transport.receive())
        await wait_all_tasks_blocked()
        assert stream.read <= READ_AHEAD_SIZE + RECEIVE_SIZE + taken


class Stuck(Odd):
    """A stream whose every method waits for ever, but for a forceful close."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep_forever()

    async def send_eof(self) -> None:
        await trio.sleep_forever()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def aclose(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.closed = True


async def test_a_stream_that_does_not_close_is_closed_by_force(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream = Stuck(ValueError())
    async with reading(StreamTransport(stream, 3)) as transport:
        with pytest.raises(ClientDisconnectedError, match="read nothing for 3 s"):
            await finish(transport.write(b"x"))
        assert trio.current_time() == pytest.approx(3)
        transport.peer = Peer.PRESENT
        await transport.shut_down_writing()
        assert trio.current_time() == pytest.approx(4)
        await transport.close()
        assert trio.current_time() == pytest.approx(5)
        assert stream.closed


async def test_closing_in_a_cancelled_scope_still_closes_and_does_not_hang(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream = Stuck(ValueError())
    transport = StreamTransport(stream, 3)
    with trio.CancelScope() as scope:
        scope.cancel()
        await transport.close()
    assert stream.closed
    assert trio.current_time() <= 1.01


async def test_a_memory_client_that_closes_is_lost_to_writers_and_leaving_to_readers() -> None:
    client, server = memory_stream_pair()
    async with reading(StreamTransport(server, math.inf)) as transport:
        await client.send_all(b"x")
        await client.aclose()
        await wait_all_tasks_blocked()
        assert transport.peer != Peer.PRESENT
        assert await transport.receive() == b"x"
        with pytest.raises(ClientDisconnectedError):
            await finish(transport.write(b"y"))
        assert transport.peer == Peer.LOST
