# SPDX-License-Identifier: MIT
"""StashTable is a mapping like any other: what a dict does, it does."""

from __future__ import annotations

from collections.abc import ItemsView, KeysView, MutableMapping, ValuesView
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioserve.dirty.errors import StashError, StashKeyNotFoundError
from trioserve.dirty.stash import StashClient, StashTable
from trioserve.dirty.stash_direct import DirectTransport
from trioserve.dirty.stash_storage import MAX_PAGE
from trioserve.dirty.tables import StashTables


@pytest.fixture
def client() -> StashClient:
    return StashClient(DirectTransport(StashTables()))


@pytest.fixture
def table(client: StashClient) -> StashTable:
    return client.table("t")


def test_it_is_a_mapping_with_a_name(table: StashTable) -> None:
    assert isinstance(table, MutableMapping)
    assert table.name == "t"
    assert repr(table) == "<StashTable 't'>"


def test_a_missing_table_is_an_empty_mapping(table: StashTable, client: StashClient) -> None:
    assert len(table) == 0
    assert not table
    assert list(table) == []
    assert dict(table) == {}
    assert "k" not in table
    assert table == {}
    assert client.tables() == []


@pytest.mark.parametrize("there", [True, False])
def test_a_missing_key_is_a_key_error_that_names_it(table: StashTable, there: bool) -> None:
    if there:
        table["other"] = 1
    with pytest.raises(KeyError) as caught:
        table["k"]
    assert isinstance(caught.value, StashKeyNotFoundError)
    assert str(caught.value) == "there is no key 'k' in table 't'"
    with pytest.raises(StashKeyNotFoundError, match="no key 'k' in table 't'"):
        del table["k"]


def test_none_and_errors_are_values(table: StashTable) -> None:
    table["none"] = None
    table["error"] = {"error": 1}
    assert table["none"] is None
    assert table["error"] == {"error": 1}
    assert "none" in table


def test_what_can_be_no_key_is_an_error_even_where_it_is_only_looked_for(
    table: StashTable,
) -> None:
    table["k"] = 1
    with pytest.raises(StashError, match="a key is a str, a number or bytes"):
        _ = [] in table
    assert None not in table


def test_keys_of_numbers_and_bytes_come_back_as_they_were(table: StashTable) -> None:
    table.update({1: "int", 1.5: "float", b"\xff": "bytes"})
    assert dict(table) == {1: "int", 1.5: "float", b"\xff": "bytes"}
    assert (1, "int") in table.items()


def test_update_takes_what_a_dicts_does_in_one_trip() -> None:
    class Counting(DirectTransport):
        trips = 0

        def stash(self, op: int, fields: Any) -> Any:
            self.trips += 1
            return super().stash(op, fields)

    transport = Counting(StashTables())
    table = StashClient(transport).table("t")
    table.update({"a": 1}, b=2)
    table.update([("c", 3)])
    table.update()
    assert transport.trips == 3
    assert dict(table.items()) == {"a": 1, "b": 2, "c": 3}
    assert transport.trips == 4
    assert table.setdefault("a", 5) == table.pop("a") == 1
    assert transport.trips == 6


def test_views_are_live_and_of_their_kinds(table: StashTable) -> None:
    keys, values, items = table.keys(), table.values(), table.items()
    assert isinstance(keys, KeysView)
    assert isinstance(values, ValuesView)
    assert isinstance(items, ItemsView)
    table["a"] = 1
    assert (list(keys), list(values), list(items)) == (["a"], [1], [("a", 1)])
    assert (len(keys), len(values), len(items)) == (1, 1, 1)
    assert keys == {"a"}
    assert keys | {"b"} == {"a", "b"}
    assert 1 in values
    assert 2 not in values
    assert ("a", 1) in items
    assert ("a", 2) not in items
    assert ("b", 1) not in items
    no_pair: Any = "a"
    assert no_pair not in items


def test_views_of_a_pattern_show_what_matches(table: StashTable) -> None:
    table.update({"user:1": 1, "user:2": 2, "group:1": 3})
    keys, values, items = (view("user:*") for view in (table.keys, table.values, table.items))
    assert (list(keys), list(values)) == (["user:1", "user:2"], [1, 2])
    assert list(items) == [("user:1", 1), ("user:2", 2)]
    assert (len(keys), len(values), len(items)) == (2, 2, 2)
    assert "user:1" in keys
    assert "group:1" not in keys
    assert 3 not in values
    assert ("group:1", 3) not in items
    assert ("user:1", 1) in items


def test_iteration_survives_any_change_meanwhile(table: StashTable) -> None:
    count = 2 * MAX_PAGE + 1
    table.update({number: number for number in range(count)})
    seen = []
    for key in table:
        seen.append(key)
        del table[key]
        table[key] = "made again"
        table[f"new {key}"] = 1
    assert seen == list(range(count))


def test_popitem_takes_each_item_once_the_oldest_first(table: StashTable) -> None:
    table.update(a=1, b=2)
    assert [table.popitem(), table.popitem()] == [("a", 1), ("b", 2)]
    with pytest.raises(KeyError, match="table 't' is empty"):
        table.popitem()


def test_popitem_goes_on_where_somebody_was_quicker() -> None:
    class Hasty(DirectTransport):
        """Removes what a page has shown."""

        def stash(self, op: int, fields: Any) -> Any:
            answer = super().stash(op, fields)
            if "values" in fields and "a" in answer:
                tables.delete("t", "a")
            return answer

    tables = StashTables()
    table = StashClient(Hasty(tables)).table("t")
    table.update(a=1, b=2)
    assert table.popitem() == ("b", 2)


# -- against a dict -------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "b", "ü", "user:1", 1, b"1"])
VALUES = st.none() | st.integers(-3, 3) | st.lists(st.text(max_size=3), max_size=2)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("__setitem__"), KEYS, VALUES),
        st.tuples(st.just("__getitem__"), KEYS),
        st.tuples(st.just("__delitem__"), KEYS),
        st.tuples(st.just("__contains__"), KEYS),
        st.tuples(st.just("get"), KEYS, VALUES),
        st.tuples(st.just("get"), KEYS),
        st.tuples(st.just("setdefault"), KEYS, VALUES),
        st.tuples(st.just("pop"), KEYS, VALUES),
        st.tuples(st.just("pop"), KEYS),
        st.tuples(st.just("update"), st.dictionaries(KEYS, VALUES, max_size=3)),
        st.tuples(st.just("__len__")),
        st.tuples(st.just("clear")),
    ),
    max_size=30,
)


def outcome(mapping: Any, name: str, *args: Any) -> Any:
    try:
        return getattr(mapping, name)(*args)
    except KeyError:
        return KeyError


@settings(max_examples=60, deadline=None, database=None)
@given(STEPS)
def test_under_random_operations_it_is_what_a_dict_is(steps: list[tuple[Any, ...]]) -> None:
    model: dict[Any, Any] = {}
    table = StashClient(DirectTransport(StashTables())).table("t")
    for step in steps:
        assert outcome(table, *step) == outcome(model, *step)
        assert list(table.items()) == list(model.items())
    assert table == model
    assert list(table) == list(model)
    assert list(table.values()) == list(model.values())
