# SPDX-License-Identifier: MIT
"""What ``trioserve-dirty`` prints: values as JSON, the pool as a table. Pure."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["as_json", "raw", "status_text"]

# -- values -----------------------------------------------------------------------------------


def as_json(value: Any, *, ascii_only: bool = False) -> str:
    """A value in one line of JSON.

    =============================  ==================================
    a value                        becomes
    =============================  ==================================
    bytes                          ``{"$base64": "…"}``
    datetime, date                 a string, as ISO 8601 has it
    Decimal, UUID, complex number  a string
    set, array                     a list (of lists)
    =============================  ==================================
    """
    return json.dumps(value, ensure_ascii=ascii_only, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$base64": b64encode(value).decode()}
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    for method in ("isoformat", "tolist"):  # dates; arrays of numpy, and memoryviews without it
        if hasattr(value, method):
            return getattr(value, method)()
    return str(value)


def raw(value: Any) -> str | bytes:
    """A str or bytes as it is, anything else as JSON."""
    return value if isinstance(value, str | bytes) else as_json(value)


# -- the status -------------------------------------------------------------------------------


def status_text(status: Mapping[str, Any]) -> str:
    """STATUS for people: the pool, its workers, its apps, the stash.

    Args:
        status: as it came; gunicorn's arbiter says less than ours.
    """
    workers = status.get("workers") or []
    blocks = [_summary(status), _table(_WORKER_TITLES, map(_worker_row, workers))]
    blocks += [f"  slot {one['slot']} has given up: {one['last_end']}" for one in _degraded(status)]
    apps = status.get("apps") or []
    if isinstance(apps, Mapping):
        blocks.append(_table(_APP_TITLES, (_app_row(path, apps[path]) for path in sorted(apps))))
    else:
        blocks.append(_table(_APP_TITLES[:1], ([str(path)] for path in sorted(apps))))
    stash = status.get("stash")
    if stash:
        blocks.append(
            f"stash: {_counted(stash.get('tables', 0), 'table')}, "
            f"{_counted(stash.get('entries', 0), 'entry', 'entries')}, "
            f"{_size(stash.get('bytes'))}, {_counted(stash.get('watchers', 0), 'watcher')}"
        )
    return "\n\n".join(blocks)


def _degraded(status: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return status.get("degraded") or []


def _summary(status: Mapping[str, Any]) -> str:
    count = status.get("worker_count", 0)
    target = status.get("target_workers", count)
    text = f"arbiter {status.get('arbiter_pid')}: {_counted(count, 'worker')}"
    if target != count:
        text += f" of {target}"
    if status.get("restarts"):
        text += f", {_counted(status['restarts'], 'restart')}"
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
        _shown(worker.get("pid")),
        _shown(worker.get("age")),
        "draining" if worker.get("draining") else state,
        _time(worker.get("uptime")),
        _time(worker.get("last_heartbeat")),
        _shown(worker.get("running")),
        _shown(sum(calls.values()) if isinstance(calls, Mapping) else calls),
        _shown(worker.get("errors")),
        _size(worker.get("rss")),
        " ".join(worker.get("apps") or ()) or "-",
    ]


_APP_TITLES = ["APP", "WORKERS", "QUEUED", "RUNNING", "CALLS", "ERRORS", "TIMEOUTS"]


def _app_row(path: str, app: Mapping[str, Any]) -> list[str]:
    return [path, *(_shown(app.get(title.lower())) for title in _APP_TITLES[1:])]


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as they need; text to the left, numbers to the right."""
    lines = [list(titles), *map(list, rows)]
    columns = []
    for cells in zip(*lines, strict=True):
        width = max(map(len, cells))
        is_number = any(cell[0].isdigit() for cell in cells[1:])
        columns.append([cell.rjust(width) if is_number else cell.ljust(width) for cell in cells])
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*columns, strict=True))


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)


def _counted(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h"
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def _size(size: float | None) -> str:
    if size is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
