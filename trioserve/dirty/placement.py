# SPDX-License-Identifier: MIT
"""Places for workers: which apps run in which, and which of them goes first. Decisions only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from trioserve.dirty.processes import WorkerHandle
    from trioserve.supervision import Supervisor

__all__ = ["Slot", "assign_apps", "deal_apps", "first_to_go"]


class Slot:
    """A place for a worker.

    Attributes:
        number: counts from 1.
        apps: paths that its workers run; None until the first has said what there is.
        handles: of its workers: one as a rule, two while one is replaced.
        supervisor: keeps one alive.
        ended: nothing will run here any more.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.apps: list[str] | None = None
        self.handles: list[WorkerHandle] = []
        self.supervisor: Supervisor
        self.ended = trio.Event()

    @property
    def is_serving(self) -> bool:
        """Whether one of its workers can be given calls."""
        return any(handle.is_serving for handle in self.handles)

    def runs(self, app_path: str) -> bool:
        """Whether its workers run the app, as far as is known."""
        return self.apps is None or app_path in self.apps


def deal_apps(slots: Sequence[Slot], limits: Mapping[str, int | None]) -> None:
    """Gives the slots their apps.

    Limited ones are dealt out in turn, so that heavy ones don't all meet in one worker.

    Args:
        slots: all that there are.
        limits: app path → how many workers may run it; None: all.
    """
    dealt = {slot: [path for path, limit in limits.items() if limit is None] for slot in slots}
    place = 0
    for path, limit in limits.items():
        if limit is not None:
            for offset in range(min(limit, len(slots))):
                dealt[slots[(place + offset) % len(slots)]].append(path)
            place += limit
    for slot, paths in dealt.items():
        slot.apps = paths


def assign_apps(slot: Slot, slots: Iterable[Slot], limits: Mapping[str, int | None]) -> None:
    """Gives a slot that comes later its apps: those that don't have as many as they may."""
    others = [other for other in slots if other is not slot]
    slot.apps = [
        path
        for path, limit in limits.items()
        if limit is None or sum(other.runs(path) for other in others) < limit
    ]


def first_to_go(slots: Sequence[Slot], app_paths: Iterable[str]) -> Slot | None:
    """The slot that is missed least: one that serves nobody, else the youngest.

    None where each is the last one of some app: one that serves is not replaced by others that
    only may, some day.

    Args:
        slots: all that there are.
        app_paths: of all apps.
    """
    for slot in sorted(slots, key=_worth):
        others = [
            other
            for other in slots
            if other is not slot and (other.is_serving or not slot.is_serving)
        ]
        paths = slot.apps if slot.apps is not None else app_paths
        if all(any(other.runs(path) for other in others) for path in paths):
            return slot
    return None


def _worth(slot: Slot) -> tuple[bool, bool, int]:
    return slot.is_serving, not slot.supervisor.is_degraded, -slot.number
