# SPDX-License-Identifier: MIT
"""What the pool knows of apps, of workers, and of the slots that workers have."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

from trioserve.dirty.ahead import ahead_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trioserve.dirty.calls import Call

__all__ = ["QUEUE_BOUNDS", "App", "Lane", "Worker", "WorkerFace"]

#: Seconds; a time in the queue belongs to the first that is not less.
QUEUE_BOUNDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)


class WorkerFace(Protocol):
    """What the pool asks of a worker's owner. Nothing here blocks or raises."""

    def send(self, parts: list[bytes | memoryview]) -> None:
        """Sends a frame to the worker."""

    def kill(self, reason: str) -> None:
        """Ends the process; ``worker_lost`` follows."""


class Lane:
    """The slots of one worker for a group of apps."""

    __slots__ = ("ahead", "apps", "is_sync", "latest_start", "running", "size", "worker")

    def __init__(self, worker: Worker, size: int, *, is_sync: bool) -> None:
        self.worker = worker
        self.size = size
        self.is_sync = is_sync
        self.apps: list[App] = []
        self.running: dict[int, Call] = {}
        self.ahead: deque[Call] = deque()
        #: When the last one has started; of a full lane, that is the youngest that runs.
        self.latest_start = -math.inf


class App:
    """What is known of an app, whether or not a worker runs it now.

    Attributes:
        path: "module:Class".
        timeout: seconds that one of its actions may run; inf = for ever.
        actions: name → kind; None where the class dispatches by itself.
        queues: calls that wait, [async, sync].
        service_time: seconds a sync action takes, a moving average.
        ahead_limit: calls that may be sent ahead to one lane.
        calls: counted since the start, as is what became of them:
        completed, failed, lost, refused, abandoned: by their outcome; the lost died with their
            worker, and nobody waited for the end of the abandoned.
        timeouts: of the abandoned those whose time was over.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.timeout = timeout
        self.actions: Mapping[str, str] | None = None
        self.workers: list[Worker] = []
        self.queues: tuple[deque[Call], deque[Call]] = (deque(), deque())
        self.service_time = math.inf
        self.ahead_limit = 0
        self.calls = 0
        self.completed = 0
        self.failed = 0
        self.lost = 0
        self.refused = 0
        self.abandoned = 0
        self.timeouts = 0
        self._queue_counts = [0] * (len(QUEUE_BOUNDS) + 1)
        self._queue_time = 0.0

    @property
    def errors(self) -> int:
        """Calls that their action, or the end of its worker, has failed."""
        return self.failed + self.lost

    @property
    def queued(self) -> int:
        """Calls that wait."""
        return len(self.queues[0]) + len(self.queues[1])

    def put_back(self, call: Call) -> None:
        """Puts a call that has not started to where its age belongs."""
        queue = self.queues[self.is_sync(call.action)]
        index = 0
        while index < len(queue) and queue[index].id < call.id:
            index += 1
        queue.insert(index, call)

    def describe(self) -> dict[str, Any]:
        """For STATUS."""
        return {
            "workers": len(self.workers),
            "queued": self.queued,
            "running": sum(
                call.app_path == self.path
                for worker in self.workers
                for call in worker.calls.values()
            ),
            "calls": self.calls,
            "errors": self.errors,
            "timeouts": self.timeouts,
            "outcomes": {
                "completed": self.completed,
                "failed": self.failed,
                "lost": self.lost,
                "refused": self.refused,
                "timed_out": self.timeouts,
                "cancelled": self.abandoned - self.timeouts,
            },
            "queue_time": {
                "bounds": list(QUEUE_BOUNDS),
                "counts": self._queue_counts.copy(),
                "sum": self._queue_time,
                "count": sum(self._queue_counts),
            },
        }

    def note_queue_time(self, seconds: float) -> None:
        """A call has started so long after it came. One that is taken back starts again."""
        self._queue_counts[bisect_left(QUEUE_BOUNDS, seconds)] += 1
        self._queue_time += seconds

    def note_service_time(self, seconds: float) -> None:
        """A sync action took so long. A long one counts at once, short ones bit by bit."""
        before = self.service_time
        if seconds > before or before == math.inf:
            self.service_time = seconds
        else:
            self.service_time = before * 0.8 + seconds * 0.2
        self.ahead_limit = ahead_limit(self.service_time)

    def learn_actions(self, actions: Mapping[str, str] | None) -> None:
        """A worker has said what there is: calls that wait already go where they belong."""
        if actions == self.actions:
            return
        self.actions = actions
        waiting = sorted([*self.queues[0], *self.queues[1]], key=lambda call: call.id)
        for queue in self.queues:
            queue.clear()
        for call in waiting:
            self.queues[self.is_sync(call.action)].append(call)

    def is_sync(self, action: str) -> bool:
        """Whether the action needs a thread. An unknown one is refused by the worker's loop."""
        if self.actions is None:
            return True
        return self.actions.get(action, "async") in ("sync", "generator")


class Worker:
    """A worker that is ready.

    Attributes:
        pid: of its process.
        token: the number that it was given, and no other worker has; it stands in traces.
        calls: what it has been sent and has not ended.
        draining: it gets nothing new.
        suspended: likewise, for as long as it doesn't answer.
        counts: app path → calls that it has ended.
        errors: calls that ended with an error.
        on_idle: called once it is draining and its last call has ended.
    """

    def __init__(self, pid: int, face: WorkerFace, concurrency: int, token: int = 0) -> None:
        self.pid = pid
        self.token = token
        self.face = face
        self.calls: dict[int, Call] = {}
        self.draining = False
        self.suspended = False
        self.counts: dict[str, int] = {}
        self.errors = 0
        self.on_idle: Callable[[], None] | None = None
        self.on_count: Callable[[str, int], None] | None = None
        self.async_lane = Lane(self, concurrency, is_sync=False)
        self.lanes: list[Lane] = [self.async_lane]
        self._shared_lane: Lane | None = None
        self.sync_lanes: dict[str, Lane] = {}

    def add_app(self, app: App, own_threads: int | None, threads: int) -> None:
        """The worker runs the app: in a lane of its own if it asks for threads."""
        if own_threads is not None:
            lane = self._new_lane(own_threads)
        else:
            lane = self._shared_lane = self._shared_lane or self._new_lane(threads)
        self.sync_lanes[app.path] = lane
        lane.apps.append(app)
        self.async_lane.apps.append(app)

    def _new_lane(self, size: int) -> Lane:
        lane = Lane(self, size, is_sync=True)
        self.lanes.append(lane)
        return lane

    def lane(self, app: App, sync: bool) -> Lane:
        """Where the app's calls run."""
        return self.sync_lanes[app.path] if sync else self.async_lane
