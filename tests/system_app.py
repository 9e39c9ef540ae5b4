# SPDX-License-Identifier: MIT
"""An application, and hooks, that tell of the process they are in, for test_system_process.py."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trioserve.hooks import HookArbiter, HookWorker
    from trioserve.types import Receive, Scope, Send

#: What the environment holds of those that speak to this process.
_PRIVATE = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")


def about_this_process() -> dict[str, Any]:
    mask = os.umask(0)
    os.umask(mask)
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "user": [os.getuid(), os.geteuid(), os.getgid(), os.getegid()],
        "groups": os.getgroups(),
        "umask": mask,
        "directory": os.getcwd(),
        "private": [name for name in _PRIVATE if name in os.environ],
        "setting": os.environ.get("SHOP_SETTING"),
        "gone": os.environ.get("SHOP_GONE"),
        "own_exit_code": subprocess.call(["sh", "-c", "exit 7"]),
    }


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise RuntimeError("only HTTP is spoken here")
    body = json.dumps(about_this_process()).encode()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})


# -- hooks: each writes a line into the file that a variable names ------------------------------


def note(name: str, **told: Any) -> None:
    with open(os.environ["HOOKS_NOTED_IN"], "a") as file:
        file.write(json.dumps({"hook": name, "in": os.getpid(), **told}) + "\n")


def on_starting(arbiter: HookArbiter) -> None:
    note("on_starting", addresses=arbiter.addresses)


def when_ready(arbiter: HookArbiter) -> None:
    note("when_ready", addresses=arbiter.addresses, pid=arbiter.pid)


def on_reload(arbiter: HookArbiter) -> None:
    note("on_reload", backlog=arbiter.config.backlog)


def on_exit(arbiter: HookArbiter) -> None:
    note("on_exit", workers=len(arbiter.workers))


def pre_worker(_arbiter: HookArbiter, worker: HookWorker) -> None:
    note("pre_worker", pid=worker.pid, number=worker.number)


def post_worker(_arbiter: HookArbiter, worker: HookWorker) -> None:
    note("post_worker", pid=worker.pid, number=worker.number)


def worker_init(worker: HookWorker) -> None:
    note("worker_init", pid=worker.pid, number=worker.number)


def worker_exit(_arbiter: HookArbiter, worker: HookWorker) -> None:
    note("worker_exit", pid=worker.pid, number=worker.number, end=worker.end)


def workers_changed(_arbiter: HookArbiter, new: int, old: int) -> None:
    note("workers_changed", new=new, old=old)


def raises(*_args: Any) -> None:
    raise ValueError("the hook's own mistake")
