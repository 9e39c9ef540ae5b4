# SPDX-License-Identifier: MIT
"""The end of a pool: prompt, in order, and nothing is left of it, even when nobody cleans up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.dirty.real_pool import APPS, PATIENCE, Gate, exists, is_gone, open_pool, until
from tests.server_process import REPOSITORY
from trioserve.config import Config
from trioserve.dirty import (
    DirtyConnectionError,
    DirtyError,
    DirtyNoWorkersAvailableError,
    DirtyWorkerError,
    open_dirty_client,
)
from trioserve.dirty.arbiter import DirtyArbiter

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.slow  # each pool starts real processes: a Python with Trio each

WORK = f"{APPS}:Work"
#: Seconds that count as prompt on a machine that is slow and busy; far below the graceful timeout.
PROMPT = 8.0


async def test_a_pool_that_was_used_stops_promptly_and_its_workers_exit_by_themselves(
    records: list[logging.LogRecord],
) -> None:
    async with open_pool(workers=2, graceful_timeout=30) as pool:
        async with open_dirty_client(pool.path) as remote:
            for client in (pool.client, remote):
                for action in ("echo", "aecho"):
                    await client.execute(WORK, action)
                for action in ("items", "aitems"):
                    async with client.stream(WORK, action, 100) as items:
                        await anext(items)
        began = trio.current_time()
    assert trio.current_time() - began < PROMPT
    ends = [line for record in records if "ended" in (line := record.getMessage())]
    assert len(ends) == 2
    assert all("(exit code 0); it had been asked to" in line for line in ends)


async def test_calls_under_way_finish_those_that_wait_and_new_ones_fail_at_once(
    gate: Gate,
) -> None:
    errors: list[DirtyError] = []
    results: list[Any] = []

    async def call(*args: Any) -> None:
        try:
            results.append(await pool.client.execute(WORK, *args))
        except DirtyError as exc:
            errors.append(exc)

    async with open_pool(workers=1) as pool, trio.open_nursery() as nursery:
        for action in ("visit", "avisit"):
            nursery.start_soon(call, action, gate.path)
        visits = await gate.visits(2)
        nursery.start_soon(call, "pid")
        await pool.until_queued(1)
        pool.arbiter.stop()
        await until(lambda: len(errors) == 1)
        await call("apid")
        assert [type(error) for error in errors] == [DirtyNoWorkersAvailableError] * 2
        assert results == []
        for met in visits:
            await met.release("in time")
    assert results == ["in time", "in time"]


@pytest.mark.parametrize("action", ["visit", "avisit", "stubborn"])
async def test_an_action_that_does_not_end_is_ended_after_the_graceful_timeout(
    action: str, gate: Gate
) -> None:
    async with trio.open_nursery() as nursery:

        async def call() -> None:
            with pytest.raises(DirtyWorkerError):
                await pool.client.execute(WORK, action, gate.path)

        async with open_pool(workers=1, graceful_timeout=0.3) as pool:
            nursery.start_soon(call)
            met = await gate.visit()
            began = trio.current_time()
        assert 0.3 <= trio.current_time() - began < 4
        await met.gone()


async def test_a_graceful_timeout_of_0_ends_what_runs_at_once(gate: Gate) -> None:
    async with trio.open_nursery() as nursery:

        async def call(action: str) -> None:
            with pytest.raises(DirtyWorkerError):
                await pool.client.execute(WORK, action, gate.path)

        async with open_pool(workers=1, graceful_timeout=0) as pool:
            nursery.start_soon(call, "visit")
            nursery.start_soon(call, "avisit")
            await gate.visits(2)
            began = trio.current_time()
        assert trio.current_time() - began < 3


async def test_a_pool_is_stopped_before_its_first_worker_is_ready(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_pool(workers=2, ready=False):
        pass
    monkeypatch.setenv("TEST_GATE", gate.path)
    async with open_pool("Slow", workers=1, ready=False):
        met = await gate.visit()  # in init()
        began = trio.current_time()
    assert trio.current_time() - began < PROMPT
    await met.gone()


async def test_cancelling_a_pool_ends_it_at_once_whatever_runs(gate: Gate) -> None:
    arbiter = DirtyArbiter(Config(dirty_app=WORK, dirty_workers=2, dirty_threads=2))
    async with trio.open_nursery() as nursery:
        await nursery.start(arbiter.run)
        for action in ("visit", "avisit", "stubborn", "watch"):
            nursery.start_soon(arbiter.client.execute, WORK, action, gate.path)
        visits = await gate.visits(4)
        async with open_dirty_client(arbiter.socket_path) as remote:
            assert (await remote.status())["worker_count"] == 2
            began = trio.current_time()
            nursery.cancel_scope.cancel()
    assert trio.current_time() - began < PROMPT
    for met in visits:
        await met.gone()
        assert not exists(met.pid)
    assert is_gone(arbiter.socket_path)


async def test_apps_are_closed_in_an_orderly_stop_and_one_that_fails_keeps_nobody(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEST_GATE", gate.path)

    async def see_it_closed() -> None:
        met = await gate.visit()
        assert met.words == ["init"]
        await met.release()
        met = await gate.visit()
        assert met.words == ["close"]
        await met.release()
        await met.gone()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(see_it_closed)
            async with open_pool("Slow", "FailsToClose", "LeavesAtTheEnd", workers=1) as pool:
                await pool.client.execute(f"{APPS}:FailsToClose", "echo")
    said = capfd.readouterr().err
    assert f"close() of '{APPS}:FailsToClose' failed" in said
    assert "RuntimeError: close failed" in said
    assert f"close() of '{APPS}:LeavesAtTheEnd' failed" in said
    assert "SystemExit: goodbye" in said


async def test_clients_of_a_pool_that_has_stopped_are_told_at_once(gate: Gate) -> None:
    async with contextlib.AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(workers=1, graceful_timeout=0))
        remote = await stack.enter_async_context(open_dirty_client(pool.path))
        assert await remote.execute(WORK, "add", 1, 2) == 3
        pool.arbiter.stop()
        await until(lambda: is_gone(pool.path))
        for client in (pool.client, remote):
            with pytest.raises((DirtyConnectionError, DirtyNoWorkersAvailableError)):
                await client.execute(WORK, "add", 1, 2)


# -- nobody cleans up -----------------------------------------------------------------------


def is_running(pid: int) -> bool:
    """Whether the process has not ended; a zombie, whose parent should reap it, has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not os.path.exists("/proc/self") and exists(pid)


