# SPDX-License-Identifier: MIT
"""Who watches a table: what they are told, in which order, and what a slow one misses."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from trioserve.dirty import tlv
from trioserve.dirty.errors import StashError
from trioserve.dirty.stash_watch import MAX_EVENTS_SIZE, Change, Watcher
from trioserve.dirty.tables import StashTables

ONE = tlv.encode(1)


def changes(watcher: Watcher) -> list[Change]:
    """What it takes, with values decoded."""
    return [
        change._replace(value=tlv.decode(change.value.data))
        if isinstance(change.value, tlv.Encoded)
        else change
        for change in watcher.take()
    ]


def watching(tables: StashTables, *args: Any) -> Watcher:
    watcher = tables.watch("t", *args)
    assert changes(watcher) == [Change("watching")]
    return watcher


def test_every_operation_that_changes_something_is_told_once() -> None:
    now = 0.0
    tables = StashTables(clock=lambda: now)
    watcher = watching(tables)
    tables.ensure("t")
    tables.put("t", "a", ONE)
    tables.incr("t", "a")
    tables.update("t", {"b": ONE, "c": ONE})
    tables.setdefault("t", "d", ONE)
    tables.compare_and_swap("t", "d", ONE, tlv.encode("s"))
    tables.compare_and_swap("t", "d", tlv.encode("s"), None)
    tables.delete("t", "c")
    tables.pop("t", "b")
    tables.expire("t", "a", 5)
    now = 5.0
    tables.sweep()
    tables.put("t", "e")
    tables.clear("t")
    tables.delete_table("t")
    assert [tuple(change) for change in changes(watcher)] == [
        ("put", "a", 1),
        ("put", "a", 2),
        ("put", "b", 1),
        ("put", "c", 1),
        ("put", "d", 1),
        ("put", "d", "s"),
        ("delete", "d", None),
        ("delete", "c", None),
        ("delete", "b", None),
        ("expire", "a", None),
        ("put", "e", None),
        ("clear", None, None),
        ("delete_table", None, None),
    ]


def test_what_changes_nothing_is_not_told() -> None:
    tables = StashTables(max_table_size=2000)
    watcher = watching(tables)
    tables.put("t", "a", ONE)
    assert len(watcher.take()) == 1
    tables.put("u", "a", ONE)
    tables.setdefault("t", "a", ONE)
    tables.compare_and_swap("t", "a", None, ONE)
    tables.compare_and_swap("t", "b")
    tables.delete("t", "b")
    with pytest.raises(StashError):
        tables.update("t", dict.fromkeys("abcdefgh", ONE))
    tables.expire("t", "a", 9)
    tables.clear("u")
    tables.clear("nowhere")
    tables.delete_table("nowhere")
    assert watcher.take() == []


@pytest.mark.parametrize(
    "touch",
    [
        lambda tables: tables.exists("t", "a"),
        lambda tables: tables.keys("t"),
        lambda tables: tables.put("t", "b"),
        lambda tables: tables.sweep(),
    ],
)
def test_an_expiry_is_told_once_by_whatever_meets_it_first(touch: Any) -> None:
    now = 0.0
    tables = StashTables(clock=lambda: now)
    tables.put("t", "a", ONE, 1)
    watcher = watching(tables)
    now = 1.0
    touch(tables)
    tables.sweep()
    assert [change for change in watcher.take() if change.op == "expire"] == [Change("expire", "a")]


def test_a_put_over_what_has_expired_is_told_as_both() -> None:
    now = 0.0
    tables = StashTables(clock=lambda: now)
    tables.put("t", "a", ONE, 1)
    watcher = watching(tables)
    now = 1.0
    tables.put("t", "a", ONE)
    assert [change.op for change in watcher.take()] == ["expire", "put"]


def test_a_pattern_selects_keys_and_lets_changes_of_the_whole_table_through() -> None:
    tables = StashTables()
    watcher = watching(tables, "user:*")
    tables.update("t", {"user:1": ONE, "group:1": ONE, 7: ONE})
    tables.clear("t")
    assert [change.key for change in watcher.take()] == ["user:1", None]


def test_a_slow_watcher_is_told_how_much_it_lost_and_where() -> None:
    tables = StashTables(max_watch_events=3)
    slow, quick = watching(tables), watching(tables)
    for number in range(5):
        tables.put("t", number)
        assert [change.key for change in quick.take()] == [number]
    assert slow.take() == [
        *(Change("put", number, tlv.Encoded(b"\0")) for number in range(3)),
        Change("lost", None, 2),
    ]
    tables.put("t", "after")
    assert [change.key for change in slow.take()] == ["after"]


def test_after_a_loss_nothing_is_queued_that_would_fit_so_that_order_holds() -> None:
    tables = StashTables()
    watcher = watching(tables)
    large = tlv.encode(b"x" * (MAX_EVENTS_SIZE // 2))
    for key, value in [("a", large), ("b", large), ("c", ONE)]:
        tables.put("t", key, value)
    assert [(change.op, change.key) for change in watcher.take()] == [("put", "a"), ("lost", None)]


def test_one_change_is_told_however_large() -> None:
    tables = StashTables()
    watcher = watching(tables)
    tables.put("t", "k", tlv.encode(b"x" * (MAX_EVENTS_SIZE + 1)))
    assert [change.op for change in watcher.take()] == ["put"]


def test_a_watcher_is_woken_when_there_is_something_again() -> None:
    tables = StashTables()
    calls: list[int] = []
    watcher = tables.watch("t", None, lambda: calls.append(1))
    tables.put("t", "a")  # it has something to take already
    assert calls == []
    watcher.take()
    tables.put("t", "b")
    tables.put("t", "c")
    assert len(calls) == 1
    watcher.take()
    tables.update("t", {"d": ONE, "e": ONE})
    assert len(calls) == 2


def test_who_is_woken_may_use_the_stash_and_leave() -> None:
    tables = StashTables()
    seen: list[Any] = []

    def on_change() -> None:
        for change in watcher.take():
            seen.append((change.key, tables.exists("t", change.key)))
            if change.key == "a":
                tables.put("t", "b")
            elif change.key == "b":
                watcher.close()

    watcher = tables.watch("t", None, on_change)
    watcher.take()
    tables.put("t", "a")
    tables.put("t", "c")
    assert seen == [("a", True), ("b", True)]


def test_a_closed_watcher_is_told_nothing_and_can_take_what_it_had() -> None:
    tables = StashTables()
    woken = threading.Event()
    watcher = tables.watch("t", None, woken.set)
    tables.put("t", "a")
    watcher.close()
    assert woken.is_set()
    assert watcher.closed
    watcher.close()
    tables.put("t", "b")
    assert [change.key for change in watcher.take()] == [None, "a"]
    assert tables.status()["watchers"] == 0


def test_all_watchers_can_be_closed_at_once() -> None:
    tables = StashTables()
    watchers = [tables.watch(name) for name in "ttu"]
    assert tables.status()["watchers"] == 3
    tables.close_watchers()
    assert all(watcher.closed for watcher in watchers)
    assert tables.status()["watchers"] == 0


def test_the_number_of_watchers_is_limited() -> None:
    tables = StashTables(max_watchers=2)
    first = tables.watch("t")
    tables.watch("u")
    with pytest.raises(StashError, match="2 watchers"):
        tables.watch("v")
    first.close()
    tables.watch("v")


def test_a_watch_frame_may_have_a_pattern_and_nothing_else() -> None:
    tables = StashTables()
    watcher = tables.apply_watch("t", {"pattern": tlv.encode("a*")}, lambda: None)
    tables.update("t", {"a1": ONE, "b1": ONE})
    assert [change.key for change in watcher.take()] == [None, "a1"]
    with pytest.raises(StashError, match=r"watch has the fields table, \[pattern\]"):
        tables.apply_watch("t", {"key": tlv.encode("a")}, lambda: None)
    with pytest.raises(StashError, match="a pattern is a str"):
        tables.apply_watch("t", {"pattern": tlv.encode(1)}, lambda: None)


def test_a_change_can_be_sent_as_it_is() -> None:
    tables = StashTables()
    watcher = watching(tables)
    tables.put("t", "k", tlv.encode({"a": 1}))
    assert [tlv.decode(tlv.encode(change)) for change in watcher.take()] == [["put", "k", {"a": 1}]]


def test_threads_are_told_of_in_one_order_by_all_watchers() -> None:
    tables = StashTables(max_watch_events=10_000)
    watchers = [watching(tables), watching(tables)]

    def write(thread: int) -> None:
        for number in range(200):
            tables.put("t", f"{thread}:{number % 7}", tlv.encode(number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = (changes(watcher) for watcher in watchers)
    assert first == second
    assert len(first) == 800
    mirror = {change.key: change.value for change in first}
    assert mirror == {key: tlv.decode(tables.get("t", key).data) for key in tables.keys("t")}
