# SPDX-License-Identifier: MIT
"""What others do to worker processes: signals from outside, files in the working directory."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from tests.dirty.real_pool import PATIENCE, open_pool
from tests.server_process import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

WORK = "tests.dirty.apps:Work"

pytestmark = pytest.mark.slow  # worker processes


async def test_a_worker_that_is_told_to_terminate_is_replaced_without_a_lost_call() -> None:
    async with open_pool() as pool:
        (old,) = pool.ready_pids
        stopped = False
        served: set[int] = set()

        async def call() -> None:
            while not stopped:
                served.add(await pool.client.execute(WORK, "pid"))

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(call)
            os.kill(old, signal.SIGTERM)
            await pool.until_replaced(old)
            stopped = True
        assert old in served
        assert await pool.client.execute(WORK, "pid") != old


async def test_a_module_in_the_working_directory_does_not_stand_for_pythons_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue.py").write_text("raise RuntimeError('this is not the queue you look for')")
    monkeypatch.chdir(tmp_path)
    async with open_pool() as pool:
        assert await pool.client.execute(WORK, "pid") in pool.ready_pids


async def test_closed_standard_streams_trouble_no_worker(tmp_path: Path) -> None:
    report = tmp_path / "report"
    command = f"{sys.executable} -m tests.dirty.closed_output {report} <&- >&- 2>&-"
    with trio.fail_after(PATIENCE):
        await trio.run_process(["sh", "-c", command], cwd=REPOSITORY)
    said = json.loads(report.read_text())
    assert said == {"results": [None, 3], "exits": [0]}
