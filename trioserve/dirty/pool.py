# SPDX-License-Identifier: MIT
"""Which call goes to which worker, and when. Decisions only: no task, no socket, no process.

Its owner (arbiter.py) tells it of workers that come and go and of frames that came, and calls
``sweep`` when a deadline is due; what it decides it does through the face of its workers: ``send``
a frame, ``kill``.

Slots. A worker has *lanes*: one for all its async actions (``dirty_concurrency`` at a time), one
for the sync actions of apps that don't ask for threads of their own (``dirty_threads``), and one
for each app that does. A call is leased a slot of a lane and holds it until its worker says that
it has ended, whatever its caller does meanwhile.

Queues. An app has one FIFO for each kind of lane; the next free slot takes the oldest call that it
can run. While all slots are taken and the app's sync actions are short, some calls are sent *ahead*
to a busy worker, which starts them without a round trip. They have not started: they go back to
the queue when a slot elsewhere is free and theirs is not after a moment, when other workers go on
and theirs doesn't, and when it dies.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, Final

import trio

from trioserve.dirty import ahead, deadlocks, frames, refusals
from trioserve.dirty.calls import Call, Stage
from trioserve.dirty.frames import FrameType

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterable, Mapping

    from trioserve.dirty.errors import DirtyError
    from trioserve.dirty.frames import Payload
    from trioserve.dirty.slots import App, Lane, Worker

__all__ = ["Pool"]

#: Seconds that an action has to end after it was cancelled for its app's timeout: a task by its
#: Cancelled, a generator at its next item, a function that asks ``cancelled()``.
_CANCEL_TIME: Final = 5.0

# A name of the module's costs less than a member of an enum.
_REQUEST: Final = FrameType.REQUEST
_CHUNK: Final = FrameType.CHUNK
_ERROR: Final = FrameType.ERROR
_NEW, _QUEUED, _AHEAD, _RUNNING, _ENDED = Stage


class Pool:
    """Calls, queues and slots.

    Attributes:
        apps: path → App.
        next_sweep: when ``sweep`` must be called (Trio's clock); inf = no need.
        on_sooner: called when next_sweep has become earlier.
        is_expected: tells whether an app has a worker, or will (so that calls may wait for it).
        is_coming: tells whether it is about to have one more.
    """

    def __init__(
        self,
        apps: Iterable[App],
        *,
        queue_size: int,
        is_expected: Callable[[str], bool],
        is_coming: Callable[[str], bool] = lambda _: False,
        max_frame_size: int = frames.DEFAULT_MAX_FRAME_SIZE,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self.apps = {app.path: app for app in apps}
        self.workers: list[Worker] = []
        self.next_sweep = math.inf
        self.on_sooner: Callable[[], None] = lambda: None
        self.is_expected = is_expected
        self.is_coming = is_coming
        self._queue_size = queue_size
        self._max_frame_size = max_frame_size
        self._queued = 0
        self._clock = clock
        self._ids = itertools.count(1)
        self._calls: dict[int, Call] = {}

    # -- what clients ask -------------------------------------------------------------------

    def submit(self, call: Call) -> None:
        """See Backend."""
        if call.stage is not _NEW:
            raise RuntimeError(f"this call was submitted already: it is {call.stage.value}")
        app = self.apps.get(call.app_path)
        if app is None:
            raise refusals.app_not_found(call.app_path, self.apps)
        if call.size > self._max_frame_size:
            raise refusals.too_large(call, self._max_frame_size)
        app.calls += 1
        parent = deadlocks.find_parent(self._calls, call) if call.trace is not None else None
        call.id = next(self._ids)
        call.parent = parent
        sync = app.is_sync(call.action)
        now = call.submitted_at = self._clock()
        queue = app.queues[sync]
        lane = None if queue else ahead.find_lane(app, sync, call, now)
        if lane is None:
            self._enqueue(app, queue, call, parent, now)
        self._calls[call.id] = call
        if parent is not None:
            deadlocks.adopt(parent, call)
        if lane is not None:
            self._lease(lane, app, call, now)
        deadline = call.deadline = now + min(call.timeout, app.timeout)
        self._note(deadline)

    def _enqueue(
        self, app: App, queue: deque[Call], call: Call, parent: Call | None, now: float
    ) -> None:
        error: DirtyError | None = None
        if not app.workers and not self.is_expected(app.path):
            error = refusals.no_worker_comes(app)
        elif app.queued >= self._queue_size:
            error = refusals.overloaded(app, self._queue_size)
        elif parent and deadlocks.would_deadlock(self.apps, self.is_coming, call, parent):
            error = refusals.waits_for_ever(call)
        if error is not None:
            app.refused += 1
            raise error
        call.stage = _QUEUED
        call.started_at = now
        queue.append(call)
        self._queued += 1

    def cancel(self, call: Call) -> None:
        """See Backend."""
        if call.stage is _NEW or call.stage is _ENDED or call.abandoned:
            return
        family = deadlocks.descendants(call) if call.children else ()
        self._abandon(call)
        # A thread that waits for a call of its own could not end it.
        for child in family:
            if not child.abandoned and child.stage is not _ENDED:
                self._abandon(child)
                child.fail(refusals.orphaned(child))

    def _abandon(self, call: Call) -> None:
        call.abandoned = True
        self.apps[call.app_path].abandoned += 1
        if call.stage is _QUEUED:
            self._forget_queued(call)
        else:
            call.holder.worker.face.send(frames.cancel(call.id))

    def credit(self, call: Call, size: int) -> None:
        """See Backend."""
        if call.stage is _RUNNING or call.stage is _AHEAD:
            call.holder.worker.face.send(frames.credit(call.id, size))

    # -- leases -----------------------------------------------------------------------------

    def _lease(self, lane: Lane, app: App, call: Call, now: float) -> None:
        call.holder = lane
        if len(lane.running) < lane.size and not lane.ahead:
            self._start(lane, app, call, now)
        else:
            call.stage = _AHEAD
            lane.ahead.append(call)
            if len(app.workers) > 1:
                self._note(lane.latest_start + ahead.STUCK_AFTER)
        lane.worker.calls[call.id] = call
        parts = frames.with_header(_REQUEST, call.id, call.parts, self._max_frame_size)
        lane.worker.face.send(parts)
        if call.stage is _RUNNING:
            call.parts = []

    def _start(self, lane: Lane, app: App, call: Call, now: float) -> None:
        if call.stage is _AHEAD and not call.revoked:
            call.parts = []
        call.stage = _RUNNING
        call.started_at = lane.latest_start = now
        call.limit_at = now + app.timeout
        app.note_queue_time(now - call.submitted_at)
        lane.running[call.id] = call
        self._note(call.limit_at)

    def _release(self, call: Call, now: float) -> None:
        """The call's slot is free: calls that were sent ahead start, others follow."""
        lane: Lane = call.holder
        if lane.is_sync and call.stage is _RUNNING:
            self.apps[call.app_path].note_service_time(now - call.started_at)
        self._vacate(lane, call, now)
        self._end(call)
        self._count(lane.worker, call)
        self._go_on(lane, now)

    def _vacate(self, lane: Lane, call: Call, now: float) -> None:
        """Its worker doesn't have the call any more; the next of those sent ahead starts."""
        del lane.worker.calls[call.id]
        if call.stage is _AHEAD:
            lane.ahead.remove(call)
            return
        del lane.running[call.id]
        while lane.ahead and len(lane.running) < lane.size:
            first = lane.ahead.popleft()
            self._start(lane, self.apps[first.app_path], first, now)

    def _go_on(self, lane: Lane, now: float) -> None:
        worker = lane.worker
        if worker.draining:
            if not worker.calls and worker.on_idle is not None:
                worker.on_idle()
        elif not worker.suspended and (self._queued or len(self.workers) > 1):
            self._fill(lane, now)

    def _end(self, call: Call) -> None:
        del self._calls[call.id]
        call.stage = _ENDED
        if call.parent is not None or call.children:
            deadlocks.disown(call)

    def _count(self, worker: Worker, call: Call) -> None:
        count = worker.counts.get(call.app_path, 0) + 1
        worker.counts[call.app_path] = count
        if worker.on_count is not None:
            worker.on_count(call.app_path, count)

    def _fill(self, lane: Lane, now: float) -> None:
        """Leases the lane's slots to what waits; the oldest call first."""
        while True:
            queue = self._oldest_queue(lane)
            if queue is None:
                if lane.is_sync and not lane.ahead and len(lane.running) < lane.size:
                    self._consider_revoking(lane, now)
                return
            app = self.apps[queue[0].app_path]
            if len(lane.running) >= lane.size and (
                not lane.is_sync
                or len(lane.ahead) >= app.ahead_limit
                or not ahead.may_go_ahead(queue[0])
            ):
                return
            self._queued -= 1
            self._lease(lane, app, queue.popleft(), now)

    def _oldest_queue(self, lane: Lane) -> deque[Call] | None:
        oldest = None
        for app in lane.apps:
            queue = app.queues[lane.is_sync]
            if queue and (oldest is None or queue[0].id < oldest[0].id):
                oldest = queue
        return oldest

    # -- calls sent ahead that are better off elsewhere --------------------------------------

    def _consider_revoking(self, idle: Lane, now: float) -> None:
        """``idle`` has nothing to do: soon look whether others hold what it could."""
        if ahead.others_have_calls_for(idle):
            self._note(now + ahead.REVOKE_AFTER)

    def _take_back(self, call: Call) -> None:
        """The worker has given back a call that it had not started.

        As seen from here its turn may have come: the reply that made it so was under way, too.
        """
        lane: Lane = call.holder
        now = self._clock()
        self._vacate(lane, call, now)
        if call.abandoned:
            self._end(call)
        else:
            self._requeue([call])
        self._go_on(lane, now)

    def _requeue(self, calls: Iterable[Call]) -> None:
        """Puts calls that have not started back to where their age belongs, and leases them."""
        touched: set[tuple[str, bool]] = set()
        for call in sorted(calls, key=lambda call: call.id, reverse=True):
            app = self.apps[call.app_path]
            sync = app.is_sync(call.action)
            call.stage = _QUEUED
            call.limit_at = math.inf
            call.holder = None
            call.revoked = False
            app.put_back(call)
            self._queued += 1
            touched.add((app.path, sync))
        for path, sync in touched:
            self._dispatch(self.apps[path], sync)

    def _dispatch(self, app: App, sync: bool) -> None:
        now = self._clock()
        queue = app.queues[sync]
        while queue:
            lane = ahead.find_lane(app, sync, queue[0], now)
            if lane is None:
                return
            self._queued -= 1
            self._lease(lane, app, queue.popleft(), now)

    # -- what workers say -------------------------------------------------------------------

    def on_frame(self, worker: Worker, frame_type: int, call_id: int, payload: Payload) -> None:
        """A RESPONSE, CHUNK, END or ERROR has come from a worker."""
        call = worker.calls.get(call_id)
        if call is None:
            return  # it was given up
        if frame_type == _CHUNK:
            if not call.abandoned:
                call.deliver(frame_type, payload)
            return
        if frame_type == _ERROR:
            if (call.revoked or call.abandoned) and ahead.was_not_started(payload):
                self._take_back(call)
                return
            if not call.abandoned:
                worker.errors += 1
                self.apps[call.app_path].failed += 1
        elif not call.abandoned:
            self.apps[call.app_path].completed += 1
        self._release(call, self._clock())
        if not call.abandoned:
            call.deliver(frame_type, payload)

    def worker_ready(
        self, worker: Worker, apps: Mapping[str, Mapping[str, Any]], threads: int
    ) -> None:
        """A worker can be given calls from now on.

        Args:
            worker: new.
            apps: path → what its class says, as in HELLO.
            threads: sync actions at a time, for apps that don't say it themselves.
        """
        for path, entry in apps.items():
            app = self.apps[path]
            app.learn_actions(entry["actions"])
            worker.add_app(app, entry.get("threads"), threads)
        self.workers.append(worker)
        self._attach(worker)

    def _attach(self, worker: Worker) -> None:
        for path in worker.sync_lanes:
            self.apps[path].workers.append(worker)
        now = self._clock()
        for lane in worker.lanes:
            self._fill(lane, now)
            if lane.is_sync and not lane.running:
                self._consider_revoking(lane, now)

    def drain(self, worker: Worker) -> bool:
        """Gives the worker nothing new; True if it has nothing to do already.

        What was sent ahead is asked back; ``worker.on_idle`` is called after its last call.
        """
        if not worker.draining:
            worker.draining = True
            self._detach(worker)
            for lane in worker.lanes:
                ahead.ask_back(lane)
            self.review()
        return not worker.calls

    def _detach(self, worker: Worker) -> None:
        for app in self.apps.values():
            if worker in app.workers:
                app.workers.remove(worker)

    def suspend(self, worker: Worker) -> None:
        """The worker does not answer: it is given nothing new until ``resume``."""
        if not worker.draining:
            worker.suspended = True
            self._detach(worker)
            for lane in worker.lanes:
                ahead.ask_back(lane)
            self.review()

    def resume(self, worker: Worker) -> None:
        """It does again."""
        if worker.suspended and not worker.draining:
            worker.suspended = False
            self._attach(worker)

    def worker_lost(self, worker: Worker, description: str) -> None:
        """The worker's process has ended: ``description`` says how.

        What it ran fails; what it had not started goes to others.
        """
        if worker in self.workers:
            self.workers.remove(worker)
        self._detach(worker)
        unstarted = []
        for call in list(worker.calls.values()):
            if call.stage is _AHEAD and not call.abandoned:
                unstarted.append(call)
                continue
            self._end(call)
            if not call.abandoned:
                self.apps[call.app_path].lost += 1
                call.fail(refusals.died(call, worker, description))
        worker.calls.clear()
        for lane in worker.lanes:
            lane.running.clear()
            lane.ahead.clear()
        self._requeue(unstarted)
        self.review()

    def review(self) -> None:
        """Fails what waits for workers that will not come, or have gone for good."""
        for app in self.apps.values():
            if app.workers or not app.queued or self.is_expected(app.path):
                continue
            for call in (*app.queues[0], *app.queues[1]):
                app.refused += 1
                self._forget_queued(call)
                call.fail(refusals.no_worker_left(app))
        while self._queued:
            unservable = deadlocks.find_unservable(self.apps, self.is_coming)
            if unservable is None:
                return
            self._forget_queued(unservable)
            self.apps[unservable.app_path].refused += 1
            unservable.fail(refusals.waits_for_ever(unservable))

    def _forget_queued(self, call: Call) -> None:
        app = self.apps[call.app_path]
        app.queues[app.is_sync(call.action)].remove(call)
        self._queued -= 1
        self._end(call)

    # -- deadlines --------------------------------------------------------------------------

    def set_timeout(self, path: str, timeout: float) -> None:
        """An app's own timeout has become known; it holds for calls that wait already, too."""
        app = self.apps[path]
        app.timeout = timeout
        for call in (*app.queues[0], *app.queues[1]):
            call.deadline = call.started_at + min(call.timeout, timeout)
            self._note(call.deadline)

    def _note(self, deadline: float) -> None:
        if deadline < self.next_sweep:
            self.next_sweep = deadline
            self.on_sooner()

    def sweep(self) -> None:
        """Ends what is overdue, and sets next_sweep."""
        now = self._clock()
        self.next_sweep = soonest = math.inf
        overdue = []
        for call in self._calls.values():
            deadline = call.limit_at if call.abandoned else min(call.deadline, call.limit_at)
            if deadline <= now:
                overdue.append(call)
            elif deadline < soonest:
                soonest = deadline
        self._note(soonest)
        for call in overdue:
            if call.stage is not _ENDED:
                self._expire(call, now)
        self._note(ahead.ask_back_overdue(self.workers, now))

    def _expire(self, call: Call, now: float) -> None:
        app = self.apps[call.app_path]
        over_limit = call.limit_at <= now
        if not call.abandoned:
            app.timeouts += 1
            timeout = min(call.timeout, app.timeout)
            error = refusals.timed_out(call, timeout, queued=call.stage is not _RUNNING)
            self.cancel(call)
            call.fail(error)
        if not over_limit or call.stage is not _RUNNING:
            if call.stage is _RUNNING:
                self._note(call.limit_at)
            return
        if not call.overdue:  # it has been cancelled; its worker's other calls are innocent
            call.overdue = True
            call.limit_at = now + _CANCEL_TIME
            self._note(call.limit_at)
            return
        call.limit_at = math.inf
        worker: Worker = call.holder.worker
        worker.face.kill(f"{call.action!r} of {call.app_path!r} ran longer than {app.timeout:g} s")
        self.drain(worker)  # nothing more for a process that is about to end

    # -- what there is ----------------------------------------------------------------------

    def fail_all(self, error: Callable[[Call], DirtyError]) -> None:
        """Ends every call: the pool is closed."""
        for call in list(self._calls.values()):
            if call.stage is _QUEUED:
                self._forget_queued(call)
            elif call.abandoned:
                continue
            call.abandoned = True
            self.apps[call.app_path].abandoned += 1
            call.fail(error(call))

    def describe_apps(self) -> dict[str, dict[str, Any]]:
        """Counters of each app, for STATUS."""
        return {path: app.describe() for path, app in self.apps.items()}
