# SPDX-License-Identifier: MIT
"""Which call goes to which worker, and when: the pool with fake workers and a clock of its own."""

from __future__ import annotations

import math

import pytest

from tests.dirty.fake_pool import FakeCall, FakePool, FakeWorker, stages
from trioserve.dirty import frames
from trioserve.dirty.ahead import AHEAD_SIZE, REVOKE_AFTER, STUCK_AFTER
from trioserve.dirty.errors import (
    DirtyAppError,
    DirtyAppNotFoundError,
    DirtyError,
    DirtyNoWorkersAvailableError,
    DirtyOverloadedError,
    DirtyProtocolError,
    DirtyTimeoutError,
    DirtyWorkerError,
)
from trioserve.dirty.slots import App

# -- routing --------------------------------------------------------------------------------


def test_a_call_goes_to_a_free_worker_and_its_reply_to_its_caller() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    call = pool.call()
    assert worker.runs(call)
    worker.finish(call)
    assert call.result == "done"
    assert pool.is_empty


def test_calls_go_to_the_least_busy_worker_that_has_a_free_slot() -> None:
    pool = FakePool()
    one, two = pool.add_worker(threads=3), pool.add_worker(threads=2)
    calls = pool.calls(5)
    assert one.runs(calls[0], calls[2], calls[4])
    assert two.runs(calls[1], calls[3])
    two.finish(calls[1], calls[3])
    more = pool.call()
    assert two.runs(more)


def test_a_call_is_not_put_behind_a_long_one_while_another_worker_is_free() -> None:
    pool = FakePool()
    one, two = pool.add_worker(), pool.add_worker()
    (long,) = pool.calls(1)
    for _ in range(20):
        call = pool.call()
        assert two.runs(call)
        two.finish(call, seconds=0.0001)
    assert one.runs(long)


def test_calls_that_wait_are_served_in_their_order() -> None:
    pool = FakePool()
    one, two = pool.add_worker(), pool.add_worker()
    first, second, *waiting = pool.calls(6)
    assert stages(first, second, *waiting) == ["running"] * 2 + ["queued"] * 4
    one.finish(first, seconds=1)
    assert one.runs(waiting[0])
    one.finish(waiting[0], seconds=1)
    two.finish(second, seconds=1)
    assert one.runs(waiting[1])
    assert two.runs(waiting[2])
    two.finish(waiting[2], seconds=1)
    assert two.runs(waiting[3])


def test_apps_that_share_a_lane_are_served_by_the_age_of_their_calls() -> None:
    pool = FakePool("a:A", "b:B")
    worker = pool.add_worker()
    first, *rest = [pool.call(app_path=path) for path in ("a:A", "b:B", "a:A", "b:B", "b:B")]
    worker.finish(first, seconds=1)
    for call in rest:
        assert worker.runs(call)
        worker.finish(call, seconds=1)
    assert pool.is_empty


def test_a_worker_runs_as_many_sync_actions_as_it_has_threads() -> None:
    pool = FakePool()
    worker = pool.add_worker(threads=4)
    calls = pool.calls(6)
    assert worker.runs(*calls[:4])
    assert stages(*calls[4:]) == ["queued", "queued"]


def test_an_app_with_threads_of_its_own_has_a_lane_of_its_own() -> None:
    pool = FakePool("a:A", "b:B", own_threads={"b:B": 2})
    worker = pool.add_worker(threads=1)
    plain = pool.calls(2)
    own = pool.calls(3, app_path="b:B")
    assert worker.runs(plain[0], own[0], own[1])
    worker.finish(own[0], seconds=1)
    assert worker.runs(plain[0], own[1], own[2])


def test_async_actions_need_no_thread_and_are_bounded_by_themselves() -> None:
    pool = FakePool()
    worker = pool.add_worker(threads=1, concurrency=3)
    sync = pool.call()
    tasks = pool.calls(4, "task")
    assert worker.runs(sync, *tasks[:3])
    assert stages(tasks[3]) == ["queued"]
    worker.finish(tasks[1])
    assert worker.runs(sync, tasks[0], tasks[2], tasks[3])


def test_generators_take_the_slots_of_their_kind() -> None:
    pool = FakePool()
    worker = pool.add_worker(threads=1, concurrency=1)
    items, aitems = pool.call("items"), pool.call("aitems")
    more = pool.call("items"), pool.call("task")
    assert worker.runs(items, aitems)
    assert stages(*more) == ["queued", "queued"]


def test_an_app_that_only_some_workers_run_is_called_only_there() -> None:
    pool = FakePool("a:A", "b:B")
    everything, some = pool.add_worker(), pool.add_worker("a:A")
    calls = pool.calls(2, app_path="b:B")
    assert everything.runs(calls[0])
    assert some.runs()
    assert stages(calls[1]) == ["queued"]


def test_an_action_that_is_not_known_is_no_sync_one_and_waits_for_no_thread() -> None:
    pool = FakePool()
    pool.add_worker(threads=1)
    pool.call()
    assert not pool.apps["a:A"].is_sync("unheard_of")
    assert stages(pool.call("unheard_of")) == ["running"]


def test_all_actions_of_an_app_that_dispatches_by_itself_take_threads() -> None:
    app = App("a:A", math.inf)
    assert app.actions is None
    assert app.is_sync("anything")


# -- what can't be run ----------------------------------------------------------------------


def test_an_app_that_is_not_configured_is_refused_with_those_that_are() -> None:
    pool = FakePool("a:A", "b:B")
    with pytest.raises(DirtyAppNotFoundError, match="configured: a:A, b:B") as caught:
        pool.call(app_path="c:C")
    assert caught.value.app_path == "c:C"


