# SPDX-License-Identifier: MIT
"""The pool under random events in random orders: no call is lost, doubled, or run beside too many.

Frames wait on their way in both directions until the machine lets them cross, so that replies,
cancellations, deaths and revocations meet in every order.
"""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.dirty.fake_pool import FakeCall, FakePool, FakeWorker
from trioserve.dirty import frames
from trioserve.dirty.calls import Stage
from trioserve.dirty.errors import (
    DirtyAppError,
    DirtyError,
    DirtyNoWorkersAvailableError,
    DirtyOverloadedError,
    DirtyTimeoutError,
    DirtyWorkerError,
)

pytestmark = pytest.mark.slow  # some thousand random events

APPS = ("a:A", "b:B", "c:C")
THREADS, OWN_THREADS, CONCURRENCY, QUEUE_SIZE, TIMEOUT = 2, {"c:C": 1}, 2, 6, 20.0
ENDS = ["result", "result", "result", "error", "chunk"]
NUMBERS = st.integers(0, 10**6)


class PoolUnderRandomEvents(RuleBasedStateMachine):
    @initialize(
        short=st.integers(0, 2), workers=st.lists(st.sets(st.sampled_from(APPS), min_size=1))
    )
    def start(self, short: int, workers: list[set[str]]) -> None:
        self.pool = FakePool(
            *APPS, queue_size=QUEUE_SIZE, timeout=TIMEOUT, own_threads=dict(OWN_THREADS)
        )
        if short:  # calls are sent ahead from the beginning
            for app in self.pool.apps.values():
                app.note_service_time(0.0003)
        self.workers: list[FakeWorker] = []
        self.gone: list[FakeWorker] = []
        self.calls: list[FakeCall] = []
        self.cancelled: set[int] = set()
        for paths in workers[:3]:
            self.a_worker_is_ready(paths)

    # -- callers ----------------------------------------------------------------------------

    @rule(
        actions=st.lists(
            st.sampled_from(["run", "run", "run", "task", "items"]), min_size=1, max_size=6
        ),
        path=st.sampled_from(APPS),
        timeout=st.sampled_from([math.inf, math.inf, 3.0, 0.01]),
    )
    def submit(self, actions: list[str], path: str, timeout: float) -> None:
        for action in actions:
            self.submit_one(FakeCall(path, action, timeout))

    @precondition(lambda self: any(worker.running for worker in self.workers))
    @rule(action=st.sampled_from(["run", "task"]), path=st.sampled_from(APPS), number=NUMBERS)
    def submit_nested(self, action: str, path: str, number: int) -> None:
        running = [call_id for worker in self.workers for call_id in worker.running]
        self.submit_one(FakeCall(path, action, parent=running[number % len(running)]))

    def submit_one(self, call: FakeCall) -> None:
        app = self.pool.apps[call.app_path]
        refusal: DirtyError | None = None
        try:
            self.pool.submit(call)
        except DirtyError as exc:
            refusal = exc
        if refusal is None:
            self.calls.append(call)
        elif isinstance(refusal, DirtyOverloadedError):
            assert app.queued >= QUEUE_SIZE
        elif isinstance(refusal, DirtyNoWorkersAvailableError):
            assert not app.workers
            assert not self.pool.expected
        else:
            assert call.trace is not None
            assert "wait for ever" in str(refusal)

    @precondition(lambda self: self.calls)
    @rule(number=NUMBERS)
    def cancel(self, number: int) -> None:
        call = self.calls[number % len(self.calls)]
        if not call.ends:
            self.cancelled.add(call.id)
        self.pool.cancel(call)

    @precondition(lambda self: self.calls)
    @rule(number=NUMBERS)
    def give_credit(self, number: int) -> None:
        self.pool.credit(self.calls[number % len(self.calls)], 1000)

    # -- workers ----------------------------------------------------------------------------

    @precondition(lambda self: len(self.workers) < 4)
    @rule(paths=st.sets(st.sampled_from(APPS), min_size=1))
    def a_worker_is_ready(self, paths: set[str]) -> None:
        worker = self.pool.add_worker(*sorted(paths), threads=THREADS, concurrency=CONCURRENCY)
        self.workers.append(worker)

    @precondition(lambda self: any(worker.inbox for worker in self.workers))
    @rule(number=NUMBERS, count=st.integers(1, 8))
    def frames_reach_a_worker(self, number: int, count: int) -> None:
        workers = [worker for worker in self.workers if worker.inbox]
        workers[number % len(workers)].read(count)

    @precondition(lambda self: any(worker.outbox or worker.late for worker in self.workers))
    @rule(number=NUMBERS, count=st.integers(1, 8), late=st.booleans())
    def frames_reach_the_pool(self, number: int, count: int, late: bool) -> None:
        workers = [worker for worker in self.workers if worker.outbox or worker.late]
        workers[number % len(workers)].speak(count, late=late)

    @precondition(lambda self: any(worker.running for worker in self.workers))
    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=4), how=st.sampled_from(ENDS))
    def actions_go_on(self, numbers: list[int], how: str) -> None:
        for number in numbers:
            workers = [worker for worker in self.workers if worker.running]
            if not workers:
                return
            worker = workers[number % len(workers)]
            call_id = sorted(worker.running)[number % len(worker.running)]
            call = next(call for call in self.calls if call.id == call_id)
            if how == "chunk":
                worker.outbox.append(frames.chunk(call_id, 1))
            elif how == "error":
                worker.end(call, frames.error(call_id, DirtyAppError("it raised")))
            else:
                worker.end(call)

    @precondition(lambda self: self.workers)
    @rule(number=NUMBERS)
    def a_worker_dies(self, number: int) -> None:
        # What a sync action replied is in the socket before the next one starts (jobs.py), and is
        # read before the end is seen.
        self.bury(self.workers[number % len(self.workers)])

    def bury(self, worker: FakeWorker) -> None:
        worker.die()
        self.workers.remove(worker)
        self.gone.append(worker)

    @precondition(lambda self: self.workers)
    @rule(number=NUMBERS)
    def a_worker_drains(self, number: int) -> None:
        self.pool.drain(self.workers[number % len(self.workers)].worker)

    @rule(expected=st.booleans())
    def others_may_come(self, expected: bool) -> None:
        self.pool.expected = expected
        self.pool.review()

    # -- time -------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.0001, 0.001, 0.01, 0.06, 0.06, 7.0]))
    def time_passes(self, seconds: float) -> None:
        self.pool.advance(seconds)
        for worker in [worker for worker in self.workers if worker.killed]:
            self.bury(worker)

    # -- what always holds --------------------------------------------------------------------

    @invariant()
    def no_call_ends_twice_or_after_it_was_given_up(self) -> None:
        for call in getattr(self, "calls", ()):
            assert call.ends <= (call.id not in self.cancelled or call.ends)
            assert call.ends <= 1
            assert (call.stage is Stage.ENDED) or not call.ends or call.abandoned

    @invariant()
    def no_call_starts_twice(self) -> None:
        started = [
            call_id
            for worker in [*getattr(self, "workers", ()), *getattr(self, "gone", ())]
            for call_id in worker.started
        ]
        assert len(started) == len(set(started))

    @invariant()
    def no_worker_is_given_more_async_calls_than_it_may_run(self) -> None:
        for worker in getattr(self, "workers", ()):
            assert list(worker.running.values()).count(None) <= CONCURRENCY
            for lane in worker.worker.lanes:
                assert len(lane.running) <= lane.size

    @invariant()
    def no_call_waits_while_a_slot_is_free(self) -> None:
        pool = getattr(self, "pool", None)
        for app in pool.apps.values() if pool is not None else ():
            for sync in (False, True):
                if app.queues[sync]:
                    lanes = [worker.lane(app, sync) for worker in app.workers]
                    assert all(len(lane.running) >= lane.size for lane in lanes)

    @invariant()
    def the_pools_count_of_what_waits_is_right(self) -> None:
        pool = getattr(self, "pool", None)
        if pool is not None:
            assert pool._queued == sum(app.queued for app in pool.apps.values())

    @invariant()
    def each_call_is_under_way_or_has_one_outcome(self) -> None:
        pool = getattr(self, "pool", None)
        if pool is None:
            return
        for path, app in pool.apps.items():
            calls = [call for call in pool._calls.values() if call.app_path == path]
            under_way = sum(not call.abandoned for call in calls)
            described = app.describe()
            assert sum(described["outcomes"].values()) == app.calls - under_way
            assert min(described["outcomes"].values()) >= 0

    def teardown(self) -> None:
        """Everything goes on as it should: each call that nobody gave up ends, and just once."""
        if not hasattr(self, "pool"):
            return
        pool = self.pool
        pool.expected = True
        self.workers.append(pool.add_worker(threads=THREADS, concurrency=CONCURRENCY))
        for _ in range(len(self.calls) + 10):
            for worker in self.workers:
                worker.read()
                for call in self.calls:
                    if call.id in worker.running:
                        worker.end(call)
                worker.read()
                worker.speak()
            pool.advance(0.01)
            if pool.is_empty:
                break
        for call in self.calls:
            assert call.ends == 1 or (call.ends == 0 and call.id in self.cancelled), call.stage
            for error in call.errors:
                if call.trace is not None and type(error) is DirtyError:
                    assert re.search("wait for ever|cancelled with the one", str(error))
                    continue
                assert isinstance(
                    error,
                    (
                        DirtyAppError,
                        DirtyTimeoutError,
                        DirtyWorkerError,
                        DirtyNoWorkersAvailableError,
                    ),
                )
        assert pool.is_empty


TestPoolUnderRandomEvents = PoolUnderRandomEvents.TestCase
TestPoolUnderRandomEvents.settings = settings(
    max_examples=100,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
