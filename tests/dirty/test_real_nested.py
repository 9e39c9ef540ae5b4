# SPDX-License-Identifier: MIT
"""From inside a worker: calls of other actions, the stash, hooks, and what its process is given."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.dirty import apps
from tests.dirty.real_pool import APPS, PATIENCE, Gate, open_pool, until
from trioserve.config import Config
from trioserve.dirty import DirtyAppError, DirtyTimeoutError, StashTableNotFoundError
from trioserve.dirty.arbiter import DirtyArbiter

if TYPE_CHECKING:
    import logging
    from pathlib import Path

    from trioserve.dirty.processes import WorkerHandle

pytestmark = pytest.mark.slow  # each pool starts real processes: a Python with Trio each

WORK, OTHER, THREADS = f"{APPS}:Work", f"{APPS}:Other", f"{APPS}:Threads"


async def test_actions_call_actions_of_other_apps_and_of_their_own() -> None:
    async with open_pool("Work", "Threads", workers=1) as pool:
        execute = pool.client.execute
        assert await execute(WORK, "call", THREADS, "add", 1, 2) == 3
        assert await execute(WORK, "call", WORK, "add", 1, 2) == 3  # the caller holds no thread
        assert await execute(WORK, "call_blocking", THREADS, "add", 1, 2) == 3
        assert await execute(WORK, "call_blocking", WORK, "asame", "x") == "x"
        assert await execute(THREADS, "call_blocking", THREADS, "call_blocking", WORK, "pid") > 0
        assert await execute(WORK, "call", WORK, "call", WORK, "call", WORK, "asame", 1) == 1
        async with pool.client.stream(WORK, "stream", THREADS, "items", 1000) as items:
            assert [item async for item in items] == [["through", n] for n in range(1000)]


async def test_a_nested_call_that_would_wait_for_itself_is_refused_with_advice() -> None:
    async with open_pool("Work", "Threads", workers=1) as pool:
        for _ in range(2):  # also after it is known that such calls are short
            with trio.fail_after(PATIENCE), pytest.raises(DirtyAppError) as caught:
                await pool.client.execute(WORK, "call_blocking", WORK, "pid")
            assert "would wait for ever" in str(caught.value)
            assert "Give the app more dirty_threads or dirty_workers" in str(caught.value)
            for _ in range(50):
                await pool.client.execute(WORK, "pid")
        # Four threads: the fifth in the row has none left.
        chain: list[Any] = [THREADS, "pid"]
        for depth in range(6):
            if depth < 4:
                assert await pool.client.execute(*chain) > 0
            else:
                with pytest.raises(DirtyAppError, match="would wait for ever"):
                    await pool.client.execute(*chain)
            chain = [THREADS, "call_blocking", *chain]
        await pool.until_idle()


async def test_errors_of_nested_calls_reach_the_action_that_made_them() -> None:
    async with open_pool("Work", "Threads", workers=1) as pool:
        for action in ("call", "call_blocking"):
            with pytest.raises(DirtyAppError) as caught:
                await pool.client.execute(WORK, action, THREADS, "fail", "deep down")
            assert caught.value.exception_type == "trioserve.dirty.errors.DirtyAppError"
            assert "ValueError: deep down" in str(caught.value)
            assert "raise ValueError(message)" in caught.value.traceback  # of the inner worker
            with pytest.raises(DirtyAppError, match="no dirty app 'no:App' is configured"):
                await pool.client.execute(WORK, action, "no:App", "fail")


async def test_a_nested_call_ends_with_the_timeout_of_the_outer_one(gate: Gate) -> None:
    async with open_pool("Work", "Other", workers=1) as pool:
        with pytest.raises(DirtyTimeoutError):
            await pool.client.execute(WORK, "call", OTHER, "avisit", gate.path, timeout=0.3)
        met = await gate.visit()
        assert await met.hear() == ["cancelled"]
        await pool.until_idle()


async def test_a_call_of_another_pool_is_not_taken_for_a_nested_one(gate: Gate) -> None:
    """Both pools count their calls from 1, and only one of them knows what these ids mean."""
    async with open_pool(workers=1) as one, open_pool(workers=1) as two:
        for pool in (one, two):
            await pool.client.execute(WORK, "pid")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(two.client.execute, WORK, "visit", gate.path)
            met = await gate.visit()
            results: list[int] = []

            async def call_two() -> None:
                results.append(await one.client.execute(WORK, "call_other", two.path, WORK, "pid"))

            nursery.start_soon(call_two)
            await until(lambda: len(two.arbiter.pool._calls) == 2)
            await met.release()
        assert results == two.ready_pids


async def test_the_way_to_ones_own_pool_does_not_matter(tmp_path: Path) -> None:
    async with open_pool(workers=1) as pool:
        (tmp_path / "link").symlink_to(pool.path)
        with trio.fail_after(PATIENCE), pytest.raises(DirtyAppError, match="wait for ever"):
            await pool.client.execute(WORK, "call_other", str(tmp_path / "link"), WORK, "pid")


async def test_calls_may_be_nested_as_deep_as_there_are_slots() -> None:
    async with open_pool(workers=1, concurrency=1200) as pool:
        assert await pool.client.execute(WORK, "call_itself", 1199) == 1199
        with pytest.raises(DirtyAppError, match="wait for ever"):
            await pool.client.execute(WORK, "call_itself", 1201)
        assert await pool.client.execute(WORK, "apid") in pool.ready_pids
        await pool.until_idle()


@pytest.mark.parametrize("way", ["cancelled", "out of time"])
async def test_a_nested_call_of_a_thread_ends_with_the_outer_one(way: str, gate: Gate) -> None:
    async with open_pool("Work", "Other", workers=1) as pool:
        outer = partial(
            pool.client.execute, WORK, "call_and_go_on", gate.path, OTHER, "avisit", gate.path
        )
        async with trio.open_nursery() as nursery:
            if way == "cancelled":
                nursery.start_soon(outer)
            else:

                async def run_out_of_time() -> None:
                    with pytest.raises(DirtyTimeoutError):
                        await outer(timeout=0.5)

                nursery.start_soon(run_out_of_time)
            action, nested = await gate.visits(2)
            if way == "cancelled":
                nursery.cancel_scope.cancel()
        assert await nested.hear() == ["cancelled"]
        name, message = await action.hear() or ["", ""]
        assert name == "DirtyError"
        assert "was cancelled with the one that made it" in message
        await action.release()
        await pool.until_idle()


async def test_a_child_that_only_its_parents_slot_could_run_is_refused_when_the_others_have_gone(
    gate: Gate,
) -> None:
    async with open_pool(workers=2) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.client.execute, WORK, "visit", gate.path)
        busy = await gate.visit()
        nursery.start_soon(pool.client.execute, WORK, "call_and_go_on", gate.path, WORK, "pid")
        parent = await gate.visit()
        await pool.until_queued(1)
        assert (await pool.client.manage("remove", 1))["removed"] == 1
        await until(lambda: len(pool.ready_pids) == 1)
        if pool.ready_pids == [parent.pid]:
            name, message = await parent.hear() or ["", ""]
            assert (name, "would wait for ever" in message) == ("DirtyError", True)
            await busy.release()
        else:  # the slot that has gone was its parent's
            await busy.release()
            assert await parent.hear() == ["well"]
        await parent.release()


async def test_actions_use_the_stash_and_tables_outlive_their_workers() -> None:
    async with open_pool("Work", "Stashing", workers=2) as pool:
        stash = pool.client.stash
        assert sorted(await stash.tables()) == ["cache", "sessions"]  # declared by the class
        with pytest.raises(StashTableNotFoundError):
            await stash.info("others")
        await pool.client.execute(WORK, "put", "sessions", "sync", {"error": "no error"})
        assert await stash.get("sessions", "sync") == {"error": "no error"}
        assert await pool.client.execute(WORK, "aput", "sessions", "async", [1, 2]) == [1, 2]
        pids = pool.ready_pids
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        await pool.until_replaced(*pids)
        assert await stash.get("sessions", "async") == [1, 2]
        assert sorted(await stash.keys("sessions")) == ["async", "sync"]


# -- hooks ----------------------------------------------------------------------------------


async def test_hooks_are_called_with_the_arbiter_and_the_worker() -> None:
    called: list[tuple[str, Any]] = []

    def on_starting(arbiter: DirtyArbiter) -> None:
        called.append(("starting", arbiter.socket_path))

    def post_fork(arbiter: DirtyArbiter, worker: WorkerHandle) -> None:
        called.append(("fork", worker.pid))

    def worker_exit(arbiter: DirtyArbiter, worker: WorkerHandle) -> None:
        called.append(("exit", worker.pid))

    async with open_pool(
        workers=2,
        on_dirty_starting=on_starting,
        post_fork=post_fork,
        worker_init=apps.write_to_log,
        worker_exit=worker_exit,
    ) as pool:
        pids = set(pool.ready_pids)
        assert called[0][0] == "starting"
        assert {word for word, _ in called[1:]} == {"fork"}
        assert {pid for _, pid in called[1:]} == pids
        # The one in the worker saw the apps when they were initialised.
        assert await pool.client.execute(WORK, "increment") == 1001
    assert {pid for word, pid in called if word == "exit"} == pids


@pytest.mark.parametrize(
    ("error", "in_worker"),
    [
        (RuntimeError("a hook's own"), ("raise_in_worker", "RuntimeError: hook failed")),
        (SystemExit(5), ("leave_worker", "SystemExit: 5")),
    ],
)
async def test_hooks_that_raise_are_logged_and_stop_nothing(
    error: BaseException,
    in_worker: tuple[str, str],
    records: list[logging.LogRecord],
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(*args: object) -> None:
        raise error

    async with open_pool(
        workers=1,
        on_dirty_starting=fail,
        post_fork=fail,
        worker_init=f"{APPS}:{in_worker[0]}",
        worker_exit=fail,
    ) as pool:
        assert await pool.client.execute(WORK, "add", 1, 2) == 3
    hooks = [record for record in records if "hook" in record.getMessage()]
    assert [record.args[0] for record in hooks if record.args] == [  # type: ignore[index]
        "on_dirty_starting",
        "dirty_post_fork",
        "dirty_worker_exit",
    ]
    assert all(record.exc_info for record in hooks)
    said = capfd.readouterr().err
    assert "dirty_worker_init failed; the worker goes on" in said
    assert in_worker[1] in said


# -- what a worker is given -----------------------------------------------------------------


async def test_a_worker_has_the_paths_and_the_log_of_its_server(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with open_pool(workers=1) as pool:
        environment = await pool.client.execute(WORK, "environment")
        assert environment == {"socket": pool.path, "path": sys.path}
        await pool.client.execute(WORK, "log", "from the action")
        (pid,) = pool.ready_pids
    assert f"[{pid}] [WARNING] from the action" in capfd.readouterr().err


async def test_the_arbiter_never_imports_an_app() -> None:
    """It is told by its workers what the apps are."""
    arbiter = DirtyArbiter(Config(dirty_app="no.such.module:App"))
    assert list(arbiter.pool.apps) == ["no.such.module:App"]
