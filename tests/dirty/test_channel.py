# SPDX-License-Identifier: MIT
"""Frames over a socket pair: batched, large, against a full socket, from threads, to the end."""

from __future__ import annotations

import contextlib
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trioserve.dirty import frames
from trioserve.dirty.channel import HIGH_WATER, Channel
from trioserve.dirty.errors import DirtyConnectionError, DirtyProtocolError
from trioserve.dirty.frames import FrameReader, FrameType

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from trio.testing import MockClock

PATIENCE = 30


class End:
    """A channel, and the frames that have come to it.

    Attributes:
        channel: the one under test.
        peer: the other end of its socket.
        frames: (type, id, payload), payloads as bytes.
        on_frame: called with each frame, too.
    """

    def __init__(self, **options: Any) -> None:
        ours, self.peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        for sock in (ours, self.peer):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        self.peer.setblocking(False)
        self.frames: list[tuple[int, int, bytes]] = []
        self.on_frame: Callable[[int, int], object] = lambda _type, _id: None
        self.channel = Channel(ours, self._on_frame, **options)
        self._more = trio.lowlevel.ParkingLot()
        self._reader = FrameReader()

    def _on_frame(self, frame_type: int, request_id: int, payload: bytes | memoryview) -> None:
        self.frames.append((frame_type, request_id, bytes(payload)))
        self.on_frame(frame_type, request_id)
        self._more.unpark_all()

    async def until_frames(self, count: int) -> None:
        """Returns when so many have come to the channel."""
        with trio.fail_after(PATIENCE):
            while len(self.frames) < count:
                await self._more.park()

    async def tell(self, data: bytes | memoryview) -> None:
        """The peer sends bytes."""
        with trio.fail_after(PATIENCE):
            while data:
                try:
                    data = data[self.peer.send(data) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self.peer)

    async def hear(self, size: int = 1 << 16) -> bytes:
        """The peer receives bytes; none at the end."""
        with trio.fail_after(PATIENCE):
            while True:
                await trio.lowlevel.wait_readable(self.peer)
                with contextlib.suppress(BlockingIOError, ConnectionResetError):
                    return self.peer.recv(size)

    async def hear_frames(self, count: int) -> list[tuple[int, int, bytes]]:
        """The peer receives so many frames and no more; fewer at the end."""
        found: list[tuple[int, int, bytes]] = []
        while len(found) < count and (data := await self.hear()):
            found += [(kind, number, bytes(load)) for kind, number, load in self._reader.feed(data)]
        assert len(found) <= count
        return found

    async def hear_to_the_end(self) -> list[tuple[int, int, bytes]]:
        """All frames until the channel closes."""
        found: list[tuple[int, int, bytes]] = []
        while data := await self.hear():
            found += [(kind, number, bytes(load)) for kind, number, load in self._reader.feed(data)]
        return found

    def fill(self) -> None:
        """Sends until the socket takes no more."""
        while not self.channel.unsent_size:
            self.channel.send(big(100_000))


@contextlib.asynccontextmanager
async def running(**options: Any) -> AsyncIterator[End]:
    """A channel that runs, around the block, and is closed after it."""
    end = End(**options)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.channel.run)
        await trio.testing.wait_all_tasks_blocked()
        try:
            yield end
        finally:
            end.channel.close()
            end.peer.close()


@pytest.fixture
def threads() -> Iterator[list[threading.Thread]]:
    """Threads that a test starts; they have ended when it has."""
    started: list[threading.Thread] = []
    yield started
    for thread in started:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def chunk(number: int, data: Any = None) -> list[bytes | memoryview]:
    return frames.chunk(number, data)


def big(size: int) -> list[bytes | memoryview]:
    return frames.chunk(7, b"x" * size)


def raw(*parts: list[bytes | memoryview]) -> bytes:
    return b"".join(b"".join(part) for part in parts)


# -- sending --------------------------------------------------------------------------------


async def test_a_single_frame_leaves_at_once() -> None:
    async with running() as end:
        end.channel.send(frames.ping(5))
        assert end.peer.recv(100) == raw(frames.ping(5))


