# SPDX-License-Identifier: MIT
"""The codec of values. gunicorn's bytes are in test_wire_vectors, arrays in test_tlv_arrays."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import uuid
from collections import Counter, OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dirty.values import plain_values, same, texts, values
from trioserve.dirty import tlv
from trioserve.dirty.errors import DirtyProtocolError

LIST = b"\x20"


class Colour(enum.IntEnum):
    RED = 3


class Mode(enum.StrEnum):
    FAST = "fast"


class Ratio(float):
    pass


Point = namedtuple("Point", "x y")


def count(number: int) -> bytes:
    return number.to_bytes(4, "big")


# -- round trips ----------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(plain_values)
def test_what_gunicorn_can_send_comes_back_as_it_was(value: Any) -> None:
    assert same(tlv.decode(tlv.encode(value)), value)


@settings(max_examples=30, deadline=None)
@given(values)
def test_what_we_can_send_comes_back_as_it_was(value: Any) -> None:
    assert same(tlv.decode(tlv.encode(value)), value)


@settings(max_examples=30, deadline=None)
@given(values)
def test_parts_are_the_same_bytes(value: Any) -> None:
    assert b"".join(tlv.encode_parts(value)) == tlv.encode(value)


@settings(max_examples=30, deadline=None)
@given(values)
def test_bytearrays_and_views_are_decoded_as_bytes_are(value: Any) -> None:
    data = tlv.encode(value)
    assert same(tlv.decode(bytearray(data)), value)
    assert same(tlv.decode(memoryview(data)), value)


@settings(max_examples=30, deadline=None)
@given(values)
def test_a_message_with_a_large_value_is_decoded_from_a_view(value: Any) -> None:
    message = [{"large": b"x" * 20_000}, value]  # so the readers of views are used for both
    decoded = tlv.decode(memoryview(bytearray(tlv.encode(message))))
    assert same(decoded, message)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(), min_size=8, max_size=300))
def test_long_lists_of_floats_come_back(items: list[float]) -> None:
    assert same(tlv.decode(tlv.encode(items)), items)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=8, max_size=300), st.integers(), st.data()
)
def test_long_lists_of_ints_come_back_with_any_other_number_among_them(
    items: list[Any], odd: int, data: st.DataObject
) -> None:
    assert same(tlv.decode(tlv.encode(items)), items)
    odd_one = data.draw(st.sampled_from([odd, True, 1.5, 2**63]))
    items.insert(data.draw(st.integers(0, len(items))), odd_one)
    assert same(tlv.decode(tlv.encode(items)), items)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 127, 128, 129, 1536])
@pytest.mark.parametrize("item", [1.5, -7])
def test_a_run_is_encoded_item_by_item(length: int, item: float) -> None:
    data = tlv.encode([item] * length)
    assert data == LIST + count(length) + tlv.encode(item) * length
    assert same(tlv.decode(data), [item] * length)
    assert same(tlv.decode(memoryview(bytearray(data))), [item] * length)


def test_special_floats_come_back() -> None:
    special = [math.inf, -math.inf, -0.0, 5e-324]
    assert same(tlv.decode(tlv.encode(special)), special)
    assert math.isnan(tlv.decode(tlv.encode(math.nan)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Colour.RED, 3),
        (Mode.FAST, "fast"),
        (Ratio(0.5), 0.5),
        (Point(1, "b"), [1, "b"]),
        ((1, (2,)), [1, [2]]),
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        ({Mode.FAST: 1}, {"fast": 1}),
        ([Colour.RED, Mode.FAST, Ratio(2)], [3, "fast", 2.0]),
        ([Colour.RED] * 9, [3] * 9),
        ([1.0] * 8 + [Ratio(2)], [1.0] * 8 + [2.0]),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (memoryview(b"abcd")[::2], b"ac"),
        (memoryview(b""), b""),
    ],
)
def test_subclasses_and_relatives_are_sent_as_what_they_are(value: Any, expected: Any) -> None:
    assert same(tlv.decode(tlv.encode(value)), expected)


@pytest.mark.parametrize(
    ("value", "hex"),
    [
        (2**63, "4000000009008000000000000000"),
        (-(2**63) - 1, "4000000009ff7fffffffffffffff"),
        (datetime.date(2024, 2, 29), "420000000a323032342d30322d3239"),
        (datetime.datetime(2024, 2, 29, 1), "4200000013323032342d30322d32395430313a30303a3030"),
        (decimal.Decimal("1.50"), "4300000004312e3530"),
        (uuid.UUID(int=1), "4400000000000000000000000000000001"),
        ({"a"}, "4500000000011100000001" + "61"),
        (frozenset(), "450100000000"),
    ],
)
def test_our_codes_have_the_layout_of_the_table(value: Any, hex: str) -> None:
    assert tlv.encode(value).hex() == hex
    assert same(tlv.decode(bytes.fromhex(hex)), value)


def test_a_time_keeps_its_offset_but_not_its_zones_name() -> None:
    import zoneinfo

    noon = datetime.datetime(2024, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo("UTC"))
    assert tlv.decode(tlv.encode(noon)) == noon
    assert tlv.decode(tlv.encode(noon)).tzinfo == datetime.UTC


def test_a_decimal_is_read_the_same_in_a_context_that_does_not_trap() -> None:
    with decimal.localcontext(decimal.Context(prec=2, traps=[])):
        assert str(tlv.decode(tlv.encode(decimal.Decimal("1.23456")))) == "1.23456"
        with pytest.raises(DirtyProtocolError, match="no number"):
            tlv.decode(b"\x43" + count(1) + b"x")


def test_keys_that_differ_only_in_their_type_are_not_taken_for_each_other() -> None:
    assert tlv.encode({"1": 0}) != tlv.encode({"2": 0})
    with pytest.raises(DirtyProtocolError):
        tlv.encode({1: 0})


def test_more_keys_than_are_remembered_come_back() -> None:
    keys = {f"key {number}": number for number in range(3000)} | {"k" * 70: 1, "k" * 300: 2}
    for _ in range(2):
        assert tlv.decode(tlv.encode(keys)) == keys


# -- splicing, splitting, peeking -----------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(values)
def test_an_encoded_value_is_spliced_in_as_it_stands(value: Any) -> None:
    spliced = {"a": [tlv.Encoded(tlv.encode(value)), 1]}
    assert tlv.encode(spliced) == tlv.encode({"a": [value, 1]})


def test_an_encoded_value_shows_its_size_and_equals_another_of_the_same_bytes() -> None:
    value = tlv.Encoded(tlv.encode("a"))
    assert repr(value) == "Encoded(6 bytes)"
    assert value == tlv.Encoded(tlv.encode("a"))
    assert value != tlv.Encoded(tlv.encode("b"))
    assert value != tlv.encode("a")


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(texts, values, max_size=3))
def test_split_gives_the_encoding_of_each_value(entries: dict[str, Any]) -> None:
    data = tlv.encode(entries)
    expected = {key: tlv.encode(value) for key, value in entries.items()}
    for form in (data, bytearray(data), memoryview(data)):
        assert {key: bytes(value) for key, value in tlv.split(form).items()} == expected
    assert list(tlv.split(data)) == list(entries)


@pytest.mark.parametrize("value", [None, [], "a", [{"a": 1}]])
def test_split_takes_nothing_but_a_dict(value: Any) -> None:
    with pytest.raises(DirtyProtocolError, match="expected a dict"):
        tlv.split(tlv.encode(value))


def test_split_refuses_what_decode_would_refuse_deep_within_a_value() -> None:
    data = tlv.encode({"a": {"b": ["é"]}}).replace("é".encode(), b"\xff\xff")
    with pytest.raises(DirtyProtocolError, match="no UTF-8"):
        tlv.split(data)


@settings(max_examples=50, deadline=None)
@given(texts, texts, values)
def test_a_route_is_peeked_at(app_path: str, action: str, args: Any) -> None:
    data = tlv.encode({"app_path": app_path, "action": action, "args": args})
    for _ in range(2):  # the second is remembered
        assert tlv.peek_route(data) == (app_path, action)
        assert tlv.peek_route(memoryview(bytearray(data))) == (app_path, action)


@pytest.mark.parametrize(
    "value",
    [
        {"action": "f", "app_path": "a"},
        {"app_path": "a", "args": []},
        {"app_path": 1, "action": "f"},
        {"app_path": "a", "action": 2},
        {"app_path": "a"},
        {},
        [],
        None,
    ],
)
def test_no_route_is_found_where_the_keys_stand_otherwise(value: Any) -> None:
    assert tlv.peek_route(tlv.encode(value)) is None


def test_no_route_is_found_in_what_is_cut_off() -> None:
    data = tlv.encode({"app_path": "a:B", "action": "go"})
    for size in range(len(data)):
        assert tlv.peek_route(data[:size]) is None
    assert tlv.peek_route(data) == ("a:B", "go")


# -- large values ---------------------------------------------------------------------------


def test_large_bytes_are_not_copied_into_the_message() -> None:
    large = bytes(100_000)
    first, middle, last = tlv.encode_parts({"a": 1, "b": large, "c": 2})
    assert middle is large
    assert tlv.decode(b"".join([first, middle, last])) == {"a": 1, "b": large, "c": 2}


def test_a_large_bytearray_is_a_view_of_itself() -> None:
    large = bytearray(100_000)
    parts = tlv.encode_parts([large])
    large[5] = 7
    assert parts[1][5] == 7


def test_small_bytes_stand_in_the_one_part() -> None:
    assert len(tlv.encode_parts([bytes(16 * 1024 - 1)])) == 1
    assert len(tlv.encode_parts([bytes(16 * 1024)])) == 2


@pytest.mark.parametrize("large", ["é" * 20_000, [0.5] * 5000, {"k" * 20_000: 1}])
def test_other_large_values_are_the_same_in_parts(large: Any) -> None:
    data = b"".join(tlv.encode_parts([1, large, 2]))
    assert data == tlv.encode([1, large, 2])
    assert tlv.decode(data) == [1, large, 2]


@pytest.mark.parametrize("items", [["text"] * 4000, [[0.5] * 2000, [{"k": 1}] * 2000]])
def test_a_large_view_of_small_values_is_decoded(items: list[Any]) -> None:
    assert tlv.decode(memoryview(bytearray(tlv.encode(items)))) == items


def test_a_decoded_value_does_not_refer_to_the_buffer() -> None:
    buffer = bytearray(tlv.encode([b"x" * 20_000, {"k": "v"}, b"y"]))
    decoded = tlv.decode(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert decoded == [b"x" * 20_000, {"k": "v"}, b"y"]
    assert type(decoded[0]) is bytes


# -- what can't be encoded ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), r"^value: a value of type object can't be sent$"),
        ([0, {"x": object}], r"^value\[1\]\['x'\]: a value of type type "),
        ({"a": ({1: 2},)}, r"^value\['a'\]\[0\]: a dict's keys must be str, not int$"),
        ({"a": ["\ud800"]}, r"^value\['a'\]\[0\]: a str with '\\ud800', which UTF-8 can't hold$"),
        ({"\udfff": 1}, r"^value: a str with '\\udfff'"),
        ([1.5] * 9 + [1j], r"^value\[9\]: a value of type complex"),
        ([{(1, 2)}], r"^value\[0\]: a tuple in a set"),
        (datetime.timedelta(1), r"type datetime.timedelta can't"),
        (datetime.time(1), r"type datetime.time can't"),
        (Path("/"), r"type pathlib\.\w+ can't"),
        (iter([]), r"type list_iterator can't"),
    ],
)
def test_what_can_not_be_sent_is_named_with_the_path_to_it(value: Any, message: str) -> None:
    with pytest.raises(DirtyProtocolError, match=message):
        tlv.encode(value)
    with pytest.raises(DirtyProtocolError, match=message):
        tlv.encode_parts(value)


def test_a_container_that_holds_itself_is_refused() -> None:
    endless: list[Any] = [1]
    endless.append({"again": endless})
    with pytest.raises(DirtyProtocolError, match="more than 64 containers within each other"):
        tlv.encode(endless)


def test_a_time_that_is_none_is_refused() -> None:
    class NotATime(datetime.datetime):  # as pandas' NaT is one
        def __ne__(self, other: object) -> bool:
            return True

    with pytest.raises(DirtyProtocolError, match="no time that can be sent"):
        tlv.encode(NotATime(1, 1, 1))