def test_a_call_waits_for_the_first_worker_if_one_is_expected() -> None:
    pool = FakePool()
    call = pool.call()
    assert stages(call) == ["queued"]
    assert pool.add_worker().runs(call)


def test_a_call_is_refused_at_once_if_no_worker_is_there_and_none_expected() -> None:
    pool = FakePool()
    pool.expected = False
    with pytest.raises(DirtyNoWorkersAvailableError, match="the server's log") as caught:
        pool.call()
    assert caught.value.app_path == "a:A"
    assert pool.is_empty


def test_calls_that_wait_for_workers_that_will_not_come_fail() -> None:
    pool = FakePool()
    sync, task = pool.call(), pool.call("task")
    pool.review()
    assert stages(sync, task) == ["queued", "queued"]
    pool.expected = False
    pool.review()
    assert isinstance(sync.error, DirtyNoWorkersAvailableError)
    assert isinstance(task.error, DirtyNoWorkersAvailableError)
    assert pool.is_empty


def test_a_full_queue_refuses_a_call_at_once_and_takes_calls_again_when_it_is_not() -> None:
    pool = FakePool(queue_size=2)
    worker = pool.add_worker()
    running, *waiting = pool.calls(3)
    with pytest.raises(DirtyOverloadedError, match=r"2 calls wait .* \(dirty_queue_size\)") as e:
        pool.call()
    assert (e.value.app_path, e.value.queue_size) == ("a:A", 2)
    pool.cancel(waiting[0])
    replacement = pool.call()
    worker.finish(running, seconds=1)
    assert stages(waiting[1], replacement, pool.call()) == ["running", "queued", "queued"]


def test_the_queue_is_bounded_for_each_app_by_itself() -> None:
    pool = FakePool("a:A", "b:B", queue_size=1)
    pool.add_worker()
    pool.calls(2)
    assert stages(pool.call(app_path="b:B")) == ["queued"]


def test_a_call_that_is_longer_than_a_frame_may_be_is_refused_and_takes_no_slot() -> None:
    pool = FakePool(max_frame_size=100_000)
    worker = pool.add_worker()
    with pytest.raises(DirtyProtocolError, match="dirty_max_frame_size is 100000"):
        pool.call(size=100_000)
    assert pool.is_empty
    assert worker.runs(pool.call())


# -- time -----------------------------------------------------------------------------------


def test_time_in_the_queue_counts_against_the_callers_timeout() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    running = pool.call()
    waiting = pool.call(timeout=2)
    pool.advance(1.9)
    worker.finish(running)
    assert worker.runs(waiting)
    pool.advance(0.2)
    assert isinstance(waiting.error, DirtyTimeoutError)
    assert str(waiting.error) == "the call of 'run' of 'a:A' did not end within 2 s"
    assert waiting.error.timeout == 2


def test_a_call_that_is_not_served_in_time_says_that_it_waited() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    running, late = pool.call(), pool.call(timeout=0.5)
    pool.advance(0.6)
    assert str(late.error) == "the call of 'run' of 'a:A' waited 0.5 s for a worker"
    worker.finish(running)
    assert worker.started == [running.id]
    assert pool.is_empty


def test_a_sync_action_past_its_callers_timeout_is_told_and_keeps_its_slot() -> None:
    pool = FakePool(timeout=300)
    worker = pool.add_worker()
    call = pool.call(timeout=1)
    pool.advance(1)
    assert isinstance(call.error, DirtyTimeoutError)
    waiting = pool.call()
    assert worker.runs(call)
    assert worker.cancelled == [call.id]
    assert stages(call, waiting) == ["running", "queued"]
    worker.finish(call)  # its reply is nobody's
    assert call.ends == 1
    assert worker.runs(waiting)
    assert worker.killed == []


def test_a_hung_sync_action_fails_at_the_apps_timeout_and_its_worker_is_killed_a_little_later() -> (
    None
):
    pool = FakePool(timeout=5)
    worker = pool.add_worker()
    call = pool.call()
    pool.advance(4.9)
    assert (call.ends, worker.killed) == (0, [])
    pool.advance(0.2)
    assert isinstance(call.error, DirtyTimeoutError)
    assert call.error.timeout == 5
    assert worker.runs(call)
    assert worker.cancelled == [call.id]
    pool.advance(4.8)
    assert worker.killed == []
    pool.advance(0.2)
    assert worker.killed == ["'run' of 'a:A' ran longer than 5 s"]
    pool.advance(1000)
    assert len(worker.killed) == 1
    worker.die()
    assert call.ends == 1
    assert pool.is_empty


def test_a_sync_action_that_heeds_its_cancellation_costs_no_worker() -> None:
    pool = FakePool(timeout=5)
    worker = pool.add_worker(threads=2)
    items, innocent = pool.call("items"), None
    pool.advance(4)
    innocent = pool.call()
    pool.advance(2)
    assert isinstance(items.error, DirtyTimeoutError)
    worker.fail(items)  # at its next item
    pool.advance(2)
    worker.finish(innocent)
    assert innocent.result == "done"
    pool.advance(1000)
    assert worker.killed == []
    assert pool.is_empty


def test_the_apps_timeout_kills_after_the_time_that_the_action_ran_not_that_it_waited() -> None:
    pool = FakePool(timeout=5)
    worker = pool.add_worker()
    first = pool.call()
    second = pool.call()
    pool.advance(4)
    worker.finish(first)
    pool.advance(2)  # six seconds after its call, two after its start
    assert isinstance(second.error, DirtyTimeoutError)
    assert worker.cancelled == [] or worker.runs(second)
    assert worker.killed == []
    pool.advance(2.5)
    assert worker.killed == []
    pool.advance(1 + 5)
    assert len(worker.killed) == 1


