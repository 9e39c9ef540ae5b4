# SPDX-License-Identifier: MIT
"""Crews and jobs without a process: who runs when, and what is said of it, over a socket pair."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trioserve.dirty import frames
from trioserve.dirty.app import cancelled
from trioserve.dirty.channel import Channel
from trioserve.dirty.crew import Crew, Lane
from trioserve.dirty.errors import DirtyAppError, DirtyError, DirtyProtocolError
from trioserve.dirty.frames import STREAM_WINDOW, FrameReader, FrameType
from trioserve.dirty.jobs import AsyncJob, SyncJob

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator, Callable, Iterator

    from trioserve.dirty.frames import Payload

PATIENCE = 30


class Bench:
    """A channel that runs, jobs for it, and what they have said.

    Attributes:
        ended: ids of jobs, in the order in which they did.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        ours, self.peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
        self.peer.setblocking(False)
        self.channel = Channel(ours, lambda _type, _id, _payload: None)
        self.nursery = nursery
        self.ended: list[int] = []
        self._reader = FrameReader()
        self._heard: list[tuple[int, int, Payload]] = []

    def sync(self, number: int, method: Callable[..., Any], *args: Any) -> SyncJob:
        payload = b"".join(frames.request_payload("a:A", "act", list(args)))
        return SyncJob(self.channel, number, "a:A", "act", payload, method, self.ended.append)

    def task(self, number: int, method: Callable[..., Any], *args: Any) -> AsyncJob:
        payload = b"".join(frames.request_payload("a:A", "act", list(args)))
        return AsyncJob(self.channel, number, "a:A", "act", payload, method, self.ended.append)

    async def hear(self) -> tuple[int, int, Payload]:
        """The next frame: its type, id and payload."""
        with trio.fail_after(PATIENCE):
            while not self._heard:
                await trio.lowlevel.wait_readable(self.peer)
                with contextlib.suppress(BlockingIOError):
                    self._heard += self._reader.feed(self.peer.recv(1 << 16))
        return self._heard.pop(0)

    async def hear_result(self, number: int) -> Any:
        """The result of this job, whose reply must be next."""
        frame_type, came, payload = await self.hear()
        assert (frame_type, came) == (FrameType.RESPONSE, number)
        return frames.decode_result(payload)

    async def hear_error(self, number: int) -> DirtyError:
        frame_type, came, payload = await self.hear()
        assert (frame_type, came) == (FrameType.ERROR, number)
        return frames.decode_error(payload)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with trio.open_nursery() as nursery:
        bench = Bench(nursery)
        nursery.start_soon(bench.channel.run)
        yield bench
        bench.channel.close()
        bench.peer.close()
        nursery.cancel_scope.cancel()


class Threads:
    """Three threads, and lanes in which they work.

    Attributes:
        single: a lane of one slot, which ``start`` uses.
    """

    def __init__(self) -> None:
        self.crew = Crew(3, lambda: False)
        self.single = Lane(1)

    def start(self, job: SyncJob, lane: Lane | None = None) -> None:
        self.crew.start(lane or self.single, job.id, job.run)

    def stop(self) -> None:
        for _ in range(3):
            self.crew.lead()  # there is nothing to read: who leads ends


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads()
    yield threads
    threads.stop()


# -- lanes ----------------------------------------------------------------------------------


async def test_a_lane_runs_no_more_jobs_at_a_time_than_it_has_slots(
    bench: Bench, threads: Threads
) -> None:
    lane = Lane(2)
    gates = [threading.Event() for _ in range(4)]
    started: list[int] = []

    def work(number: int) -> int:
        started.append(number)
        gates[number].wait(PATIENCE)
        return number

    for number in range(4):
        threads.start(bench.sync(number, work, number), lane)
    for number in range(4):
        gates[number].set()
        assert await bench.hear_result(number) == number
        assert len(started) <= number + 3
    assert sorted(started) == [0, 1, 2, 3]


async def test_a_job_that_fails_to_say_how_it_failed_frees_its_slot_all_the_same(
    bench: Bench, threads: Threads, records: list[logging.LogRecord]
) -> None:
    def fail() -> None:
        raise SystemExit(3)

    for number in range(5):  # more than there are threads
        threads.crew.start(threads.single, number, fail)
    threads.start(bench.sync(9, lambda: "well"))
    assert await bench.hear_result(9) == "well"
    assert [record.exc_info is not None for record in records] == [True] * 5


async def test_a_full_lane_holds_up_no_other(bench: Bench, threads: Threads) -> None:
    gate = threading.Event()
    threads.start(bench.sync(1, gate.wait, PATIENCE))
    threads.start(bench.sync(2, lambda: "second"))
    threads.start(bench.sync(3, lambda: "of another lane"), Lane(1))
    assert await bench.hear_result(3) == "of another lane"
    gate.set()
    assert await bench.hear_result(1) is True
    assert await bench.hear_result(2) == "second"


