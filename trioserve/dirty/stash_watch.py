# SPDX-License-Identifier: MIT
"""Who watches the stash's tables, and what they have not taken yet.

A change is put into the queue of each watcher that it concerns while the operation is under way, so
that all watchers see one order: that of the operations. A queue that was empty makes its watcher
*due*; it is woken after the operation, outside of the lock.

A slow watcher costs no one but itself. When its queue is full, changes are counted instead of
kept, all of them until it takes; then it gets what was queued, and after that one ``lost``, with
the count. So what it has is in order, and it knows where there is a gap.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from trioserve.dirty import tlv
from trioserve.dirty.errors import StashError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from trioserve.dirty.stash_storage import Key

__all__ = ["Change", "Watcher", "Watchers", "matcher"]

#: What a queue holds at most. A change that comes into an empty one is kept, however large.
MAX_EVENTS: Final = 1024
MAX_EVENTS_SIZE: Final = 4 * 1024 * 1024

# Compiling a pattern and matching it must not become somebody's way to stop the arbiter.
_MAX_PATTERN_LENGTH: Final = 1024


class Change(NamedTuple):
    """Something has happened to a table.

    ================  =======  ===================================================================
    ``op``            ``key``  ``value``
    ================  =======  ===================================================================
    ``put``           the key  its new value
    ``delete``        the key  None
    ``expire``        the key  None; its time was over
    ``clear``         None     None; all keys are gone
    ``delete_table``  None     None; the same, and the table, too
    ``lost``          None     how many changes could not be kept: the watcher was too slow. To
                               know the table's state, read it again
    ``watching``      None     None; the first of all, which says that from here on nothing is
                               missed. The faces take it away
    ================  =======  ===================================================================
    """

    op: str
    key: Any = None
    value: Any = None


class Watcher:
    """One who watches a table. Made by :meth:`StashTables.watch`; any thread may use it.

    Attributes:
        closed: nothing more will come.
    """

    __slots__ = ("_changes", "_lost", "_size", "_watchers", "closed", "matches", "table", "wake")

    def __init__(
        self,
        watchers: Watchers,
        table: str,
        matches: Callable[[Key], bool] | None,
        wake: Callable[[], object],
    ) -> None:
        self._watchers = watchers
        self.table = table
        self.matches = matches
        self.wake = wake
        self.closed = False
        self._changes = [Change("watching")]
        self._size = 0
        self._lost = 0

    def take(self) -> list[Change]:
        """What has come since the last time, oldest first; values are :class:`tlv.Encoded`."""
        with self._watchers.lock:
            changes, self._changes, self._size = self._changes, [], 0
            if self._lost:
                changes.append(Change("lost", None, self._lost))
                self._lost = 0
        return changes

    def close(self) -> None:
        """End it, and wake it once more. Closing twice is fine."""
        with self._watchers.lock:
            if self.closed:
                return
            self._watchers.remove(self)
        self.wake()

    def offer(self, change: Change, size: int) -> bool:
        """Queue the change, or count it as lost; whether the queue was empty. With the lock."""
        queued = len(self._changes)
        full = queued >= self._watchers.max_events or self._size + size > MAX_EVENTS_SIZE
        if self._lost or (queued and full):
            self._lost += 1
            return False
        self._changes.append(change)
        self._size += size
        return not queued


class Watchers:
    """All watchers of a stash.

    Args:
        lock: what is held during an operation. All methods but :meth:`wake` want it held.
        max_watchers: how many there may be.
        max_events: how many changes wait for one of them, at most.

    Attributes:
        by_table: the watchers of each table.
        due: those that are to be woken.
    """

    __slots__ = ("_count", "_max_watchers", "by_table", "due", "lock", "max_events")

    def __init__(
        self,
        lock: AbstractContextManager[Any],
        *,
        max_watchers: int = 1024,
        max_events: int = MAX_EVENTS,
    ) -> None:
        self.lock = lock
        self.max_events = max_events
        self.by_table: dict[str, list[Watcher]] = {}
        self._max_watchers = max_watchers
        self._count = 0
        self.due: deque[Watcher] = deque()

    def __len__(self) -> int:
        return self._count

    def add(self, table: str, pattern: str | None, wake: Callable[[], object]) -> Watcher:
        """A new watcher of this table, which need not exist.

        Raises:
            StashError: there are too many, or the pattern is none.
        """
        if self._count >= self._max_watchers:
            raise StashError(
                f"{self._count:,} watchers watch the stash, which is all that it takes; close some",
                table=table,
            )
        watcher = Watcher(self, table, matcher(pattern), wake)
        self.by_table.setdefault(table, []).append(watcher)
        self._count += 1
        return watcher

    def remove(self, watcher: Watcher) -> None:
        """Tell this watcher nothing more."""
        watcher.closed = True
        watchers = self.by_table[watcher.table]
        watchers.remove(watcher)
        if not watchers:
            del self.by_table[watcher.table]
        self._count -= 1

    def publish(
        self, table: str, op: str, key: Key | None = None, value: bytes | None = None
    ) -> None:
        """Something has happened to this table; to all of it, if the key is None."""
        watchers = self.by_table.get(table)
        if watchers is None:
            return
        change = Change(op, key, None if value is None else tlv.Encoded(value))
        size = 0 if value is None else len(value)
        for watcher in watchers:
            if key is not None and watcher.matches is not None and not watcher.matches(key):
                continue
            if watcher.offer(change, size):
                self.due.append(watcher)

    def wake(self) -> None:
        """Wake those that are due. Without the lock, so that they may use the stash."""
        # Several threads may be here, or fill it, at once: each watcher is taken by one of them.
        while True:
            try:
                watcher = self.due.popleft()
            except IndexError:
                return
            watcher.wake()


def matcher(pattern: object) -> Callable[[Key], bool] | None:
    """Whether a key matches this glob (``*``, ``?``, ``[…]``; case counts); None if all do.

    A key that is no str is matched as Python writes it.

    Raises:
        StashError: this is no pattern, or too long a one.
    """
    if pattern is None or pattern == "":
        return None
    if not isinstance(pattern, str):
        raise StashError(f"a pattern is a str, not {type(pattern).__name__}")
    if len(pattern) > _MAX_PATTERN_LENGTH:
        raise StashError(
            f"a pattern has {_MAX_PATTERN_LENGTH:,} characters at most, not {len(pattern):,}"
        )
    return _compiled(pattern)


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> Callable[[Key], bool]:
    match = re.compile(fnmatch.translate(pattern)).match

    def matches(key: Key) -> bool:
        return match(key if isinstance(key, str) else repr(key)) is not None

    return matches
