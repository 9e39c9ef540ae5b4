# SPDX-License-Identifier: MIT
"""The stash's operations, as the arbiter is asked for them: fields as bytes, results to be sent."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest

from trioserve.dirty import tlv
from trioserve.dirty.errors import (
    DirtyProtocolError,
    StashError,
    StashKeyNotFoundError,
    StashTableNotFoundError,
)
from trioserve.dirty.frames import StashOp
from trioserve.dirty.stash_storage import ENTRY_OVERHEAD, MAX_PAGE, MAX_PAGE_SCAN, TABLE_OVERHEAD
from trioserve.dirty.tables import StashTables


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tables(clock: Clock) -> StashTables:
    return StashTables(clock=clock)


def ask(tables: StashTables, op: str, table: str = "t", **fields: Any) -> Any:
    """What a peer gets that sends this operation."""
    encoded = {name: tlv.encode(value) for name, value in fields.items()}
    return tlv.decode(tlv.encode(tables.apply(StashOp[op], table, encoded)))


def filled(tables: StashTables, count: int, table: str = "t") -> StashTables:
    for number in range(count):
        tables.put(table, f"k{number}", tlv.encode(number))
    return tables


def all_items(tables: StashTables, **fields: Any) -> tuple[list[Any], int]:
    """Everything that pages of ITEMS bring, and how many they are."""
    cursor, *found = ask(tables, "ITEMS", **fields)
    pages = 1
    while cursor is not None:
        cursor, *page = ask(tables, "ITEMS", **fields, cursor=cursor)
        found += page
        pages += 1
    return found, pages


# -- gunicorn's operations, with its results ------------------------------------------------


def test_a_put_makes_the_table_and_a_get_brings_the_value(tables: StashTables) -> None:
    assert ask(tables, "PUT", key="k", value={"a": [1, None]}) is True
    assert ask(tables, "GET", key="k") == {"a": [1, None]}
    assert ask(tables, "TABLES", "") == ["t"]


def test_a_put_without_a_value_stores_none(tables: StashTables) -> None:
    # gunicorn's client leaves a field out where it is None.
    assert ask(tables, "PUT", key="k") is True
    assert ask(tables, "GET", key="k") is None
    assert ask(tables, "EXISTS", key="k") is True


def test_a_get_answers_with_the_very_bytes_of_the_put(tables: StashTables) -> None:
    sent = memoryview(tlv.encode({"z": 1, "a": 1.5}))
    tables.apply(StashOp.PUT, "t", {"key": tlv.encode("k"), "value": sent})
    answer = tables.apply(StashOp.GET, "t", {"key": tlv.encode("k")})
    assert type(answer) is tlv.Encoded
    assert answer.data == bytes(sent)


@pytest.mark.parametrize("op", ["GET", "POP", "INFO"])
@pytest.mark.parametrize("table", ["t", "nowhere"])
def test_a_missing_key_is_named_even_where_the_table_is_missing(
    tables: StashTables, op: str, table: str
) -> None:
    ask(tables, "ENSURE")
    with pytest.raises(StashKeyNotFoundError, match=f"no key 'k' in table '{table}'") as caught:
        ask(tables, op, table, key="k")
    assert caught.value.details == {"table": table, "key": "k"}


def test_a_delete_says_whether_the_key_was_there(tables: StashTables) -> None:
    ask(tables, "PUT", key="k", value=1)
    assert ask(tables, "DELETE", key="k") is True
    assert ask(tables, "DELETE", key="k") is False
    assert ask(tables, "DELETE", "nowhere", key="k") is False


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (None, ["user:1", "User:2", "user:10", 7]),
        ("", ["user:1", "User:2", "user:10", 7]),
        ("user:*", ["user:1", "user:10"]),
        ("user:?", ["user:1"]),
        ("[uU]ser:[!1]*", ["User:2"]),
        ("7", [7]),
        ("nobody", []),
    ],
)
def test_keys_are_filtered_by_a_glob_in_which_case_counts(
    tables: StashTables, pattern: str | None, expected: list[Any]
) -> None:
    for key in ("user:1", "User:2", "user:10", 7):
        ask(tables, "PUT", key=key)
    fields = {} if pattern is None else {"pattern": pattern}
    assert ask(tables, "KEYS", **fields) == expected
    assert ask(tables, "ITEMS", **fields, values=False) == [None, *expected]


def test_a_missing_table_is_like_an_empty_one_but_for_info(tables: StashTables) -> None:
    assert ask(tables, "KEYS") == []
    assert ask(tables, "ITEMS") == [None]
    assert ask(tables, "CLEAR") is True
    assert ask(tables, "EXISTS") is False
    assert ask(tables, "EXISTS", key="k") is False
    assert ask(tables, "DELETE_TABLE") is False
    assert ask(tables, "EXPIRE", key="k") is False
    with pytest.raises(StashTableNotFoundError, match="no table 't'") as caught:
        ask(tables, "INFO")
    assert caught.value.details == {"table": "t"}
    assert ask(tables, "TABLES", "") == []


def test_clear_keeps_the_table_and_delete_table_does_not(tables: StashTables) -> None:
    filled(tables, 3)
    assert ask(tables, "CLEAR") is True
    assert ask(tables, "INFO") == {"size": 0, "table": "t", "bytes": TABLE_OVERHEAD + 1}
    assert ask(tables, "EXISTS") is True
    assert ask(tables, "DELETE_TABLE") is True
    assert ask(tables, "EXISTS") is False
    assert tables.status() == {"tables": 0, "entries": 0, "bytes": 0, "watchers": 0}


def test_ensure_makes_a_table_once(tables: StashTables) -> None:
    ask(tables, "ENSURE")
    ask(tables, "PUT", key="k")
    assert ask(tables, "ENSURE") is True
    assert ask(tables, "INFO")["size"] == 1


@pytest.mark.parametrize("key", ["", "ключ", 0, -(2**63), 1.5, b"\xff"])
def test_a_key_is_what_gunicorn_lets_be_one_and_comes_back_as_it_was(
    tables: StashTables, key: str | float | bytes
) -> None:
    ask(tables, "PUT", key=key, value=1)
    (found,) = ask(tables, "KEYS")
    assert (found, type(found)) == (key, type(key))
    assert ask(tables, "GET", key=key) == 1


def test_as_in_a_dict_equal_numbers_are_one_key(tables: StashTables) -> None:
    for key in (1, 1.0, True):
        ask(tables, "PUT", key=key)
    assert ask(tables, "KEYS") == [1]


@pytest.mark.parametrize("key", [None, [], {}, float("nan")])
def test_what_can_not_be_looked_up_is_no_key(tables: StashTables, key: Any) -> None:
    with pytest.raises(StashError, match="key"):
        ask(tables, "PUT", key=key)
    assert ask(tables, "TABLES", "") == []


# -- what comes may be anything -------------------------------------------------------------


@pytest.mark.parametrize("op", [99, 0, -1, None, "PUT", [1], {}, StashOp.WATCH])
def test_an_unknown_operation_is_refused(tables: StashTables, op: Any) -> None:
    for apply in (tables.apply, tables.apply_values):
        with pytest.raises(StashError, match=re.escape(f"operation {op!r} is unknown")):
            apply(op, "t", {})


def test_fields_that_are_decoded_already_are_as_good(tables: StashTables) -> None:
    tables.apply_values(StashOp.PUT, "t", {"key": "k", "value": {"a": [1]}})
    assert tables.apply_values(StashOp.GET, "t", {"key": "k"}) == tables.get("t", "k")
    assert ask(tables, "GET", key="k") == {"a": [1]}
    tables.apply_values(StashOp.UPDATE, "t", {"items": ["k", 1, 2, "b"]})
    assert ask(tables, "ITEMS") == [None, "k", 1, 2, "b"]
    with pytest.raises(StashError, match="put has the fields"):
        tables.apply_values(StashOp.PUT, "t", {"value": 1})


@pytest.mark.parametrize("op", [op for op in StashOp if op is not StashOp.WATCH])
def test_an_unknown_field_is_refused_in_each_operation(tables: StashTables, op: StashOp) -> None:
    with pytest.raises(StashError, match=f"{op.name.lower()} has the fields table.*tll"):
        ask(tables, op.name, tll=3)


def test_a_missing_field_is_named(tables: StashTables) -> None:
    with pytest.raises(StashError, match=r"put has the fields table, key, \[ttl\], \[value\]"):
        ask(tables, "PUT", value=3)


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("PUT", {"key": "k", "ttl": 0}),
        ("PUT", {"key": "k", "ttl": -1.5}),
        ("PUT", {"key": "k", "ttl": True}),
        ("PUT", {"key": "k", "ttl": "3"}),
        ("PUT", {"key": "k", "ttl": float("inf")}),
        ("PUT", {"key": "k", "ttl": float("nan")}),
        ("EXPIRE", {"key": "k", "ttl": 0}),
        ("KEYS", {"pattern": 3}),
        ("KEYS", {"pattern": "*" * 2000}),
        ("INCR", {"key": "k", "amount": "1"}),
        ("INCR", {"key": "k", "amount": True}),
        ("INCR", {"key": "k", "initial": None}),
        ("ITEMS", {"count": 0}),
        ("ITEMS", {"count": "1"}),
        ("ITEMS", {"cursor": "x"}),
        ("ITEMS", {"cursor": [1]}),
        ("ITEMS", {"cursor": [1, "2"]}),
        ("UPDATE", {"items": {"a": 1}}),
        ("UPDATE", {"items": ["a"]}),
        ("UPDATE", {"items": [None, 1]}),
    ],
    ids=str,
)
def test_a_field_that_can_not_be_is_a_stash_error_and_changes_nothing(
    tables: StashTables, op: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(StashError):
        ask(tables, op, **fields)
    assert ask(tables, "TABLES", "") == []


@pytest.mark.parametrize("name", [3, None, ["t"], b"t"])
def test_a_table_has_a_name_of_text(tables: StashTables, name: Any) -> None:
    message = f"a table's name is a str, not {type(name).__name__}"
    for op in (StashOp.PUT, StashOp.GET):
        with pytest.raises(StashError, match=message):
            tables.apply(op, name, {"key": tlv.encode("k")})
        with pytest.raises(StashError, match=message):
            tables.apply_values(op, name, {"key": "k"})
    with pytest.raises(StashError, match=message):
        tables.apply_watch(name, {}, lambda: None)
    with pytest.raises(StashError, match="a table's name is a str, not int"):
        tables.ensure(3)  # type: ignore[arg-type]


def test_bytes_that_are_no_value_are_a_protocol_error(tables: StashTables) -> None:
    with pytest.raises(DirtyProtocolError):
        tables.apply(StashOp.GET, "t", {"key": b"\x11\0"})


# -- atomic operations ----------------------------------------------------------------------


def test_incr_adds_ints_and_floats_and_starts_where_it_is_told(tables: StashTables) -> None:
    assert ask(tables, "INCR", key="n") == 1
    assert ask(tables, "INCR", key="n", amount=-3) == -2
    assert ask(tables, "INCR", key="n", amount=0.5) == -1.5
    assert ask(tables, "INCR", key="m", amount=2, initial=40) == 42
    assert ask(tables, "INCR", key="m", amount=2, initial=40) == 44
    assert ask(tables, "GET", key="n") == -1.5


@pytest.mark.parametrize("value", ["1", None, True, [1]])
def test_incr_of_what_is_no_number_is_an_error_that_names_the_key(
    tables: StashTables, value: object
) -> None:
    ask(tables, "PUT", key="n", value=value)
    with pytest.raises(StashError, match="key 'n' in table 't' is to be a number"):
        ask(tables, "INCR", key="n")
    assert ask(tables, "GET", key="n") == value


def test_a_sum_that_can_not_be_is_an_error(tables: StashTables) -> None:
    tables.incr("t", "n", 10**400)
    with pytest.raises(StashError, match="the sum"):
        tables.incr("t", "n", 0.5)


def test_a_swap_wants_the_expected_bytes(tables: StashTables) -> None:
    ask(tables, "PUT", key="k", value=1)
    for other in (1.0, True, "1", None):
        assert ask(tables, "COMPARE_AND_SWAP", key="k", expected=other, new=2) is False
    assert ask(tables, "COMPARE_AND_SWAP", key="k", expected=1, new=2) is True
    assert ask(tables, "GET", key="k") == 2


def test_a_swap_with_what_is_not_there_makes_or_removes_the_key(tables: StashTables) -> None:
    assert ask(tables, "COMPARE_AND_SWAP", key="lock", expected=None, new="me") is False
    assert ask(tables, "COMPARE_AND_SWAP", key="lock") is True
    assert ask(tables, "TABLES", "") == []
    assert ask(tables, "COMPARE_AND_SWAP", key="lock", new="me") is True
    assert ask(tables, "COMPARE_AND_SWAP", key="lock", new="you") is False
    assert ask(tables, "COMPARE_AND_SWAP", key="lock", expected="you") is False
    assert ask(tables, "COMPARE_AND_SWAP", key="lock", expected="me") is True
    assert ask(tables, "EXISTS", key="lock") is False


def test_setdefault_brings_what_is_there_in_the_end(tables: StashTables) -> None:
    assert ask(tables, "SETDEFAULT", key="k", value=[1]) == [1]
    assert ask(tables, "SETDEFAULT", key="k", value=[2]) == [1]
    assert ask(tables, "SETDEFAULT", key="none") is None
    assert ask(tables, "SETDEFAULT", key="none", value=1) is None


def test_pop_brings_the_value_once(tables: StashTables) -> None:
    ask(tables, "PUT", key="k", value={"error": "key_not_found"})
    assert ask(tables, "POP", key="k") == {"error": "key_not_found"}
    with pytest.raises(StashKeyNotFoundError):
        ask(tables, "POP", key="k")


def test_update_stores_many_and_of_two_equal_keys_the_last(tables: StashTables) -> None:
    ask(tables, "PUT", key="a", value=0)
    assert ask(tables, "UPDATE", items=["a", 1, 2, "b", "a", [3]]) is True
    assert ask(tables, "ITEMS") == [None, "a", [3], 2, "b"]


def test_an_empty_update_is_one_nevertheless(tables: StashTables) -> None:
    assert ask(tables, "UPDATE", items=[]) is True
    assert ask(tables, "ITEMS") == [None]


def test_threads_that_count_lose_nothing(tables: StashTables) -> None:
    def count() -> None:
        for _ in range(500):
            tables.incr("t", "n")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ask(tables, "GET", key="n") == 4000


# -- pages ----------------------------------------------------------------------------------


def test_pages_bring_each_key_once_in_the_order_of_their_making(tables: StashTables) -> None:
    filled(tables, 25)
    found, pages = all_items(tables, count=10)
    assert found == [part for n in range(25) for part in (f"k{n}", n)]
    assert pages == 3


def test_a_page_that_takes_all_is_the_last(tables: StashTables) -> None:
    filled(tables, 20)
    assert all_items(tables, count=10)[1] == 2
    assert all_items(tables, count=20)[1] == 1


def test_a_page_is_bounded_in_keys_whatever_is_asked_for(tables: StashTables) -> None:
    filled(tables, MAX_PAGE + 1)
    cursor, *keys = ask(tables, "ITEMS", values=False, count=10**6)
    assert len(keys) == MAX_PAGE
    assert cursor is not None


def test_a_page_is_bounded_in_bytes_but_holds_one_value_at_least(tables: StashTables) -> None:
    for size in (10, 3_000_000, 600_000, 300_000, 300_000):
        ask(tables, "PUT", key=str(size) + "x" * size, value=b"")
    sizes = []
    cursor: Any = []
    while cursor is not None:
        cursor, *page = ask(tables, "ITEMS", values=False, **({"cursor": cursor} if cursor else {}))
        sizes.append([len(key.lstrip("0123456789")) for key in page])
    assert sizes == [[10], [3_000_000], [600_000, 300_000]]


def test_a_page_is_bounded_in_keys_that_are_looked_at(tables: StashTables) -> None:
    tables.update("t", dict.fromkeys(range(MAX_PAGE_SCAN), b"\0"))
    tables.put("t", "needle")
    cursor, *page = ask(tables, "ITEMS", pattern="needle")
    assert page == []
    assert ask(tables, "ITEMS", pattern="needle", cursor=cursor) == [None, "needle", None]


def test_pages_survive_any_change_between_them(tables: StashTables) -> None:
    """What is there all the time comes once; what is new since the first page does not."""
    filled(tables, 300)
    cursor, *found = ask(tables, "ITEMS", values=False, count=100)
    for number in range(300):
        if number % 3:
            tables.delete("t", f"k{number}")
    tables.put("t", "k150", tlv.encode("overwritten"))
    tables.put("t", "k50", tlv.encode("made again"))
    tables.put("t", "k250", tlv.encode("made again"))
    tables.put("t", "new", tlv.encode(0))
    while cursor is not None:
        cursor, *page = ask(tables, "ITEMS", values=False, count=100, cursor=cursor)
        found += page
    assert found == [f"k{n}" for n in range(300) if n < 100 or n % 3 == 0]


def test_a_cursor_of_a_table_that_was_made_anew_ends(tables: StashTables) -> None:
    filled(tables, 5)
    cursor = ask(tables, "ITEMS", count=2)[0]
    ask(tables, "DELETE_TABLE")
    filled(tables, 5)
    assert ask(tables, "ITEMS", cursor=cursor) == [None]


def test_the_head_of_a_queue_is_found_however_much_went_before(tables: StashTables) -> None:
    filled(tables, 2000)
    for number in range(900):
        (_, key) = ask(tables, "ITEMS", values=False, count=1)
        assert key == f"k{number}"
        ask(tables, "DELETE", key=key)


def test_pages_fit_into_the_frames_that_are_allowed(tables: StashTables) -> None:
    tables = StashTables(max_page_size=30_000)
    for number in range(100):
        ask(tables, "PUT", key=number, value="x" * 1000)
    cursor, *page = ask(tables, "ITEMS")
    while cursor is not None:
        assert 0 < len(tlv.encode(page)) < 30_000
        cursor, *page = ask(tables, "ITEMS", cursor=cursor)


# -- limits ---------------------------------------------------------------------------------


def room_for(keys: int, value: bytes = b"\0") -> int:
    """The size of table ``t`` with so many keys of one character."""
    return TABLE_OVERHEAD + 1 + keys * (ENTRY_OVERHEAD + 1 + len(value))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_table_size": room_for(2)}, f"dirty_stash_table_size allows {room_for(2):,}"),
        ({"max_size": room_for(2)}, f"dirty_stash_size allows {room_for(2):,}"),
    ],
)
def test_a_limit_refuses_by_its_name_and_nothing_has_changed(
    limits: dict[str, Any], message: str
) -> None:
    tables = StashTables(**limits)
    ask(tables, "UPDATE", items=["a", None, "b", None])
    before = tables.status()
    refused: list[tuple[str, dict[str, Any]]] = [
        ("PUT", {"key": "c"}),
        ("PUT", {"key": "a", "value": 0}),
        ("INCR", {"key": "c"}),
        ("SETDEFAULT", {"key": "c"}),
        ("COMPARE_AND_SWAP", {"key": "c", "new": 1}),
        ("COMPARE_AND_SWAP", {"key": "a", "expected": None, "new": "longer"}),
        ("UPDATE", {"items": ["a", True, "c", 1]}),
    ]
    for op, fields in refused:
        with pytest.raises(StashError, match=message) as caught:
            ask(tables, op, **fields)
        assert caught.value.details == {"table": "t"}
    assert ask(tables, "ITEMS") == [None, "a", None, "b", None]
    assert tables.status() == before


def test_a_table_that_does_not_fit_is_not_made() -> None:
    tables = StashTables(max_size=room_for(1) + 1)
    with pytest.raises(StashError, match="dirty_stash_size"):
        ask(tables, "PUT", key="k", value="long")
    assert ask(tables, "TABLES", "") == []
    ask(tables, "PUT", key="k")
    with pytest.raises(StashError, match="dirty_stash_size"):
        ask(tables, "ENSURE", "another")
    assert ask(tables, "TABLES", "") == ["t"]


def test_what_gets_smaller_is_let_in_though_all_is_full() -> None:
    tables = StashTables(max_table_size=room_for(1, b"12345"))
    tables.put("t", "k", b"12345")
    tables.put("t", "k", b"54321")
    tables.put("t", "k", b"1")
    assert tables.status()["bytes"] == room_for(1)


def test_the_number_of_tables_is_limited() -> None:
    tables = StashTables(max_tables=2)
    for name in ("a", "b", "a"):
        ask(tables, "ENSURE", name)
    for op in ("ENSURE", "PUT"):
        with pytest.raises(StashError, match="the 2 tables"):
            ask(tables, op, "c", **({"key": "k"} if op == "PUT" else {}))
    assert ask(tables, "TABLES", "") == ["a", "b"]


def test_what_has_expired_takes_no_room(clock: Clock) -> None:
    tables = StashTables(max_table_size=room_for(2), clock=clock)
    ask(tables, "UPDATE", items=["a", None, "b", None], ttl=5)
    clock.now += 5
    ask(tables, "PUT", key="c")
    assert ask(tables, "KEYS") == ["c"]


def test_sizes_count_utf_8_and_go_back_to_nothing(tables: StashTables) -> None:
    ask(tables, "PUT", "täble", key="kéy", value=b"12345")
    size = TABLE_OVERHEAD + 6 + ENTRY_OVERHEAD + 4 + 10
    assert ask(tables, "INFO", "täble")["bytes"] == size
    ask(tables, "PUT", "täble", key=10**30, value=None)
    ask(tables, "PUT", "täble", key=b"123", value=None)
    ask(tables, "CLEAR", "täble")
    assert ask(tables, "INFO", "täble")["bytes"] == TABLE_OVERHEAD + 6


@pytest.mark.parametrize(("table", "key"), [("t", "\ud800"), ("\ud800", "k")])
def test_text_that_is_no_unicode_is_refused(tables: StashTables, table: str, key: str) -> None:
    with pytest.raises(StashError, match="can't be stored"):
        tables.put(table, key)
    assert tables.tables() == []


# -- time to live ---------------------------------------------------------------------------


def test_a_key_is_gone_at_the_end_of_its_ttl_for_every_operation(
    tables: StashTables, clock: Clock
) -> None:
    ask(tables, "PUT", key="k", value=1, ttl=5)
    clock.now += 4.5
    assert ask(tables, "GET", key="k") == 1
    assert ask(tables, "INFO", key="k")["ttl"] == 0.5
    clock.now += 0.5
    for op in ("GET", "POP", "INFO"):
        with pytest.raises(StashKeyNotFoundError):
            ask(tables, op, key="k")
    assert ask(tables, "EXISTS", key="k") is False


@pytest.mark.parametrize(
    ("op", "fields", "expected"),
    [
        ("DELETE", {"key": "k"}, False),
        ("EXPIRE", {"key": "k"}, False),
        ("EXISTS", {"key": "k"}, False),
        ("KEYS", {}, ["other"]),
        ("ITEMS", {}, [None, "other", 1]),
        ("INFO", {}, {"size": 1, "table": "t", "bytes": TABLE_OVERHEAD + ENTRY_OVERHEAD + 15}),
        ("INCR", {"key": "k"}, 1),
        ("SETDEFAULT", {"key": "k", "value": 2}, 2),
        ("COMPARE_AND_SWAP", {"key": "k", "expected": 1, "new": 2}, False),
        ("COMPARE_AND_SWAP", {"key": "k", "new": 2}, True),
    ],
    ids=str,
)
def test_an_expired_key_is_invisible_before_anything_is_swept(
    tables: StashTables, clock: Clock, op: str, fields: dict[str, Any], expected: object
) -> None:
    ask(tables, "PUT", key="k", value=1, ttl=5)
    ask(tables, "PUT", key="other", value=1)
    clock.now += 5
    assert ask(tables, op, **fields) == expected


def test_a_put_forgets_the_ttl_and_what_changes_a_value_keeps_it(tables: StashTables) -> None:
    def ttl() -> Any:
        return ask(tables, "INFO", key="k")["ttl"]

    ask(tables, "PUT", key="k", value=1, ttl=5)
    ask(tables, "INCR", key="k", ttl=99)
    ask(tables, "COMPARE_AND_SWAP", key="k", expected=2, new=3)
    ask(tables, "SETDEFAULT", key="k", value=3, ttl=99)
    assert ttl() == 5
    ask(tables, "COMPARE_AND_SWAP", key="k", expected=3, new=4, ttl=7)
    assert ttl() == 7
    ask(tables, "PUT", key="k", value=1)
    assert ttl() is None
    for _ in range(2):
        assert ask(tables, "EXPIRE", key="k", ttl=9) is True
        assert ttl() == 9
    assert ask(tables, "EXPIRE", key="k") is True
    assert ttl() is None


def test_a_key_that_incr_or_setdefault_makes_gets_their_ttl(tables: StashTables) -> None:
    ask(tables, "INCR", key="n", ttl=60)
    ask(tables, "SETDEFAULT", key="d", ttl=30)
    assert ask(tables, "INFO", key="n")["ttl"] == 60
    assert ask(tables, "INFO", key="d")["ttl"] == 30


def test_a_sweep_is_bounded_and_says_when_to_come_again(tables: StashTables, clock: Clock) -> None:
    assert tables.sweep() is None
    for number in range(10):
        ask(tables, "PUT", key=number, ttl=10 + number)
    assert tables.sweep(clock.now) == 1010
    clock.now = 1017
    assert tables.sweep(limit=3) == 1013
    assert tables.status()["entries"] == 7
    assert tables.sweep(clock.now, limit=100) == 1018
    assert tables.status()["entries"] == 2
    assert tables.sweep(2000.0) is None


def test_deadlines_that_nobody_has_any_more_are_forgotten(tables: StashTables) -> None:
    for number in range(3000):
        ask(tables, "PUT", key=number % 10, ttl=5 + number)
        ask(tables, "EXPIRE", key=number % 10, ttl=9000 + number)
    assert len(tables._storage._deadlines) < 200
    ask(tables, "UPDATE", items=[part for n in range(1000) for part in (n, n)], ttl=5)
    ask(tables, "CLEAR")
    assert len(tables._storage._deadlines) < 200


def test_what_a_ttl_was_before_does_not_end_a_key(tables: StashTables, clock: Clock) -> None:
    for ttl in (5, 10, 5, 20):
        ask(tables, "PUT", key="k", ttl=ttl)
    clock.now += 15
    assert tables.sweep() == 1020
    assert ask(tables, "EXISTS", key="k") is True