def test_a_call_without_a_timeout_has_that_of_its_app_the_queue_included() -> None:
    pool = FakePool(timeout=5)
    pool.expected = True
    call = pool.call()
    pool.advance(6)
    assert str(call.error) == "the call of 'run' of 'a:A' waited 5 s for a worker"


def test_an_apps_own_timeout_that_is_learned_later_holds_for_calls_that_wait_already() -> None:
    pool = FakePool(timeout=5)
    short, long = pool.call(timeout=6), pool.call()
    pool.advance(4)
    pool.set_timeout("a:A", 20)
    pool.advance(3)
    assert short.error.timeout == 6
    assert stages(long) == ["queued"]
    pool.set_timeout("a:A", 7.5)
    pool.advance(1)
    assert long.error.timeout == 7.5


def test_nothing_is_killed_for_a_call_that_its_caller_has_given_up_before_the_apps_timeout() -> (
    None
):
    pool = FakePool(timeout=5)
    worker = pool.add_worker()
    call = pool.call()
    pool.cancel(call)
    pool.advance(9)
    assert worker.killed == []
    pool.advance(2)
    assert len(worker.killed) == 1  # it still holds its thread


def test_a_worker_that_is_about_to_be_killed_is_given_nothing_more() -> None:
    pool = FakePool(timeout=5)
    hung, idle = pool.add_worker(threads=2), pool.add_worker(threads=1)
    call, other = pool.call(), pool.call()
    assert (hung.runs(call), idle.runs(other)) == (True, True)
    pool.advance(4)
    idle.finish(other)
    pool.advance(1.5 + 4)
    busy = pool.call()
    pool.advance(1)
    assert hung.killed
    waiting = pool.call()
    assert hung.runs(call)
    idle.finish(busy, seconds=1)
    hung.die()
    assert idle.runs(waiting)


def test_an_async_action_past_the_apps_timeout_is_cancelled_and_killed_only_if_it_stays() -> None:
    pool = FakePool(timeout=5)
    worker = pool.add_worker()
    good, bad = pool.calls(2, "task")
    pool.advance(5)
    assert isinstance(good.error, DirtyTimeoutError)
    assert isinstance(bad.error, DirtyTimeoutError)
    worker.read()
    assert worker.cancelled == [good.id, bad.id]
    worker.fail(good)
    pool.advance(4.9)
    assert worker.killed == []
    pool.advance(0.2)
    assert worker.killed == ["'task' of 'a:A' ran longer than 5 s"]


def test_without_a_timeout_nothing_is_ever_swept() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    call, waiting = pool.call(), pool.call()
    assert pool.next_sweep == math.inf
    pool.advance(10**6)
    assert worker.runs(call)
    assert stages(waiting) == ["queued"]


def test_who_sweeps_is_told_when_the_next_deadline_is_nearer_than_it_was() -> None:
    pool = FakePool()
    told: list[float] = []
    pool.on_sooner = lambda: told.append(pool.next_sweep - pool.now)
    pool.add_worker()
    for timeout in (10, 20, 5):
        pool.call(timeout=timeout)
    assert told == [10, 5]
    pool.advance(5)
    assert pool.next_sweep == pool.now + 5


# -- what callers do ------------------------------------------------------------------------


def test_a_call_that_is_cancelled_in_the_queue_is_never_sent() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    running, given_up, waiting = pool.calls(3)
    pool.cancel(given_up)
    worker.finish(running, seconds=1)
    assert worker.runs(waiting)
    assert given_up.ends == 0


def test_a_call_that_is_cancelled_while_it_runs_keeps_its_slot_until_its_worker_lets_go() -> None:
    pool = FakePool()
    worker = pool.add_worker(concurrency=1)
    call, waiting = pool.calls(2, "task")
    worker.read()
    pool.cancel(call)
    pool.cancel(call)
    worker.read()
    assert worker.cancelled == [call.id]
    assert stages(waiting) == ["queued"]
    worker.fail(call)
    assert call.ends == 0
    assert worker.runs(waiting)


def test_a_late_reply_or_chunk_of_a_cancelled_call_is_delivered_to_nobody() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    call = pool.call("aitems")
    worker.chunk(call, 1)
    pool.cancel(call)
    worker.chunk(call, 2)
    worker.finish(call)
    assert (call.chunks, call.ends) == ([1], 0)
    worker.outbox.append(frames.response(call.id, "again"))
    worker.speak()
    assert (call.chunks, call.ends) == ([1], 0)


def test_cancelling_a_call_that_has_ended_does_nothing() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    call = pool.call()
    worker.finish(call)
    pool.cancel(call)
    worker.read()
    assert worker.cancelled == []


def test_chunks_come_in_order_and_credit_goes_to_the_worker_until_the_end() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    call = pool.call("items")
    for item in range(3):
        worker.chunk(call, item)
    pool.credit(call, 1000)
    worker.read()
    assert worker.credits == [(call.id, 1000)]
    worker.read()
    worker.end(call, frames.end(call.id))
    worker.speak()
    assert (call.chunks, call.result) == ([0, 1, 2], "end")
    pool.credit(call, 1000)
    assert not worker.inbox


# -- calls sent ahead -----------------------------------------------------------------------


def test_nothing_is_sent_ahead_before_an_app_has_shown_that_its_actions_are_short() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    first, second, third = pool.calls(3)
    assert stages(second, third) == ["queued", "queued"]
    worker.finish(first, seconds=0.1)
    assert stages(second, third) == ["running", "queued"]