async def test_a_job_that_has_not_started_can_be_taken_back_and_one_that_has_cannot(
    bench: Bench, threads: Threads
) -> None:
    begun, gate = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        gate.wait(PATIENCE)
        return "first"

    threads.start(bench.sync(1, work))
    await trio.to_thread.run_sync(begun.wait, PATIENCE)
    threads.start(bench.sync(2, lambda: "second"))
    threads.start(bench.sync(3, lambda: "third"))
    assert not threads.crew.take_back(threads.single, 1)
    assert threads.crew.take_back(threads.single, 2)
    assert not threads.crew.take_back(threads.single, 2)
    gate.set()
    assert await bench.hear_result(1) == "first"
    assert await bench.hear_result(3) == "third"


async def test_the_next_job_does_not_start_before_the_reply_of_the_last_is_in_the_socket(
    bench: Bench, threads: Threads
) -> None:
    """Else a call that has started could be taken for one that has not, and run twice."""
    started = threading.Event()
    threads.start(bench.sync(1, lambda: b"x" * 1_000_000))
    threads.start(bench.sync(2, started.set))
    await trio.lowlevel.wait_readable(bench.peer)
    for _ in range(20):
        await trio.lowlevel.checkpoint()
    assert not started.is_set()
    assert len(await bench.hear_result(1)) == 1_000_000
    await bench.hear_result(2)
    assert started.is_set()


