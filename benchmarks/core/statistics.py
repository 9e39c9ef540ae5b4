# SPDX-License-Identifier: MIT
"""Medians with their spread, and ratios taken pair by pair.

The machine drifts by tens of percent within minutes, so two figures are compared only where they
were taken side by side: a ratio is formed within a round, and the median is taken of the ratios.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some figures, with the least and the greatest of them."""

    median: float
    low: float
    high: float


def spread(values: Iterable[float | None]) -> Spread | None:
    """Summarises the figures that exist; None where there are none."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(statistics.median(known), min(known), max(known))


def ratios(ours: Sequence[float | None], theirs: Sequence[float | None]) -> Spread | None:
    """Divides round by round and summarises.

    Args:
        ours: a figure a round, None for a round that failed.
        theirs: the same rounds of the other server.

    Returns:
        None when no round has both figures. A round whose divisor is zero has no ratio.

    Raises:
        ValueError: the two do not have the same number of rounds.
    """
    pairs = zip(ours, theirs, strict=True)
    return spread(a / b for a, b in pairs if a is not None and b is not None and b != 0)


def best(columns: Sequence[Sequence[float | None]], *, highest: bool) -> list[float | None]:
    """Takes the best peer of each round: the highest figure, or the lowest; None if all failed."""
    choose = max if highest else min
    found: list[float | None] = []
    for values in zip(*columns, strict=True):
        known = [value for value in values if value is not None]
        found.append(choose(known) if known else None)
    return found


def rotate(items: Sequence[T], by: int) -> list[T]:
    """Begins the list at another item, so that no server is always the first or after the same."""
    if not items:
        return []
    by %= len(items)
    return [*items[by:], *items[:by]]
