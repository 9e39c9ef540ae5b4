# SPDX-License-Identifier: MIT
"""Statuses of servers as ``Controls.status`` gives them, with what the metrics read."""

from __future__ import annotations

from typing import Any, Final

from tests.dirty.fake_pool import FakePool
from trioserve.metrics import Recorder

__all__ = ["APP", "busy_recorder", "make_status"]

#: With what a label's value must escape.
APP: Final = 'a:"A"\\'


def busy_recorder() -> Recorder:
    """Has seen something of everything."""
    recorder = Recorder()
    for method, status, seconds in [
        ("GET", 200, 0.0004),
        ("GET", 200, 0.3),
        ("POST", 404, 70.0),
        ("BREW", 700, 0.001),
    ]:
        recorder.begin_exchange()
        recorder.end_exchange((method, status, seconds))
    recorder.begin_exchange()
    recorder.begin_connection()
    recorder.begin_websocket()
    recorder.refuse_websocket()
    recorder.refuse(400)
    recorder.note_disconnect()
    recorder.logs.update(error=2, exception=1, info=5)
    return recorder


def make_status(recorder: Recorder | None = None, *, with_dirty: bool = False) -> dict[str, Any]:
    """Of a server with two workers, one of which is being replaced."""
    worker = {
        "pid": 1,
        "uptime": 2.0,
        "requests": 1,
        "connections": 1,
        "in_flight": 0,
        "last_end": None,
    }
    return {
        "version": "1.2.3",
        "pid": 1,
        "name": "test",
        "phase": "serving",
        "uptime": 12.5,
        "addresses": ["http://127.0.0.1:8000"],
        "app": "app:app",
        "workers": [
            {**worker, "number": 1, "state": "serving", "rss": 100, "restarts": 1, "heard": 0.5},
            {**worker, "number": 2, "state": "draining", "rss": 10, "restarts": 2, "heard": 9.0},
            {**worker, "number": 2, "state": "serving", "rss": None, "restarts": 2, "heard": 1.0},
        ],
        "target_workers": 2,
        "stats": None if recorder is None else recorder.snapshot(),
        "dirty": _dirty_status() if with_dirty else None,
    }


def _dirty_status() -> dict[str, Any]:
    pool = FakePool(APP)
    worker = pool.add_worker(threads=1)
    worker.finish(pool.call(app_path=APP))
    worker.fail(pool.call(app_path=APP))
    pool.call(app_path=APP)
    described = {"slot": 1, "pid": 5, "age": 7, "rss": 1000}
    return {
        "arbiter_pid": 1,
        "workers": [described, {**described, "age": 8, "rss": 24}],
        "worker_count": 2,
        "apps": pool.describe_apps(),
        "target_workers": 1,
        "degraded": [],
        "restarts": 3,
        "stash": {"tables": 1, "entries": 2, "bytes": 3, "watchers": 0},
    }