def test_one_long_action_ends_the_sending_ahead_at_once_and_short_ones_bring_it_back_slowly() -> (
    None
):
    app = App("a:A", math.inf)
    assert app.ahead_limit == 0
    app.note_service_time(0.0001)
    assert app.ahead_limit > 1
    app.note_service_time(1.0)
    assert app.ahead_limit == 0
    count = 0
    while not app.ahead_limit:
        app.note_service_time(0.0001)
        count += 1
    assert 10 < count < 50
    for _ in range(100):
        app.note_service_time(0.0)
    assert app.ahead_limit == 32


def test_short_calls_are_sent_ahead_to_a_busy_worker_and_start_without_a_round_trip() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    pool.make_short(worker)
    calls = pool.calls(4)
    assert stages(*calls) == ["running", "ahead", "ahead", "ahead"]
    worker.read()
    worker.end(calls[0])
    assert list(worker.running) == [calls[1].id]  # the pool has not been told yet
    worker.speak()
    assert stages(*calls) == ["ended", "running", "ahead", "ahead"]
    worker.finish(*calls[1:])
    assert [call.result for call in calls] == ["done"] * 4
    assert pool.is_empty


def test_calls_are_sent_ahead_where_fewest_are() -> None:
    pool = FakePool()
    one, two = pool.add_worker(), pool.add_worker()
    pool.make_short(one)
    pool.calls(6)
    assert len(one.inbox) == len(two.inbox) == 3


def test_what_is_sent_ahead_is_bounded_and_the_rest_waits() -> None:
    pool = FakePool(queue_size=5)
    worker = pool.add_worker()
    pool.make_short(worker)
    limit = pool.apps["a:A"].ahead_limit
    calls = pool.calls(1 + limit + 5)
    assert stages(*calls) == ["running"] + ["ahead"] * limit + ["queued"] * 5
    with pytest.raises(DirtyOverloadedError):
        pool.call()
    worker.finish(calls[0], seconds=0.0001)
    assert stages(calls[1], calls[1 + limit]) == ["running", "ahead"]


def test_large_calls_and_async_ones_are_not_sent_ahead() -> None:
    pool = FakePool()
    worker = pool.add_worker(concurrency=1)
    pool.make_short(worker)
    running = pool.call()
    assert stages(pool.call(size=AHEAD_SIZE)) == ["queued"]
    worker.finish(running, seconds=0.0001)
    assert stages(*pool.calls(2, "task")) == ["running", "queued"]


def test_nothing_is_sent_ahead_behind_a_call_that_turns_out_to_be_long() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    pool.make_short(worker)
    pool.call()
    pool.advance(1)
    assert stages(pool.call()) == ["queued"]


@pytest.mark.parametrize("long_one", [0, 1])
def test_a_call_sent_ahead_behind_a_long_one_goes_to_the_worker_that_is_free_first(
    long_one: int,
) -> None:
    pool = FakePool()
    workers = [pool.add_worker(), pool.add_worker()]
    pool.make_short(workers[0])
    running = pool.calls(2)
    ahead = pool.calls(6)
    assert stages(*running, *ahead) == ["running"] * 2 + ["ahead"] * 6
    long = running[long_one]
    stuck, free = workers[long_one], workers[1 - long_one]
    stuck.read()
    free.finish(running[1 - long_one], *ahead[1 - long_one :: 2], seconds=0.0001)
    for call in ahead[long_one::2]:
        pool.advance(REVOKE_AFTER * 2)
        stuck.read()
        stuck.speak()
        assert free.runs(call)
        free.finish(call, seconds=0.0001)
    assert stuck.started[-1] == long.id
    stuck.finish(long)
    assert pool.is_empty


def test_a_call_sent_ahead_behind_a_long_one_is_not_overtaken_for_ever_by_a_busy_worker() -> None:
    pool = FakePool()
    stuck, busy = pool.add_worker(), pool.add_worker()
    pool.make_short(stuck)
    long, running, ahead = pool.calls(3)
    assert stages(ahead) == ["ahead"]
    stuck.read()
    for _ in range(int(STUCK_AFTER / 0.0005) * 2):  # busy is never idle
        following = pool.call()
        busy.finish(running, seconds=0.0005)
        running = following
        stuck.read()
        stuck.speak()
        if ahead.stage.value == "ended" or ahead.id in busy.started:
            break
        if not busy.runs(running):
            running = next(call for call in (running, ahead) if call.id in busy.running)
    assert ahead.id in busy.started
    assert stuck.runs(long)


def test_a_call_sent_ahead_goes_to_a_worker_that_becomes_ready() -> None:
    pool = FakePool()
    one = pool.add_worker()
    pool.make_short(one)
    long, ahead = pool.calls(2)
    assert stages(ahead) == ["ahead"]
    one.read()
    two = pool.add_worker()
    pool.advance(1)
    one.read()
    one.speak()
    assert one.runs(long)
    assert two.runs(ahead)


def test_a_call_that_was_asked_back_but_had_started_stays_where_it_is() -> None:
    pool = FakePool()
    one, two = pool.add_worker(), pool.add_worker()
    pool.make_short(one)
    first, other, ahead = pool.calls(3)
    one.read()
    two.finish(other, seconds=0.0001)
    pool.advance(1)  # REVOKE is under way
    one.end(first)  # and ahead starts
    one.read()
    one.speak()
    assert one.runs(ahead)
    one.finish(ahead)
    assert (first.result, ahead.result) == ("done", "done")
    assert one.started[-2:] == [first.id, ahead.id]
    assert ahead.id not in two.started
    assert pool.is_empty


