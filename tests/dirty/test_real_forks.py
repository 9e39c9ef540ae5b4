# SPDX-License-Identifier: MIT
"""Actions that fork, and whose children return from them: there is one worker, before and after."""

from __future__ import annotations

import pytest
import trio

from tests.dirty.real_pool import APPS, PATIENCE, Gate, open_pool

pytestmark = pytest.mark.slow  # each pool starts real processes: a Python with Trio each

#: What the child does, and its exit code.
WAYS = {"return": 0, "raise": 1, "exit": 7, "unsendable": None}


@pytest.mark.parametrize("app", ["Work", "SyncWork"])
async def test_a_child_that_returns_from_an_action_ends_without_a_byte(
    app: str, gate: Gate
) -> None:
    path = f"{APPS}:{app}"
    async with open_pool(app, workers=1, threads=2) as pool:
        (worker,) = pool.ready_pids
        actions = ["fork_and", "afork_and"] if app == "Work" else ["fork_and"]
        for action in actions:
            for what, expected in WAYS.items():
                pids = await pool.client.execute(path, action, gate.path, what)
                assert pids[0] == worker
                child = await gate.visit()
                assert child.pid == pids[1]
                await child.gone()
                with trio.fail_after(PATIENCE):
                    code = await pool.client.execute(path, "wait_for", child.pid)
                assert expected is None or code == expected
                for number in range(20):
                    assert await pool.client.execute(path, "same", number) == number
        assert pool.ready_pids == [worker]
        await pool.until_idle()


async def test_a_child_of_a_task_that_lets_the_loop_go_on_ends_there(gate: Gate) -> None:
    path = f"{APPS}:Work"
    async with open_pool(workers=1) as pool:
        pids = await pool.client.execute(path, "afork_and", gate.path, "wait")
        await (await gate.visit()).gone()
        assert await pool.client.execute(path, "wait_for", pids[1]) == 0
        for number in range(20):
            assert await pool.client.execute(path, "asame", number) == number


@pytest.mark.parametrize("action", ["fork_items", "afork_items"])
async def test_a_child_of_a_generator_ends_at_its_next_item(action: str, gate: Gate) -> None:
    path = f"{APPS}:Work"
    async with open_pool(workers=1) as pool:
        async with pool.client.stream(path, action, gate.path) as items:
            ((worker, pid),) = [item async for item in items]
        assert [worker] == pool.ready_pids
        await (await gate.visit()).gone()
        assert await pool.client.execute(path, "wait_for", pid) == 0
        assert await pool.client.execute(path, "same", 1) == 1
