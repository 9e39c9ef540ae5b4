# SPDX-License-Identifier: MIT
"""Arbiters of their own processes, for contenders that reach theirs over a socket.

`python -m benchmarks.dirty.arbiters NAME SOCKET` runs one until its standard input ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

START_TIMEOUT = 20.0
STOP_TIMEOUT = 3.0


@contextlib.contextmanager
def arbiter(name: str) -> Iterator[str]:
    """Runs an arbiter with one worker for the length of the block; gives its socket's path.

    Args:
        name: "gunicorn" or "trioserve".

    Raises:
        RuntimeError: its worker answered nothing within START_TIMEOUT.
    """
    # Short, since a socket's path may have a hundred bytes only; nobody else may enter it.
    folder = tempfile.mkdtemp(prefix="bench-")
    path = str(Path(folder) / "socket")
    command = [sys.executable, "-m", "benchmarks.dirty.arbiters", name, path]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=sys.stderr)
    try:
        _wait_until_ready(name, path, process)
        yield path
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(name: str, path: str, process: subprocess.Popen[bytes]) -> None:
    """Calls by the arbiter's own blocking client until it answers."""
    deadline = time.monotonic() + START_TIMEOUT
    problem: Exception | None = None
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if _ask(name, path) == b"ready":
                return
        except Exception as exc:  # of any class: gunicorn's and ours differ
            problem = exc
            time.sleep(0.02)
    raise RuntimeError(f"the arbiter answers nothing: {problem}")


def _ask(name: str, path: str) -> object:
    if name == "gunicorn":
        from gunicorn.dirty.client import DirtyClient

        from benchmarks.apps.dirty_gunicorn import APP as THEIRS

        with DirtyClient(path) as client:
            return client.execute(THEIRS, "echo", b"ready")
    from benchmarks.apps.dirty_trioserve import APP as OURS
    from trioserve.dirty import BlockingDirtyClient

    with BlockingDirtyClient(path) as ours:
        return ours.execute(OURS, "echo", b"ready")


def run_gunicorn(path: str) -> None:
    """gunicorn's arbiter as its master would run it, without the master and its HTTP workers."""
    from gunicorn.config import Config
    from gunicorn.dirty.arbiter import DirtyArbiter
    from gunicorn.glogging import Logger

    from benchmarks.apps.dirty_gunicorn import APP

    config = Config()
    settings = {
        "dirty_apps": [APP],
        "dirty_workers": 1,
        "dirty_threads": 1,
        "loglevel": "warning",
    }
    for name, setting in settings.items():
        config.set(name, setting)
    arbiter = DirtyArbiter(config, Logger(config), socket_path=path)
    # It is made before a fork, and watches that the process which made it lives.
    arbiter.ppid = os.getppid()
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    arbiter.run()


def _end_with_stdin() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), 15)


def run_trioserve(path: str) -> None:
    """An arbiter in a process that does nothing else, as in a server with HTTP workers."""
    import trio

    from benchmarks.apps.dirty_trioserve import APP
    from trioserve.dirty import open_dirty_pool

    async def run() -> None:
        async with open_dirty_pool(APP, dirty_workers=1, dirty_socket=path):
            await trio.lowlevel.wait_readable(0)

    trio.run(run)


if __name__ == "__main__":
    {"gunicorn": run_gunicorn, "trioserve": run_trioserve}[sys.argv[1]](sys.argv[2])
