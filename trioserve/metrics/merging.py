# SPDX-License-Identifier: MIT
"""Snapshots of several processes as one. Pure: they come as JSON from anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from trioserve.metrics.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["GAUGES", "merge", "without_gauges"]

#: What can fall again; an ended process has none of it.
GAUGES: Final = ("connections", "in_flight", "websockets")


def merge(snapshots: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of snapshots, gauges included; of none at all, the one of a process without work.

    The order doesn't matter, but for the last digits of sums of seconds. None of them is changed.

    Raises:
        ValueError: they are not of one shape: two versions of trioserve counted by other bounds.
    """
    result = Recorder().snapshot()
    for snapshot in snapshots:
        result = {
            key: _add(key, result.get(key), snapshot.get(key)) for key in {**result, **snapshot}
        }
    return result


def _add(key: str, one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    if key == "bounds":
        if list(one) != list(other):
            raise ValueError(f"can't add durations by the bounds {other} to those by {one}")
        return one
    if isinstance(one, dict):
        return {name: _add(name, one.get(name), other.get(name)) for name in {**one, **other}}
    if isinstance(one, list):
        return [_add("", a, b) for a, b in zip(one, other, strict=True)]
    return one + other


def without_gauges(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """What goes on counting of a process that has ended."""
    return {**snapshot, **dict.fromkeys(GAUGES, 0)}