def test_a_call_that_is_given_back_just_when_its_turn_has_come_runs_elsewhere() -> None:
    pool = FakePool()
    one, two = pool.add_worker(), pool.add_worker()
    pool.make_short(one)
    first, other, given_back, _, last = pool.calls(5)
    two.read()
    one.read()
    pool.drain(two.worker)
    pool.worker_lost(two.worker, "gone")
    assert isinstance(other.error, DirtyWorkerError)
    three = pool.add_worker()
    pool.advance(1)
    one.read()  # gives the ones sent ahead back, …
    assert one.late
    one.end(first)
    one.speak(late=False)  # … but that it has ended the one before comes first
    one.speak()
    for worker in (one, three) * 3:
        worker.read()
        for call in (given_back, last):
            if call.id in worker.running:
                worker.finish(call)
    assert (given_back.result, last.result) == ("done", "done")


def test_cancelling_a_call_sent_ahead_makes_way_for_those_behind_it() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    pool.make_short(worker)
    running, given_up, next_one = pool.calls(3)
    worker.read()
    pool.cancel(given_up)
    worker.read()
    worker.speak()
    worker.finish(running)
    assert worker.runs(next_one)
    assert (given_up.ends, given_up.id in worker.started) == (0, False)
    worker.finish(next_one)
    assert pool.is_empty


def test_a_call_sent_ahead_that_is_cancelled_as_it_starts_ends_as_a_running_one() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    pool.make_short(worker)
    running, given_up = pool.calls(2)
    worker.read()
    worker.end(running)
    pool.cancel(given_up)
    worker.read()
    assert worker.cancelled == [given_up.id]
    worker.speak()
    worker.finish(given_up)
    assert (running.result, given_up.ends) == ("done", 0)
    assert pool.is_empty


def test_a_call_sent_ahead_whose_time_is_over_fails_with_a_timeout() -> None:
    pool = FakePool(timeout=300)
    worker = pool.add_worker()
    pool.make_short(worker)
    pool.call()
    late = pool.call(timeout=1)
    assert stages(late) == ["ahead"]
    pool.advance(1)
    assert isinstance(late.error, DirtyTimeoutError)
    worker.read()
    worker.speak()
    assert late.ends == 1


# -- draining -------------------------------------------------------------------------------


def test_a_draining_worker_gets_nothing_new_finishes_what_it_has_and_says_so_once() -> None:
    pool = FakePool()
    old, new = pool.add_worker(threads=2), pool.add_worker(threads=1)
    calls = pool.calls(3)
    idle: list[str] = []
    old.worker.on_idle = lambda: idle.append("idle")
    assert not pool.drain(old.worker)
    assert not pool.drain(old.worker)
    waiting = pool.call()
    old.finish(calls[0])
    assert idle == []
    old.finish(calls[2])
    assert idle == ["idle"]
    assert stages(waiting) == ["queued"]
    new.finish(calls[1], seconds=1)
    assert new.runs(waiting)
    assert old.started == [calls[0].id, calls[2].id]


def test_a_worker_with_nothing_to_do_is_drained_at_once() -> None:
    pool = FakePool()
    assert pool.drain(pool.add_worker().worker)


@pytest.mark.parametrize("order", ["given back first", "finished first"])
def test_what_was_sent_ahead_to_a_draining_worker_is_asked_back_and_runs_elsewhere(
    order: str,
) -> None:
    pool = FakePool()
    old, new = pool.add_worker(), pool.add_worker(threads=4)
    pool.make_short(old)
    calls = pool.calls(9)
    assert stages(*calls).count("ahead") == 4
    old.read()
    new.read()
    sent_ahead = [
        call for call in calls if call.stage.value == "ahead" and call.holder.worker is old.worker
    ]
    running = next(call for call in calls if call.id in old.running)
    idle: list[str] = []
    old.worker.on_idle = lambda: idle.append("idle")
    pool.drain(old.worker)
    if order == "finished first":
        old.end(running)
        old.speak()
    old.read()
    old.speak()
    if order == "given back first":
        old.finish(running)
    while old.running:
        old.finish(next(call for call in calls if call.id in old.running))
    assert idle == ["idle"]
    for _ in range(10):
        new.read()
        for call in calls:
            if call.id in new.running:
                new.finish(call)
    assert [call.ends for call in calls] == [1] * 9
    if order == "given back first":
        assert all(call.id in new.started for call in sent_ahead)


def test_a_worker_that_does_not_answer_gets_nothing_new_until_it_does() -> None:
    pool = FakePool()
    silent, other = pool.add_worker(threads=2), pool.add_worker()
    first, second = pool.calls(2)
    assert silent.runs(first)
    pool.suspend(silent.worker)
    waiting = pool.call()
    task = pool.call("task")
    assert stages(waiting, task) == ["queued", "running"]
    assert other.runs(second, task)
    silent.finish(first, seconds=1)  # its threads answer, its loop does not
    assert silent.runs()
    pool.resume(silent.worker)
    assert silent.runs(waiting)
    pool.suspend(silent.worker)
    pool.drain(silent.worker)
    pool.resume(silent.worker)
    late = pool.call()
    assert stages(late) == ["queued"]
    other.finish(second, task)
    assert other.runs(late)
    silent.finish(waiting)
    other.finish(late)
    assert pool.is_empty


def test_the_only_worker_may_be_silent_for_a_while_and_calls_wait_for_it() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    parent = pool.call()
    pool.suspend(worker.worker)
    pool.coming = True
    call, child = pool.call(), pool.call("task", parent=parent)
    assert stages(call, child) == ["queued", "queued"]
    worker.die()
    assert isinstance(parent.error, DirtyWorkerError)
    successor = pool.add_worker()
    assert successor.runs(call, child)


def test_calls_that_wait_fail_when_the_last_worker_drains_and_none_will_come() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    running, waiting = pool.calls(2)
    pool.expected = False
    pool.drain(worker.worker)
    assert isinstance(waiting.error, DirtyNoWorkersAvailableError)
    worker.finish(running)
    assert running.result == "done"


# -- the death of a worker ------------------------------------------------------------------


