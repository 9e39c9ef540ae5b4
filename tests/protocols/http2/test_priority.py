# SPDX-License-Identifier: MIT
"""RFC 9218: what a priority says, and the order that follows from it."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from trioserve.protocols.http2 import (
    EarlyPriorities,
    ErrorCode,
    Http2ConnectionError,
    Priority,
    StreamPriority,
    WriteOrder,
    parse_priority,
    parse_priority_update,
)

DEFAULT = Priority(3, False)

READ: dict[bytes, Priority] = {
    b"": DEFAULT,
    b"u=0": Priority(0, False),
    b"u=7": Priority(7, False),
    b"i": Priority(3, True),
    b"i=?1": Priority(3, True),
    b"i=?0": Priority(3, False),
    b"u=5, i": Priority(5, True),
    b"u=5,i": Priority(5, True),
    b"i \t, \t u=5": Priority(5, True),
    b"  u=5  ": Priority(5, False),
    b'u=1;a;b=2;c="x,y", i': Priority(1, True),
    b"i;q=?0": Priority(3, True),
    # Other members, of every type that there is.
    b'a=1.5, b="q\\"uo,te", c=to/ken, d=:YQ==:, e=?1, f=(1 2;x "a"), g=-3, *k=1, u=2': Priority(2),
    b"f=(), u=2": Priority(2),
    # Of several the last one holds (RFC 8941 section 4.2.2).
    b"u=1, u=2": Priority(2, False),
    b"i, i=?0": Priority(3, False),
    b"u=1, u=9": DEFAULT,
    # Out of range, or of another type: ignored (RFC 9218 section 4).
    b"u=8": DEFAULT,
    b"u=-1": DEFAULT,
    b"u=10": DEFAULT,
    b"u": DEFAULT,
    b"u=1.0": DEFAULT,
    b'u="1"': DEFAULT,
    b"u=(1)": DEFAULT,
    b"u=?1, i": Priority(3, True),
    b"i=1": DEFAULT,
    b"i=yes": DEFAULT,
    b"u=8, i": Priority(3, True),
    b"u=01": Priority(1, False),
    # No dictionary: nothing of it holds (RFC 8941 section 4.2).
    b"u=1,": DEFAULT,
    b",u=1": DEFAULT,
    b"u=1,,i": DEFAULT,
    b"u=1 i": DEFAULT,
    b"u =1": DEFAULT,
    b"u= 1": DEFAULT,
    b"U=1": DEFAULT,
    b"u=1, \xff": DEFAULT,
    b'u=1, a="': DEFAULT,
    b"u=1, a=(1": DEFAULT,
    b"u=1, a=:=b": DEFAULT,
    b"=1": DEFAULT,
    b"u=1\n": DEFAULT,
    b"u=1234567890123456": DEFAULT,
}


@pytest.mark.parametrize("value", READ)
def test_a_priority_is_read(value: bytes) -> None:
    assert parse_priority(value) == READ[value]


@given(st.binary(max_size=40) | st.text('ui=?01,; \t"():-.', max_size=30).map(str.encode))
def test_any_value_is_some_priority(value: bytes) -> None:
    priority = parse_priority(value)
    assert 0 <= priority.urgency <= 7
    assert isinstance(priority.incremental, bool)


@pytest.mark.parametrize("piece", [b"u=1,", b"a=(", b'"', b";a", b"a=(1 ", b"*", b" ", b"a=:"])
def test_a_long_value_takes_no_long_time(piece: bytes) -> None:
    parse_priority(b"u=1, a=" + piece * 20_000)  # quadratic time would be felt


# -- PRIORITY_UPDATE ------------------------------------------------------------------------------


def test_a_priority_update_names_its_stream() -> None:
    assert parse_priority_update(0, b"\x80\0\0\x05u=1, i") == (5, Priority(1, True))
    assert parse_priority_update(0, b"\0\0\0\x05") == (5, DEFAULT)


@pytest.mark.parametrize(
    ("stream_id", "payload", "code"),
    [
        (1, b"\0\0\0\x01", ErrorCode.PROTOCOL_ERROR),
        (0, b"\0\0\0", ErrorCode.FRAME_SIZE_ERROR),
        (0, b"", ErrorCode.FRAME_SIZE_ERROR),
        (0, b"\0\0\0\0", ErrorCode.PROTOCOL_ERROR),
        (0, b"\0\0\0\x02", ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_a_priority_update_may_be_wrong(stream_id: int, payload: bytes, code: ErrorCode) -> None:
    """Section 7.1."""
    with pytest.raises(Http2ConnectionError) as caught:
        parse_priority_update(stream_id, payload)
    assert caught.value.code is code


# -- what is said early -----------------------------------------------------------------------


def test_what_is_said_before_a_stream_is_open_holds_over_its_field() -> None:
    early = EarlyPriorities()
    early.note(5, Priority(0, True))
    early.note_weight(5, StreamPriority(200, 3, True))
    assert early.take(5, b"u=6") == (Priority(0, True), StreamPriority(200, 3, True))
    early.note(5, Priority(0, True))
    early.note_weight(5, StreamPriority(200))
    assert early.take(5, b"u=6") == (Priority(6), StreamPriority())
    assert early.take(7, b"") == (DEFAULT, StreamPriority())


def test_no_more_than_a_hundred_streams_are_remembered() -> None:
    early = EarlyPriorities()
    for stream_id in range(1, 2001, 2):
        early.note(stream_id, Priority(1))
        early.note_weight(stream_id, StreamPriority(1))
    kept = [at for at in range(1, 2001, 2) if early.take(at, b"") != (DEFAULT, StreamPriority())]
    assert len(kept) == 100
    assert kept[0] == 1801


# -- the order ------------------------------------------------------------------------------------


@attrs.frozen
class Stream:
    id: int
    priority: Priority


def turns(order: WriteOrder[Stream], count: int) -> list[int]:
    found = [order.next() for _ in range(count)]
    return [0 if item is None else item.id for item in found]


def test_nobody_is_next_where_nobody_is() -> None:
    order: WriteOrder[Stream] = WriteOrder()
    assert (bool(order), order.next()) == (False, None)


def test_the_most_urgent_goes_first() -> None:
    order: WriteOrder[Stream] = WriteOrder()
    streams = [Stream(2 * at + 1, Priority(7 - at)) for at in range(8)]
    for stream in streams:
        order.add(stream)
    for stream in reversed(streams):
        assert order.next() is stream
        order.discard(stream)
    assert not order


def test_of_those_that_are_of_use_only_whole_the_first_goes_on() -> None:
    order: WriteOrder[Stream] = WriteOrder()
    for stream_id in (5, 1, 3):
        order.add(Stream(stream_id, DEFAULT))
    assert turns(order, 4) == [1, 1, 1, 1]


def test_the_incremental_ones_share() -> None:
    order: WriteOrder[Stream] = WriteOrder()
    for stream_id in (1, 3, 5):
        order.add(Stream(stream_id, Priority(3, True)))
    assert turns(order, 6) == [1, 3, 5, 1, 3, 5]


def test_the_incremental_ones_share_with_one_that_is_not() -> None:
    order: WriteOrder[Stream] = WriteOrder()
    order.add(Stream(1, DEFAULT))
    for stream_id in (3, 5):
        order.add(Stream(stream_id, Priority(3, True)))
    assert sorted(turns(order, 4)) == [1, 1, 3, 5]


STREAMS = st.builds(
    Stream,
    st.integers(1, 12),
    st.builds(Priority, st.integers(0, 7), st.booleans()),
)


class Order(RuleBasedStateMachine):
    """WriteOrder against a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.order: WriteOrder[Stream] = WriteOrder()
        self.model: dict[int, Stream] = {}

    @rule(stream=STREAMS)
    def add(self, stream: Stream) -> None:
        stream = self.model.setdefault(stream.id, stream)
        self.order.add(stream)

    @rule(stream=STREAMS)
    def discard(self, stream: Stream) -> None:
        self.order.discard(self.model.pop(stream.id, stream))

    @rule()
    def take_turns(self) -> None:
        """Everyone of the most urgent who shares has a turn in as many as there are, and one."""
        if not self.model:
            assert self.order.next() is None
            return
        urgency = min(stream.priority.urgency for stream in self.model.values())
        level = [s for s in self.model.values() if s.priority.urgency == urgency]
        shared = {s.id for s in level if s.priority.incremental}
        whole = sorted(s.id for s in level if not s.priority.incremental)
        found = [self.order.next() for _ in range(2 * len(level) + 2)]
        ids = {item.id for item in found if item is not None}
        assert ids == shared | set(whole[:1])

    @invariant()
    def it_knows_who_is_there(self) -> None:
        assert bool(self.order) == bool(self.model)
        assert all(stream in self.order for stream in self.model.values())


Order.TestCase.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
TestOrder = Order.TestCase