async def test_a_crew_runs_functions_and_hands_over_what_they_raise(threads: Threads) -> None:
    assert (
        await threads.crew.run(threads.single, lambda: threading.current_thread().name[:6])
        == "dirty-"
    )
    with pytest.raises(ZeroDivisionError):
        await threads.crew.run(threads.single, lambda: 1 // 0)
    with pytest.raises(SystemExit):
        await threads.crew.run(threads.single, lambda: exec("raise SystemExit"))
    assert await threads.crew.run(threads.single, lambda: "still there") == "still there"


# -- jobs -----------------------------------------------------------------------------------


class WordlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


async def test_an_exception_that_cannot_be_printed_costs_neither_the_thread_nor_the_reply(
    bench: Bench, threads: Threads
) -> None:
    def fail() -> None:
        raise WordlessError

    threads.start(bench.sync(1, fail))
    threads.start(bench.sync(2, lambda: "next"))
    error = await bench.hear_error(1)
    assert isinstance(error, DirtyAppError)
    assert error.exception_type.endswith("WordlessError")
    assert await bench.hear_result(2) == "next"
    assert bench.ended == [1, 2]


async def test_what_cannot_be_sent_is_a_protocol_error_of_its_call(
    bench: Bench, threads: Threads
) -> None:
    async def give() -> object:
        return object()

    threads.start(bench.sync(1, object))
    error = await bench.hear_error(1)
    assert type(error) is DirtyProtocolError
    assert str(error).startswith("'act' of 'a:A' gave a result that can't be sent: ")
    bench.nursery.start_soon(bench.task(2, give).run)
    assert type(await bench.hear_error(2)) is DirtyProtocolError


async def test_arguments_that_cannot_be_read_are_a_protocol_error_of_their_call(
    bench: Bench, threads: Threads
) -> None:
    job = bench.sync(1, lambda: None)
    job.payload = bytes(job.payload)[:-3]
    threads.start(job)
    assert type(await bench.hear_error(1)) is DirtyProtocolError


async def test_a_thread_that_gives_something_to_await_is_told_what_to_do(
    bench: Bench, threads: Threads
) -> None:
    async def never_awaited() -> None:
        pass

    coroutine = never_awaited()
    threads.start(bench.sync(1, lambda: coroutine))
    assert "make the action itself an `async def` method" in str(await bench.hear_error(1))
    coroutine.close()


async def test_a_generator_waits_for_credit_and_goes_on_with_it(
    bench: Bench, threads: Threads
) -> None:
    produced: list[int] = []

    def items() -> Iterator[bytes]:
        for number in range(30):
            produced.append(number)
            yield b"x" * (STREAM_WINDOW // 4)

    job = bench.sync(1, items)
    threads.start(job)
    for _ in range(4):
        assert (await bench.hear())[0] == FrameType.CHUNK
    assert produced in ([0, 1, 2, 3], [0, 1, 2, 3, 4])
    job.add_credit(100 * STREAM_WINDOW)
    heard = [(await bench.hear())[0] for _ in range(27)]
    assert heard == [FrameType.CHUNK] * 26 + [FrameType.END]


async def test_a_cancelled_generator_is_closed_where_it_waits(
    bench: Bench, threads: Threads
) -> None:
    closed: list[str] = []

    def items() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * STREAM_WINDOW
        finally:
            closed.append("sync" if cancelled() else "not cancelled")

    async def aitems() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * STREAM_WINDOW
        finally:
            closed.append("async" if cancelled() else "not cancelled")

    sync, task = bench.sync(1, items), bench.task(2, aitems)
    threads.start(sync)
    assert (await bench.hear())[0] == FrameType.CHUNK
    sync.cancel()
    await bench.hear_error(1)
    bench.nursery.start_soon(task.run)
    assert (await bench.hear())[0] == FrameType.CHUNK
    task.cancel()
    await bench.hear_error(2)
    assert closed == ["sync", "async"]
    assert bench.ended == [1, 2]


async def test_an_async_job_passes_on_the_cancellation_of_its_worker_and_no_other(
    bench: Bench,
) -> None:
    async def fail_when_cancelled() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(fail_at_the_end)

    async def fail_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("cleanup")

    job = bench.task(1, fail_when_cancelled)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(job.run)
        await trio.testing.wait_all_tasks_blocked()
        job.cancel()
    assert "ValueError" in str((await bench.hear_error(1)).details["traceback"])
    with trio.move_on_after(PATIENCE) as worker:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.task(2, fail_when_cancelled).run)
            await trio.testing.wait_all_tasks_blocked()
            worker.cancel()
    assert worker.cancelled_caught
    assert bench.ended == [1]


# -- threads that read ----------------------------------------------------------------------


class Mailbox:
    """What a crew reads: functions that it is to run, put there by the test.

    Attributes:
        readers: names of the threads that have read, in order.
    """

    def __init__(self, size: int) -> None:
        self.lane = Lane(size)
        self.readers: list[str] = []
        self._batches: queue.SimpleQueue[list[Callable[[], object]] | None] = queue.SimpleQueue()
        self.crew = Crew(size + 1, self._read)
        self.crew.lead()

    def put(self, *jobs: Callable[[], object]) -> None:
        """One read brings these."""
        self._batches.put(list(jobs))

    def end(self) -> None:
        self._batches.put(None)

    def _read(self) -> bool:
        self.readers.append(threading.current_thread().name)
        batch = self._batches.get(timeout=PATIENCE)
        for number, job in enumerate(batch or ()):
            self.crew.start(self.lane, number, job)
        return batch is not None


def test_somebody_reads_while_all_slots_are_taken() -> None:
    mailbox = Mailbox(2)
    gate, heard = threading.Event(), threading.Event()
    mailbox.put(lambda: gate.wait(PATIENCE))
    mailbox.put(lambda: gate.wait(PATIENCE), heard.set)
    mailbox.put()  # no job: a cancellation, say
    while len(mailbox.readers) < 4:
        assert not heard.wait(0.001)  # it waits for a slot
    gate.set()
    assert heard.wait(PATIENCE)
    mailbox.end()


def test_a_thread_that_reads_one_job_runs_it_itself_and_another_reads_on() -> None:
    mailbox = Mailbox(1)
    ran: queue.SimpleQueue[str] = queue.SimpleQueue()
    for _ in range(100):
        mailbox.put(lambda: ran.put(threading.current_thread().name))
        assert ran.get(timeout=PATIENCE) in mailbox.readers
    mailbox.end()


def test_jobs_of_one_read_run_in_their_order_and_beside_each_other_where_there_are_slots() -> None:
    mailbox = Mailbox(3)
    together = threading.Barrier(3)
    done = threading.Semaphore(0)

    def meet() -> None:
        together.wait(PATIENCE)
        done.release()

    mailbox.put(meet, meet, meet)
    for _ in range(3):
        assert done.acquire(timeout=PATIENCE)
    mailbox.end()
    single = Mailbox(1)
    order: list[int] = []
    end = threading.Event()
    single.put(*[partial(order.append, number) for number in range(50)], end.set)
    assert end.wait(PATIENCE)
    assert order == list(range(50))
    single.end()


# -- buffers that are used again ------------------------------------------------------------


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("size", [20_000, 200_000])
async def test_an_item_is_what_it_was_when_it_was_given(
    bench: Bench, busy: bool, size: int
) -> None:
    """Large ones are sent without a copy; the socket takes 32 KiB, and in a step only the first."""

    async def items() -> AsyncIterator[bytearray]:
        buffer = bytearray(size)
        for number in range(20):
            buffer[:] = bytes((number,)) * size
            yield buffer

    bench.channel._is_busy = busy
    job = bench.task(1, items)
    job.credit = 1 << 40
    bench.nursery.start_soon(job.run)
    for number in range(20):
        frame_type, _, payload = await bench.hear()
        assert frame_type == FrameType.CHUNK
        assert frames.decode_data(payload) == bytes((number,)) * size
    assert (await bench.hear())[0] == FrameType.END


async def test_a_result_is_what_it_was_when_it_was_returned(bench: Bench) -> None:
    buffer = bytearray(100_000)

    async def fill(number: int) -> bytearray:
        buffer[:] = bytes((number,)) * len(buffer)
        return buffer

    for number in range(10):
        bench.nursery.start_soon(bench.task(number, fill, number).run)
    for _ in range(10):
        _, number, payload = await bench.hear()
        assert frames.decode_result(payload) == bytes((number,)) * len(buffer)
