# SPDX-License-Identifier: MIT
"""A server with a control socket and nothing else; in a thread, or as ``python -m … PATH``."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import trio

from trioserve.control.server import serve_control
from trioserve.errors import TrioserveError
from trioserve.task_tree import describe_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BOUNDS", "PATIENCE", "FakeControls", "fake_server"]

#: Seconds. Only what is broken needs so long: it decides how late a test fails, not whether.
PATIENCE = 30.0

BOUNDS = [0.005, 0.01, 0.1, 1.0]


class FakeControls:
    """Says what a server might say, and notes what it was asked.

    Attributes:
        asked: what, and with what.
        refuses: the text with which all is refused, if there is one.
        raises: what all raises, if it is to fail.
        looks: how often the status was asked for; each adds 50 requests.
        size: characters by which a status is longer.
        scope: cancelled by ``shutdown``, if there is one.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.refuses: str | None = None
        self.raises: BaseException | None = None
        self.looks = 0
        self.size = 0
        self.scope: trio.CancelScope | None = None

    def _note(self, *asked: Any) -> None:
        self.asked.append(asked)
        if self.refuses is not None:
            raise TrioserveError(self.refuses)
        if self.raises is not None:
            raise self.raises

    async def status(self) -> dict[str, Any]:
        self._note("status")
        self.looks += 1
        requests = 1000 + 50 * self.looks
        return {
            "version": "9.9",
            "pid": os.getpid(),
            "name": "shop",
            "phase": "serving",
            "uptime": 3700.0 + self.looks,
            "addresses": ["http://127.0.0.1:8000"],
            "app": "shop:app",
            "workers": [
                worker(1, 4001, requests=requests - 400, connections=7),
                worker(2, 4002, requests=400, state="draining"),
            ],
            "target_workers": 2,
            "stats": {
                "requests_total": requests,
                "connections": 10,
                "in_flight": 3,
                "websockets": 1,
                "latency": {
                    "bounds": BOUNDS,
                    "counts": [requests - 10, 4, 3, 2, 1],
                    "sum": 5.0,
                    "count": requests,
                },
            },
            "dirty": {
                "arbiter_pid": os.getpid(),
                "worker_count": 1,
                "workers": [
                    {
                        "pid": 5001,
                        "age": 1,
                        "apps": ["shop:Model"],
                        "booted": True,
                        "silent": False,
                        "last_heartbeat": 0.2,
                        "uptime": 3600.0,
                        "draining": False,
                        "running": 1,
                        "calls": {"shop:Model": 77},
                        "errors": 0,
                        "rss": 30 << 20,
                    }
                ],
                "apps": {
                    "shop:Model": {
                        "workers": 1,
                        "queued": 6,
                        "running": 1,
                        "calls": 77,
                        "errors": 0,
                        "timeouts": 0,
                    }
                },
            },
            "filler": "x" * self.size,
        }

    async def tasks(self) -> list[dict[str, Any]]:
        self._note("tasks")
        return [
            {"pid": os.getpid(), "name": "arbiter", "tree": describe_tasks(), "error": None},
            {"pid": 4001, "name": "worker 1", "tree": None, "error": "no answer within 2 s"},
        ]

    async def add_workers(self, count: int) -> dict[str, Any]:
        self._note("add_workers", count)
        return {"target_workers": 2 + count}

    async def remove_workers(self, count: int) -> dict[str, Any]:
        self._note("remove_workers", count)
        return {"target_workers": 1}

    async def kill_worker(self, pid: int) -> dict[str, Any]:
        self._note("kill_worker", pid)
        return {"pid": pid}

    async def add_dirty(self, count: int) -> dict[str, Any]:
        self._note("add_dirty", count)
        return {"success": True, "spawned": count, "target_workers": 1 + count}

    async def remove_dirty(self, count: int) -> dict[str, Any]:
        self._note("remove_dirty", count)
        return {
            "success": False,
            "removed": 0,
            "target_workers": 1,
            "reason": "each worker that is left is the last one of some app",
        }

    async def reload(self) -> dict[str, Any]:
        self._note("reload")
        return {}

    async def set_log_level(self, level: str) -> dict[str, Any]:
        self._note("set_log_level", level)
        return {"level": level}

    async def shutdown(self, now: bool) -> dict[str, Any]:
        self._note("shutdown", now)
        if self.scope is not None:
            self.scope.cancel()
        return {}


def worker(number: int, pid: int, **differs: Any) -> dict[str, Any]:
    """A worker of a status."""
    return {
        "number": number,
        "pid": pid,
        "state": "serving",
        "uptime": 3600.0,
        "rss": 40 << 20,
        "requests": 0,
        "connections": 3,
        "in_flight": 1,
        "restarts": 0,
        "last_end": None,
        "heard": 0.5,
        **differs,
    }


@contextlib.contextmanager
def fake_server(path: str, controls: FakeControls | None = None) -> Iterator[FakeControls]:
    """A server in a thread around the block."""
    controls = controls or FakeControls()
    serving = threading.Event()
    end: list[tuple[trio.lowlevel.TrioToken, trio.CancelScope]] = []

    async def main() -> None:
        with trio.CancelScope() as controls.scope:
            async with trio.open_nursery() as nursery:
                bound = await nursery.start(serve_control, path, controls)
                assert bound == path
                end.append((trio.lowlevel.current_trio_token(), nursery.cancel_scope))
                serving.set()

    thread = threading.Thread(target=trio.run, args=(main,), daemon=True)
    thread.start()
    assert serving.wait(PATIENCE)
    try:
        yield controls
    finally:
        [(token, scope)] = end
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(scope.cancel)
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert not os.path.lexists(path)


if __name__ == "__main__":
    with fake_server(sys.argv[1]):
        print("serving", flush=True)
        sys.stdin.read()
