# SPDX-License-Identifier: MIT
"""Calls that actions make: whether one more would wait for ever. Pure.

A call that holds a slot is *stuck* if a call of its own is stuck, or waits in a queue that is. A
*queue* is stuck if all the slots that could serve it are held by stuck calls. A new call that would
make its caller stuck is a deadlock: only a timeout would end it. The question is asked when a call
is about to be queued; while no slot is taken away, a deadlock can begin at no other moment.

Stuck is whatever can't be shown to go on: all queues are thought to be, and those that have a slot
whose call is not are taken out, until no more can be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from trioserve.dirty.calls import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trioserve.dirty.calls import Call
    from trioserve.dirty.slots import App

__all__ = ["adopt", "disown", "would_deadlock"]

#: An app's path, and whether it is the queue of its sync actions.
_Queue: TypeAlias = tuple[str, bool]


def adopt(calls: Mapping[int, Call], call: Call) -> None:
    """The call is one of its parent's, if that is still there."""
    parent = calls.get(call.parent)
    if parent is not None:
        if parent.children is None:
            parent.children = []
        parent.children.append(call)


def disown(calls: Mapping[int, Call], call: Call) -> None:
    """The call has ended."""
    parent = calls.get(call.parent)
    if parent is not None and parent.children is not None and call in parent.children:
        parent.children.remove(call)


def would_deadlock(apps: Mapping[str, App], call: Call, parent: Call) -> bool:
    """Whether every slot for ``call`` is held by calls that wait, at last, for it.

    Args:
        apps: all that there are.
        call: about to be queued.
        parent: the running call whose action makes it.
    """

    def queue_of(waiting: Call) -> _Queue:
        return waiting.app_path, apps[waiting.app_path].is_sync(waiting.action)

    def is_stuck(holder: Call) -> bool:
        if holder is parent and own in stuck:
            return True
        return any(
            queue_of(child) in stuck if child.stage is Stage.QUEUED else is_stuck(child)
            for child in holder.children or ()
        )

    own = queue_of(call)
    # A queue without workers is not stuck: its first worker will bring free slots.
    stuck = {(path, sync) for path, app in apps.items() if app.workers for sync in (False, True)}
    while own in stuck:
        moving = {queue for queue in stuck if not _all_holders(apps, queue, is_stuck)}
        if not moving:
            return True
        stuck -= moving
    return False


def _all_holders(apps: Mapping[str, App], queue: _Queue, is_stuck: Callable[[Call], bool]) -> bool:
    """Whether all slots that serve the queue are held by such calls."""
    app, sync = apps[queue[0]], queue[1]
    lanes = [worker.lane(app, sync) for worker in app.workers]
    return all(
        len(lane.running) >= lane.size and all(map(is_stuck, lane.running.values()))
        for lane in lanes
    )
