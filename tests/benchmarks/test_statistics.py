# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from benchmarks.core.statistics import Spread, best, ratios, rotate, spread


def test_a_spread_is_median_least_and_greatest() -> None:
    assert spread([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)


def test_a_spread_leaves_out_what_failed() -> None:
    assert spread([None, 4.0, None, 2.0]) == Spread(3.0, 2.0, 4.0)
    assert spread([None, None]) is None
    assert spread([]) is None


def test_ratios_are_formed_within_a_round_and_not_of_medians() -> None:
    # The machine halved its speed in the second round, for both alike.
    found = ratios([100.0, 50.0, 120.0], [50.0, 25.0, 100.0])
    assert found == Spread(2.0, 1.2, 2.0)


def test_a_round_that_lacks_a_figure_has_no_ratio() -> None:
    assert ratios([100.0, None, 90.0], [None, 5.0, 30.0]) == Spread(3.0, 3.0, 3.0)
    assert ratios([None], [1.0]) is None


def test_a_divisor_of_zero_has_no_ratio() -> None:
    assert ratios([1.0, 4.0], [0.0, 2.0]) == Spread(2.0, 2.0, 2.0)


def test_ratios_of_different_numbers_of_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0], [1.0, 2.0])


def test_the_best_peer_is_chosen_anew_in_each_round() -> None:
    columns = [[1.0, 9.0, None], [5.0, 3.0, None]]
    assert best(columns, highest=True) == [5.0, 9.0, None]
    assert best(columns, highest=False) == [1.0, 3.0, None]


@pytest.mark.parametrize(
    ("by", "expected"), [(0, "abc"), (1, "bca"), (2, "cab"), (3, "abc"), (7, "bca")]
)
def test_rotation_begins_each_round_at_another_item(by: int, expected: str) -> None:
    assert rotate("abc", by) == list(expected)


def test_nothing_rotated_is_nothing() -> None:
    assert rotate([], 3) == []
