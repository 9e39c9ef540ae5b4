# SPDX-License-Identifier: MIT
"""Where a worker runs, whatever process is there at the time."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trioserve.listeners import Listener
    from trioserve.supervision import Supervisor
    from trioserve.workers.handle import WorkerHandle

__all__ = ["WorkerPlace", "open_pipe"]


class WorkerPlace:
    """Where one worker runs, and at times its successor beside it.

    Attributes:
        number: from 1.
        listeners: what it accepts from.
        handles: of the lives that are there now, the oldest first.
        supervisor: starts them.
    """

    supervisor: Supervisor

    def __init__(self, number: int, listeners: list[Listener]) -> None:
        self.number = number
        self.listeners = listeners
        self.handles: list[WorkerHandle] = []

    def describe(self) -> Iterator[dict[str, Any]]:
        """For a status: an entry for each life, or one for none."""
        supervisor = self.supervisor
        common = {"restarts": supervisor.restarts, "last_end": supervisor.last_end}
        for handle in self.handles:
            yield {**handle.describe(), **common}
        if not self.handles:
            state = "degraded" if supervisor.is_degraded else "starting"
            nothing = dict.fromkeys(("pid", "uptime", "rss", "requests", "connections"))
            yield {
                "number": self.number,
                "state": state,
                **nothing,
                "in_flight": None,
                "heard": None,
                **common,
            }


@contextlib.contextmanager
def open_pipe() -> Iterator[tuple[int, int]]:
    """Where a worker writes down where it hangs: our end, which doesn't block, and its."""
    ours, theirs = os.pipe()
    try:
        os.set_blocking(ours, False)
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)
