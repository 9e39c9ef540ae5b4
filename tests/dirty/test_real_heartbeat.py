# SPDX-License-Identifier: MIT
"""Workers that don't answer: stopped, or their loop blocked; and what is none of this."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
import trio

from tests.dirty.real_pool import APPS, PATIENCE, Gate, exists, open_pool, until
from trioserve.dirty import DirtyWorkerError

if TYPE_CHECKING:
    import logging

pytestmark = pytest.mark.slow  # each pool starts real processes, and waits for what they don't say

WORK = f"{APPS}:Work"


@pytest.mark.parametrize("app", ["Work", "SyncWork"])
async def test_a_stopped_worker_gets_no_new_calls_and_is_replaced_in_the_end(
    app: str, gate: Gate, records: list[logging.LogRecord]
) -> None:
    path = f"{APPS}:{app}"
    async with (
        open_pool(app, workers=2, heartbeat_timeout=3) as pool,
        trio.open_nursery() as nursery,
    ):
        errors: list[DirtyWorkerError] = []

        async def visit() -> None:
            with pytest.raises(DirtyWorkerError) as caught:
                await pool.client.execute(path, "visit", gate.path)
            errors.append(caught.value)

        nursery.start_soon(visit)
        pid = (await gate.visit()).pid
        os.kill(pid, signal.SIGSTOP)
        (handle,) = [handle for handle in pool.handles if handle.pid == pid]
        await until(lambda: handle.is_silent)
        with trio.fail_after(1.5):  # it would be killed a little later
            for _ in range(20):
                assert await pool.client.execute(path, "pid") != pid
        status = {
            worker["pid"]: worker["silent"] for worker in (await pool.client.status())["workers"]
        }
        assert sorted(status.values()) == [False, True]
        await until(lambda: bool(errors))
        assert errors[0].worker_id == pid
        assert "it answered nothing for 3 s (dirty_heartbeat_timeout)" in str(errors[0])
        await until(lambda: not exists(pid))
        assert len(await pool.until_ready(2)) == 2
        assert pool.arbiter._slots[0].supervisor.restarts == 0
    said = [record.getMessage() for record in records]
    assert f"dirty worker {pid} does not answer: it gets no new calls" in said


async def test_a_worker_that_goes_on_in_time_is_kept(gate: Gate) -> None:
    async with open_pool(workers=1, heartbeat_timeout=6) as pool, trio.open_nursery() as nursery:
        (handle,) = pool.handles
        os.kill(handle.pid, signal.SIGSTOP)
        await until(lambda: handle.is_silent)
        results: list[int] = []

        async def call() -> None:
            results.append(await pool.client.execute(WORK, "pid"))

        nursery.start_soon(call)
        await pool.until_queued(1)
        os.kill(handle.pid, signal.SIGCONT)
        await until(lambda: results == [handle.pid])
        assert not handle.is_silent


async def test_a_loop_that_an_action_blocks_is_a_silent_worker_too() -> None:
    async with open_pool(workers=1, heartbeat_timeout=2) as pool:
        with trio.fail_after(PATIENCE), pytest.raises(DirtyWorkerError, match="heartbeat_timeout"):
            await pool.client.execute(WORK, "block_the_loop", 60)
        assert await pool.client.execute(WORK, "block_the_loop", 0.1) == 0.1


async def test_threads_that_work_hard_and_long_are_no_silence() -> None:
    async with open_pool("SyncWork", workers=1, threads=4, heartbeat_timeout=1) as pool:
        (pid,) = pool.ready_pids
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(pool.client.execute, f"{APPS}:SyncWork", "compute", 2.5)
        assert pool.ready_pids == [pid]


async def test_a_heartbeat_timeout_of_0_kills_nobody() -> None:
    async with open_pool(workers=1, heartbeat_timeout=0) as pool:
        assert await pool.client.execute(WORK, "block_the_loop", 1.0) == 1.0
        assert not pool.handles[0].is_silent


async def test_a_worker_may_import_for_longer_than_a_heartbeat() -> None:
    async with open_pool(
        "tests.dirty.slow_to_import:App", workers=1, heartbeat_timeout=0.6
    ) as pool:
        assert await pool.client.execute("tests.dirty.slow_to_import:App", "pid") in pool.ready_pids
        assert pool.arbiter._slots[0].supervisor.restarts == 0


async def test_a_sigterm_ends_a_worker_that_is_not_ready_yet(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_GATE", gate.path)
    async with open_pool("Slow", workers=1, ready=False) as pool:
        first = await gate.visit()
        assert first.words == ["init"]
        first.kill(signal.SIGTERM)
        await first.gone()
        second = await gate.visit()
        assert second.pid != first.pid
        last_end = pool.arbiter._slots[0].supervisor.last_end
        assert last_end is not None
        assert "asked to end (SIGTERM) before it was ready" in last_end
        await second.release()
        await pool.until_ready(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(release_close, gate)
            pool.arbiter.stop()


async def release_close(gate: Gate) -> None:
    await (await gate.visit()).release()
