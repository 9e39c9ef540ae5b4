# SPDX-License-Identifier: MIT
"""Lives one after the other, on the virtual clock: children here are plain functions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioserve.supervision import Life, RespawnPolicy, Supervisor

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock


class Lives:
    """Runs lives that do what each is told, and writes down what happens when.

    Attributes:
        events: ``(seconds, life's number, what)``.
    """

    def __init__(self) -> None:
        self.events: list[tuple[float, int, str]] = []
        self.plans: dict[int, Callable[[Life], Awaitable[str | None]]] = {}
        self.otherwise: Callable[[Life], Awaitable[str | None]] = serve

    def note(self, life: Life, what: str) -> None:
        self.events.append((round(trio.current_time() - self.began, 3), life.number, what))

    async def __call__(self, life: Life) -> str | None:
        if life.number == 1:
            self.began = trio.current_time()
        self.note(life, "start")
        try:
            return await self.plans.get(life.number, self.otherwise)(life)
        finally:
            self.note(life, "end")

    @property
    def starts(self) -> list[float]:
        return [seconds for seconds, _, what in self.events if what == "start"]


async def serve(life: Life) -> str:
    """Ready at once, until it is asked to drain."""
    life.ready()
    await life.draining.wait()
    return "exit code 0"


async def die(_life: Life) -> str:
    await trio.lowlevel.checkpoint()
    return "exit code 1"


async def never_ready(_life: Life) -> None:
    await trio.sleep_forever()


def serve_for(seconds: float) -> Callable[[Life], Awaitable[str | None]]:
    async def life_of_that_length(life: Life) -> str:
        life.ready()
        await trio.sleep(seconds)
        return "killed by SIGKILL (9)"

    return life_of_that_length


@pytest.fixture
def lives() -> Lives:
    return Lives()


def messages(records: list[logging.LogRecord]) -> list[str]:
    return [f"{record.levelname} {record.getMessage()}" for record in records]


# -- restarts -------------------------------------------------------------------------------


async def test_lives_that_are_replaced_in_vain_back_off_while_they_serve(
    lives: Lives, autojump_clock: MockClock
) -> None:
    async def serve_in_vain(life: Life) -> str:
        life.ready()
        assert life.request_replacement(in_vain=True) is not None
        assert life.request_replacement(in_vain=True) is None  # twice is once
        await life.draining.wait()
        return "exit code 0"

    lives.otherwise = serve_in_vain
    supervisor = Supervisor(lives, name="worker 1")
    with trio.move_on_after(120):
        await supervisor.run()
    assert lives.starts == pytest.approx(
        [0, 0.1, 0.3, 0.7, 1.5, 3.1, 6.3, 12.7, 25.5, 51.1, 81.1, 111.1]
    )
    ends = [seconds for seconds, _, what in lives.events if what == "end"]
    assert ends[:-1] == pytest.approx(lives.starts[1:])  # each serves until the next one does
    assert (supervisor.is_degraded, supervisor.restarts) == (False, 0)


async def test_a_replacement_that_is_due_later_holds_up_no_removal_and_no_reload(
    lives: Lives, autojump_clock: MockClock
) -> None:
    async def serve_in_vain(life: Life) -> str:
        life.ready()
        for _ in range(8):
            life._supervisor._history.exited(trio.current_time(), None)
        life.request_replacement(in_vain=True)
        await life.draining.wait()
        return "exit code 0"

    lives.otherwise = serve_in_vain
    supervisor = Supervisor(lives, name="worker 1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await trio.sleep(1)
        supervisor.replace()
        await trio.sleep(1)
        supervisor.remove()
    assert lives.starts == [0, 1]
    assert lives.events[-1][0] == 2


async def test_a_crash_loop_backs_off_and_goes_on_slowly_once_it_is_degraded(
    lives: Lives, autojump_clock: MockClock, records: list[logging.LogRecord]
) -> None:
    lives.otherwise = die
    supervisor = Supervisor(lives, name="worker 1")
    with trio.move_on_after(120):
        await supervisor.run()
    expected = [0, 0.1, 0.3, 0.7, 1.5, 3.1, 6.3, 12.7, 25.5, 51.1, 81.1, 111.1]
    assert lives.starts == pytest.approx(expected)
    assert supervisor.is_degraded
    assert not supervisor.is_ready
    assert supervisor.restarts == 12
    assert supervisor.last_end == "exit code 1"
    said = messages(records)
    assert said[:2] == [
        "WARNING worker 1 ended 0.0 s after its start (exit code 1); it is started again in 0.1 s",
        "WARNING worker 1 ended 0.0 s after its start (exit code 1); it is started again in 0.2 s",
    ]
    assert next(line for line in said if line.startswith("ERROR")) == (
        "ERROR worker 1 is degraded: it ends again and again (10 times so far, see above for why). "
        "It is tried every 30 s, and at once after a reload"
    )


async def test_a_life_that_served_long_is_followed_at_once(
    lives: Lives, autojump_clock: MockClock, records: list[logging.LogRecord]
) -> None:
    lives.plans = {1: serve_for(100)}
    supervisor = Supervisor(lives, name="worker 1")
    with trio.move_on_after(200):
        await supervisor.run()
    assert lives.starts == [0, 100]
    assert messages(records) == [
        "INFO worker 1 is ready, 0.0 s after its start",
        "WARNING worker 1 ended 100.0 s after its start (killed by SIGKILL (9)); "
        "it is started again at once",
        "INFO worker 1 is ready, 0.0 s after its start",
    ]


async def test_an_exception_is_logged_once_with_its_traceback_and_is_one_end(
    lives: Lives, autojump_clock: MockClock, records: list[logging.LogRecord]
) -> None:
    async def fail(_life: Life) -> None:
        raise ExceptionGroup("several", [ValueError("no frame"), OSError("no socket")])

    lives.plans = {1: fail}
    supervisor = Supervisor(lives, name="worker 1")
    with trio.move_on_after(1):
        await supervisor.run()
    assert lives.starts == [0, 0.1]
    assert supervisor.last_end == "ExceptionGroup: several (2 sub-exceptions)"
    (record,) = [record for record in records if record.exc_info]
    assert record.levelname == "ERROR"
    assert record.getMessage() == (
        "worker 1 failed 0.0 s after its start; it is started again in 0.1 s"
    )


async def test_an_error_beside_a_cancellation_is_logged_and_the_cancellation_goes_on(
    lives: Lives, records: list[logging.LogRecord]
) -> None:
    async def fail_when_cancelled(life: Life) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            life.ready()
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("cleaning up failed")

    lives.plans = {1: fail_when_cancelled}
    supervisor = Supervisor(lives, name="worker 1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await supervisor.until_ready()
        nursery.cancel_scope.cancel()
    assert messages(records)[1:] == ["ERROR worker 1: an error beside a cancellation"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_what_is_meant_for_the_whole_process_passes(
    lives: Lives, error: type[BaseException]
) -> None:
    async def fail(_life: Life) -> None:
        raise error

    lives.plans = {1: fail}
    with pytest.RaisesGroup(error):
        await Supervisor(lives, name="worker 1").run()


async def test_a_cancellation_ends_all_lives_at_once(
    lives: Lives, autojump_clock: MockClock
) -> None:
    supervisor = Supervisor(lives, name="worker 1")
    with trio.move_on_after(5) as scope:
        await supervisor.run()
    assert scope.cancelled_caught
    assert lives.events == [(0, 1, "start"), (5, 1, "end")]


async def test_an_expected_end_is_no_failure_but_for_a_life_that_never_was_ready(
    lives: Lives, autojump_clock: MockClock
) -> None:
    async def killed_by_its_owner(life: Life) -> str:
        life.ready()
        life.expect_end()
        await trio.sleep(0.5)
        return "killed by SIGKILL (9)"

    async def killed_before_it_was_ready(life: Life) -> str:
        life.expect_end()
        return "killed by SIGKILL (9)"

    lives.otherwise = killed_by_its_owner
    lives.plans = {40: killed_before_it_was_ready, 41: serve}
    supervisor = Supervisor(lives, name="worker 1")
    with trio.move_on_after(100):
        await supervisor.run()
    assert lives.starts == pytest.approx([0.5 * number for number in range(40)] + [19.6])
    assert supervisor.restarts == 1


# -- replacement ----------------------------------------------------------------------------


async def test_the_new_life_is_ready_before_the_old_one_drains(
    lives: Lives, autojump_clock: MockClock
) -> None:
    async def slow_start(life: Life) -> str:
        await trio.sleep(3)
        assert supervisor.is_ready  # the old one
        return await serve(life)

    async def slow_drain(life: Life) -> str:
        await serve(life)
        lives.note(life, "drains")
        await trio.sleep(2)
        return "exit code 0"

    lives.plans = {1: slow_drain, 2: slow_start}
    supervisor = Supervisor(lives, name="worker 1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        assert await supervisor.until_ready()
        supervisor.replace()
        await trio.sleep(10)
        assert supervisor.is_ready
        supervisor.remove()
    assert lives.events == [
        (0, 1, "start"),
        (0, 2, "start"),
        (3, 1, "drains"),
        (5, 1, "end"),
        (10, 2, "end"),
    ]
    assert supervisor.restarts == 0


async def test_a_replacement_that_fails_leaves_the_old_life_serving(
    lives: Lives, autojump_clock: MockClock, records: list[logging.LogRecord]
) -> None:
    lives.plans = {2: die, 3: die, 4: serve}
    supervisor = Supervisor(lives, name="worker 1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await supervisor.until_ready()
        supervisor.replace()
        await trio.sleep(0.25)
        assert supervisor.is_ready
        await trio.sleep(1)
        supervisor.remove()
    ends = [(seconds, number) for seconds, number, what in lives.events if what == "end"]
    assert ends == [(0, 2), (0.1, 3), (0.3, 1), (1.25, 4)]


async def test_a_life_that_ends_while_its_successor_starts_is_not_started_again(
    lives: Lives, autojump_clock: MockClock, records: list[logging.LogRecord]
) -> None:
    async def slow_start(life: Life) -> str:
        await trio.sleep(3)
        return await serve(life)

    lives.plans = {1: serve_for(1), 2: slow_start}
    supervisor = Supervisor(lives, name="worker 1")
    with trio.move_on_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.run)
            await supervisor.until_ready()
            supervisor.replace()
    assert lives.starts == [0, 0]
    assert "its successor is being started already" in messages(records)[1]


async def test_a_life_that_asks_for_its_replacement_twice_gets_one(
    lives: Lives, autojump_clock: MockClock
) -> None:
    async def worn_out(life: Life) -> str:
        life.ready()
        life.ready()
        await trio.sleep(1)
        life.request_replacement()
        await trio.sleep(1)
        life.request_replacement()
        return await serve(life)

    async def slow_start(life: Life) -> str:
        life.request_replacement()  # too early: nothing
        await trio.sleep(3)
        return await serve(life)

    lives.plans = {1: worn_out, 2: slow_start}
    supervisor = Supervisor(lives, name="worker 1")
    with trio.move_on_after(10):
        await supervisor.run()
    assert lives.events == [
        (0, 1, "start"),
        (1, 2, "start"),
        (4, 1, "end"),
        (10, 2, "end"),
    ]


async def test_a_reload_ends_a_life_that_is_not_ready_yet_and_starts_another(
    lives: Lives, autojump_clock: MockClock, records: list[logging.LogRecord]
) -> None:
    lives.plans = {1: never_ready}
    supervisor = Supervisor(lives, name="worker 1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await trio.sleep(1)
        supervisor.replace()
        assert await supervisor.until_ready()
        supervisor.remove()
    assert sorted(lives.events)[:3] == [(0, 1, "start"), (1, 1, "end"), (1, 2, "end")]
    assert lives.starts == [0, 1]
    assert supervisor.restarts == 0


async def test_settled_is_the_new_life_and_not_the_old_one(
    lives: Lives, autojump_clock: MockClock, records: list[logging.LogRecord]
) -> None:
    lives.plans = {2: die, 3: die, 4: serve}
    supervisor = Supervisor(lives, name="worker 1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        assert await supervisor.until_settled()
        supervisor.replace()
        assert await supervisor.until_settled()
        assert len(lives.starts) == 4
        supervisor.remove()


async def test_a_replacement_that_is_given_up_is_not_settled(
    lives: Lives, autojump_clock: MockClock, records: list[logging.LogRecord]
) -> None:
    lives.plans = dict.fromkeys((2, 3, 4), die)
    policy = RespawnPolicy(max_restarts=2)
    supervisor = Supervisor(lives, name="worker 1", policy=policy)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await supervisor.until_ready()
        supervisor.replace()
        assert not await supervisor.until_settled()
        assert supervisor.is_ready
        supervisor.replace()
        assert await supervisor.until_settled()
        supervisor.remove()


async def test_a_trial_that_fails_leaves_the_old_life_serving_and_is_not_repeated(
    lives: Lives, autojump_clock: MockClock, records: list[logging.LogRecord]
) -> None:
    lives.plans = dict.fromkeys((2, 3), die)
    supervisor = Supervisor(lives, name="worker 1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        assert await supervisor.until_ready()
        assert not await supervisor.try_replacing()
        assert supervisor.is_ready
        await trio.sleep(1000)
        assert len(lives.starts) == 2
        assert not await supervisor.try_replacing()
        assert await supervisor.try_replacing()
        assert len(lives.starts) == 4
        assert (supervisor.restarts, supervisor.is_degraded) == (0, False)
        supervisor.remove()
    assert sum("the one before it goes on" in line for line in messages(records)) == 2


async def test_a_life_that_ends_after_the_trial_of_its_successor_is_started_again(
    lives: Lives, autojump_clock: MockClock, records: list[logging.LogRecord]
) -> None:
    async def serve_for_a_minute(life: Life) -> None:
        life.ready()
        await trio.sleep(60)

    lives.plans = {1: serve_for_a_minute, 2: die}
    supervisor = Supervisor(lives, name="worker 1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        assert await supervisor.until_ready()
        assert not await supervisor.try_replacing()
        await trio.sleep(100)
        assert supervisor.is_ready
        assert len(lives.starts) == 3
        supervisor.remove()


async def test_a_trial_of_a_child_that_does_not_serve_goes_by_the_policy(
    lives: Lives, autojump_clock: MockClock, records: list[logging.LogRecord]
) -> None:
    lives.plans = dict.fromkeys((1, 2), die)
    supervisor = Supervisor(lives, name="worker 1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await wait_all_tasks_blocked()
        assert not await supervisor.try_replacing()
        assert await supervisor.until_ready()
        assert len(lives.starts) == 3
        supervisor.remove()


async def test_a_removal_ends_the_wait_for_a_trial(
    lives: Lives, autojump_clock: MockClock, records: list[logging.LogRecord]
) -> None:
    lives.plans = {2: never_ready}
    supervisor = Supervisor(lives, name="worker 1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        assert await supervisor.until_ready()

        async def remove() -> None:
            await trio.sleep(1)
            supervisor.remove()

        nursery.start_soon(remove)
        assert not await supervisor.try_replacing()


async def test_a_reload_doesnt_wait_for_the_delay_of_a_degraded_child(
    lives: Lives, autojump_clock: MockClock, records: list[logging.LogRecord]
) -> None:
    lives.plans = dict.fromkeys((1, 2, 3), die)
    policy = RespawnPolicy(max_restarts=2)
    supervisor = Supervisor(lives, name="worker 1", policy=policy)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        assert not await supervisor.until_ready()
        seen = [(supervisor.is_ready, supervisor.is_degraded)]
        supervisor.replace()
        await wait_all_tasks_blocked()
        seen.append((supervisor.is_ready, supervisor.is_degraded))
        supervisor.remove()
    assert seen == [(False, True), (True, False)]
    assert lives.starts == pytest.approx([0, 0.1, 0.3, 0.3])


async def test_a_life_that_drains_too_long_is_cancelled(
    lives: Lives, autojump_clock: MockClock, records: list[logging.LogRecord]
) -> None:
    async def never_done(life: Life) -> None:
        life.ready()
        await trio.sleep_forever()

    lives.plans = {1: never_done}
    supervisor = Supervisor(lives, name="worker 1", drain_timeout=7)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await supervisor.until_ready()
        supervisor.replace()
        await trio.sleep(10)
        supervisor.remove()
    assert (7, 1, "end") in lives.events
    assert "INFO worker 1 ended 7.0 s after its start (it was cancelled); it had been asked to" in (
        messages(records)
    )


# -- removal --------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [serve, never_ready, die])
async def test_a_removal_ends_a_child_in_each_of_its_states(
    lives: Lives,
    autojump_clock: MockClock,
    plan: Callable[[Life], Awaitable[str | None]],
) -> None:
    lives.otherwise = plan
    supervisor = Supervisor(lives, name="worker 1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await trio.sleep(5)
        supervisor.remove()
        supervisor.remove()
    assert trio.current_time() == pytest.approx(lives.began + 5)
    assert not supervisor.is_ready
    assert not await supervisor.until_ready()
    assert lives.events[-1][2] == "end"


async def test_a_supervisor_that_was_removed_before_it_ran_starts_nothing(lives: Lives) -> None:
    supervisor = Supervisor(lives, name="worker 1")
    supervisor.remove()
    await supervisor.run()
    assert lives.events == []


async def test_the_owner_hears_of_each_change(lives: Lives, autojump_clock: MockClock) -> None:
    states: list[tuple[bool, bool]] = []

    def on_change(which: Supervisor) -> None:
        assert which is supervisor
        states.append((which.is_ready, which.is_degraded))

    lives.plans = {1: die, 2: die, 3: serve_for(20), 4: serve}
    policy = RespawnPolicy(max_restarts=1, window=40)
    supervisor = Supervisor(lives, name="worker 1", policy=policy, on_change=on_change)
    with trio.move_on_after(60):
        await supervisor.run()
    ready, degraded, neither = (True, False), (False, True), (False, False)
    assert states == [neither, degraded, ready, neither, ready]


async def test_a_life_can_be_cancelled_at_any_of_its_waits_while_it_drains(
    lives: Lives, autojump_clock: MockClock
) -> None:
    supervisor = Supervisor(lives, name="worker 1", drain_timeout=math.inf)
    with trio.move_on_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.run)
            await supervisor.until_ready()
            supervisor.remove()
    assert lives.events[-1] == (0, 1, "end")
