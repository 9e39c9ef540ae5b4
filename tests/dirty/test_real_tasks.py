# SPDX-License-Identifier: MIT
"""What the workers of a real pool say of their tasks and threads."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.dirty.real_pool import APPS, open_gate, open_pool, until
from trioserve.task_tree import render_tasks

if TYPE_CHECKING:
    from trioserve.dirty.processes import WorkerHandle
    from trioserve.task_tree import Node

pytestmark = pytest.mark.slow  # processes

WORK = f"{APPS}:Work"
SYNC = f"{APPS}:SyncWork"


def names(tree: Node) -> list[str]:
    """Of all tasks."""
    return [
        tree["task"],
        *(name for nodes in tree["nurseries"] for node in nodes for name in names(node)),
    ]


async def test_an_async_action_is_a_task_and_says_where_it_waits() -> None:
    async with open_gate() as gate, open_pool() as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.client.execute, WORK, "avisit", gate.path)
        visit = await gate.visit()
        [told] = await pool.arbiter.tasks()
        await visit.release()
    assert (told["name"], told["pid"], told["error"]) == ("dirty worker 1", visit.pid, None)
    assert "trioserve.dirty.jobs.AsyncJob.run" in names(told["tree"])
    assert "tests/dirty/apps.py:" in render_tasks(told["tree"])
    assert "Work.avisit" in render_tasks(told["tree"])


@pytest.mark.parametrize("app", [WORK, SYNC])
async def test_a_sync_action_is_a_stack_of_a_thread_whoever_reads(app: str) -> None:
    async with (
        open_gate() as gate,
        open_pool(app, threads=2) as pool,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(pool.client.execute, app, "visit", gate.path)
        visit = await gate.visit()
        [told] = await pool.arbiter.tasks()
        await visit.release()
    assert told["error"] is None
    assert told["tree"]["task"] == "trioserve.dirty.worker.WorkerProcess.run"
    busy = [
        thread["task"]
        for thread in told["tree"]["threads"]
        if any("Work.visit" in frame for frame in thread["waits_at"])
    ]
    assert len(busy) == 1
    assert busy[0].startswith("dirty-")


async def test_all_workers_are_asked_and_who_does_not_answer_is_said_so() -> None:
    async with open_pool(workers=3) as pool:
        stopped = pool.handles[1]
        os.kill(stopped.pid, signal.SIGSTOP)
        try:
            told = await pool.arbiter.tasks(timeout=0.5)
        finally:
            os.kill(stopped.pid, signal.SIGCONT)
        answers: dict[int, dict[str, Any]] = {one["pid"]: one for one in told}
        assert [one["name"] for one in told] == [f"dirty worker {n}" for n in (1, 2, 3)]
        assert answers[stopped.pid]["tree"] is None
        assert answers[stopped.pid]["error"] == "no answer within 0.5 s"
        # Its answer comes late, and is nobody's.
        later: dict[int, dict[str, Any]] = {}

        async def ask() -> bool:
            later.update({one["pid"]: one for one in await pool.arbiter.tasks(timeout=20)})
            return later[stopped.pid]["error"] is None

        assert await ask()
        assert later[stopped.pid]["tree"]["task"].endswith("WorkerProcess.run")


async def test_a_worker_that_dies_meanwhile_is_not_waited_for() -> None:
    async with open_pool() as pool:
        [handle] = pool.handles
        os.kill(handle.pid, signal.SIGSTOP)
        answers: list[list[dict[str, Any]]] = []

        async def ask() -> None:
            answers.append(await pool.arbiter.tasks(timeout=1000))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await until(lambda: bool(handle._questions))
            os.kill(handle.pid, signal.SIGKILL)
        [[told]] = answers
        assert (told["tree"], told["error"]) == (None, "it has ended")
        await pool.until_replaced(handle.pid)


async def test_a_worker_that_imports_is_not_asked() -> None:
    def stop(_: object, worker: WorkerHandle) -> None:
        os.kill(worker.pid, signal.SIGSTOP)

    async with open_pool(ready=False, post_fork=stop) as pool:
        await until(lambda: bool(pool.handles))
        [told] = await pool.arbiter.tasks()
        os.kill(told["pid"], signal.SIGCONT)
        assert told["tree"] is None
        assert told["error"] == "it is importing its apps, and can't answer yet"
        await pool.until_ready()


async def test_a_tree_that_is_longer_than_a_frame_is_cut() -> None:
    async with (
        open_gate() as gate,
        open_pool(max_frame_size=65536, concurrency=500) as pool,
        trio.open_nursery() as nursery,
    ):
        for _ in range(400):
            nursery.start_soon(pool.client.execute, WORK, "avisit", gate.path)
        visits = await gate.visits(400)
        [told] = await pool.arbiter.tasks(timeout=20)
        for visit in visits:
            await visit.release()
    assert told["error"] is None
    assert " more" in render_tasks(told["tree"])