async def test_frames_that_one_read_causes_leave_together_and_in_order() -> None:
    async with running() as end:

        def answer(_type: int, number: int) -> None:
            end.channel.send(frames.pong(number))

        end.on_frame = answer
        await end.tell(raw(*map(frames.ping, range(100))))
        pongs = await end.hear_frames(100)
        assert [number for _, number, _ in pongs] == list(range(100))


async def test_replies_to_a_batch_take_few_system_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Counted(socket.socket):
        def sendmsg(self, *args: Any) -> int:
            calls.append(len(args[0]))
            return super().sendmsg(*args)

    async with running() as end:
        end.channel._sock = Counted(fileno=end.channel._sock.detach())
        end.channel._sock.setblocking(False)
        await end.tell(b"")
        end.on_frame = lambda _type, number: end.channel.send(frames.pong(number))
        # The reader waits for the descriptor, which is the same.
        await end.tell(raw(*map(frames.ping, range(200))))
        assert len(await end.hear_frames(200)) == 200
        assert len(calls) < 20


async def test_frames_of_many_parts_and_sizes_arrive_as_they_were_sent() -> None:
    sizes = [0, 1, 15, 16, 65535, 65536, 65537, 300_000, 0, 3_000_000, 5]
    async with running() as end:
        for number, size in enumerate(sizes):
            end.channel.send(frames.chunk(number, bytes([number]) * size))
        received = await end.hear_frames(len(sizes))
        for (kind, number, payload), size in zip(received, sizes, strict=True):
            assert kind == FrameType.CHUNK
            assert frames.decode_data(payload) == bytes([number]) * size
        assert end.channel.unsent_size == 0


async def test_more_frames_than_one_system_call_takes_arrive_in_order() -> None:
    async with running() as end:
        end.fill()
        for number in range(5000):
            end.channel.send(chunk(number, number))
        heard: list[tuple[int, int, bytes]] = []
        while len(heard) < 5000 or heard[-1][1] != 4999:
            more = end._reader.feed(await end.hear())
            heard += [(kind, number, bytes(load)) for kind, number, load in more]
        assert [number for _, number, _ in heard[-5000:]] == list(range(5000))


async def test_what_a_full_socket_does_not_take_waits_and_its_end_is_told() -> None:
    drained = trio.Event()
    async with running() as end:
        end.channel.on_drained = drained.set
        end.fill()
        assert end.channel.unsent_size > 0
        await trio.testing.wait_all_tasks_blocked()
        assert not drained.is_set()
        with trio.fail_after(PATIENCE):
            while not drained.is_set():
                await end.hear(1 << 20)
        assert end.channel.unsent_size == 0


async def test_frames_for_a_full_socket_count_as_unsent_while_they_wait() -> None:
    async with running(bounded=True) as end:
        end.fill()
        before = end.channel.unsent_size
        for _ in range(10):
            end.channel.send(big(100_000))
        assert end.channel.unsent_size == before + 10 * len(raw(big(100_000)))


async def test_a_bounded_channel_does_not_read_from_a_peer_that_does_not() -> None:
    async with running(bounded=True) as end:
        end.on_frame = lambda _type, _id: end.channel.send(big(60_000))
        answered = 0
        # Requests go in, nobody takes the answers: at some point nothing more is read.
        with trio.fail_after(PATIENCE):
            while True:
                try:
                    end.peer.send(raw(frames.ping(1)))
                except BlockingIOError:
                    break
                await trio.testing.wait_all_tasks_blocked()
                if len(end.frames) == answered:
                    break
                answered = len(end.frames)
        assert HIGH_WATER < end.channel.unsent_size < HIGH_WATER + 500_000
        while len(end.frames) == answered:  # it goes on when the peer does
            await end.hear()


async def test_a_peer_that_reads_nothing_is_given_up_after_the_write_timeout(
    autojump_clock: MockClock,
) -> None:
    end = End(write_timeout=5)
    end.fill()
    began = trio.current_time()
    with pytest.raises(DirtyConnectionError, match=r"read nothing for 5 s, with \d+ bytes waiting"):
        await end.channel.run()
    assert trio.current_time() - began == 5
    assert end.channel.closed
    end.peer.close()


async def test_a_slow_peer_that_reads_something_now_and_then_is_not_given_up() -> None:
    async with running(write_timeout=5) as end:
        end.fill()
        for _ in range(30):
            end.channel.send(big(30_000))
        while end.channel.unsent_size:
            await end.hear(10_000)
        assert not end.channel.closed


