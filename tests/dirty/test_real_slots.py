# SPDX-License-Identifier: MIT
"""Which worker runs what, and what runs beside what: threads, free slots, full queues."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.dirty.real_pool import APPS, PATIENCE, Gate, open_pool
from trioserve.dirty import DirtyOverloadedError, DirtyTimeoutError, open_dirty_client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.slow  # each pool starts real processes: a Python with Trio each

WORK = f"{APPS}:Work"


async def all_of(*calls: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Their results, when all have ended."""
    results: dict[int, Any] = {}

    async def run(number: int, call: Callable[[], Awaitable[Any]]) -> None:
        results[number] = await call()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for number, call in enumerate(calls):
                nursery.start_soon(run, number, call)
    return [results[number] for number in range(len(calls))]


@pytest.mark.parametrize("app", ["Work", "Threads"])
async def test_four_threads_run_four_sync_actions_at_a_time(app: str) -> None:
    threads = 4 if app == "Work" else 1  # Threads has four of its own
    async with open_pool(app, workers=1, threads=threads) as pool:
        sleep = partial(pool.client.execute, f"{APPS}:{app}", "sleep", 0.4)
        began = trio.current_time()
        await all_of(*[sleep] * 4)
        assert 0.4 <= trio.current_time() - began < 1.2


async def test_one_thread_runs_sync_actions_one_after_the_other_and_async_ones_beside_them(
    gate: Gate,
) -> None:
    async with open_pool(workers=1, concurrency=5) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.client.execute, WORK, "visit", gate.path, 0)
        met = await gate.visit()
        for number in (1, 2):
            nursery.start_soon(pool.client.execute, WORK, "visit", gate.path, number)
            await pool.until_queued(number)
        for _ in range(5):
            nursery.start_soon(pool.client.execute, WORK, "avisit", gate.path, "async")
        tasks = await gate.visits(5)
        assert [task.words for task in tasks] == [["async"]] * 5
        for number in (0, 1, 2):
            assert met.words == [number]  # in their order
            await met.release()
            if number < 2:
                met = await gate.visit()
        for task in tasks:
            await task.release()


async def test_more_async_actions_than_dirty_concurrency_wait(gate: Gate) -> None:
    async with open_pool(workers=1, concurrency=2) as pool, trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(pool.client.execute, WORK, "avisit", gate.path, number)
        one, two = await gate.visits(2)
        await pool.until_queued(1)
        assert await pool.client.execute(WORK, "add", 1, 2) == 3  # sync ones don't
        await one.release()
        three = await gate.visit()
        for met in (two, three):
            await met.release()


async def test_no_call_is_put_behind_a_long_one_while_a_worker_is_idle(gate: Gate) -> None:
    async with (
        open_pool(workers=2) as pool,
        open_dirty_client(pool.path) as remote,
        trio.open_nursery() as nursery,
    ):
        for client in (pool.client, remote):
            nursery.start_soon(client.execute, WORK, "visit", gate.path)
            met = await gate.visit()
            for _ in range(50):
                assert await client.execute(WORK, "pid") != met.pid
            await met.release()
            await met.gone()
            await pool.until_idle()


async def test_no_call_stays_behind_a_long_one_where_it_was_sent_ahead(gate: Gate) -> None:
    async with (
        open_pool(workers=2) as pool,
        open_dirty_client(pool.path) as remote,
        trio.open_nursery() as nursery,
    ):
        app = pool.arbiter.pool.apps[WORK]
        for client in (pool.client, remote):
            for _ in range(5):
                while not app.ahead_limit:  # until short calls are sent ahead
                    await all_of(*[partial(client.execute, WORK, "pid")] * 32)
                # One long call and many short ones at once: the short ones are sent to both
                # workers, and those that meet the long one must not wait for its end.
                nursery.start_soon(client.execute, WORK, "visit", gate.path)
                pids = await all_of(*[partial(client.execute, WORK, "pid")] * 30)
                met = await gate.visit()
                assert len(pids) == 30
                assert met.pid in pool.ready_pids
                await met.release()
                await met.gone()
                await pool.until_idle()


async def test_a_full_queue_refuses_one_more_call_at_once(gate: Gate) -> None:
    async with (
        open_pool("Work", "Other", workers=1, queue_size=3) as pool,
        open_dirty_client(pool.path) as remote,
        trio.open_nursery() as nursery,
    ):
        for client in (pool.client, remote):
            pool.arbiter.pool.apps[WORK].note_service_time(1.0)  # so that none is sent ahead
            for _ in range(4):
                nursery.start_soon(client.execute, WORK, "visit", gate.path)
            met = await gate.visit()
            await pool.until_queued(3)
            for _ in range(3):
                with pytest.raises(DirtyOverloadedError, match="3 calls wait") as caught:
                    await client.execute(WORK, "pid")
                assert (caught.value.app_path, caught.value.queue_size) == (WORK, 3)
            with pytest.raises(DirtyOverloadedError):
                async with client.stream(WORK, "items", 3) as items:
                    await anext(items)
            await client.execute(WORK, "apid")  # async ones run, since nothing holds them up
            for _ in range(3):
                await met.release()
                met = await gate.visit()
            await met.release()
            await pool.until_idle()
            assert await client.execute(WORK, "pid") in pool.ready_pids


async def test_time_in_the_queue_counts_against_the_timeout(gate: Gate) -> None:
    async with open_pool(workers=1) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.client.execute, WORK, "visit", gate.path)
        met = await gate.visit()
        began = trio.current_time()
        with pytest.raises(DirtyTimeoutError, match=r"waited 0\.3 s for a worker"):
            await pool.client.execute(WORK, "pid", timeout=0.3)
        assert 0.3 <= trio.current_time() - began < PATIENCE / 2
        await met.release()


async def test_status_tells_what_workers_and_apps_do(gate: Gate) -> None:
    async with (
        open_pool("Work", "Other", workers=2) as pool,
        open_dirty_client(pool.path) as remote,
        trio.open_nursery() as nursery,
    ):
        for _ in range(3):
            nursery.start_soon(pool.client.execute, WORK, "visit", gate.path)
        visits = await gate.visits(2)
        for client in (pool.client, remote):
            status = await client.status()
            assert status["worker_count"] == status["target_workers"] == 2
            assert [worker["pid"] for worker in status["workers"]] == sorted(
                pool.ready_pids, key=[h.pid for h in pool.handles].index
            )
            for worker in status["workers"]:
                assert worker["booted"]
                assert worker["apps"] == [f"{APPS}:Other", WORK]
                assert worker["running"] == 1
                assert worker["rss"] > 1 << 20
                assert 0 <= worker["last_heartbeat"] < 60
            counters = status["apps"][WORK]
            assert (counters["running"], counters["queued"], counters["calls"]) == (2, 1, 3)
            assert status["restarts"] == 0
            assert status["degraded"] == []
        for met in visits:
            await met.release()
        await (await gate.visit()).release()
