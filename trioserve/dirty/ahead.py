# SPDX-License-Identifier: MIT
"""Calls sent ahead: to a worker that is busy, so that its next one needs no round trip. Pure.

Worth it only where actions are shorter than a round trip, or about that. A call that was sent ahead
has not started; where it would wait for long while a slot elsewhere is free, or will be, it is
asked back.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from trioserve.dirty import frames

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trioserve.dirty.calls import Call
    from trioserve.dirty.frames import Payload
    from trioserve.dirty.slots import App, Lane, Worker

__all__ = [
    "AHEAD_SIZE",
    "REVOKE_AFTER",
    "STUCK_AFTER",
    "ahead_limit",
    "ask_back",
    "ask_back_overdue",
    "find_lane",
    "may_go_ahead",
    "others_have_calls_for",
    "was_not_started",
]

#: Calls sent ahead to one lane at most, and only as many as its actions do in about this time (s).
_MAX: Final = 32
_TIME: Final = 0.002
#: Bytes of a call beyond which it is not sent ahead: the round trip is little beside it.
AHEAD_SIZE: Final = 64 * 1024
#: Seconds that calls sent ahead may wait behind a running one while a slot elsewhere is free; and
#: that it may have run for more to be sent ahead behind it.
REVOKE_AFTER: Final = 0.002
#: … and while no slot is free, but other workers go on: the oldest call gets the next free slot.
STUCK_AFTER: Final = 0.05


def ahead_limit(service_time: float) -> int:
    """How many calls may be sent ahead to a lane whose actions take ``service_time`` seconds."""
    return min(_MAX, int(_TIME / max(service_time, 1e-6)))


def may_go_ahead(call: Call) -> bool:
    """Whether it may be sent ahead at all: the one before it must not be what waits for it."""
    return call.size <= AHEAD_SIZE and call.parent is None


def find_lane(app: App, sync: bool, call: Call, now: float) -> Lane | None:
    """The least busy lane with a free slot for the call, else one to which it is sent ahead."""
    best: Lane | None = None
    for worker in app.workers:
        lane = worker.lane(app, sync)
        if len(lane.running) < lane.size and (
            best is None or len(lane.running) < len(best.running)
        ):
            best = lane
    if best is not None or not sync or not may_go_ahead(call):
        return best
    limit = app.ahead_limit
    for worker in app.workers:
        lane = worker.lane(app, sync)
        if (
            len(lane.ahead) < limit
            and now - lane.latest_start < REVOKE_AFTER
            and (best is None or len(lane.ahead) < len(best.ahead))
        ):
            best = lane
    return best


def _patience(lane: Lane) -> float:
    """Seconds from its last start after which what was sent ahead to this lane is asked back."""
    seconds = math.inf
    for app in lane.apps:
        for worker in app.workers:
            if worker is not lane.worker:
                other = worker.lane(app, sync=True)
                if len(other.running) < other.size:
                    return REVOKE_AFTER
                seconds = STUCK_AFTER
    return seconds


def others_have_calls_for(idle: Lane) -> bool:
    """Whether calls that this lane could run were sent ahead to others."""
    return any(
        worker.sync_lanes[app.path].ahead
        for app in idle.apps
        for worker in app.workers
        if worker is not idle.worker
    )


def ask_back_overdue(workers: Iterable[Worker], now: float) -> float:
    """Takes calls back that wait behind a long one, and would not elsewhere.

    Returns:
        When others are due; inf if none are.
    """
    soonest = math.inf
    for worker in workers:
        for lane in worker.lanes:
            if lane.ahead:
                due = lane.latest_start + _patience(lane)
                if due <= now:
                    ask_back(lane)
                else:
                    soonest = min(soonest, due)
    return soonest


def ask_back(lane: Lane) -> None:
    """Asks for all that was sent ahead to this lane; the worker gives back what has not started."""
    for call in lane.ahead:
        if not call.revoked:
            call.revoked = True
            lane.worker.face.send(frames.revoke(call.id))


def was_not_started(payload: Payload) -> bool:
    """Whether an ERROR's payload says that the worker gives the call back."""
    return bool(frames.decode_error(payload).details.get("not_started"))