async def test_the_rest_of_a_frame_is_not_waited_for_without_end_where_the_peer_is_a_client(
    autojump_clock: MockClock,
) -> None:
    end = End(write_timeout=5, bounded=True)
    await end.tell(raw(frames.ping(1), big(1000))[:500])
    with pytest.raises(DirtyConnectionError, match="began a frame"):
        await end.channel.run()
    assert [number for _, number, _ in end.frames] == [1]
    end.peer.close()


# -- threads --------------------------------------------------------------------------------


async def test_threads_send_without_waking_the_loop(threads: list[threading.Thread]) -> None:
    async with running() as end:
        threads.append(threading.Thread(target=end.channel.send_from_thread, args=[chunk(3, "x")]))
        threads[0].start()
        ((kind, number, payload),) = await end.hear_frames(1)
        assert (kind, number, frames.decode_data(payload)) == (FrameType.CHUNK, 3, "x")


async def test_frames_of_many_threads_and_of_tasks_are_never_mixed(
    threads: list[threading.Thread],
) -> None:
    def work(channel: Channel, thread: int) -> None:
        for number in range(200):
            channel.send_from_thread(chunk(thread, [number, b"y" * (number * 37 % 5000)]))

    async with running() as end:
        for thread in range(4):
            threads.append(threading.Thread(target=work, args=(end.channel, thread)))
            threads[-1].start()

        async def send() -> None:
            for number in range(200):
                end.channel.send(chunk(9, [number, b"z" * 1000]))
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            heard = await end.hear_frames(1000)
        for thread in (0, 1, 2, 3, 9):
            numbers = [frames.decode_data(load)[0] for _, number, load in heard if number == thread]
            assert numbers == list(range(200))


async def test_a_thread_returns_from_sending_only_when_the_socket_has_taken_its_frame(
    threads: list[threading.Thread],
) -> None:
    # What it does next is then known to be after that: see jobs.py.
    async with running() as end:
        end.fill()
        returned = threading.Event()

        def work() -> None:
            end.channel.send_from_thread(chunk(99))
            returned.set()

        threads.append(threading.Thread(target=work))
        threads[0].start()
        heard: list[int] = []
        while 99 not in heard:
            assert 99 in heard or not returned.is_set() or end.channel.unsent_size == 0
            heard += [number for _, number, _ in end._reader.feed(await end.hear(50_000))]
        await trio.to_thread.run_sync(returned.wait, PATIENCE)
        assert returned.is_set()


async def test_a_thread_that_fills_the_socket_itself_goes_on_when_the_peer_reads(
    threads: list[threading.Thread],
) -> None:
    async with running() as end:
        threads.append(threading.Thread(target=end.channel.send_from_thread, args=[big(3_000_000)]))
        threads[0].start()
        ((_, _, payload),) = await end.hear_frames(1)
        assert len(frames.decode_data(payload)) == 3_000_000


@pytest.mark.parametrize("end_of", ["channel", "peer"])
async def test_a_thread_does_not_wait_for_a_socket_that_has_ended(
    end_of: str, threads: list[threading.Thread]
) -> None:
    async with running() as end:
        end.fill()
        threads.append(threading.Thread(target=end.channel.send_from_thread, args=[big(10)]))
        threads[0].start()
        await trio.testing.wait_all_tasks_blocked()
        if end_of == "channel":
            end.channel.close()
        else:
            end.peer.close()
        await trio.to_thread.run_sync(threads[0].join, PATIENCE)
    end.channel.send_from_thread(big(10))  # nor for one that ended before


# -- receiving ------------------------------------------------------------------------------


async def test_frames_arrive_whole_however_they_were_cut() -> None:
    data = raw(frames.ping(1), chunk(2, "two"), big(70_000), frames.end(4))
    async with running() as end:
        for start in range(0, 200, 3):
            await end.tell(data[start : start + 3])
            await trio.lowlevel.checkpoint()
        await end.tell(data[201:])
        await end.until_frames(4)
        assert [number for _, number, _ in end.frames] == [1, 2, 7, 4]
        assert frames.decode_data(end.frames[2][2]) == b"x" * 70_000


