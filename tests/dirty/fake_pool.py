# SPDX-License-Identifier: MIT
"""A Pool with workers, callers and a clock of the test's own: no process, no socket, no time.

Frames cross between the pool and a worker when the test lets them, so that every order in which
messages can meet on their way can be had. A fake worker keeps the rules of a real one (jobs.py): a
lane's threads take what came in order, a call that has not started can be given back, and one that
has can't.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

from trioserve.dirty import frames
from trioserve.dirty.calls import Call
from trioserve.dirty.errors import DirtyAppError, DirtyError
from trioserve.dirty.frames import FrameReader, FrameType
from trioserve.dirty.pool import Pool
from trioserve.dirty.slots import App, Worker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trioserve.dirty.frames import Payload

__all__ = ["ACTIONS", "FakeCall", "FakePool", "FakeWorker", "stages"]

ACTIONS = {"run": "sync", "task": "async", "items": "generator", "aitems": "async_generator"}


class FakeCall(Call):
    """A call that writes down what comes of it.

    Attributes:
        chunks, results, errors: in their order; what the pool failed it with is an error, too.
    """

    __slots__ = ("chunks", "errors", "results")

    def __init__(
        self, app_path: str, action: str, timeout: float = math.inf, parent: int = 0, size: int = 0
    ) -> None:
        trace = frames.Trace(parent, 0) if parent else None
        parts = frames.request_payload(app_path, action, [b"x" * size])
        super().__init__(app_path, action, parts, timeout, trace)
        self.chunks: list[Any] = []
        self.results: list[Any] = []
        self.errors: list[DirtyError] = []

    @property
    def ends(self) -> int:
        """How often it has ended."""
        return len(self.results) + len(self.errors)

    @property
    def result(self) -> Any:
        """The only result."""
        assert self.errors == []
        (result,) = self.results
        return result

    @property
    def error(self) -> DirtyError:
        """The only error."""
        assert self.results == []
        (error,) = self.errors
        return error

    def deliver(self, frame_type: int, payload: Payload) -> None:
        """See Call."""
        if frame_type == FrameType.CHUNK:
            self.chunks.append(frames.decode_data(payload))
        elif frame_type == FrameType.ERROR:
            self.errors.append(frames.decode_error(payload))
        elif frame_type == FrameType.END:
            self.results.append("end")
        else:
            self.results.append(frames.decode_result(payload))

    def fail(self, error: DirtyError) -> None:
        """See Call."""
        self.errors.append(error)


class FakeWorker:
    """A worker process: what it was sent, what it runs, what it has said.

    Attributes:
        worker: the pool's notion of it.
        inbox, outbox: frames under way to it and from it.
        late: what its main thread is about to say, while other threads speak already.
        running: ids of calls that have started and not ended.
        started: ids of all that ever started here, in order.
        cancelled: ids of running calls that it was told to cancel.
        credits: (id, bytes), as they came.
        killed: the reasons given.
    """

    def __init__(self, pool: FakePool, pid: int, threads: int, concurrency: int) -> None:
        self.pool = pool
        self.threads = threads
        self.worker = Worker(pid, self, concurrency)
        self.inbox: deque[tuple[int, int, Payload]] = deque()
        self.outbox: deque[list[bytes | memoryview]] = deque()
        self.late: list[list[bytes | memoryview]] = []
        self.running: dict[int, Any] = {}
        self.started: list[int] = []
        self.cancelled: list[int] = []
        self.credits: list[tuple[int, int]] = []
        self.killed: list[str] = []
        self._waiting: dict[Any, deque[int]] = {}

    # -- the pool's side (WorkerFace) -------------------------------------------------------

    def send(self, parts: list[bytes | memoryview]) -> None:
        """See WorkerFace."""
        self.inbox.extend(FrameReader().feed(b"".join(parts)))

    def kill(self, reason: str) -> None:
        """See WorkerFace."""
        self.killed.append(reason)

    # -- the process ------------------------------------------------------------------------

    def read(self, count: int = 10**9) -> None:
        """Takes what was sent to it; starts what it has threads for."""
        while self.inbox and count:
            count -= 1
            frame_type, call_id, payload = self.inbox.popleft()
            if frame_type == FrameType.REQUEST:
                self._begin(call_id, payload)
            elif frame_type == FrameType.REVOKE:
                self._give_back(call_id)
            elif frame_type == FrameType.CANCEL:
                if not self._give_back(call_id) and call_id in self.running:
                    self.cancelled.append(call_id)
            elif frame_type == FrameType.CREDIT:
                self.credits.append((call_id, frames.decode_credit(payload)))
            else:
                raise AssertionError(f"a worker was sent a frame of type {frame_type:#x}")

    def _begin(self, call_id: int, payload: Payload) -> None:
        route = frames.peek_route(payload)
        assert route is not None
        path, action = route
        if ACTIONS[action].startswith("async"):
            self.running[call_id] = None
            self.started.append(call_id)
        else:
            lane = path if self.pool.own_threads.get(path) else None
            self._waiting.setdefault(lane, deque()).append(call_id)
            self._work(lane)

    def _work(self, lane: Any) -> None:
        """The lane's threads take what waits."""
        size = self.threads if lane is None else self.pool.own_threads[lane]
        waiting = self._waiting[lane]
        while waiting and sum(held == (lane,) for held in self.running.values()) < size:
            call_id = waiting.popleft()
            self.running[call_id] = (lane,)
            self.started.append(call_id)

    def _give_back(self, call_id: int) -> bool:
        for waiting in self._waiting.values():
            if call_id in waiting:
                waiting.remove(call_id)
                error = DirtyError("the call had not started", not_started=True)
                self.late.append(frames.error(call_id, error))
                return True
        return False

    def end(self, call: Call, frame: list[bytes | memoryview] | None = None) -> None:
        """The action has returned; its reply is on its way."""
        held = self.running.pop(call.id)
        self.outbox.append(frame or frames.response(call.id, "done"))
        if held is not None:
            self._work(held[0])

    def speak(self, count: int = 10**9, *, late: bool = True) -> None:
        """Lets replies arrive; with those of its main thread, unless that is slow just now."""
        if late:
            self.outbox.extend(self.late)
            self.late.clear()
        while self.outbox and count:
            count -= 1
            ((frame_type, call_id, payload),) = FrameReader().feed(b"".join(self.outbox.popleft()))
            self.pool.on_frame(self.worker, frame_type, call_id, payload)

    # -- all of it at once ------------------------------------------------------------------

    def finish(self, *calls: Call, seconds: float = 0.0) -> None:
        """These calls, which must run here or start by then, end after so many seconds each."""
        for call in calls:
            self.read()
            self.pool.advance(seconds)
            self.end(call)
            self.speak()
            self.read()

    def fail(self, call: Call) -> None:
        """The action has raised."""
        self.read()
        self.end(call, frames.error(call.id, DirtyAppError("it raised")))
        self.speak()

    def chunk(self, call: Call, item: Any) -> None:
        """The generator has given an item."""
        self.read()
        assert call.id in self.running
        self.outbox.append(frames.chunk(call.id, item))
        self.speak()

    def runs(self, *calls: Call) -> bool:
        """Whether it runs exactly these calls."""
        self.read()
        return set(self.running) == {call.id for call in calls}

    def die(self, description: str = "killed by SIGKILL (9)") -> None:
        """What it had said arrives; then its end is seen."""
        self.speak()
        self.pool.worker_lost(self.worker, description)