def start_arbiter(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.dirty.killed_arbiter", *words],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


@contextlib.asynccontextmanager
async def arbiter_process(
    gate: Gate, action: str
) -> AsyncIterator[tuple[subprocess.Popen[bytes], Any]]:
    """A process with a pool, and what it says of itself."""
    with start_arbiter(gate.path, action) as process:
        try:
            assert process.stdout is not None
            line = await trio.to_thread.run_sync(process.stdout.readline)
            yield process, json.loads(line)
        finally:
            process.kill()


@pytest.mark.parametrize("action", ["nothing", "visit", "avisit", "stubborn"])
async def test_nothing_is_left_of_an_arbiter_that_is_killed(action: str, gate: Gate) -> None:
    async with arbiter_process(gate, action) as (process, pool):
        async with open_dirty_client(pool["path"]) as remote, trio.open_nursery() as nursery:

            async def call() -> None:
                with pytest.raises(DirtyConnectionError):
                    await remote.execute(WORK, "avisit", gate.path)

            nursery.start_soon(call)
            await gate.visits(1 if action == "nothing" else 2)
            process.send_signal(signal.SIGKILL)
        await until(lambda: not any(map(is_running, pool["pids"])) and is_gone(pool["path"]))


async def test_what_is_left_when_all_are_killed_at_once_goes_with_the_next_start(
    gate: Gate,
) -> None:
    async with arbiter_process(gate, "nothing") as (process, pool):
        directory = os.path.dirname(pool["path"])
        # Stopped first, so that none has the time to notice another's end.
        for pid in (process.pid, *pool["pids"]):
            os.kill(pid, signal.SIGSTOP)
        for pid in (process.pid, *pool["pids"]):
            os.kill(pid, signal.SIGKILL)
        await until(lambda: not any(map(is_running, pool["pids"])))
        process.wait()
        assert os.listdir(directory) == ["dirty.sock"]
    async with open_pool(workers=1) as living, open_pool(workers=1):
        assert is_gone(pool["path"])
        assert await living.client.execute(WORK, "add", 1, 2) == 3
        assert not is_gone(living.path)