async def test_an_end_of_file_ends_the_run_after_what_had_come_before() -> None:
    end = End()
    await end.tell(raw(frames.ping(1), frames.ping(2)))
    end.peer.close()
    with trio.fail_after(PATIENCE):
        await end.channel.run()
    assert [number for _, number, _ in end.frames] == [1, 2]
    assert end.channel.closed


@pytest.mark.parametrize("cut", [1, 15, 16, 17, 5000, 100_000])
async def test_an_end_in_the_middle_of_a_frame_is_an_end_like_another(cut: int) -> None:
    end = End()
    await end.tell(raw(frames.ping(1)) + raw(big(200_000))[:cut])
    end.peer.close()
    with trio.fail_after(PATIENCE):
        await end.channel.run()
    assert [number for _, number, _ in end.frames] == [1]


@pytest.mark.parametrize("before", [0, 1, 3])
async def test_bytes_that_are_no_frame_are_answered_with_an_error_and_the_end(before: int) -> None:
    end = End()
    await end.tell(raw(*map(frames.ping, range(before))) + b"GET / HTTP/1.1\r\n\r\n")
    with trio.fail_after(PATIENCE), pytest.raises(DirtyProtocolError, match="begins with"):
        await end.channel.run()
    assert len(end.frames) == before
    ((kind, number, payload),) = await end.hear_to_the_end()
    assert (kind, number) == (FrameType.ERROR, 0)
    assert isinstance(frames.decode_error(payload), DirtyProtocolError)
    end.peer.close()


async def test_a_frame_that_is_too_long_is_refused_under_its_own_id() -> None:
    end = End(max_frame_size=70_000)
    await end.tell(raw(big(80_000))[:64])
    with trio.fail_after(PATIENCE), pytest.raises(DirtyProtocolError, match="max_frame_size"):
        await end.channel.run()
    ((_, number, payload),) = await end.hear_to_the_end()
    assert number == 7
    assert "dirty_max_frame_size is 70,000" in str(frames.decode_error(payload))
    end.peer.close()


async def test_an_error_of_who_handles_a_frame_ends_the_channel_and_is_raised() -> None:
    end = End()

    def refuse(_type: int, number: int) -> None:
        if number == 2:
            raise DirtyProtocolError("not this")

    end.on_frame = refuse
    await end.tell(raw(*map(frames.ping, (1, 2, 3))))
    with trio.fail_after(PATIENCE), pytest.raises(DirtyProtocolError, match="not this"):
        await end.channel.run()
    assert [number for _, number, _ in end.frames] == [1, 2]
    ((_, number, _),) = await end.hear_to_the_end()
    assert number == 2
    end.peer.close()


# -- the end --------------------------------------------------------------------------------


async def test_closing_sends_what_the_socket_takes_and_ends_the_run() -> None:
    async with running() as end:
        end.channel._is_busy = True  # as while frames are handled
        for number in range(3):
            end.channel.send(frames.ping(number))
        end.channel.close()
        end.channel.close()
        heard = await end.hear_to_the_end()
        assert [number for _, number, _ in heard] == [0, 1, 2]
        end.channel.send(frames.ping(4))  # nothing, and no error


async def test_closing_while_the_socket_is_full_ends_the_run() -> None:
    with trio.fail_after(PATIENCE):
        async with running() as end:
            end.fill()
            await trio.testing.wait_all_tasks_blocked()
            end.channel.close()


async def test_cancelling_the_run_closes_the_socket() -> None:
    end = End()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.channel.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert end.channel.closed
    assert await end.hear() == b""
    end.peer.close()


async def test_after_writing_was_shut_down_the_peer_is_still_heard() -> None:
    async with running() as end:
        end.channel.send(frames.ping(1))
        end.channel.shut_down_writing()
        assert [number for _, number, _ in await end.hear_to_the_end()] == [1]
        await end.tell(raw(frames.ping(2)))
        await end.until_frames(1)


async def test_sending_to_a_peer_that_has_gone_is_no_error() -> None:
    async with running() as end:
        end.peer.close()
        end.channel.send(big(10))
        end.channel.send(big(10))
        await trio.to_thread.run_sync(partial(end.channel.send_from_thread, big(10)))
