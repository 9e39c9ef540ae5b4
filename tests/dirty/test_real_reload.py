# SPDX-License-Identifier: MIT
"""Workers that are replaced, added, removed and recycled while calls go on: no call is lost."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.dirty.real_pool import APPS, PATIENCE, Gate, RealPool, exists, open_pool, until
from trioserve.dirty import DirtyWorkerError
from trioserve.dirty.pool import Pool

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator
    from pathlib import Path

    from trioserve.dirty.slots import Worker

pytestmark = pytest.mark.slow  # each pool starts real processes: a Python with Trio each

WORK, VERSIONED = f"{APPS}:Work", f"{APPS}:Versioned"


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trio.Path:
    """What workers of Versioned that start from now on give."""
    file = tmp_path / "version"
    file.write_text("1")
    monkeypatch.setenv("TEST_VERSION", str(file))
    return trio.Path(file)


@pytest.fixture
def workers_left(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, int]]:
    """For each worker that drains: how many others each app had just then."""
    found: list[dict[str, int]] = []
    drain = Pool.drain

    def noting(pool: Pool, worker: Worker) -> bool:
        if not worker.draining:
            others = {
                path: sum(other is not worker for other in app.workers)
                for path, app in pool.apps.items()
            }
            found.append({path: others[path] for path in worker.sync_lanes})
        return drain(pool, worker)

    monkeypatch.setattr(Pool, "drain", noting)
    return found


class Callers:
    """Tasks that call without pause.

    Attributes:
        results: what came, in order.
    """

    def __init__(self) -> None:
        self.results: list[Any] = []
        self.stopped = False
        self._more = trio.lowlevel.ParkingLot()

    async def call(self, pool: RealPool, app: str, action: str) -> None:
        while not self.stopped:
            self.results.append(await pool.client.execute(app, action))
            self._more.unpark_all()

    async def until_seen(self, result: Any) -> None:
        with trio.fail_after(PATIENCE):
            while result not in self.results[-10:]:
                await self._more.park()

    async def until_more(self, count: int) -> None:
        with trio.fail_after(PATIENCE):
            goal = len(self.results) + count
            while len(self.results) < goal:
                await self._more.park()


@contextlib.asynccontextmanager
async def calling(
    pool: RealPool, app: str, *actions: str, tasks: int = 4
) -> AsyncIterator[Callers]:
    """Calls go on during the block; an error of any fails it."""
    callers = Callers()
    async with trio.open_nursery() as nursery:
        for number in range(tasks):
            nursery.start_soon(callers.call, pool, app, actions[number % len(actions)])
        yield callers
        callers.stopped = True


# -- reload ---------------------------------------------------------------------------------


async def test_a_reload_brings_new_code_and_an_app_with_one_worker_always_has_it(
    version: trio.Path, workers_left: list[dict[str, int]]
) -> None:
    async with open_pool("Versioned", workers=2) as pool:
        (old,) = [pid for pid in pool.ready_pids if VERSIONED in apps_of(pool, pid)]
        async with calling(pool, VERSIONED, "get", tasks=1) as callers:
            await callers.until_seen("1")
            await version.write_text("2")
            pool.arbiter.reload()
            await callers.until_seen("2")
            await until(lambda: not exists(old))
            await callers.until_more(10)
        results = callers.results
        assert results == sorted(results)  # never back to the old one
        assert {"1", "2"} == set(results)
        drained = [left for left in workers_left if VERSIONED in left]
        assert [left[VERSIONED] for left in drained] == [1]
        assert pool.arbiter.pool.describe_apps()[VERSIONED]["errors"] == 0


def apps_of(pool: RealPool, pid: int) -> list[str]:
    return next(list(handle.apps) for handle in pool.handles if handle.pid == pid)


async def test_a_reload_of_busy_workers_loses_no_call_and_lets_long_ones_finish(
    gate: Gate, workers_left: list[dict[str, int]]
) -> None:
    async with open_pool(workers=2, threads=2) as pool, trio.open_nursery() as nursery:
        old = set(pool.ready_pids)
        long: dict[int, Any] = {}

        async def last_long(number: int) -> None:
            action = "visit" if number % 2 else "avisit"
            long[number] = await pool.client.execute(WORK, action, gate.path, number)

        for number in range(4):
            nursery.start_soon(last_long, number)
        visits = await gate.visits(4)
        async with calling(pool, WORK, "pid", "apid", tasks=8) as callers:
            await callers.until_more(50)
            pool.arbiter.reload()
            await pool.until_replaced(*old)
            await callers.until_more(200)
            assert set(callers.results[-100:]) <= set(pool.ready_pids)
            assert long == {}
            assert all(exists(pid) for pid in {met.pid for met in visits})
        for met in visits:
            await met.release(f"{met.words[0]}")
        await until(lambda: not any(map(exists, old)))
        assert long == {number: str(number) for number in range(4)}
        assert all(left[WORK] >= 1 for left in workers_left)


async def test_new_code_that_cannot_start_leaves_the_old_in_service(version: trio.Path) -> None:
    async with open_pool("Versioned", workers=1) as pool:
        (old,) = pool.ready_pids
        await version.write_text("broken")
        pool.arbiter.reload()
        supervisor = pool.arbiter._slots[0].supervisor
        async with calling(pool, VERSIONED, "get", tasks=1) as callers:
            await until(lambda: "this version is broken" in str(supervisor.last_end))
            assert set(callers.results) <= {"1"}
            assert exists(old)
            await version.write_text("3")
            pool.arbiter.reload()
            await callers.until_seen("3")
        await until(lambda: not exists(old))


async def test_a_worker_killed_while_it_drains_fails_its_call_at_once(gate: Gate) -> None:
    async with open_pool(workers=1) as pool, trio.open_nursery() as nursery:

        async def call() -> None:
            with pytest.raises(DirtyWorkerError, match="SIGKILL"):
                await pool.client.execute(WORK, "visit", gate.path)

        nursery.start_soon(call)
        met = await gate.visit()
        pool.arbiter.reload()
        await pool.until_replaced(met.pid)
        met.kill()
        await met.gone()
        await pool.until_idle()
        assert await pool.client.execute(WORK, "pid") == pool.ready_pids[0]


# -- more and fewer workers ----------------------------------------------------------------


async def test_workers_are_added_and_removed_while_calls_go_on() -> None:
    async with (
        open_pool("Work", "Single", workers=1, threads=2) as pool,
        calling(pool, WORK, "pid", "apid") as callers,
    ):
        await callers.until_more(20)
        result = await pool.client.manage("add", 2)
        assert (result["success"], result["spawned"], result["target_workers"]) == (True, 2, 3)
        pids = await pool.until_ready(3)
        assert len(pids) == 3
        # The app that is for one worker only stays where it is.
        assert [f"{APPS}:Single" in apps_of(pool, pid) for pid in pids] == [True, False, False]
        result = await pool.client.manage("remove", 5)
        assert (result["removed"], result["target_workers"]) == (2, 1)
        assert "last one of some app" in result["reason"]
        await until(lambda: not any(map(exists, pids[1:])))
        assert pool.ready_pids == pids[:1]
        result = await pool.client.manage("remove")
        assert (result["success"], result["removed"]) == (False, 0)
        await callers.until_more(20)


async def test_an_app_is_run_by_as_many_workers_as_it_or_its_path_says() -> None:
    async with open_pool("Work", "Single", f"{APPS}:Other:2", workers=3) as pool:
        apps = [set(handle.apps) for handle in pool.handles]
        for name, count in [("Work", 3), ("Single", 1), ("Other", 2)]:
            assert sum(f"{APPS}:{name}" in held for held in apps) == count
            assert pool.arbiter.pool.describe_apps()[f"{APPS}:{name}"]["workers"] == count
        assert await pool.client.execute(f"{APPS}:Single", "add", 1, 2) == 3


# -- recycling ------------------------------------------------------------------------------


async def test_a_worker_is_replaced_after_max_requests_and_no_call_is_lost(
    workers_left: list[dict[str, int]],
) -> None:
    path = f"{APPS}:FewRequests"
    async with open_pool("FewRequests", workers=1) as pool:
        async with calling(pool, path, "pid", "apid", tasks=3) as callers:
            await until(lambda: len(set(callers.results)) >= 3)
        counts = {pid: callers.results.count(pid) for pid in set(callers.results)}
        assert sum(count >= 10 for count in counts.values()) >= 2
        assert all(left[path] == 1 for left in workers_left)  # never none
        assert pool.arbiter.pool.describe_apps()[path]["errors"] == 0
        assert pool.arbiter._slots[0].supervisor.restarts == 0


async def test_a_worker_that_has_grown_beyond_max_rss_is_replaced(
    workers_left: list[dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trioserve.dirty.arbiter._MEMORY_INTERVAL", 0.05)
    path = f"{APPS}:Greedy"
    async with open_pool("Greedy", workers=1) as pool:
        async with calling(pool, path, "pid", tasks=2) as callers:
            (old,) = pool.ready_pids
            await callers.until_more(20)
            assert await pool.client.execute(path, "grow", 1000) == old
            await trio.sleep(0.1)
            assert set(callers.results) == {old}
            await pool.client.execute(path, "grow", 120 << 20)
            await until(lambda: not exists(old))
            await callers.until_more(20)
        assert callers.results[-1] != old
        assert all(left[path] == 1 for left in workers_left)


async def test_a_worker_that_weighs_too_much_from_the_start_is_replaced_ever_later(
    monkeypatch: pytest.MonkeyPatch, records: list[logging.LogRecord]
) -> None:
    monkeypatch.setattr("trioserve.dirty.arbiter._MEMORY_INTERVAL", 0.01)
    path = f"{APPS}:Heavy"
    async with open_pool("Heavy", workers=1) as pool:
        for _ in range(3):
            pid = await pool.client.execute(path, "pid")
            await until(lambda pid=pid: not exists(pid))  # type: ignore[misc]
        assert pool.arbiter._slots[0].supervisor.restarts == 0
    said = [record.getMessage() for record in records if record.levelname == "WARNING"]
    delays = [float(m[1]) for line in said if (m := re.search(r"started in ([\d.]+) s", line))]
    assert delays[:3] == [0.1, 0.2, 0.4]
    assert all("had more than max_rss (1 bytes) in memory before" in line for line in said)


async def test_the_last_worker_that_serves_is_not_removed_for_one_that_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    marker.touch()
    monkeypatch.setenv("TEST_MAY_START", str(marker))
    path = f"{APPS}:MayStart"
    async with open_pool("MayStart", workers=2) as pool:
        first, second = (slot.handles[0].pid for slot in pool.arbiter._slots)
        marker.unlink()
        os.kill(first, signal.SIGKILL)  # the older slot's; its successors can't start
        await until(lambda: pool.arbiter._slots[0].supervisor.restarts >= 2)
        result = await pool.client.manage("remove", 1)
        assert (result["removed"], result["total_workers"]) == (1, 1)
        assert await pool.client.execute(path, "pid") == second
        result = await pool.client.manage("remove", 1)
        assert (result["success"], result["removed"]) == (False, 0)
        assert pool.ready_pids == [second]
