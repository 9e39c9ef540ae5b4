# SPDX-License-Identifier: MIT
"""The stash's tables against a plain dict, under random operations, with limits and a clock."""

from __future__ import annotations

import contextlib
from typing import Any, TypeAlias

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from trioserve.dirty import tlv
from trioserve.dirty.errors import StashError, StashKeyNotFoundError
from trioserve.dirty.stash_storage import ENTRY_OVERHEAD, TABLE_OVERHEAD, Key
from trioserve.dirty.tables import StashTables

pytestmark = pytest.mark.slow  # some thousand random operations

Model: TypeAlias = dict[str, dict[Key, tuple[bytes, float | None]]]

TABLES = st.sampled_from(["t", "u", "ü"])
KEYS = st.sampled_from(["a", "b", "c", "é", 1])
VALUES = st.sampled_from([tlv.encode(value) for value in (None, 1, 2.5, "x" * 300)])
TTLS = st.sampled_from([None, None, 1, 2.5, 4])

MAX_TABLES = 2
MAX_TABLE_SIZE = TABLE_OVERHEAD + 4 * ENTRY_OVERHEAD
MAX_SIZE = 2 * TABLE_OVERHEAD + 5 * ENTRY_OVERHEAD


def size_of(name: str, model: Model) -> int:
    keys = [9 if isinstance(key, int) else len(str(key).encode()) for key in model[name]]
    values = [len(value) for value, _ in model[name].values()]
    overhead = TABLE_OVERHEAD + len(name.encode()) + ENTRY_OVERHEAD * len(keys)
    return overhead + sum(keys) + sum(values)


