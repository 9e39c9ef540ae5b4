# SPDX-License-Identifier: MIT
"""What others do to worker processes: signals from outside, files in the working directory."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import trio

from tests.dirty.real_pool import PATIENCE, open_pool
from tests.server_process import REPOSITORY

WORK = "tests.dirty.apps:Work"


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0")


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


async def test_a_worker_is_told_apart_by_its_title_and_logs_where_the_server_does(
    tmp_path: Path,
) -> None:
    log = tmp_path / "error.log"
    async with open_pool(error_log_file=str(log), process_name="shop") as pool:
        if sys.platform == "linux":
            (pid,) = pool.ready_pids
            assert command_of(pid) == "trioserve: dirty worker 1 [shop]"
        await pool.client.execute(WORK, "log", "before")
        log.rename(tmp_path / "error.log.1")
        await pool.client.execute(WORK, "log", "after")
    assert "[WARNING] before" in (tmp_path / "error.log.1").read_text()
    assert "[WARNING] after" in log.read_text()


async def test_a_log_file_that_a_worker_cant_open_is_said_on_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with open_pool(error_log_file=str(tmp_path / "missing" / "x.log")) as pool:
        assert await pool.client.execute(WORK, "pid") in pool.ready_pids
    assert "the log can't be opened, so this worker's goes to stderr" in capfd.readouterr().err
