# SPDX-License-Identifier: MIT
"""The stash's tables and everything that can be done to them.

A value is kept as the bytes of its TLV form. A put from another process stores the bytes that came,
a get answers with them: this process neither decodes nor shares anybody's objects. So values are
compared by their bytes: ``1``, ``1.0`` and ``True`` are three values.

====================  =====================  ==========================  ===============
operation             its fields, and those  result                      without table,
                      that may be left out                               without key
====================  =====================  ==========================  ===============
PUT                   key, [value, ttl]      True                        made
GET                   key                    the value                   key not found
DELETE                key                    whether it was there        False
KEYS                  [pattern]              the keys                    none
CLEAR                                        True                        True
INFO                  [key]                  ``{size, table, bytes}``    not found
INFO with a key       key                    ``{key, table, bytes,       key not found
                                             ttl}``
ENSURE                                       True                        made
DELETE_TABLE                                 whether it was there        False
TABLES                                       the names
EXISTS                [key]                  whether table or key is     False
INCR                  key, [amount,          the new number              made
                      initial, ttl]
COMPARE_AND_SWAP      key, [expected, new,   whether it was done         as a missing
                      ttl]                                               key
SETDEFAULT            key, [value, ttl]      the value that is there     made
POP                   key                    the value                   key not found
UPDATE                items, [ttl]           True                        made
ITEMS                 [pattern, cursor,      ``[cursor, key, value,      no keys
                      count, values]         key, value, …]``
EXPIRE                key, [ttl]             whether the key is there    False
WATCH                 [pattern]              a stream, see stash_watch   waits for it
====================  =====================  ==========================  ===============

The first ten are gunicorn's, with its results. A field that is left out: ``value`` is None, ``ttl``
is no limit, ``expected`` and ``new`` are "no such key".
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from trioserve.dirty import tlv
from trioserve.dirty.descriptions import shown
from trioserve.dirty.errors import StashError, StashKeyNotFoundError, StashTableNotFoundError
from trioserve.dirty.stash_fields import (
    WATCH,
    arguments_from_values,
    arguments_from_wire,
    check_number,
    checked_key,
    checked_ttl,
    operation_for,
)
from trioserve.dirty.stash_storage import MAX_PAGE, Entry, Key, Storage
from trioserve.dirty.stash_watch import Watcher, Watchers, matcher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["StashTables"]

_NONE = tlv.encode(None)


class StashTables:
    """All tables of one stash. Each method is one atomic operation; any thread may call it.

    Values go in as encoded bytes and come out as :class:`tlv.Encoded`. What each operation does
    and returns: the table above; the faces (stash.py) are what to use.

    Args:
        max_table_size: bytes that one table may take (``dirty_stash_table_size``).
        max_size: bytes that all of them may take (``dirty_stash_size``).
        max_tables: how many there may be.
        max_watchers: how many may watch.
        max_watch_events: how many changes may wait for one watcher.
        max_page_size: bytes that a page of items may take; a single item may take more. Less than
            half a frame's limit is safe.
        clock: seconds, of any origin; never goes back.

    Sizes count encoded values, keys, names, and a flat sum for each entry and table. What has
    expired doesn't count.

    Raises:
        StashError: (each method) a limit refuses, or an argument can't be. Nothing has changed.

    Not from a signal handler, nor from a ``__del__``: either may interrupt an operation, and would
    wait for it for ever.
    """

    def __init__(
        self,
        *,
        max_table_size: int = 256 * 1024 * 1024,
        max_size: int = 1024 * 1024 * 1024,
        max_tables: int = 10_000,
        max_watchers: int = 1024,
        max_watch_events: int = 1024,
        max_page_size: int = 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        lock = threading.Lock()
        self._clock = clock
        self._max_page_size = max_page_size
        self._watchers = Watchers(lock, max_watchers=max_watchers, max_events=max_watch_events)
        self._atomic = _Atomic(lock, self._watchers)
        self._storage = Storage(
            max_table_size=max_table_size,
            max_size=max_size,
            max_tables=max_tables,
            clock=clock,
            on_expired=self._publish_expired,
        )

    # -- for the server ---------------------------------------------------------------------

    def apply(self, op: int, table: str, fields: Mapping[str, bytes | memoryview]) -> Any:
        """Do what a STASH frame asks for.

        Args:
            op: a StashOp; not WATCH, which is a stream (:meth:`apply_watch`).
            table: the table's name.
            fields: the others, each as the bytes of its TLV form.

        Returns:
            The result to send; stored values in it are :class:`tlv.Encoded`.

        Raises:
            StashError: one of the errors of the operation, or a field is missing or unknown.
            DirtyProtocolError: a field is no TLV value.
        """
        operation = operation_for(op, table, fields)
        return getattr(self, operation.method)(table, **arguments_from_wire(fields))

    def apply_values(self, op: int, table: str, fields: Mapping[str, Any]) -> Any:
        """As :meth:`apply`, of fields that are decoded already.

        What is stored is encoded anew. For a small frame this is quicker than to split it; of a
        large one it makes a needless copy.
        """
        operation = operation_for(op, table, fields)
        return getattr(self, operation.method)(table, **arguments_from_values(operation, fields))

    def apply_watch(
        self, table: str, fields: Mapping[str, bytes | memoryview], on_change: Callable[[], object]
    ) -> Watcher:
        """Do what a STASH frame with WATCH asks for; as :meth:`watch`."""
        WATCH.check(table, fields)
        return self.watch(table, **arguments_from_wire(fields), on_change=on_change)

    def sweep(self, now: float | None = None, *, limit: int = 1000) -> float | None:
        """Remove what has expired, at most ``limit`` entries at once.

        An expired entry can't be seen, whether this is called or not: it frees memory, and tells
        watchers in time.

        Returns:
            When to call it again (a time of the clock; one that has passed if more is due already).
            None if nothing is going to expire.
        """
        with self._atomic:
            return self._storage.sweep(now, limit)

    def status(self) -> dict[str, int]:
        """Figures for a status page: ``tables``, ``entries``, ``bytes``, ``watchers``."""
        with self._atomic:
            storage = self._storage
            return {
                "tables": len(storage.tables),
                "entries": sum(len(table.entries) for table in storage.tables.values()),
                "bytes": storage.size,
                "watchers": len(self._watchers),
            }

    # -- watching ---------------------------------------------------------------------------

    def watch(
        self, table: str, pattern: str | None = None, on_change: Callable[[], object] = lambda: None
    ) -> Watcher:
        """Be told of each change of this table, or of its keys that match the pattern.

        Args:
            table: need not exist yet.
            pattern: a glob; changes of the table as a whole come nevertheless.
            on_change: called when there is something to :meth:`~Watcher.take` after all has been
                taken; by the thread that made the change, or that closed the watcher. It must not
                block or raise, and may use the stash. At first there is something to take already.
        """
        with self._atomic:
            return self._watchers.add(table, pattern, on_change)

    def close_watchers(self) -> None:
        """End all watching: what is in the queues can still be taken."""
        with self._watchers.lock:
            watchers = [each for some in self._watchers.by_table.values() for each in some]
        for watcher in watchers:
            watcher.close()

    # -- gunicorn's operations --------------------------------------------------------------

    def put(self, table: str, key: Key, value: bytes = _NONE, ttl: float | None = None) -> bool:
        """Set a key, and its time to live: none, if none is given."""
        key = checked_key(key)
        deadline = self._deadline(ttl)
        with self._atomic:
            self._storage.write(table, key, value, deadline)
            self._watchers.publish(table, "put", key, value)
        return True

    def get(self, table: str, key: Key) -> tlv.Encoded:
        """The value.

        Raises:
            StashKeyNotFoundError: no such key, or no such table (so it is in gunicorn, too).
        """
        key = checked_key(key)
        with self._atomic:
            return tlv.Encoded(self._existing(table, key).value)

    def delete(self, table: str, key: Key) -> bool:
        """Remove a key; whether it was there."""
        key = checked_key(key)
        with self._atomic:
            entry = self._storage.find(table, key)
            if entry is None:
                return False
            self._remove(table, entry)
        return True

    def keys(self, table: str, pattern: str | None = None) -> list[Key]:
        """The keys that match the glob, oldest first; none without the table."""
        matches = matcher(pattern)
        with self._atomic:
            self._storage.sweep()
            found = self._storage.tables.get(table)
            keys = [] if found is None else list(found.entries)
        return keys if matches is None else [key for key in keys if matches(key)]

    def clear(self, table: str) -> bool:
        """Remove all keys; the table stays."""
        with self._atomic:
            self._storage.sweep()
            found = self._storage.tables.get(table)
            if found is not None and found.entries:
                self._storage.clear(found)
                self._watchers.publish(table, "clear")
        return True

    def info(self, table: str, key: Key | None = None) -> dict[str, Any]:
        """What a table, or a key, is like; ``ttl`` is in seconds, or None."""
        if key is not None:
            key = checked_key(key)
            with self._atomic:
                entry = self._existing(table, key)
                ttl = None if entry.deadline is None else entry.deadline - self._clock()
                return {"key": key, "table": table, "bytes": entry.size, "ttl": ttl}
        with self._atomic:
            self._storage.sweep()
            found = self._storage.tables.get(table)
            if found is None:
                raise StashTableNotFoundError(f"there is no table {table!r}", table=table)
            return {"size": len(found.entries), "table": table, "bytes": found.size}

    def ensure(self, table: str) -> bool:
        """Make the table, unless it is there."""
        with self._atomic:
            if table not in self._storage.tables:
                self._storage.write_all(table, {}, None)
        return True

    def delete_table(self, table: str) -> bool:
        """Remove the table; whether it was there."""
        with self._atomic:
            found = self._storage.tables.get(table)
            if found is None:
                return False
            self._storage.drop(found)
            self._watchers.publish(table, "delete_table")
        return True

    def tables(self, table: str = "") -> list[str]:
        """The names of all tables, oldest first. (Each operation has a table: here it is idle.)"""
        with self._atomic:
            return list(self._storage.tables)

    def exists(self, table: str, key: Key | None = None) -> bool:
        """Whether the table is there, or the key in it."""
        with self._atomic:
            if key is None:
                return table in self._storage.tables
            return self._storage.find(table, checked_key(key)) is not None

    # -- ours -------------------------------------------------------------------------------

    def incr(
        self,
        table: str,
        key: Key,
        amount: float = 1,
        initial: float = 0,
        ttl: float | None = None,
    ) -> int | float:
        """Add to a number; what it is then.

        A key that is not there is made, from ``initial``, with this ``ttl``; one that is keeps its
        own.

        Raises:
            StashError: what is there is no number, or the sum can't be.
        """
        key = checked_key(key)
        check_number(amount, "the amount")
        check_number(initial, "the initial value")
        deadline = self._deadline(ttl)
        with self._atomic:
            entry = self._storage.find(table, key)
            old = initial
            if entry is not None:
                old = tlv.decode(entry.value)
                check_number(old, f"the value of key {shown(key)} in table {table!r}")
                deadline = entry.deadline
            try:
                new = old + amount
            except OverflowError as error:
                raise StashError(f"the sum can't be: {error}", table=table, key=key) from error
            value = tlv.encode(new)
            self._storage.write(table, key, value, deadline)
            self._watchers.publish(table, "put", key, value)
        return new

    def compare_and_swap(
        self,
        table: str,
        key: Key,
        expected: bytes | None = None,
        new: bytes | None = None,
        ttl: float | None = None,
    ) -> bool:
        """Set a key if its value is the expected one; whether that was done.

        None is "no such key": expected, the key is made; new, it is removed. Without a ``ttl`` the
        key keeps its own.
        """
        key = checked_key(key)
        deadline = self._deadline(ttl)
        with self._atomic:
            entry = self._storage.find(table, key)
            if (None if entry is None else entry.value) != expected:
                return False
            if new is not None:
                if deadline is None and entry is not None:
                    deadline = entry.deadline
                self._storage.write(table, key, new, deadline)
                self._watchers.publish(table, "put", key, new)
            elif entry is not None:
                self._remove(table, entry)
        return True

    def setdefault(
        self, table: str, key: Key, value: bytes = _NONE, ttl: float | None = None
    ) -> tlv.Encoded:
        """Make the key, with this value and ttl, unless it is there; its value then."""
        key = checked_key(key)
        deadline = self._deadline(ttl)
        with self._atomic:
            entry = self._storage.find(table, key)
            if entry is not None:
                return tlv.Encoded(entry.value)
            self._storage.write(table, key, value, deadline)
            self._watchers.publish(table, "put", key, value)
        return tlv.Encoded(value)

    def pop(self, table: str, key: Key) -> tlv.Encoded:
        """Remove a key; what its value was. Raises as :meth:`get`."""
        key = checked_key(key)
        with self._atomic:
            entry = self._existing(table, key)
            value = tlv.Encoded(entry.value)
            self._remove(table, entry)
        return value

    def update(self, table: str, items: Mapping[Key, bytes], ttl: float | None = None) -> bool:
        """Set all these keys, or none, as :meth:`put` does."""
        values = {checked_key(key): value for key, value in items.items()}
        deadline = self._deadline(ttl)
        with self._atomic:
            self._storage.write_all(table, values, deadline)
            for key, value in values.items():
                self._watchers.publish(table, "put", key, value)
        return True

    def items(
        self,
        table: str,
        pattern: str | None = None,
        cursor: list[int] | None = None,
        count: int = MAX_PAGE,
        values: bool = True,
    ) -> list[Any]:
        """A page of keys, with their values if wanted, oldest first.

        Returns:
            The cursor for the next page, or None if this was the last; then key, value, key, value
            and so on, or the keys only. Not more than ``count`` keys, 1,000 keys or 1 MiB, but at
            least one, if one is found among the next 10,000: so a page may be empty, too.

        A key that is there from the first page to the last comes once; one that is made or removed
        meanwhile, once or not at all; each with its value at the time of its page.
        """
        matches = matcher(pattern)
        after, until = _read_cursor(cursor)
        if type(count) is not int or count < 1:
            raise StashError(f"count is a number of keys, 1 or more, not {shown(count)}")
        with self._atomic:
            self._storage.sweep()
            found = self._storage.tables.get(table)
            if found is None:
                return [None]
            if until is None:
                until = self._storage.last_number
            entries, last = found.page(after, until, matches, count, self._max_page_size)
            page: list[Any] = [None if last is None else [last, until]]
            for entry in entries:
                page.append(entry.key)
                if values:
                    page.append(tlv.Encoded(entry.value))
        return page

    def expire(self, table: str, key: Key, ttl: float | None = None) -> bool:
        """Give a key so many seconds from now, or, with None, no end; whether it is there."""
        key = checked_key(key)
        deadline = self._deadline(ttl)
        with self._atomic:
            entry = self._storage.find(table, key)
            if entry is None:
                return False
            self._storage.set_deadline(entry, deadline)
        return True

    # -- within -----------------------------------------------------------------------------

    def _existing(self, table: str, key: Key) -> Entry:
        entry = self._storage.find(table, key)
        if entry is None:
            raise StashKeyNotFoundError(
                f"there is no key {shown(key)} in table {table!r}", table=table, key=key
            )
        return entry

    def _remove(self, table: str, entry: Entry) -> None:
        self._storage.discard(entry)
        self._watchers.publish(table, "delete", entry.key)

    def _publish_expired(self, entry: Entry) -> None:
        self._watchers.publish(entry.table.name, "expire", entry.key)

    def _deadline(self, ttl: float | None) -> float | None:
        return None if ttl is None else self._clock() + checked_ttl(ttl)


def _read_cursor(cursor: object) -> tuple[int, int | None]:
    """After which entry to go on, and up to which: up to the last there is, if that is None."""
    match cursor:
        case None:
            return 0, None
        case [int(after), int(until)]:
            return after, until
        case _:
            raise StashError(f"this is no cursor of ITEMS: {shown(cursor)}")


class _Atomic:
    """Around an operation: the lock; then, without it, those are woken who watch."""

    __slots__ = ("_lock", "_watchers")

    def __init__(self, lock: threading.Lock, watchers: Watchers) -> None:
        self._lock = lock
        self._watchers = watchers

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if self._watchers.due:
            self._watchers.wake()
