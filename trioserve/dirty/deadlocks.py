# SPDX-License-Identifier: MIT
"""Calls that actions make: whose they are, and whether one of them would wait for ever. Pure.

A call that holds a slot is *stuck* if a call of its own is stuck, or waits in a queue that is. A
*queue* is stuck if all the slots that could serve it are held by stuck calls, and no others are to
come. A new call that would make its caller stuck is a deadlock: only a timeout would end it. The
question is asked when a call is about to be queued, and again when slots have gone.

Stuck is whatever can't be shown to go on: all queues are thought to be, and those that have a slot
whose call is not are taken out, until no more can be. Which calls are stuck is found from below,
from those that wait to those that wait for them, so that each is looked at once, however deep it
stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from trioserve.dirty.calls import Call
    from trioserve.dirty.slots import App

__all__ = ["adopt", "descendants", "disown", "find_parent", "find_unservable", "would_deadlock"]

#: An app's path, and whether it is the queue of its sync actions.
_Queue: TypeAlias = tuple[str, bool]


# -- families -------------------------------------------------------------------------------


def find_parent(calls: Mapping[int, Call], call: Call) -> Call | None:
    """The call that makes this one, which is not among ``calls`` yet: so parents are older.

    A trace counts only where it is of a call that its worker has now: another pool's ids, and what
    a client has made up, are nobody's.
    """
    trace = call.trace
    parent = None if trace is None else calls.get(trace.call)
    if parent is None or trace is None or parent.holder is None:
        return None
    return parent if parent.holder.worker.token == trace.worker else None


def adopt(parent: Call, call: Call) -> None:
    """The call is one of its parent's."""
    call.parent = parent
    if parent.children is None:
        parent.children = {}
    parent.children[call.id] = call


def disown(call: Call) -> None:
    """The call has ended: it is nobody's, and nobody is its."""
    if call.parent is not None and call.parent.children is not None:
        del call.parent.children[call.id]
    call.parent = None
    for child in (call.children or {}).values():
        child.parent = None
    call.children = None


def descendants(call: Call) -> list[Call]:
    """The calls that it has made, and those that they have, the older first."""
    found = list((call.children or {}).values())
    for child in found:
        found.extend((child.children or {}).values())
    return found


# -- deadlocks ------------------------------------------------------------------------------


def would_deadlock(
    apps: Mapping[str, App], is_coming: Callable[[str], bool], call: Call, parent: Call
) -> bool:
    """Whether every slot for ``call`` is held by calls that wait, at last, for it.

    Args:
        apps: all that there are.
        is_coming: tells whether another worker of an app is about to be there.
        call: about to be queued.
        parent: the running call whose action makes it.
    """
    own = _queue_of(apps, call)
    # As a rule somebody there waits for nothing: then there is no need to look at all queues.
    if not all(holder is parent or holder.children for holder in _holders(apps, own)):
        return False
    return own in _stuck_queues(apps, is_coming, [(own, parent)])


def find_unservable(apps: Mapping[str, App], is_coming: Callable[[str], bool]) -> Call | None:
    """Of the calls that wait for ever now, that slots have gone, the one to be given up first.

    It is the youngest: least was done for it. It may be that the others can go on then.
    """
    stuck = _stuck_queues(apps, is_coming, [])
    return max(
        (call for queue, call in _nested(apps) if queue in stuck),
        key=lambda call: call.id,
        default=None,
    )


def _stuck_queues(
    apps: Mapping[str, App],
    is_coming: Callable[[str], bool],
    newcomers: list[tuple[_Queue, Call]],
) -> set[_Queue]:
    waiting = [(queue, call.parent) for queue, call in _nested(apps)] + newcomers
    # A queue without workers is not stuck: its first worker will bring free slots.
    stuck = {
        (path, sync)
        for path, app in apps.items()
        if app.workers and not is_coming(path)
        for sync in (False, True)
    }
    while stuck:
        held = _stuck_calls(parent for queue, parent in waiting if queue in stuck)
        moving = {
            queue
            for queue in stuck
            if any(holder not in held for holder in _holders(apps, queue))
            or _has_free_slot(apps, queue)
        }
        if not moving:
            break
        stuck -= moving
    return stuck


def _stuck_calls(parents: Iterable[Call | None]) -> set[Call]:
    """These calls, and all that wait for them."""
    found: set[Call] = set()
    for call in parents:
        while call is not None and call not in found:
            found.add(call)
            call = call.parent
    return found


def _nested(apps: Mapping[str, App]) -> Iterator[tuple[_Queue, Call]]:
    """The calls of actions that wait for a slot."""
    for path, app in apps.items():
        for sync, queue in enumerate(app.queues):
            for call in queue:
                if call.parent is not None:
                    yield (path, bool(sync)), call


def _queue_of(apps: Mapping[str, App], call: Call) -> _Queue:
    return call.app_path, apps[call.app_path].is_sync(call.action)


def _holders(apps: Mapping[str, App], queue: _Queue) -> Iterator[Call]:
    """The calls that hold the slots of a queue."""
    app, sync = apps[queue[0]], queue[1]
    for worker in app.workers:
        yield from worker.lane(app, sync).running.values()


def _has_free_slot(apps: Mapping[str, App], queue: _Queue) -> bool:
    app, sync = apps[queue[0]], queue[1]
    lanes = [worker.lane(app, sync) for worker in app.workers]
    return any(len(lane.running) < lane.size for lane in lanes)
