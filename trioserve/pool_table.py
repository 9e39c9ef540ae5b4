# SPDX-License-Identifier: MIT
"""The status of a dirty pool as tables, for ``trioserve-dirty`` and ``trioservectl``. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trioserve.text_tables import counted, shown, size_text, table, time_text

__all__ = ["pool_text"]


def pool_text(status: Mapping[str, Any]) -> str:
    """STATUS for people: the pool, its workers, its apps, the stash.

    Args:
        status: as it came; gunicorn's arbiter says less than ours.
    """
    workers = status.get("workers") or []
    blocks = [_summary(status), table(_WORKER_TITLES, map(_worker_row, workers))]
    blocks += [f"  slot {one['slot']} has given up: {one['last_end']}" for one in _degraded(status)]
    apps = status.get("apps") or []
    if isinstance(apps, Mapping):
        blocks.append(table(_APP_TITLES, (_app_row(path, apps[path]) for path in sorted(apps))))
    else:
        blocks.append(table(_APP_TITLES[:1], ([str(path)] for path in sorted(apps))))
    stash = status.get("stash")
    if stash:
        blocks.append(
            f"stash: {counted(stash.get('tables', 0), 'table')}, "
            f"{counted(stash.get('entries', 0), 'entry', 'entries')}, "
            f"{size_text(stash.get('bytes'))}, {counted(stash.get('watchers', 0), 'watcher')}"
        )
    return "\n\n".join(blocks)


def _degraded(status: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return status.get("degraded") or []


def _summary(status: Mapping[str, Any]) -> str:
    count = status.get("worker_count", 0)
    target = status.get("target_workers", count)
    text = f"arbiter {status.get('arbiter_pid')}: {counted(count, 'worker')}"
    if target != count:
        text += f" of {target}"
    if status.get("restarts"):
        text += f", {counted(status['restarts'], 'restart')}"
    return text + (", DEGRADED" if _degraded(status) else "")


_WORKER_TITLES = [
    "PID",
    "AGE",
    "STATE",
    "UPTIME",
    "HEARD",
    "RUNNING",
    "CALLS",
    "ERRORS",
    "MEMORY",
    "APPS",
]


def _worker_row(worker: Mapping[str, Any]) -> list[str]:
    state = "ready" if worker.get("booted") else "starting"
    calls = worker.get("calls")
    return [
        shown(worker.get("pid")),
        shown(worker.get("age")),
        "draining" if worker.get("draining") else state,
        time_text(worker.get("uptime")),
        time_text(worker.get("last_heartbeat")),
        shown(worker.get("running")),
        shown(sum(calls.values()) if isinstance(calls, Mapping) else calls),
        shown(worker.get("errors")),
        size_text(worker.get("rss")),
        " ".join(worker.get("apps") or ()) or "-",
    ]


_APP_TITLES = ["APP", "WORKERS", "QUEUED", "RUNNING", "CALLS", "ERRORS", "TIMEOUTS"]


def _app_row(path: str, app: Mapping[str, Any]) -> list[str]:
    return [path, *(shown(app.get(title.lower())) for title in _APP_TITLES[1:])]