def test_the_calls_that_a_dead_worker_ran_fail_at_once_and_say_how_it_ended() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    sync, task = pool.call(), pool.call("task")
    worker.read()
    worker.die("exit code 7")
    for call, action in ((sync, "run"), (task, "task")):
        assert isinstance(call.error, DirtyWorkerError)
        assert call.error.worker_id == worker.worker.pid
        assert str(call.error) == (
            f"worker {worker.worker.pid} ended (exit code 7) while it ran {action!r} of 'a:A'"
        )
    assert pool.is_empty


def test_calls_that_wait_are_served_by_others_when_a_worker_dies() -> None:
    pool = FakePool()
    one, two = pool.add_worker(), pool.add_worker()
    calls = pool.calls(4)
    one.die()
    assert isinstance(calls[0].error, DirtyWorkerError)
    assert stages(*calls[2:]) == ["queued", "queued"]
    two.finish(calls[1], seconds=1)
    assert two.runs(calls[2])
    assert pool.add_worker().runs(calls[3])


def test_calls_that_were_sent_ahead_to_a_dead_worker_run_elsewhere_in_their_order() -> None:
    pool = FakePool()
    one, two = pool.add_worker(), pool.add_worker()
    pool.make_short(one)
    calls = pool.calls(8)
    one.die()
    assert isinstance(calls[0].error, DirtyWorkerError)
    order = []
    while two.running or two.inbox:
        two.read()
        (running,) = [call for call in calls if call.id in two.running]
        order.append(running.id)
        two.finish(running)
    assert set(order) == {call.id for call in calls[1:]}
    assert [call.ends for call in calls] == [1] * 8


def test_a_reply_that_was_sent_before_the_death_is_a_result_and_what_followed_it_was_running() -> (
    None
):
    pool = FakePool()
    worker = pool.add_worker()
    pool.make_short(worker)
    done, started, ahead = pool.calls(3)
    worker.read()
    worker.end(done)
    worker.die()
    assert done.result == "done"
    assert isinstance(started.error, DirtyWorkerError)
    assert stages(ahead) == ["queued"]


def test_a_call_that_was_given_up_is_told_nothing_of_its_workers_death() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    pool.make_short(worker)
    running, ahead = pool.calls(2)
    pool.cancel(running)
    pool.cancel(ahead)
    worker.die()
    assert (running.ends, ahead.ends) == (0, 0)
    assert pool.is_empty
    assert pool.add_worker().runs()


def test_calls_that_wait_fail_if_the_last_worker_dies_and_none_will_come() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    _, waiting = pool.calls(2)
    pool.expected = False
    worker.die()
    assert isinstance(waiting.error, DirtyNoWorkersAvailableError)


def test_a_worker_that_dies_while_it_drains_fails_what_it_ran() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    call = pool.call()
    pool.drain(worker.worker)
    worker.die()
    assert isinstance(call.error, DirtyWorkerError)
    assert pool.workers == []


def test_an_error_of_the_action_ends_the_call_and_frees_its_slot() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    call, waiting = pool.calls(2)
    worker.fail(call)
    assert isinstance(call.error, DirtyAppError)
    assert worker.runs(waiting)


def test_closing_the_pool_fails_all_calls_once() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    pool.make_short(worker)
    given_up, *calls = pool.calls(60)
    pool.cancel(given_up)
    assert {"ahead", "queued"} <= set(stages(*calls))
    pool.fail_all(lambda call: DirtyError(f"closed: {call.action}"))
    assert [str(call.error) for call in calls] == ["closed: run"] * 59
    worker.die()
    assert [call.ends for call in [given_up, *calls]] == [0] + [1] * 59


# -- calls made by actions ------------------------------------------------------------------

DEADLOCK = "would wait for ever"


def test_a_nested_call_that_only_its_own_parents_slot_could_run_is_refused() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    parent = pool.call()
    with pytest.raises(DirtyError, match=DEADLOCK):
        pool.call(parent=parent)
    assert stages(pool.call("task", parent=parent)) == ["running"]
    worker.finish(parent)
    assert parent.result == "done"


def test_a_nested_call_is_refused_just_so_where_short_calls_are_sent_ahead() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    pool.make_short(worker)
    parent = pool.call()
    with pytest.raises(DirtyError, match=DEADLOCK):
        pool.call(parent=parent)


def test_a_nested_call_runs_where_there_is_another_slot() -> None:
    pool = FakePool()
    pool.add_worker(threads=2)
    parent = pool.call()
    child = pool.call(parent=parent)
    with pytest.raises(DirtyError, match=DEADLOCK):
        pool.call(parent=child)


def test_a_nested_call_waits_where_another_call_will_end() -> None:
    pool = FakePool()
    worker = pool.add_worker(threads=2)
    parent, other = pool.calls(2)
    child = pool.call(parent=parent)
    assert stages(child) == ["queued"]
    with pytest.raises(DirtyError, match=DEADLOCK):
        pool.call(parent=other)
    worker.finish(other)
    assert worker.runs(parent, child)


def test_a_nested_call_that_waits_is_never_sent_ahead() -> None:
    pool = FakePool()
    worker = pool.add_worker(threads=2)
    pool.make_short(worker)
    parent, other, waiting = pool.calls(3)
    child = pool.call(parent=parent)
    assert stages(waiting, child) == ["ahead", "queued"]
    worker.finish(other)
    assert stages(waiting, child) == ["running", "queued"]
    with pytest.raises(DirtyError, match=DEADLOCK):
        pool.call(parent=waiting)