class FakePool(Pool):
    """A Pool with a clock of its own.

    Attributes:
        now: seconds.
        expected: whether a worker is thought to be there, or to come.
        coming: whether one more is.
        own_threads: app path → ``threads`` of its class.
    """

    def __init__(
        self,
        *paths: str,
        queue_size: int = 1000,
        timeout: float = math.inf,
        own_threads: dict[str, int] | None = None,
        **options: Any,
    ) -> None:
        self.now = 1000.0
        self.expected = True
        self.coming = False
        self.own_threads = own_threads or {}
        self._pids = iter(range(1, 10**6))
        super().__init__(
            [App(path, timeout) for path in paths or ("a:A",)],
            queue_size=queue_size,
            is_expected=lambda path: self.expected,
            is_coming=lambda path: self.coming,
            clock=lambda: self.now,
            **options,
        )

    def add_worker(
        self, *paths: str, threads: int = 1, concurrency: int = 100, ready: bool = True
    ) -> FakeWorker:
        """A worker of these apps (all, if none is named) is ready."""
        fake = FakeWorker(self, next(self._pids), threads, concurrency)
        if ready:
            self.make_ready(fake, paths or self.apps)
        return fake

    def make_ready(self, fake: FakeWorker, paths: Iterable[str]) -> None:
        """The worker has said so."""
        entries = {
            path: {"actions": ACTIONS, "threads": self.own_threads.get(path)} for path in paths
        }
        self.worker_ready(fake.worker, entries, fake.threads)

    def call(
        self,
        action: str = "run",
        app_path: str = "a:A",
        *,
        timeout: float = math.inf,
        parent: Call | None = None,
        size: int = 0,
    ) -> FakeCall:
        """A call, submitted."""
        call = FakeCall(app_path, action, timeout, 0 if parent is None else parent.id, size)
        self.submit(call)
        return call

    def calls(self, count: int, action: str = "run", app_path: str = "a:A") -> list[FakeCall]:
        """So many calls."""
        return [self.call(action, app_path) for _ in range(count)]

    def advance(self, seconds: float) -> None:
        """Time passes; whatever becomes due is swept when it is."""
        end = self.now + seconds
        for _ in range(100_000):
            if self.next_sweep > end:
                break
            self.now = max(self.now, self.next_sweep)
            self.sweep()
        else:
            raise AssertionError("the pool wants to be swept without end")
        self.now = end

    def make_short(self, fake: FakeWorker, app_path: str = "a:A") -> None:
        """The app's sync actions are known to be short: calls are sent ahead from now on."""
        before = self.apps[app_path].calls
        call = self.call(app_path=app_path)
        fake.finish(call, seconds=0.0001)
        assert self.apps[app_path].service_time < 0.0002
        assert self.apps[app_path].calls == before + 1

    @property
    def is_empty(self) -> bool:
        """Nothing is left of any call."""
        return (
            not self._calls
            and all(not app.queued for app in self.apps.values())
            and all(not worker.calls for worker in self.workers)
            and all(
                not lane.running and not lane.ahead
                for worker in self.workers
                for lane in worker.lanes
            )
        )


def stages(*calls: Call) -> list[str]:
    """Where these calls are."""
    return [call.stage.value for call in calls]
