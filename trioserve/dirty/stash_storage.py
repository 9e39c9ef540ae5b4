# SPDX-License-Identifier: MIT
"""What the stash's tables are made of: entries, with their sizes, deadlines and order.

All changes go through :class:`Storage`, which keeps four things true:

- the size of a table, and of the storage, is the sum over what is in it, and within the limits;
- a table's ``order`` holds its entries by their numbers; those that are gone stay in it, marked,
  until they are half of it;
- the heap holds the deadline of each entry that has one; a deadline that no entry has any more
  stays in it until such are half of it;
- a number is never given twice, so that a cursor made of numbers outlives any change.

Pure, and without a lock: whoever calls holds one.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, Final, TypeAlias

from trioserve.dirty.errors import StashError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ENTRY_OVERHEAD", "TABLE_OVERHEAD", "Entry", "Key", "Storage", "Table"]

Key: TypeAlias = str | int | float | bytes
"""What a key may be. As in a dict, ``1``, ``1.0`` and ``True`` are one key."""

#: Bytes that an entry takes beside its key and its value, in round figures (CPython, 64 bits): the
#: dict's slot, three objects, a place in the order and one in the heap.
ENTRY_OVERHEAD: Final = 320

#: The same for a table, beside its name.
TABLE_OVERHEAD: Final = 1024

#: How many entries a page holds at most, and how many are looked at for it.
MAX_PAGE: Final = 1000
MAX_PAGE_SCAN: Final = 10_000

_by_number = attrgetter("number")

# So few that are gone are not worth a rebuild.
_FEW: Final = 64

# What a key that is a number counts for: its size in encoded form.
_NUMBER_SIZE: Final = 9


class Entry:
    """One key with its value.

    Attributes:
        number: greater than that of any entry made before it, in whatever table.
        value: the encoded bytes.
        size: what it counts for; 0 once it is gone.
        deadline: when it expires, or None.
    """

    __slots__ = ("deadline", "key", "number", "size", "table", "value")

    def __init__(self, table: Table, key: Key, number: int) -> None:
        self.table = table
        self.key = key
        self.number = number
        self.value = b""
        self.size = 0
        self.deadline: float | None = None


class Table:
    """The entries of one table, by key and in the order in which they were made.

    Attributes:
        order: the entries, and some that are gone.
        first: before this position all are gone, so that a queue's head is found at once.
        gone: how many are.
    """

    __slots__ = ("entries", "first", "gone", "name", "order", "size")

    def __init__(self, name: str) -> None:
        self.name = name
        self.size = 0
        self.entries: dict[Key, Entry] = {}
        self.order: list[Entry] = []
        self.first = 0
        self.gone = 0

    def forget(self, entry: Entry) -> None:
        """Take the entry out; it is marked as gone already."""
        del self.entries[entry.key]
        self.gone += 1
        order = self.order
        while self.first < len(order) and not order[self.first].size:
            self.first += 1
        if self.gone > _FEW and self.gone * 2 > len(order):
            self.order = list(self.entries.values())
            self.first = self.gone = 0

    def page(
        self,
        after: int,
        until: int,
        matches: Callable[[Key], bool] | None,
        max_entries: int,
        max_size: int,
    ) -> tuple[list[Entry], int | None]:
        """Some of the entries whose numbers are above ``after`` and not above ``until``.

        Returns:
            The next that match: as many as the limits (MAX_PAGE and MAX_PAGE_SCAN besides) allow,
            though one in any case. And the number to go on after, None if there is nothing to go
            on to.
        """
        order = self.order
        position = max(self.first, bisect_right(order, after, key=_by_number))
        end = bisect_right(order, until, key=_by_number)
        pause = min(end, position + MAX_PAGE_SCAN)
        found: list[Entry] = []
        size = 0
        while position < pause and len(found) < min(max_entries, MAX_PAGE):
            entry = order[position]
            if entry.size and (matches is None or matches(entry.key)):
                size += entry.size
                if found and size > max_size:
                    break
                found.append(entry)
            position += 1
        return found, None if position >= end else order[position - 1].number


class Storage:
    """All tables.

    Args:
        max_table_size, max_size, max_tables, clock: see
            :class:`~trioserve.dirty.tables.StashTables`.
        on_expired: told of each entry whose time is over, after it has gone.

    Attributes:
        tables: by name; for reading only.
        size: what all tables count for, in bytes.
        last_number: the number of the entry made last.
    """

    __slots__ = (
        *("_clock", "_deadlines", "_max_size", "_max_table_size", "_max_tables", "_on_expired"),
        *("_timed", "last_number", "size", "tables"),
    )

    def __init__(
        self,
        *,
        max_table_size: int,
        max_size: int,
        max_tables: int,
        clock: Callable[[], float],
        on_expired: Callable[[Entry], None],
    ) -> None:
        self.tables: dict[str, Table] = {}
        self.size = 0
        self.last_number = 0
        self._max_table_size = max_table_size
        self._max_size = max_size
        self._max_tables = max_tables
        self._clock = clock
        self._on_expired = on_expired
        self._deadlines: list[tuple[float, int, Entry]] = []
        self._timed = 0  # entries that have a deadline

    def find(self, name: str, key: Key) -> Entry | None:
        """The entry, unless its time is over: then it goes now."""
        table = self.tables.get(name)
        if table is None:
            return None
        entry = table.entries.get(key)
        if entry is not None and entry.deadline is not None and entry.deadline <= self._clock():
            self._expire(entry)
            return None
        return entry

    # -- changing ---------------------------------------------------------------------------

    def write(self, name: str, key: Key, value: bytes, deadline: float | None) -> None:
        """Set one key; the table is made if need be.

        Raises:
            StashError: it doesn't fit; nothing has changed.
        """
        entry = self.find(name, key)
        table = self.tables.get(name)
        if table is not None:
            size = ENTRY_OVERHEAD + _key_size(key) + len(value)
            growth = size if entry is None else size - entry.size
            if growth <= 0 or (
                table.size + growth <= self._max_table_size and self.size + growth <= self._max_size
            ):
                self._write(table, entry, key, value, size, deadline)
                return
        self.write_all(name, {key: value}, deadline)

    def write_all(self, name: str, values: Mapping[Key, bytes], deadline: float | None) -> None:
        """Set all these keys, or none; the table is made if need be, even for no key.

        Raises:
            StashError: they don't fit; nothing has changed.
        """
        self.sweep()  # what has expired must not stand in the way
        sizes = {key: ENTRY_OVERHEAD + _key_size(key) + len(value) for key, value in values.items()}
        growth = sum(sizes.values())
        table = self.tables.get(name)
        if table is None:
            own_size = self._size_of_new_table(name)
            self._check_limits(name, own_size + growth, own_size + growth)
            table = self.tables[name] = Table(name)
            table.size = own_size
            self.size += own_size
        else:
            old = table.entries
            growth -= sum(old[key].size for key in sizes if key in old)
            if growth > 0:
                self._check_limits(name, table.size + growth, growth)
        for key, value in values.items():
            self._write(table, table.entries.get(key), key, value, sizes[key], deadline)

    def set_deadline(self, entry: Entry, deadline: float | None) -> None:
        """When the entry expires from now on; None is never."""
        old = entry.deadline
        if deadline == old:
            return
        self._timed += (deadline is not None) - (old is not None)
        entry.deadline = deadline
        if deadline is not None:
            heapq.heappush(self._deadlines, (deadline, entry.number, entry))
        self._trim_deadlines()

    def discard(self, entry: Entry) -> None:
        """Remove the entry from its table."""
        self._mark_gone(entry)
        entry.table.forget(entry)
        self._trim_deadlines()

    def clear(self, table: Table) -> None:
        """Remove all entries of the table."""
        entries = table.entries
        table.entries, table.order = {}, []
        table.first = table.gone = 0
        for entry in entries.values():
            self._mark_gone(entry)
        self._trim_deadlines()

    def drop(self, table: Table) -> None:
        """Remove the table itself."""
        self.clear(table)
        self.size -= table.size
        del self.tables[table.name]

    def sweep(self, now: float | None = None, limit: int | None = None) -> float | None:
        """Remove the entries whose time is over.

        Args:
            now: the clock's time, if known.
            limit: how many deadlines are looked at, at most.

        Returns:
            The first deadline that is left: it has passed if the limit left something over. None
            if there is none.
        """
        deadlines = self._deadlines
        if not deadlines:
            return None
        if now is None:
            now = self._clock()
        while deadlines and deadlines[0][0] <= now and limit != 0:
            deadline, _, entry = heapq.heappop(deadlines)
            if entry.deadline == deadline:
                self._expire(entry)
            if limit is not None:
                limit -= 1
        return deadlines[0][0] if deadlines else None

    # -- within -----------------------------------------------------------------------------

    def _write(
        self,
        table: Table,
        entry: Entry | None,
        key: Key,
        value: bytes,
        size: int,
        deadline: float | None,
    ) -> None:
        if entry is None:
            self.last_number += 1
            entry = table.entries[key] = Entry(table, key, self.last_number)
            table.order.append(entry)
        growth = size - entry.size
        table.size += growth
        self.size += growth
        entry.value = value
        entry.size = size
        if deadline is not entry.deadline:
            self.set_deadline(entry, deadline)

    def _expire(self, entry: Entry) -> None:
        self.discard(entry)
        self._on_expired(entry)

    def _mark_gone(self, entry: Entry) -> None:
        entry.table.size -= entry.size
        self.size -= entry.size
        # The order and the heap may keep the entry for a while: without its value.
        entry.size = 0
        entry.value = b""
        if entry.deadline is not None:
            self._timed -= 1
            entry.deadline = None

    def _trim_deadlines(self) -> None:
        if len(self._deadlines) <= 2 * self._timed + _FEW:
            return
        timed = {entry for _, _, entry in self._deadlines}
        # In place: sweep() holds on to the list.
        self._deadlines[:] = [
            (entry.deadline, entry.number, entry) for entry in timed if entry.deadline is not None
        ]
        heapq.heapify(self._deadlines)

    def _size_of_new_table(self, name: str) -> int:
        if not isinstance(name, str):
            raise StashError(f"a table's name is a str, not {type(name).__name__}")
        if len(self.tables) >= self._max_tables:
            raise StashError(
                f"table {name!r} would be one more than the {self._max_tables:,} tables that a "
                "stash may have; delete some, or keep what they hold in one",
                table=name,
            )
        return TABLE_OVERHEAD + _text_size(name)

    def _check_limits(self, name: str, table_size: int, growth: int) -> None:
        if table_size > self._max_table_size:
            raise StashError(
                f"table {name!r} would be {table_size:,} bytes; dirty_stash_table_size allows "
                f"{self._max_table_size:,}",
                table=name,
            )
        if self.size + growth > self._max_size:
            raise StashError(
                f"with this, all tables would be {self.size + growth:,} bytes; dirty_stash_size "
                f"allows {self._max_size:,}",
                table=name,
            )


def _key_size(key: Key) -> int:
    if isinstance(key, str):
        return len(key) if key.isascii() else _text_size(key)
    if isinstance(key, bytes):
        return len(key)
    return _NUMBER_SIZE + (key.bit_length() // 8 if isinstance(key, int) else 0)


def _text_size(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise StashError(f"{text!a} can't be stored: {error}") from error
