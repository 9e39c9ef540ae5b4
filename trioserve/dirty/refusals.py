# SPDX-License-Identifier: MIT
"""Why the pool refuses a call, or ends it: the errors and their words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trioserve.dirty.descriptions import shown
from trioserve.dirty.errors import (
    DirtyAppNotFoundError,
    DirtyError,
    DirtyNoWorkersAvailableError,
    DirtyOverloadedError,
    DirtyProtocolError,
    DirtyTimeoutError,
    DirtyWorkerError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trioserve.dirty.calls import Call
    from trioserve.dirty.slots import App, Worker

__all__ = [
    "app_not_found",
    "died",
    "no_worker_comes",
    "no_worker_left",
    "orphaned",
    "overloaded",
    "timed_out",
    "too_large",
    "waits_for_ever",
]


#: Apps that an error names, and characters of the path that was called.
_MAX_LISTED = 20
_MAX_PATH = 200


def app_not_found(path: str, known: Iterable[str]) -> DirtyAppNotFoundError:
    """No such app is configured."""
    names = sorted(known)
    listed = ", ".join(names[:_MAX_LISTED]) or "none"
    if len(names) > _MAX_LISTED:
        listed += f" … and {len(names) - _MAX_LISTED} more"
    return DirtyAppNotFoundError(
        f"no dirty app {shown(path)} is configured; configured: {listed}",
        app_path=path[:_MAX_PATH],
    )


def too_large(call: Call, limit: int) -> DirtyProtocolError:
    """Its arguments don't fit a frame."""
    return DirtyProtocolError(
        f"the call of {call.action!r} of {call.app_path!r} has {call.size} bytes, "
        f"and dirty_max_frame_size is {limit}"
    )


def no_worker_comes(app: App) -> DirtyNoWorkersAvailableError:
    """No worker runs the app now, and none is expected."""
    return DirtyNoWorkersAvailableError(
        f"no worker runs {app.path!r}, and none is about to: its last ones failed "
        "(the server's log and the pool's status say why)",
        app_path=app.path,
    )


def no_worker_left(app: App) -> DirtyNoWorkersAvailableError:
    """The same, for calls that waited."""
    return DirtyNoWorkersAvailableError(
        f"no worker of {app.path!r} is left, and none is about to come", app_path=app.path
    )


def overloaded(app: App, queue_size: int) -> DirtyOverloadedError:
    """Its queue is full."""
    return DirtyOverloadedError(
        f"{app.queued} calls wait for {app.path!r} already (dirty_queue_size)",
        app_path=app.path,
        queue_size=queue_size,
    )


def waits_for_ever(call: Call) -> DirtyError:
    """A deadlock (deadlocks.py)."""
    return DirtyError(
        f"the call of {call.action!r} of {call.app_path!r} would wait for ever: every slot that "
        "could run it is held by a call that waits for it. Give the app more dirty_threads "
        "or dirty_workers, or call the method itself"
    )


def orphaned(call: Call) -> DirtyError:
    """The call that made it was cancelled, or its time was over."""
    return DirtyError(
        f"the call of {call.action!r} of {call.app_path!r} was cancelled with the one that made it",
        orphaned=True,
    )


def died(call: Call, worker: Worker, description: str) -> DirtyWorkerError:
    """The worker's process ended during the call."""
    return DirtyWorkerError(
        f"worker {worker.pid} ended ({description}) while it ran "
        f"{call.action!r} of {call.app_path!r}",
        worker_id=worker.pid,
    )


def timed_out(call: Call, timeout: float, *, queued: bool) -> DirtyTimeoutError:
    """Its time is over."""
    what = f"waited {timeout:g} s for a worker" if queued else f"did not end within {timeout:g} s"
    return DirtyTimeoutError(
        f"the call of {call.action!r} of {call.app_path!r} {what}", timeout=timeout
    )
