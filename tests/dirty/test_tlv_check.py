# SPDX-License-Identifier: MIT
"""What the codec of values refuses: limits, forged lengths, bytes that are no value."""

from __future__ import annotations

import array
import datetime
import decimal
import random
import sys
import tracemalloc
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dirty.values import values
from trioserve.dirty import tlv
from trioserve.dirty.errors import DirtyProtocolError

MAX_ITEMS = 1 << 20
LIST, DICT = b"\x20", b"\x21"


def count(number: int) -> bytes:
    return number.to_bytes(4, "big")


# -- limits ---------------------------------------------------------------------------------


def nest(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_64_containers_may_stand_within_each_other_and_no_more() -> None:
    data = tlv.encode(nest(64))
    assert tlv.decode(data) == nest(64)
    for container in (nest(65), {"a": nest(64)}, (nest(64),)):
        with pytest.raises(DirtyProtocolError, match="more than 64 containers"):
            tlv.encode(container)
    deeper = LIST + count(1) + data
    for form in (deeper, memoryview(bytearray(deeper))):
        with pytest.raises(DirtyProtocolError, match="more than 64 containers"):
            tlv.decode(form)
    with pytest.raises(DirtyProtocolError, match="more than 64 containers"):
        tlv.split(DICT + count(1) + tlv.encode("a") + data)


@pytest.mark.parametrize("head", [LIST + count(1), DICT + count(1) + tlv.encode("a")])
def test_100_000_nested_containers_are_refused(head: bytes) -> None:
    data = head * 100_000 + b"\x00"
    for read in (tlv.decode, tlv.split):
        with pytest.raises(DirtyProtocolError):
            read(data)


def test_a_container_may_have_1_048_576_items_and_no_more() -> None:
    assert tlv.decode(LIST + count(MAX_ITEMS) + bytes(MAX_ITEMS)) == [None] * MAX_ITEMS
    longer = LIST + count(MAX_ITEMS + 1) + bytes(MAX_ITEMS + 1)
    with pytest.raises(DirtyProtocolError, match="1,048,577 items: the limit is 1,048,576"):
        tlv.decode(longer)


def test_a_container_of_1_048_576_items_can_be_sent_and_no_larger_one() -> None:
    items = [None] * MAX_ITEMS
    assert len(tlv.encode(items)) == 5 + MAX_ITEMS
    with pytest.raises(DirtyProtocolError, match=r"value: a list of 1,048,577 items: at most"):
        tlv.encode([*items, None])


@pytest.mark.parametrize(
    "data",
    [
        b"\x10" + count(2**32 - 1),
        b"\x11" + count(2**31) + b"abc",
        b"\x40" + count(2**32 - 1) + b"1",
        b"\x42" + count(2**32 - 1),
        b"\x43" + count(2**32 - 1),
        LIST + count(MAX_ITEMS),
        LIST + count(2**32 - 1),
        LIST + count(MAX_ITEMS) + b"\x06" + bytes(8),
        DICT + count(MAX_ITEMS),
        DICT + count(1) + b"\x11" + count(2**32 - 1),
        b"\x45\x00" + count(MAX_ITEMS),
    ],
    ids=bytes.hex,
)
def test_a_forged_length_takes_no_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        for form in (data, memoryview(bytearray(data))):
            with pytest.raises(DirtyProtocolError, match=r"left|the limit is"):
                tlv.decode(form)
        with pytest.raises(DirtyProtocolError):
            tlv.split(DICT + count(1) + tlv.encode("a") + data)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_a_set_whose_items_have_one_hash_is_refused() -> None:
    prime = sys.hash_info.modulus  # ints that differ by it have the same hash
    slow = b"".join(tlv.encode(number * prime) for number in range(1, 301))
    with pytest.raises(DirtyProtocolError, match="300 items have the same hash"):
        tlv.decode(b"\x45\x00" + count(300) + slow)
    assert len(tlv.decode(tlv.encode(set(range(2000))))) == 2000


def test_a_value_is_refused_where_the_stack_is_nearly_used_up() -> None:
    data = tlv.encode(nest(60))

    def fall(depth: int) -> list[str]:
        if depth:
            return fall(depth - 1)
        errors = []
        for action in (
            lambda: tlv.decode(data),
            lambda: tlv.split(b"\x21" + count(1) + tlv.encode("a") + data),
            lambda: tlv.encode(nest(60)),
        ):
            with pytest.raises(DirtyProtocolError) as caught:
                action()
            errors.append(str(caught.value))
        return errors

    limit = sys.getrecursionlimit()
    here = len(list(_frames()))
    assert all("nested too deeply" in error for error in fall(limit - here - 45))


def _frames() -> Any:
    frame: Any = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


# -- what can't be decoded ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hex", "message"),
    [
        ("", r"expected a value, but the data ends \(at byte 0\)"),
        ("ff", r"0xff is no type code \(at byte 0\)"),
        ("0000", r"1 bytes come after the value \(at byte 1\)"),
        ("01", r"a bool needs 2 bytes, 1 are left \(at byte 0\)"),
        ("0500", r"an int needs 9 bytes, 2 are left \(at byte 0\)"),
        ("06", r"a float needs 9 bytes, 1 are left"),
        ("1000", r"a bytes value's length needs 5 bytes, 2 are left"),
        ("1000000003ffff", r"a bytes value needs 3 bytes, 2 are left \(at byte 5\)"),
        ("1100000002c328", r"a str that is no UTF-8: .* \(at byte 5\)"),
        ("110000000361eda0", r"a str that is no UTF-8: .* \(at byte 6\)"),
        ("2000000002002000000001", r"a list of 1 items can't be in the 0 bytes left \(at byte 6"),
        ("2100000001100000000000", r"keys must be str, not a bytes value \(at byte 5\)"),
        ("2100000001420000000000", r"keys must be str, not type code 0x42 \(at byte 5\)"),
        ("21000000021100000001610011000000016100", r"the key 'a' comes twice in one dict"),
        ("420000000131", r"no ISO 8601 date or time"),
        ("4200000002c3a9", r"no ISO 8601 date or time"),
        ("430000000178", r"a Decimal that is no number"),
        ("44000000", r"a UUID needs 16 bytes, 3 are left"),
        ("45000000000120" + "00000000", r"a set of what no set can hold: unhashable type: 'list'"),
        ("4500000000014500" + "00000000", r"what no set can hold: unhashable type: 'set'"),
        ("450000000001430000000473" + "4e614e", r"what no set can hold: Cannot hash a signaling"),
        ("45010000000100ff", r"1 bytes come after the value"),
        ("450100000001ff", r"0xff is no type code \(at byte 6\)"),
    ],
)
def test_what_is_no_value_is_refused_with_what_was_expected_and_where(
    hex: str, message: str
) -> None:
    data = bytes.fromhex(hex)
    for form in (data, bytearray(data), memoryview(data)):
        with pytest.raises(DirtyProtocolError, match=message):
            tlv.decode(form)


