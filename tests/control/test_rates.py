# SPDX-License-Identifier: MIT
"""Rates and quantiles out of counts."""

from __future__ import annotations

from typing import Any

import pytest

from trioserve.control.rates import Quantile, compare, quantile

BOUNDS = [0.1, 0.2, 1.0]


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ([0, 0, 0, 0], 0.5, None),
        ([10, 0, 0, 0], 0.5, Quantile(0.05)),
        ([10, 0, 0, 0], 1.0, Quantile(0.1)),
        ([0, 10, 0, 0], 0.5, Quantile(0.15)),
        ([5, 5, 0, 0], 0.5, Quantile(0.1)),
        ([5, 0, 5, 0], 0.75, Quantile(0.6)),
        ([5, 0, 0, 5], 0.5, Quantile(0.1)),
        ([5, 0, 0, 5], 0.51, Quantile(1.0, is_beyond=True)),
    ],
)
def test_a_quantile_lies_within_its_bucket(
    counts: list[int], share: float, expected: Quantile | None
) -> None:
    found = quantile(BOUNDS, counts, share)
    if expected is None or found is None:
        assert found is expected
    else:
        assert found.seconds == pytest.approx(expected.seconds)
        assert found.is_beyond == expected.is_beyond


def status(total: int, counts: list[int], **workers: int) -> dict[str, Any]:
    return {
        "workers": [{"pid": int(pid[1:]), "requests": count} for pid, count in workers.items()],
        "stats": {"requests_total": total, "latency": {"bounds": BOUNDS, "counts": counts}},
    }


def test_rates_are_of_what_came_between() -> None:
    before = status(100, [100, 0, 0, 0], w1=60, w2=40)
    now = status(120, [100, 20, 0, 0], w1=65, w3=15)
    rates = compare(before, now, 2.0, [0.5])
    assert rates.requests == 10.0
    assert rates.by_worker == {1: 2.5}
    latency = rates.latencies[0.5]
    assert latency is not None
    assert latency.seconds == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("before", "seconds"),
    [(None, 1.0), (status(1, [1, 0, 0, 0], w1=1), 0.0)],
)
def test_without_two_looks_nothing_is_known(before: dict[str, Any] | None, seconds: float) -> None:
    rates = compare(before, status(5, [5, 0, 0, 0], w1=5), seconds, [0.5])
    assert (rates.requests, rates.latencies, rates.by_worker) == (None, {0.5: None}, {})


def test_a_server_that_counts_from_0_again_has_no_negative_rates() -> None:
    rates = compare(status(9, [9, 0, 0, 0], w1=9), status(1, [1, 0, 0, 0], w1=1), 1.0, [0.5])
    assert (rates.requests, rates.latencies, rates.by_worker) == (0.0, {0.5: None}, {1: 0.0})


def test_a_server_that_does_not_count_has_no_rates() -> None:
    bare = {"workers": [{"pid": 1}], "stats": None}
    rates = compare(bare, bare, 1.0, [0.5])
    assert (rates.requests, rates.latencies, rates.by_worker) == (None, {0.5: None}, {})
