# SPDX-License-Identifier: MIT
"""When a child is started again: numbers only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioserve.supervision import RespawnHistory, RespawnPolicy


def crash_loop(history: RespawnHistory, lived: float = 0.0) -> list[tuple[float, float]]:
    """When a child that is never ready ends, and the delay after it, until it is degraded."""
    now = 0.0
    ends: list[tuple[float, float]] = []
    while True:
        now += lived
        delay = history.exited(now, None)
        if delay is None:
            return ends
        ends.append((round(now, 1), round(delay, 1)))
        now += delay


def test_a_tight_crash_loop_backs_off_exponentially_and_is_given_up_in_a_minute() -> None:
    ends = crash_loop(RespawnHistory(RespawnPolicy()))
    assert [delay for _, delay in ends] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6]
    assert ends[-1] == (25.5, 25.6)


def test_a_crash_loop_of_a_child_that_starts_slowly_is_given_up_too() -> None:
    assert len(crash_loop(RespawnHistory(RespawnPolicy()), lived=45)) == 9


def test_a_degraded_child_stays_so_until_it_has_served() -> None:
    history = RespawnHistory(RespawnPolicy())
    crash_loop(history)
    assert history.exited(1000, None) is None
    assert history.exited(2000, 1.0) is None
    assert history.exited(3000, 10.0) == 0
    assert history.exited(4000, None) == 0.1


def test_a_child_that_served_long_is_started_at_once_however_often_it_failed_before() -> None:
    history = RespawnHistory(RespawnPolicy())
    assert [history.exited(now, None) for now in (0, 1, 2)] == [0.1, 0.2, 0.4]
    assert history.exited(100, 10.0) == 0
    assert history.exited(101, None) == 0.1


def test_a_child_that_is_ready_and_ends_soon_backs_off_as_one_that_never_is() -> None:
    history = RespawnHistory(RespawnPolicy())
    assert [history.exited(now, 9.9) for now in (0, 10, 20)] == [0.1, 0.2, 0.4]


def test_too_many_restarts_in_the_window_are_degraded_whatever_the_lives_were() -> None:
    history = RespawnHistory(RespawnPolicy(max_restarts=3, window=60, stable_after=1))
    assert [history.exited(now, 1.0) for now in (0, 20, 40, 60)] == [0, 0, 0, None]
    assert history.exited(81, 1.0) == 0  # the first two have left the window


def test_a_cleared_history_begins_anew() -> None:
    history = RespawnHistory(RespawnPolicy())
    first = crash_loop(history)
    history.clear()
    assert crash_loop(history) == first


def test_a_factor_of_one_never_grows() -> None:
    history = RespawnHistory(RespawnPolicy(factor=1, window=1))
    assert {history.exited(100.0 * number, None) for number in range(50)} == {0.1}


@pytest.mark.parametrize(
    "wrong",
    [{"initial_delay": 0}, {"max_delay": 0}, {"factor": 0.5}, {"max_restarts": 0}, {"window": 0}],
)
def test_a_policy_without_patience_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RespawnPolicy(**wrong)  # type: ignore[arg-type]


@given(
    st.lists(st.tuples(st.floats(0, 100), st.none() | st.floats(0, 100)), min_size=1, max_size=200)
)
def test_a_delay_is_none_or_from_zero_to_the_longest(
    lives: list[tuple[float, float | None]],
) -> None:
    policy = RespawnPolicy()
    history, now = RespawnHistory(policy), 0.0
    for pause, served in lives:
        now += pause + (served or 0)
        delay = history.exited(now, served)
        assert delay is None or delay == 0 or policy.initial_delay <= delay < policy.max_delay