def test_a_deadlock_over_two_apps_is_seen() -> None:
    pool = FakePool("a:A", "b:B", own_threads={"a:A": 1, "b:B": 1})
    pool.add_worker()
    a = pool.call(app_path="a:A")
    b = pool.call(app_path="b:B", parent=a)
    with pytest.raises(DirtyError, match=DEADLOCK):
        pool.call(app_path="a:A", parent=b)


def test_two_calls_that_wait_for_each_others_slot_are_a_deadlock() -> None:
    pool = FakePool("a:A", "b:B", own_threads={"a:A": 1, "b:B": 1})
    pool.add_worker()
    a, b = pool.call(app_path="a:A"), pool.call(app_path="b:B")
    child = pool.call(app_path="b:B", parent=a)
    assert stages(child) == ["queued"]
    with pytest.raises(DirtyError, match=DEADLOCK):
        pool.call(app_path="a:A", parent=b)


def test_a_chain_of_five_apps_is_a_deadlock_only_where_it_closes() -> None:
    paths = [f"{name}:{name.upper()}" for name in "abcde"]
    pool = FakePool(*paths, own_threads=dict.fromkeys(paths, 1))
    worker = pool.add_worker()
    chain = [pool.call(app_path=paths[0])]
    for path in paths[1:]:
        chain.append(pool.call(app_path=path, parent=chain[-1]))
    assert worker.runs(*chain)
    for path in paths:
        with pytest.raises(DirtyError, match=DEADLOCK):
            pool.call(app_path=path, parent=chain[-1])
    worker.finish(chain[-1])
    assert stages(pool.call(app_path=paths[-1], parent=chain[-2])) == ["running"]


def test_a_call_that_waits_for_one_of_two_children_is_stuck_if_one_of_them_is() -> None:
    pool = FakePool("a:A", "b:B", own_threads={"a:A": 1, "b:B": 1})
    worker = pool.add_worker()
    a, b = pool.call(app_path="a:A"), pool.call(app_path="b:B")
    task = pool.call("task", parent=a)
    pool.call(app_path="b:B", parent=a)
    with pytest.raises(DirtyError, match=DEADLOCK):
        pool.call(app_path="a:A", parent=b)
    worker.finish(b)
    assert stages(task) == ["running"]


def test_a_deadlock_of_many_async_calls_is_seen_as_quickly_as_one_of_two() -> None:
    pool = FakePool()
    pool.add_worker(concurrency=100)
    parents = pool.calls(100, "task")
    for parent in parents[:-1]:
        assert stages(pool.call("task", parent=parent)) == ["queued"]
    with pytest.raises(DirtyError, match=DEADLOCK):
        pool.call("task", parent=parents[-1])


def test_a_chain_of_calls_may_be_as_long_as_there_are_slots() -> None:
    pool = FakePool()
    worker = pool.add_worker(concurrency=5000)
    chain = [pool.call("task")]
    for _ in range(4999):
        chain.append(pool.call("task", parent=chain[-1]))
    with pytest.raises(DirtyError, match=DEADLOCK):
        pool.call("task", parent=chain[-1])
    assert worker.runs(*chain)
    pool.cancel(chain[0])
    assert [call.ends for call in chain] == [0] + [1] * 4999
    worker.finish(*reversed(chain))
    assert pool.is_empty


def test_a_call_cannot_be_its_own_ancestor() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    first = pool.call()
    own_id = first.id + 1
    forged = FakeCall("a:A", "run", parent=own_id)
    pool.submit(forged)
    assert forged.id == own_id
    assert forged.parent is None
    waiting = pool.call(parent=forged)  # which holds no slot, so nobody's action can have made it
    assert waiting.parent is None
    with pytest.raises(DirtyError, match=DEADLOCK):
        pool.call(parent=first)
    worker.finish(first, forged, waiting)
    assert pool.is_empty


def test_a_trace_counts_only_if_it_names_the_worker_that_runs_the_call() -> None:
    pool = FakePool()
    fake = pool.add_worker()
    fake.worker.token = 17
    parent = pool.call()
    for token in (0, 16, 18):  # another pool's, or made up
        stranger = FakeCall("a:A", "run")
        stranger.trace = frames.Trace(parent.id, token)
        pool.submit(stranger)
        assert (stranger.parent, stages(stranger)) == (None, ["queued"])
    child = FakeCall("a:A", "run")
    child.trace = frames.Trace(parent.id, 17)
    with pytest.raises(DirtyError, match=DEADLOCK):
        pool.submit(child)


@pytest.mark.parametrize("way", ["cancelled", "out of time"])
def test_the_calls_of_a_call_end_with_it_and_whoever_waits_is_told_at_once(way: str) -> None:
    pool = FakePool("a:A", "b:B", own_threads={"a:A": 1, "b:B": 1}, timeout=60)
    worker = pool.add_worker()
    parent = pool.call(timeout=5)
    child = pool.call("task", "b:B", parent=parent)
    running = pool.call(app_path="b:B", parent=child)
    other = pool.call("task", "b:B")
    queued = pool.call(app_path="b:B", parent=child)
    if way == "cancelled":
        pool.cancel(parent)
    else:
        pool.advance(5)
        assert isinstance(parent.error, DirtyTimeoutError)
    for call in (child, running, queued):
        assert str(call.error).endswith("was cancelled with the one that made it")
    assert worker.runs(parent, child, running, other)
    assert sorted(worker.cancelled) == [parent.id, child.id, running.id]
    worker.finish(running, child, parent, other)
    assert (child.ends, other.result) == (1, "done")
    assert pool.is_empty


def test_a_call_that_outlives_the_one_that_made_it_is_nobodys() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    parent = pool.call("task")
    child = pool.call("task", parent=parent)
    worker.finish(parent)
    assert child.parent is None
    pool.cancel(parent)
    worker.finish(child)
    assert child.result == "done"


