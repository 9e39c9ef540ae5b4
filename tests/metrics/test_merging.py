# SPDX-License-Identifier: MIT
from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioserve.metrics import Recorder, merge, without_gauges
from trioserve.metrics.recorder import BOUNDS

#: Multiples of 2**-12, so that sums of them are exact in any order.
DURATIONS = st.integers(0, 2**20).map(lambda number: number / 4096)
EXCHANGES = st.tuples(
    st.sampled_from(["GET", "POST", "DELETE", "BREW"]),
    st.sampled_from([200, 204, 301, 404, 499, 500, 503, 777]),
    DURATIONS,
)


@st.composite
def snapshots(draw: st.DrawFn) -> dict[str, Any]:
    """Of a process that has done something."""
    recorder = Recorder()
    exchanges = draw(st.lists(EXCHANGES, max_size=20))
    for exchange in exchanges:
        recorder.begin_exchange()
        recorder.end_exchange(exchange)
    for _ in range(draw(st.integers(0, 3))):
        recorder.begin_exchange()
    for _ in range(draw(st.integers(0, 3))):
        recorder.begin_connection()
    for _ in range(draw(st.integers(0, 3))):
        recorder.begin_websocket()
    for status in draw(st.lists(st.sampled_from([0, 400, 414, 431]), max_size=3)):
        recorder.refuse(status)
    for level in draw(st.lists(st.sampled_from(["error", "warning"]), max_size=3)):
        recorder.logs[level] += 1
    snapshot: dict[str, Any] = json.loads(json.dumps(recorder.snapshot()))
    return snapshot


@given(snapshots(), snapshots(), snapshots())
def test_the_order_and_the_grouping_do_not_matter(
    a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]
) -> None:
    assert merge([a, b]) == merge([b, a])
    assert merge([merge([a, b]), c]) == merge([a, merge([b, c])]) == merge([a, b, c])


@given(snapshots())
def test_one_alone_stays_as_it_is_and_nothing_adds_nothing(a: dict[str, Any]) -> None:
    before = json.dumps(a)
    assert merge([a]) == merge([a, Recorder().snapshot()]) == merge([a, merge([])]) == a
    assert json.dumps(a) == before


@given(st.lists(snapshots(), max_size=4))
def test_the_sums_agree_with_each_other(many: list[dict[str, Any]]) -> None:
    merged = merge(many)
    latency = merged["latency"]
    assert merged["requests_total"] == latency["count"] == sum(latency["counts"])
    assert latency["count"] == sum(one["latency"]["count"] for one in many)
    assert latency["sum"] == sum(latency["sums"]) == sum(one["latency"]["sum"] for one in many)
    by_status = [count for row in merged["requests"].values() for count in row.values()]
    assert sum(by_status) == merged["requests_total"]
    cells = [cell for row in merged["durations"].values() for cell in row.values()]
    assert [sum(cell["counts"][i] for cell in cells) for i in range(len(BOUNDS) + 1)] == (
        latency["counts"]
    )
    assert merged["in_flight"] == sum(one["in_flight"] for one in many)


@given(snapshots())
def test_without_gauges_what_is_open_is_zero_and_all_else_stays(a: dict[str, Any]) -> None:
    ended = without_gauges(a)
    assert (ended["connections"], ended["in_flight"], ended["websockets"]) == (0, 0, 0)
    gauges = {"connections", "in_flight", "websockets"}
    assert {key for key in a if ended[key] != a[key]} <= gauges


def test_a_key_that_only_one_of_them_has_is_taken_as_it_is() -> None:
    assert merge([{"news": 3}, {"news": 4}, {}])["news"] == 7


def test_durations_by_other_bounds_can_not_be_added() -> None:
    other = Recorder().snapshot()
    other["latency"] = {**other["latency"], "bounds": [1.0]}
    with pytest.raises(ValueError, match=r"by the bounds \[1.0\] to those by \[0.0005"):
        merge([Recorder().snapshot(), other])