def test_a_key_that_comes_twice_is_refused_by_each_way() -> None:
    twice = DICT + count(2) + 2 * (tlv.encode("key") + tlv.encode(1))
    large = LIST + count(2) + tlv.encode(bytes(20_000)) + twice
    for read, data in ((tlv.decode, twice), (tlv.split, twice), (tlv.decode, memoryview(large))):
        with pytest.raises(DirtyProtocolError, match="the key 'key' comes twice in one dict"):
            read(data)


@pytest.mark.parametrize("position", [0, 2, 8])
def test_the_place_of_an_error_is_found_behind_large_values(position: int) -> None:
    items: list[Any] = [1.5] * 8
    items.insert(position, b"x" * 20_000)
    data = bytearray(tlv.encode([items, "end"]))
    data[-1] = 0xFF
    with pytest.raises(DirtyProtocolError, match=rf"no UTF-8: .* \(at byte {len(data) - 1}\)"):
        tlv.decode(memoryview(data))


def test_the_error_shows_the_bytes_in_question() -> None:
    with pytest.raises(DirtyProtocolError) as caught:
        tlv.decode(b"\x20" + count(1) + b"\xfe" + b"rest")
    assert caught.value.raw_data == b"\xferest"


def survives(data: bytes) -> None:
    """Decodes by every way; each gives a value or DirtyProtocolError, and all agree."""
    outcomes = []
    large = LIST + count(2) + tlv.encode(bytes(20_000)) + data
    for read, form in (
        (tlv.decode, data),
        (tlv.decode, bytearray(data)),
        (tlv.decode, memoryview(bytearray(large))),
        (tlv.split, DICT + count(1) + tlv.encode("a") + data),
        (tlv.split, memoryview(DICT + count(1) + tlv.encode("a") + data)),
    ):
        try:
            read(form)
        except DirtyProtocolError:
            outcomes.append("refused")
        else:
            outcomes.append("taken")
    assert len(set(outcomes)) == 1, outcomes
    for peek in (tlv.peek_route, tlv.split):
        try:
            peek(data)
        except DirtyProtocolError:
            assert peek is tlv.split


#: One of everything.
SAMPLE = tlv.encode(
    {
        "app_path": "a:B",
        "action": "é",
        "list": [None, True, 1, 2.5, b"raw", "text", 2**70, [], {}],
        "runs": [[0.5] * 9, [7] * 9],
        "time": [datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC), datetime.date(1, 2, 3)],
        "other": [decimal.Decimal("-1.5E+7"), uuid.UUID(int=5), {1, "a"}, frozenset((b"x",))],
        "array": array.array("d", [1, 2]),
    }
)
CODES = bytes((0x00, 0x01, 0x05, 0x06, 0x10, 0x11, 0x20, 0x21, *range(0x40, 0x46)))


def mutate(data: bytes, rng: random.Random) -> bytes:
    """The data with a few bytes changed, taken out or put in."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        place = rng.randint(0, len(changed))
        new = rng.choice([b"", rng.randbytes(1), rng.randbytes(2), bytes((rng.choice(CODES),))])
        changed[place : place + rng.randint(0, 2)] = new
    return bytes(changed)


@pytest.mark.parametrize("seed", range(4))
def test_a_sample_of_everything_mutated_gives_a_value_or_a_protocol_error(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(400):
        survives(mutate(SAMPLE, rng))


@settings(max_examples=50, deadline=None)
@given(values, st.randoms(use_true_random=False))
def test_a_mutated_message_gives_a_value_or_a_protocol_error(
    value: Any, rng: random.Random
) -> None:
    survives(mutate(tlv.encode(value), rng))


@settings(max_examples=20, deadline=None)
@given(values)
def test_every_beginning_of_a_message_is_refused(value: Any) -> None:
    data = tlv.encode(value)[:300]
    whole = len(tlv.encode(value)) == len(data)
    for size in range(len(data) - 1 if whole else len(data)):
        with pytest.raises(DirtyProtocolError):
            tlv.decode(data[:size])