def test_a_deadlock_that_the_loss_of_a_slot_makes_is_ended_by_refusing_the_youngest() -> None:
    pool = FakePool()
    one, two = pool.add_worker(), pool.add_worker()
    parent, other = pool.calls(2)
    assert (one.runs(parent), two.runs(other)) == (True, True)
    first, second = pool.call(parent=parent), pool.call(parent=parent)
    pool.coming = True  # a successor
    two.die()
    assert stages(first, second) == ["queued", "queued"]
    pool.coming = False  # which can't start
    pool.review()
    for child in (first, second):
        assert DEADLOCK in str(child.error)
    one.finish(parent)
    assert pool.is_empty


def test_a_nested_call_waits_for_a_worker_that_is_about_to_come() -> None:
    pool = FakePool()
    pool.add_worker()
    parent = pool.call()
    pool.coming = True
    child = pool.call(parent=parent)
    assert stages(child) == ["queued"]
    pool.add_worker()
    assert stages(child) == ["running"]


def test_a_call_is_submitted_once() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    running, queued = pool.calls(2)
    for call in (running, queued):
        with pytest.raises(RuntimeError, match="was submitted already"):
            pool.submit(call)
    worker.finish(running, queued)
    with pytest.raises(RuntimeError, match="it is ended"):
        pool.submit(running)
    assert pool.is_empty
    refused = FakeCall("no:App", "run")
    with pytest.raises(DirtyError):
        pool.submit(refused)
    pool.cancel(refused)  # does nothing
    assert pool.is_empty


def test_no_deadlock_is_seen_where_a_first_worker_will_come() -> None:
    pool = FakePool("a:A", "b:B")
    pool.add_worker("a:A")
    parent = pool.call()
    assert stages(pool.call(app_path="b:B", parent=parent)) == ["queued"]


def test_a_parent_that_has_ended_or_that_is_unknown_makes_no_deadlock() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    parent = pool.call()
    worker.finish(parent, seconds=1)
    running = pool.call(parent=parent)
    stranger = FakeCall("a:A", "run", parent=10**6)
    pool.submit(stranger)
    assert stages(running, stranger) == ["running", "queued"]


def test_a_nested_call_that_has_ended_is_forgotten_by_its_parent() -> None:
    pool = FakePool()
    worker = pool.add_worker(threads=2)
    parent = pool.call()
    for _ in range(3):
        worker.finish(pool.call(parent=parent))
    cancelled = pool.call("task", parent=parent)
    pool.cancel(cancelled)
    worker.finish(cancelled)
    assert not parent.children


# -- what is counted ------------------------------------------------------------------------


def test_apps_and_workers_count_calls_errors_and_timeouts() -> None:
    pool = FakePool("a:A", "b:B")
    worker = pool.add_worker()
    counted: list[tuple[str, int]] = []
    worker.worker.on_count = lambda path, count: counted.append((path, count))
    worker.finish(pool.call(), pool.call("task"))
    worker.fail(pool.call(app_path="b:B"))
    slow = pool.call(timeout=1)
    pool.advance(1)
    waiting = pool.call()
    described = pool.describe_apps()["a:A"]
    assert {key: value for key, value in described.items() if isinstance(value, int)} == {
        "workers": 1,
        "queued": 1,
        "running": 1,
        "calls": 4,
        "errors": 0,
        "timeouts": 1,
    }
    assert pool.describe_apps()["b:B"]["errors"] == 1
    worker.finish(slow, waiting)
    assert worker.worker.counts == {"a:A": 4, "b:B": 1}
    assert counted == [("a:A", 1), ("a:A", 2), ("b:B", 1), ("a:A", 3), ("a:A", 4)]


def test_each_call_has_one_outcome() -> None:
    pool = FakePool("a:A", queue_size=1)
    worker = pool.add_worker(threads=1)
    long = pool.call()
    pool.advance(1)  # so that nothing is sent ahead
    worker.finish(long)
    worker.fail(pool.call())
    pool.cancel(pool.call("task"))
    running = pool.call()
    waiting = pool.call(timeout=1)
    assert stages(running, waiting) == ["running", "queued"]
    with pytest.raises(DirtyOverloadedError):
        pool.call()
    pool.advance(1)
    worker.die()
    assert running.ends == 1
    assert pool.describe_apps()["a:A"]["outcomes"] == {
        **{"completed": 1, "failed": 1, "lost": 1},
        **{"refused": 1, "timed_out": 1, "cancelled": 1},
    }


def test_the_time_in_the_queue_is_counted_when_a_call_starts() -> None:
    pool = FakePool()
    worker = pool.add_worker(threads=1)
    first, second = pool.call(), pool.call()
    pool.advance(2)
    worker.finish(first)
    waits = pool.describe_apps()["a:A"]["queue_time"]
    assert (waits["count"], waits["sum"]) == (2, 2.0)
    assert waits["counts"][waits["bounds"].index(2.5)] == 1
    worker.finish(second)
    assert pool.describe_apps()["a:A"]["queue_time"] == waits


def test_the_end_of_a_cancelled_call_is_no_error_of_its_app() -> None:
    pool = FakePool()
    worker = pool.add_worker()
    call = pool.call("task")
    worker.read()
    pool.cancel(call)
    worker.fail(call)
    assert pool.apps["a:A"].errors == 0
    assert worker.worker.errors == 0


def test_a_call_that_never_started_counts_for_no_worker() -> None:
    pool = FakePool()
    worker: FakeWorker = pool.add_worker()
    pool.make_short(worker)
    running, given_up = pool.calls(2)
    worker.read()
    pool.cancel(given_up)
    worker.read()
    worker.speak()
    worker.finish(running)
    assert worker.worker.counts == {"a:A": 2}