class StashAgainstADict(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.now = 0.0
        self.tables = StashTables(
            max_table_size=MAX_TABLE_SIZE,
            max_size=MAX_SIZE,
            max_tables=MAX_TABLES,
            max_watch_events=10**6,
            clock=lambda: self.now,
        )
        self.model: Model = {}
        self.watcher = self.tables.watch("t")
        self.mirror: dict[Key, bytes] = {}

    # -- the model ------------------------------------------------------------------------

    def forget_expired(self) -> None:
        for entries in self.model.values():
            for key, (_, deadline) in list(entries.items()):
                if deadline is not None and deadline <= self.now:
                    del entries[key]

    def deadline(self, ttl: float | None) -> float | None:
        return None if ttl is None else self.now + ttl

    def after(self, table: str, entries: dict[Key, tuple[bytes, float | None]]) -> Model | None:
        """The model with these entries set; None if the limits refuse what grows by it."""
        old = self.model
        new = {**old, table: {**old.get(table, {}), **entries}}
        before = size_of(table, old) if table in old else 0
        if size_of(table, new) <= before:
            return new
        total = sum(size_of(name, new) for name in new)
        fits = size_of(table, new) <= MAX_TABLE_SIZE and total <= MAX_SIZE
        return new if fits and (table in old or len(new) <= MAX_TABLES) else None

    @contextlib.contextmanager
    def expecting(self, new: Model | None) -> Any:
        """The operation within makes the model so, or, if None, is refused."""
        if new is None:
            with pytest.raises(StashError):
                yield
        else:
            yield
            self.model = new

    # -- operations -----------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 1, 2.5]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.forget_expired()

    @rule(limit=st.integers(1, 3))
    def sweep(self, limit: int) -> None:
        due = self.tables.sweep(self.now, limit=limit)
        deadlines = [d for some in self.model.values() for _, d in some.values() if d is not None]
        if deadlines:
            assert due is not None
            assert due <= min(deadlines)

    @rule(table=TABLES, key=KEYS, value=VALUES, ttl=TTLS)
    def put(self, table: str, key: Key, value: bytes, ttl: float | None) -> None:
        with self.expecting(self.after(table, {key: (value, self.deadline(ttl))})):
            assert self.tables.put(table, key, value, ttl) is True

    @rule(table=TABLES, items=st.dictionaries(KEYS, VALUES, max_size=5), ttl=TTLS)
    def update(self, table: str, items: dict[Key, bytes], ttl: float | None) -> None:
        entries = {key: (value, self.deadline(ttl)) for key, value in items.items()}
        with self.expecting(self.after(table, entries)):
            assert self.tables.update(table, items, ttl) is True

    @rule(table=TABLES, key=KEYS, amount=st.integers(-2, 2), ttl=TTLS)
    def incr(self, table: str, key: Key, amount: int, ttl: float | None) -> None:
        old = self.model.get(table, {}).get(key)
        number = 0 if old is None else tlv.decode(old[0])
        if not isinstance(number, int | float):
            new = None
        else:
            deadline = self.deadline(ttl) if old is None else old[1]
            new = self.after(table, {key: (tlv.encode(number + amount), deadline)})
        with self.expecting(new):
            assert self.tables.incr(table, key, amount, 0, ttl) == number + amount

    @rule(
        table=TABLES,
        key=KEYS,
        expected=st.none() | VALUES,
        new=st.none() | VALUES,
        ttl=TTLS,
    )
    def compare_and_swap(
        self, table: str, key: Key, expected: bytes | None, new: bytes | None, ttl: float | None
    ) -> None:
        value, deadline = self.model.get(table, {}).get(key, (None, None))
        if value != expected or (value is None and new is None):
            done = self.tables.compare_and_swap(table, key, expected, new, ttl)
            assert done is (value == expected)
        elif new is None:
            assert self.tables.compare_and_swap(table, key, expected, None, ttl) is True
            del self.model[table][key]
        else:
            deadline = deadline if ttl is None else self.deadline(ttl)
            with self.expecting(self.after(table, {key: (new, deadline)})):
                assert self.tables.compare_and_swap(table, key, expected, new, ttl) is True

    @rule(table=TABLES, key=KEYS, value=VALUES, ttl=TTLS)
    def setdefault(self, table: str, key: Key, value: bytes, ttl: float | None) -> None:
        old = self.model.get(table, {}).get(key)
        if old is not None:
            assert self.tables.setdefault(table, key, value, ttl).data == old[0]
            return
        with self.expecting(self.after(table, {key: (value, self.deadline(ttl))})):
            assert self.tables.setdefault(table, key, value, ttl).data == value

    @rule(table=TABLES, key=KEYS)
    def pop(self, table: str, key: Key) -> None:
        if key in self.model.get(table, {}):
            assert self.tables.pop(table, key).data == self.model[table].pop(key)[0]
        else:
            with pytest.raises(StashKeyNotFoundError):
                self.tables.pop(table, key)

    @rule(table=TABLES, key=KEYS)
    def delete(self, table: str, key: Key) -> None:
        removed = self.model.get(table, {}).pop(key, None)
        assert self.tables.delete(table, key) is (removed is not None)

    @rule(table=TABLES, key=KEYS, ttl=TTLS)
    def expire(self, table: str, key: Key, ttl: float | None) -> None:
        old = self.model.get(table, {}).get(key)
        assert self.tables.expire(table, key, ttl) is (old is not None)
        if old is not None:
            self.model[table][key] = (old[0], self.deadline(ttl))

    @rule(table=TABLES)
    def clear(self, table: str) -> None:
        assert self.tables.clear(table) is True
        self.model.get(table, {}).clear()

    @rule(table=TABLES)
    def delete_table(self, table: str) -> None:
        assert self.tables.delete_table(table) is (self.model.pop(table, None) is not None)

    # -- what holds after each ------------------------------------------------------------

    @rule(table=TABLES, key=KEYS)
    def a_key_is_as_in_the_model(self, table: str, key: Key) -> None:
        value, deadline = self.model.get(table, {}).get(key, (None, None))
        assert self.tables.exists(table, key) is (value is not None)
        if value is not None:
            assert self.tables.get(table, key).data == value
            left = None if deadline is None else deadline - self.now
            assert self.tables.info(table, key)["ttl"] == left

    @rule(table=TABLES, count=st.integers(1, 3))
    def pages_are_as_in_the_model(self, table: str, count: int) -> None:
        found: list[Any] = []
        cursor, *page = self.tables.items(table, count=count)
        while cursor is not None:
            assert len(page) <= 2 * count
            found += page
            cursor, *page = self.tables.items(table, cursor=cursor, count=count)
        found += page
        values = {key: value.data for key, value in zip(found[::2], found[1::2], strict=True)}
        assert values == {key: value for key, (value, _) in self.model.get(table, {}).items()}
        assert set(self.tables.keys(table)) == set(values)

    @rule()
    def sizes_are_as_in_the_model(self) -> None:
        """Of each table, after what has expired has gone; and so in all."""
        for name, entries in self.model.items():
            info = self.tables.info(name)
            assert info == {"size": len(entries), "table": name, "bytes": size_of(name, self.model)}
        self.tables.sweep(limit=1000)
        assert self.tables.status()["bytes"] == sum(size_of(n, self.model) for n in self.model)

    @rule()
    def whoever_watches_can_mirror_the_table(self) -> None:
        self.tables.sweep(limit=1000)
        for op, key, value in self.watcher.take():
            if op == "put":
                self.mirror[key] = value.data
            elif op in ("delete", "expire"):
                del self.mirror[key]
            else:
                assert op in ("watching", "clear", "delete_table")
                self.mirror.clear()
        assert self.mirror == {key: value for key, (value, _) in self.model.get("t", {}).items()}

    @invariant()
    def tables_are_as_in_the_model(self) -> None:
        if hasattr(self, "tables"):
            assert self.tables.tables() == list(self.model)
            assert self.tables.status()["bytes"] <= MAX_SIZE


TestStashAgainstADict = StashAgainstADict.TestCase
TestStashAgainstADict.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, database=None
)
