# SPDX-License-Identifier: MIT
"""The budgets of floods.py, by their figures."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http2 import frames
from trioserve.protocols.http2 import ErrorCode, FrameMeter, Http2ConnectionError

if TYPE_CHECKING:
    from collections.abc import Callable

BEGIN = frames.PREFACE + frames.settings()
#: SETTINGS of the beginning is paid for, too.
AT_ONCE = 500 - 1

CONTROL = {
    "PING": frames.ping(),
    "SETTINGS": frames.settings(),
    "PRIORITY": frames.priority(1),
    "PRIORITY_UPDATE": frames.priority_update(1, b"u=1"),
    "WINDOW_UPDATE": frames.window_update(0, 1),
    "RST_STREAM": frames.rst_stream(1),
    "GOAWAY": frames.goaway(),
    "an unknown type": frames.frame(0xFA, 0, 0, b"x" * 50),
    "empty DATA": frames.data(1),
    "DATA that is padding": frames.data(1, pad=0),
}


def begun(now: float = 0.0, block_size: int = 1000) -> FrameMeter:
    meter = FrameMeter(block_size, now)
    meter.feed(BEGIN, now)
    return meter


def how_many(meter: FrameMeter, sent: bytes, now: float = 0.0, most: int = 5000) -> int:
    """So many of them pass."""
    return count_calls(lambda: meter.feed(sent, now), most)


def count_calls(call: Callable[[], None], most: int = 5000) -> int:
    """So many calls pass before ENHANCE_YOUR_CALM."""
    passed = 0
    with contextlib.suppress(Http2ConnectionError):
        while passed < most:
            call()
            passed += 1
    if passed < most:
        with pytest.raises(Http2ConnectionError) as caught:
            call()
        assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM
    return passed


@pytest.mark.parametrize("name", CONTROL)
def test_five_hundred_control_frames_come_at_once(name: str) -> None:
    assert how_many(begun(), CONTROL[name]) == AT_ONCE


@pytest.mark.parametrize("name", CONTROL)
def test_they_are_counted_in_one_read_too(name: str) -> None:
    begun().feed(CONTROL[name] * AT_ONCE, 0)
    with pytest.raises(Http2ConnectionError):
        begun().feed(CONTROL[name] * (AT_ONCE + 1), 0)


def test_a_hundred_more_come_each_second() -> None:
    meter = begun()
    assert how_many(meter, frames.ping()) == AT_ONCE
    assert how_many(meter, frames.ping(), 1.0) == 100
    assert how_many(meter, frames.ping(), 3.5) == 250


def test_they_do_not_pile_up_beyond_what_may_come_at_once() -> None:
    meter = begun()
    how_many(meter, frames.ping())
    assert how_many(meter, frames.ping(), 3600.0) == 500


def test_ten_more_come_for_a_response() -> None:
    meter = begun()
    how_many(meter, frames.ping())
    meter.note_response()
    assert how_many(meter, frames.ping()) == 10


def test_two_more_come_for_a_data_frame_that_was_sent_or_one_for_each_kib_of_it() -> None:
    """A client may give credit for each frame, on its stream and on the connection."""
    meter = begun()
    how_many(meter, frames.window_update(0, 1))
    for _ in range(4):
        meter.note_sent(11, cut=False)
    assert how_many(meter, frames.window_update(0, 1)) == 8
    meter.note_sent(16_384, cut=True)
    assert how_many(meter, frames.window_update(0, 1)) == 16
    meter.note_sent(1, cut=True)
    assert how_many(meter, frames.window_update(0, 1)) == 0


HARMLESS = {
    "DATA with a byte": frames.data(1, b"x"),
    "DATA with a byte and padding": frames.data(1, b"x", pad=3),
    "DATA that ends its stream": frames.data(1, end_stream=True),
    "HEADERS": frames.headers(1, frames.get()),
    "HEADERS and CONTINUATION": frames.headers(1, b"x", end_headers=False)
    + frames.continuation(1, b"x"),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_it_costs_nothing_to_send(name: str) -> None:
    assert how_many(begun(), HARMLESS[name], most=5000) == 5000


def test_two_hundred_streams_are_reset_at_once_and_twenty_each_second() -> None:
    meter = begun()

    def resets(now: float) -> int:
        return count_calls(lambda: meter.note_reset(now))

    assert resets(0) == 200
    assert resets(1) == 20
    meter.note_response()
    assert resets(1) == 1


def test_a_header_section_comes_in_33_frames_at_most() -> None:
    begin = frames.headers(1, b"x", end_headers=False)
    piece = frames.continuation(1, b"", end_headers=False)
    begun().feed(begin + piece * 31 + frames.continuation(1, b""), 0)
    with pytest.raises(Http2ConnectionError, match="32 CONTINUATION"):
        begun().feed(begin + piece * 33, 0)
    meter = begun()
    for _ in range(100):  # each section anew
        meter.feed(begin + piece * 31 + frames.continuation(1, b""), 0)


def test_a_header_section_has_a_size() -> None:
    meter = begun(block_size=100)
    meter.feed(frames.headers(1, bytes(100)), 0)
    meter.feed(frames.headers(1, bytes(60), end_headers=False), 0)
    meter.feed(frames.continuation(1, bytes(40)), 0)
    with pytest.raises(Http2ConnectionError, match="100 bytes"):
        begun(block_size=100).feed(frames.headers(1, bytes(101))[:9], 0)  # by its length alone
    with pytest.raises(Http2ConnectionError, match="100 bytes"):
        meter.feed(
            frames.headers(1, bytes(60), end_headers=False) + frames.continuation(1, bytes(41)), 0
        )


def test_it_tells_whether_a_header_section_is_under_way() -> None:
    meter = begun()
    meter.feed(frames.headers(1, b"x", end_headers=False), 0)
    assert meter.in_header_block
    meter.feed(frames.continuation(1, b"x", end_headers=False), 0)
    assert meter.in_header_block
    meter.feed(frames.continuation(1, b"x"), 0)
    assert not meter.in_header_block


@pytest.mark.parametrize(
    "first", [frames.ping(), frames.headers(1, frames.get()), frames.frame(4, 1, 0)]
)
def test_the_first_frame_is_settings(first: bytes) -> None:
    """RFC 9113 section 3.4."""
    meter = FrameMeter(1000, 0)
    meter.feed(frames.PREFACE, 0)
    with pytest.raises(Http2ConnectionError) as caught:
        meter.feed(first, 0)
    assert caught.value.code is ErrorCode.PROTOCOL_ERROR


KINDS = st.sampled_from([*CONTROL.values(), *HARMLESS.values(), frames.data(1, bytes(300))])


def verdict(pieces: list[bytes]) -> tuple[str | None, bool]:
    meter = FrameMeter(100, 0)
    try:
        for piece in pieces:
            meter.feed(piece, 0)
    except Http2ConnectionError as exc:
        return exc.reason, False
    return None, meter.in_header_block


@pytest.mark.slow  # a hundred times some thousand frames
@given(
    many=st.lists(st.tuples(KINDS, st.integers(1, 200)), max_size=6),
    cuts=st.lists(st.integers(0, 4000), max_size=8),
)
def test_it_is_the_same_however_the_bytes_are_cut(
    many: list[tuple[bytes, int]], cuts: list[int]
) -> None:
    sent = BEGIN + b"".join(kind * count for kind, count in many)
    at = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    pieces = [sent[start:end] for start, end in itertools.pairwise(at)]
    assert verdict(pieces) == verdict([sent])


def test_it_is_the_same_byte_by_byte() -> None:
    sent = BEGIN + b"".join([*CONTROL.values(), *HARMLESS.values()])
    meter = FrameMeter(1000, 0)
    for at in range(len(sent)):
        meter.feed(sent[at : at + 1], 0)
    whole = FrameMeter(1000, 0)
    whole.feed(sent, 0)
    assert how_many(meter, frames.ping()) == how_many(whole, frames.ping())
