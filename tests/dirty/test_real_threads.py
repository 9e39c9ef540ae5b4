# SPDX-License-Identifier: MIT
"""A worker whose actions are all sync: its threads read what comes, and Trio's loop doesn't."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.dirty.real_pool import APPS, PATIENCE, Gate, RealPool, exists, open_pool, until
from trioserve.dirty import (
    DirtyAppError,
    DirtyError,
    DirtyProtocolError,
    DirtyTimeoutError,
    DirtyWorkerError,
    open_dirty_client,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.slow  # each pool starts real processes: a Python with Trio each

WORK = f"{APPS}:SyncWork"


@pytest.fixture
async def pool() -> AsyncIterator[RealPool]:
    async with open_pool("SyncWork", workers=1, threads=2) as pool:
        yield pool
        await pool.until_idle()


async def test_calls_and_streams_bring_what_is_theirs(pool: RealPool) -> None:
    async with open_dirty_client(pool.path) as remote:
        for client in (pool.client, remote):
            results: dict[int, Any] = {}

            async def call(number: int, client: Any = client, results: Any = results) -> None:
                results[number] = await client.execute(WORK, "same", [number, "x" * number])

            async def read(client: Any = client) -> None:
                async with client.stream(WORK, "items", 20_000) as items:
                    assert [item async for item in items] == list(range(20_000))

            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read)
                    for number in range(300):
                        nursery.start_soon(call, number)
            assert results == {number: [number, "x" * number] for number in range(300)}
            data = os.urandom(5_000_000)
            assert await client.execute(WORK, "same", data) == data


async def test_errors_end_their_call_and_no_thread(pool: RealPool) -> None:
    (pid,) = pool.ready_pids
    for name in ("SystemExit", "KeyboardInterrupt", "BaseException", "LeavingError"):
        with trio.fail_after(PATIENCE), pytest.raises(DirtyAppError, match=name):
            await pool.client.execute(WORK, "leave_by", name)
    with trio.fail_after(PATIENCE), pytest.raises(DirtyAppError, match="started: LeavingError"):
        await pool.client.execute(WORK, "unbindable")
    for action in ("nothing", "init", "_private"):
        with pytest.raises(DirtyAppError, match="has no action"):
            await pool.client.execute(WORK, action)
    with pytest.raises(DirtyProtocolError):
        await pool.client.execute(WORK, "unsendable")
    with pytest.raises(DirtyAppError, match="is a generator"):
        await pool.client.execute(WORK, "items", 10**9)
    for _ in range(4):
        assert await pool.client.execute(WORK, "pid") == pid


async def test_a_cancellation_is_heard_while_all_threads_work(pool: RealPool, gate: Gate) -> None:
    visits = []
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(pool.client.execute, WORK, "watch", gate.path)
        visits = await gate.visits(2)
        nursery.cancel_scope.cancel()
    for met in visits:
        assert await met.hear() == ["cancelled"]
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(pool.client.execute, WORK, "visit", gate.path)
        visits = await gate.visits(2)
        with pytest.raises(DirtyTimeoutError):
            await pool.client.execute(WORK, "pid", timeout=0.05)
        async with open_dirty_client(pool.path) as remote:
            assert (await remote.status())["workers"][0]["running"] == 2
        for met in visits:
            await met.release()
    assert await pool.client.execute(WORK, "pid") == visits[0].pid


async def test_generators_wait_for_credit_and_are_closed_when_their_caller_leaves(
    pool: RealPool, gate: Gate
) -> None:
    async with open_dirty_client(pool.path) as remote:
        for client in (pool.client, remote):
            async with client.stream(WORK, "numbers", gate.path) as one:
                met = await gate.visit()
                assert [await anext(one) for _ in range(5)] == [0, 1, 2, 3, 4]
                # The other thread is free all the time.
                for number in range(20):
                    assert await client.execute(WORK, "same", number) == number
                rest = [await anext(one) for _ in range(30_000)]
                assert rest == list(range(5, 30_005))
            words = await met.hear()
            assert words is not None
            assert (words[0], words[1] > 30_000) == ("closed", True)


async def test_a_hung_worker_is_killed_and_a_dead_one_is_seen_at_once(gate: Gate) -> None:
    async with open_pool("SyncWork", workers=1, timeout=0.5) as pool:
        (pid,) = pool.ready_pids
        with pytest.raises(DirtyTimeoutError):
            await pool.client.execute(WORK, "visit", gate.path)
        await (await gate.visit()).gone()
        await pool.until_replaced(pid)
        (pid,) = pool.ready_pids
        with pytest.raises(DirtyWorkerError, match=r"exit code 5"):
            await pool.client.execute(WORK, "exit", 5)
        await pool.until_replaced(pid)
        assert await pool.client.execute(WORK, "pid") in pool.ready_pids


async def test_a_worker_that_was_told_to_leave_while_its_socket_is_full_does_so(
    gate: Gate,
) -> None:
    """Its loop must not wait for the socket, since nobody else would write to it."""
    async with open_pool("SyncWork", workers=1, threads=4) as pool, trio.open_nursery() as nursery:
        (pid,) = pool.ready_pids

        async def read() -> None:
            async with pool.client.stream(WORK, "items", 400, 1 << 16) as items:
                assert len([item async for item in items]) == 400

        async def call() -> None:
            assert len(await pool.client.execute(WORK, "large", 10_000_000)) == 10_000_000

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(read)
                    nursery.start_soon(call)
                await until(lambda: len(pool.arbiter.pool._calls) > 4)
                os.kill(pid, signal.SIGTERM)
            await until(lambda: not exists(pid))
        assert await pool.client.execute(WORK, "pid") in pool.ready_pids


async def test_no_call_stays_behind_a_long_one_where_it_was_sent_ahead(gate: Gate) -> None:
    async with open_pool("SyncWork", workers=2) as pool, trio.open_nursery() as nursery:
        app = pool.arbiter.pool.apps[WORK]
        call = partial(pool.client.execute, WORK, "pid")
        for _ in range(5):
            while not app.ahead_limit:
                await all_of([call] * 32)
            nursery.start_soon(pool.client.execute, WORK, "visit", gate.path)
            await all_of([call] * 30)
            met = await gate.visit()
            await met.release()
            await met.gone()
            await pool.until_idle()


async def all_of(calls: list[Any]) -> None:
    """Returns when all have ended."""
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(call)


async def test_what_runs_at_a_stop_finishes_and_nothing_hangs(gate: Gate) -> None:
    results: list[Any] = []

    async def call(action: str, *args: Any) -> None:
        try:
            results.append(await stopped.client.execute(WORK, action, *args))
        except DirtyError as exc:
            results.append(type(exc).__name__)

    async with open_pool("SyncWork", workers=1) as stopped, trio.open_nursery() as nursery:
        nursery.start_soon(call, "visit", gate.path)
        met = await gate.visit()
        nursery.start_soon(call, "pid")
        await stopped.until_queued(1, "SyncWork")
        stopped.arbiter.stop()
        await until(lambda: results == ["DirtyNoWorkersAvailableError"])
        await met.release("in time")
    assert results[1:] == ["in time"]
