# SPDX-License-Identifier: MIT
"""WebSocketMachine over its face: RFC 6455 sections 5, 7 and 8, one rule after another."""

from __future__ import annotations

import random
import sys
import time
import tracemalloc
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import pytest

from tests.websocket.frames import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Frame,
    close_payload,
    frame,
    split_frames,
)
from trioserve.protocols.websocket import Closed

from .reading import (
    DEFLATE,
    MAX_SIZE,
    MAY_COME,
    TRAILING,
    WAYS,
    Reading,
    every_way,
    make_machine,
    read,
    replies_of,
    take,
)

if TYPE_CHECKING:
    from trioserve.protocols.websocket.machine import WebSocketMachine

LARGE: Final = 200_000
MEGABYTE: Final = 2**20


def compress(data: bytes) -> bytes:
    """The payload of a compressed message, the first of its connection."""
    stream = zlib.compressobj(wbits=-DEFLATE.client_max_window_bits)
    return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


def trailing(way: str) -> list[str]:
    """What comes out behind what is whole."""
    return [TRAILING] if "trailing" in way else []


def state(machine: WebSocketMachine) -> tuple[bool, Closed | None]:
    """Whether it is closing, and how it was closed."""
    return machine.closing, machine.closed


def assert_failed(reading: Reading, code: int) -> None:
    """It was ended with that code, and the client told so once, in its last frame."""
    assert reading.code == code
    sent = reading.close_sent
    assert (sent.opcode, sent.fin, sent.rsv, sent.code) == (CLOSE, True, 0, code)
    assert sent.reason
    assert [reply.opcode for reply in reading.replies].count(CLOSE) == 1


# -- messages -----------------------------------------------------------------------------------

#: The edges of the three forms of a length (RFC 6455 section 5.2).
SIZES: Final = [0, 1, 2, 3, 4, 5, 124, 125, 126, 127, 128, 1000]
LARGE_SIZES: Final = [65_534, 65_535, 65_536, 65_537, LARGE]


@every_way
@pytest.mark.parametrize("size", SIZES)
def test_a_message_of_any_length_is_read(size: int, way: str) -> None:
    payload = bytes(range(256)) * (size // 256 + 1)
    reading = read(WAYS[way](frame(BINARY, payload[:size])))
    assert reading == Reading([payload[:size], *trailing(way)], [], 0, None)
    reading = read(WAYS[way](frame(TEXT, b"t" * size)))
    assert reading == Reading(["t" * size, *trailing(way)], [], 0, None)


@pytest.mark.parametrize("size", LARGE_SIZES)
def test_a_large_message_is_read(size: int) -> None:
    payload = random.Random(size).randbytes(size)
    data = frame(BINARY, payload) + frame(TEXT, b"t" * size)
    for step in (1 << 20, 65_536, 999):
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        assert read(pieces, max_size=LARGE).messages == [payload, "t" * size]


@every_way
@pytest.mark.parametrize(
    "mask", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x01\0\0\0", b"\0\0\0\x80", b"abcd"]
)
def test_any_mask_is_taken_off(mask: bytes, way: str) -> None:
    """Section 5.3."""
    data = frame(TEXT, b"", mask=mask) + b"".join(
        frame(TEXT, b"abcdefg"[:size], mask=mask) for size in range(8)
    )
    expected = ["", *("abcdefg"[:size] for size in range(8)), *trailing(way)]
    assert read(WAYS[way](data)).messages == expected


@every_way
@pytest.mark.parametrize(
    "text", ["", "a\x00b", "äöü", "€", "🦔", "\ufeffbom", "\r\n\n\r", "\uffff"]
)
def test_text_is_utf_8(text: str, way: str) -> None:
    """Section 5.6."""
    payload = text.encode()
    parts = b"".join(
        frame(CONT if at else TEXT, payload[at : at + 1], fin=False)
        for at in range(max(len(payload), 1))
    )
    reading = read(WAYS[way](frame(TEXT, payload) + parts + frame(CONT)))
    assert reading.messages == [text, text, *trailing(way)]


@every_way
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_fragments_are_put_together(opcode: int, way: str) -> None:
    """Section 5.4; one message doesn't change how the next is read."""
    data = (
        frame(opcode, b"one", fin=False)
        + frame(CONT, b"", fin=False)
        + frame(CONT, b"two", fin=False)
        + frame(CONT, b"three")
        + frame(opcode, b"", fin=False)
        + frame(CONT, b"")
        + frame(TEXT, b"text")
        + frame(BINARY, b"\xff", fin=False)
        + frame(CONT, b"\xfe")
    )
    messages = read(WAYS[way](data)).messages
    whole = b"onetwothree"
    expected = [whole.decode(), ""] if opcode == TEXT else [whole, b""]
    assert messages == [*expected, "text", b"\xff\xfe", *trailing(way)]


@every_way
def test_control_frames_come_between_fragments(way: str) -> None:
    """Section 5.4; within a character, too."""
    euro = "€".encode()
    data = (
        frame(PING, b"0")
        + frame(TEXT, euro[:1], fin=False)
        + frame(PING, b"1")
        + frame(PONG)
        + frame(CONT, euro[1:2], fin=False)
        + frame(PING, b"2")
        + frame(CONT, euro[2:])
        + frame(PONG, b"x" * 125)
    )
    reading = read(WAYS[way](data))
    assert reading.messages == ["€", *trailing(way)]
    assert reading.replies == [Frame(True, 0, PONG, b"%d" % number) for number in range(3)]
    assert (reading.pongs, reading.closed) == (2, None)


def test_a_frame_is_taken_when_it_is_asked_for() -> None:
    machine = make_machine()
    machine.receive_data(frame(TEXT, b"one") + frame(PING, b"ping") + frame(TEXT, b"two"))
    assert (machine.next_message(), machine.has_more) == ("one", True)
    assert not machine.replies
    assert (machine.next_message(), machine.has_more) == ("two", False)
    assert replies_of(machine) == [Frame(True, 0, PONG, b"ping")]
    assert machine.next_message() is None


def test_data_may_come_while_messages_wait() -> None:
    machine = make_machine()
    for number in range(50):
        data = frame(TEXT, b"%d" % number)
        machine.receive_data(data[:3])
        machine.receive_data(data[3:])
    assert take(machine) == [str(number) for number in range(50)]


def test_half_a_frame_is_no_message() -> None:
    data = frame(BINARY, b"x" * 200)
    machine = make_machine()
    for size in range(len(data)):
        machine.receive_data(data[size : size + 1])
        whole = size == len(data) - 1
        assert (machine.next_message() is not None) is whole
        # The beginning of a header is kept as it is: 2 bytes of length are its last.
        assert machine.has_more is (size < 3)


def test_no_data_is_nothing() -> None:
    machine = make_machine()
    machine.receive_data(b"")
    assert not machine.has_more
    data = frame(TEXT, b"abc")
    for piece in (data[:1], b"", data[1:5], b"", data[5:-1], b""):
        machine.receive_data(piece)
        assert machine.next_message() is None
    for piece in (data[-1:], b"", data, b"", data * 2):
        machine.receive_data(piece)
    assert take(machine) == ["abc"] * 4


# -- breaches -----------------------------------------------------------------------------------


def breaches() -> dict[str, bytes]:
    """What is wrong → the bytes that are; a whole frame each."""
    found: dict[str, bytes] = {}
    for name, opcode in (("text", TEXT), ("binary", BINARY), ("a ping", PING), ("a close", CLOSE)):
        for size in (0, 1, 125):
            found[f"{name} of {size} bytes without a mask"] = frame(
                opcode, b"\x03\xe8"[:size] + b"x" * (size - 2), mask=None
            )
        for rsv in range(1, 8):
            found[f"{name} with reserved bits {rsv:03b}"] = frame(opcode, rsv=rsv)
    for opcode in (*range(3, 8), *range(11, 16)):
        for fin in (False, True):
            found[f"opcode {opcode}, fin {fin}"] = frame(opcode, fin=fin)
    for name, opcode in (("a close", CLOSE), ("a ping", PING), ("a pong", PONG)):
        payload = close_payload(1000)
        found[f"{name} in fragments"] = frame(opcode, payload, fin=False)
        found[f"{name} of 126 bytes"] = frame(opcode, payload + b"x" * 124)
        found[f"{name} of 65536 bytes"] = frame(opcode, payload + b"x" * 124, length=LENGTH_64K)
        found[f"{name} of 2 bytes with a medium length"] = frame(
            opcode, payload, length=b"\x7e\x00\x02"
        )
    found["a continuation of nothing"] = frame(CONT, b"x")
    found["a continuation of nothing that goes on"] = frame(CONT, b"x", fin=False)
    found["a continuation of a whole message"] = frame(TEXT, b"") + frame(CONT)
    found["a continuation behind the last"] = (
        frame(TEXT, fin=False) + frame(CONT) + frame(CONT, b"x")
    )
    for opcode in (TEXT, BINARY):
        for fin in (False, True):
            found[f"a message within another, opcode {opcode}, fin {fin}"] = (
                frame(BINARY, b"x", fin=False) + frame(PING) + frame(opcode, b"y", fin=fin)
            )
    for name, length in (
        ("0 in two bytes", b"\x7e\x00\x00"),
        ("125 in two bytes", b"\x7e\x00\x7d"),
        ("0 in eight bytes", b"\x7f" + bytes(8)),
        ("125 in eight bytes", b"\x7f" + bytes(7) + b"\x7d"),
        ("65535 in eight bytes", b"\x7f" + bytes(6) + b"\xff\xff"),
        ("2**63", b"\x7f\x80" + bytes(7)),
        ("2**64 - 1", b"\x7f" + b"\xff" * 8),
    ):
        found[f"a length of {name}"] = frame(BINARY, length=length)
        found[f"a fragment's length of {name}"] = frame(BINARY, fin=False, length=length)
    return found


LENGTH_64K: Final = b"\x7f" + bytes(5) + b"\x01\x00\x00"
BREACHES: Final = breaches()


@every_way
@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_of_framing_ends_it_with_1002(name: str, way: str) -> None:
    data = frame(TEXT, b"before") + BREACHES[name]
    reading = read(WAYS[way](data))
    assert reading.messages[0] == "before"
    assert TRAILING not in reading.messages
    assert_failed(reading, 1002)
    assert "RFC 6455" in reading.close_sent.reason
    # What is broken without compression is broken with it, but for RSV1 on a message.
    if " with reserved bits 100" not in name or ("text" not in name and "binary" not in name):
        assert_failed(read(WAYS[way](data), deflate=DEFLATE), 1002)


@every_way
@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, compress(b"a")[:1], rsv=4, fin=False) + frame(CONT, compress(b"a")[1:], rsv=4),
        frame(TEXT, b"a", fin=False) + frame(CONT, compress(b"b"), rsv=4),
        frame(PING, rsv=4),
        frame(CLOSE, rsv=4),
        frame(BINARY, compress(b"a"), rsv=6),
        frame(BINARY, compress(b"a"), rsv=5),
    ],
)
def test_only_a_message_s_first_frame_says_that_it_is_compressed(data: bytes, way: str) -> None:
    """RFC 7692 section 6."""
    assert_failed(read(WAYS[way](data), deflate=DEFLATE), 1002)


@every_way
@pytest.mark.parametrize(
    "payload", [b"\xff", b"\x07\x00", b"\x01\x00\x00\x00\x00", b"\x02\xff\x00"]
)
def test_what_can_t_be_decompressed_ends_it(payload: bytes, way: str) -> None:
    reading = read(WAYS[way](frame(BINARY, payload, rsv=4)), deflate=DEFLATE)
    assert_failed(reading, 1002)
    assert reading.messages == []


def headers_that_are_wrong() -> dict[str, tuple[bytes, int]]:
    """What a header shows → the header of a large frame, behind what it is wrong after; a code."""
    medium, long = b"\x7e\x01\xf4", b"\x7f" + (500).to_bytes(8, "big")
    begun = frame(TEXT, b"x", fin=False)
    return {
        "no mask": (frame(BINARY, length=medium, mask=None), 1002),
        "a reserved opcode": (frame(5, length=medium), 1002),
        "a reserved bit": (frame(BINARY, length=medium, rsv=1), 1002),
        "RSV1 without compression": (frame(BINARY, length=medium, rsv=4), 1002),
        "a length that could be shorter": (frame(BINARY, length=long), 1002),
        "a long ping": (frame(PING, length=medium), 1002),
        "a ping in fragments": (frame(PING, length=b"\x05", fin=False), 1002),
        "a continuation of nothing": (frame(CONT, length=medium), 1002),
        "a message within another": (begun + frame(TEXT, length=medium), 1002),
        "too large": (frame(BINARY, length=b"\x7e\x03\xe9"), 1009),
        "too large with what came before": (
            begun + frame(CONT, length=b"\x7e\x03\xe8", fin=False),
            1009,
        ),
        "enormous": (frame(BINARY, length=b"\x7f\x7f" + b"\xff" * 7), 1009),
    }


WRONG_HEADERS: Final = headers_that_are_wrong()


@pytest.mark.parametrize("name", WRONG_HEADERS)
def test_what_a_header_shows_is_found_before_its_payload_comes(name: str) -> None:
    data, code = WRONG_HEADERS[name]
    without_mask = data if name == "no mask" else data[:-4]
    assert_failed(read([without_mask]), code)


# -- text that is none --------------------------------------------------------------------------

#: Beginnings that nothing can mend (RFC 3629 section 4).
NO_UTF_8: Final = [
    b"\x80",
    b"\xbf",
    b"\xc0",
    b"\xc1",
    b"\xf5",
    b"\xff",
    b"\xc3\x28",
    b"\xe0\x80",
    b"\xe0\x9f",
    b"\xe2\x82\x28",
    b"\xf0\x80",
    b"\xf0\x8f",
    b"\xf4\x90",
    b"\xf0\x9f\xa6\x28",
]
#: Nothing can mend it, either, but Python's decoder waits for the next byte.
SURROGATE: Final = b"\xed\xa0"


@every_way
@pytest.mark.parametrize("rest", [*NO_UTF_8, SURROGATE, b"\xc3", b"\xe2\x82", b"\xf0\x9f\xa6"])
def test_text_that_is_no_utf_8_ends_it_with_1007(rest: bytes, way: str) -> None:
    """Section 8.1."""
    for payload in (rest, "ä".encode() + rest):
        reading = read(WAYS[way](frame(TEXT, b"a") + frame(TEXT, payload) + frame(PING)))
        assert reading.messages == ["a"]
        assert_failed(reading, 1007)
        compressed = frame(TEXT, compress(payload), rsv=4)
        assert_failed(read(WAYS[way](compressed), deflate=DEFLATE), 1007)


@every_way
@pytest.mark.parametrize("rest", [*NO_UTF_8, SURROGATE + b"\x80", SURROGATE + b"a"])
def test_it_is_found_at_its_fragment(rest: bytes, way: str) -> None:
    begun = frame(TEXT, b"good", fin=False) + frame(CONT, rest, fin=False)
    assert_failed(read(WAYS[way](begun)), 1007)
    # A byte at a time, it is found at the first that can't be.
    bytewise = frame(TEXT, b"", fin=False) + b"".join(
        frame(CONT, rest[at : at + 1], fin=False) for at in range(len(rest))
    )
    assert_failed(read(WAYS[way](bytewise)), 1007)


@every_way
def test_a_text_may_not_end_within_a_character(way: str) -> None:
    for last in (b"", b"\xe2", b"\xe2\x82"):
        data = frame(TEXT, b"a" + last[:1], fin=False) + frame(CONT, last[1:])
        reading = read(WAYS[way](data))
        if last:
            assert_failed(reading, 1007)
        else:
            assert reading.messages == ["a", *trailing(way)]


@every_way
def test_bytes_need_be_nothing(way: str) -> None:
    payload = bytes(range(256))
    data = frame(BINARY, payload) + frame(BINARY, payload, fin=False) + frame(CONT, payload)
    assert read(WAYS[way](data)).messages == [payload, payload * 2, *trailing(way)]


# -- sizes --------------------------------------------------------------------------------------


@every_way
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_the_limit_is_the_last_size_that_passes(opcode: int, way: str) -> None:
    whole = frame(opcode, b"x" * MAX_SIZE)
    assert len(read(WAYS[way](whole)).messages[0]) == MAX_SIZE
    assert_failed(read(WAYS[way](frame(opcode, b"x" * (MAX_SIZE + 1)))), 1009)


@every_way
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_fragments_add_up(opcode: int, way: str) -> None:
    begun = frame(opcode, b"x" * 600, fin=False) + frame(CONT, b"x" * 399, fin=False)
    reading = read(WAYS[way](begun + frame(CONT, b"x") + begun + frame(CONT, b"x")))
    assert [len(message) for message in reading.messages[:2]] == [MAX_SIZE, MAX_SIZE]
    for fin in (False, True):
        reading = read(WAYS[way](begun + frame(CONT, b"xx", fin=fin)))
        assert_failed(reading, 1009)
        assert reading.messages == []


@every_way
def test_control_frames_are_no_part_of_a_message_s_size(way: str) -> None:
    data = (
        frame(TEXT, b"x" * 10, fin=False)
        + frame(PING, b"p" * 125)
        + frame(PONG, b"p" * 125)
        + frame(CONT)
    )
    reading = read(WAYS[way](data), max_size=10)
    assert reading.messages == ["x" * 10, *trailing(way)]
    assert [len(reply.payload) for reply in reading.replies] == [125]
    closing = frame(CLOSE, close_payload(1000, "r" * 123))
    assert read(WAYS[way](closing), max_size=10).closed == Closed(1000, "r" * 123)


def test_the_first_size_is_forgotten_with_its_message() -> None:
    data = frame(TEXT, b"x" * 900, fin=False) + frame(CONT, b"x" * 100)
    for deflate in (None, DEFLATE):
        assert len(read([data * 3], deflate=deflate).messages) == 3


@every_way
@pytest.mark.parametrize("size", [0, 1, 100, 999, 1000, 1001, 1258, 5000])
def test_a_compressed_message_counts_as_what_it_holds(size: int, way: str) -> None:
    for payload in (bytes(size), random.Random(size).randbytes(size)):
        packed = compress(payload)
        third = len(packed) // 3
        fragments = (
            frame(BINARY, packed[:third], rsv=4, fin=False)
            + frame(CONT, packed[third:-third], fin=False)
            + frame(CONT, packed[-third:] if third else b"")
        )
        for data in (frame(BINARY, packed, rsv=4), fragments if third else b""):
            if not data:
                continue
            reading = read(WAYS[way](data), deflate=DEFLATE)
            if size <= MAX_SIZE:
                assert reading.messages == [payload, *trailing(way)]
            else:
                assert_failed(reading, 1009)
                assert reading.messages == []


@pytest.mark.parametrize("max_size", [1, 10, MAX_SIZE, 2**63 - 1, 2**64])
def test_any_limit_will_do(max_size: int) -> None:
    data = frame(TEXT, b"a") + frame(TEXT, compress(b"b"), rsv=4)
    reading = read([data], max_size=max_size, deflate=DEFLATE)
    assert (reading.messages, reading.closed) == (["a", "b"], None)


def _peak_of(data: list[bytes], max_size: int) -> tuple[int, Reading]:
    tracemalloc.start()
    try:
        reading = read(data, max_size=max_size, deflate=DEFLATE)
        return tracemalloc.get_traced_memory()[1], reading
    finally:
        tracemalloc.stop()


def test_a_bomb_is_never_unpacked() -> None:
    """64 MiB in 64 KiB: no more than the limit is made of it."""
    packed = compress(bytes(64 * MEGABYTE))
    whole = [frame(BINARY, packed, rsv=4)]
    pieces = [
        frame(BINARY if at == 0 else CONT, packed[at : at + 100], rsv=0 if at else 4, fin=False)
        for at in range(0, len(packed), 100)
    ]
    for data in (whole, pieces):
        peak, reading = _peak_of(data, 100_000)
        assert_failed(reading, 1009)
        assert peak < MEGABYTE


def test_a_bomb_that_waits_behind_a_full_message_is_never_unpacked() -> None:
    """Where no room is left at all, too."""
    stream = zlib.compressobj(wbits=-DEFLATE.client_max_window_bits)
    full = stream.compress(bytes(1000)) + stream.flush(zlib.Z_SYNC_FLUSH)
    bomb = stream.compress(bytes(10 * MEGABYTE)) + stream.flush(zlib.Z_SYNC_FLUSH)
    data = frame(BINARY, full, rsv=4, fin=False)
    for size in (1, 10, 15, 100):
        rest = [frame(CONT, bomb[at : at + size], fin=False) for at in range(0, 3000, size)]
        peak, reading = _peak_of([data, *rest], 1000)
        assert_failed(reading, 1009)
        assert peak < MEGABYTE


# -- Close --------------------------------------------------------------------------------------


def test_a_close_frame_has_one_of_the_codes_that_it_may_have() -> None:
    """Section 7.4: 1005, 1006 and 1015 among those that it may not."""
    codes = [*range(1100), 1999, 2000, 2999, *range(3000, 3010), *range(3990, 4010), 4998, 4999]
    for code in (*codes, 5000, 5001, 65_535):
        reading = read([frame(CLOSE, close_payload(code, "why"))])
        if code in MAY_COME:
            assert reading.closed == Closed(code, "why")
            assert reading.replies == [Frame(True, 0, CLOSE, close_payload(code, "why"))]
        else:
            assert_failed(reading, 1002)


@every_way
@pytest.mark.parametrize(
    ("payload", "closed"),
    [
        (b"", Closed(1005, "")),
        (close_payload(1000), Closed(1000, "")),
        (close_payload(1001, "bye"), Closed(1001, "bye")),
        (close_payload(4999, "ä€🦔"), Closed(4999, "ä€🦔")),
        (close_payload(3000, "r" * 123), Closed(3000, "r" * 123)),
    ],
)
@pytest.mark.parametrize(
    "before", [b"", frame(TEXT, b"half", fin=False), frame(TEXT, b"\xe2", fin=False)]
)
def test_a_close_frame_is_echoed(payload: bytes, closed: Closed, before: bytes, way: str) -> None:
    """Section 5.5.1; it may come within a message in fragments (section 5.4)."""
    reading = read(WAYS[way](before + frame(CLOSE, payload)))
    assert reading == Reading([], [Frame(True, 0, CLOSE, payload)], 0, closed)
    assert type(reading.code) is int


@every_way
@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\x03", 1002),
        (b"\x00\x00", 1002),
        (close_payload(1005), 1002),
        (close_payload(1005, "none"), 1002),
        (close_payload(1000) + b"\xff", 1007),
        (close_payload(1000) + "€".encode()[:2], 1007),
        (close_payload(1000) + b"\xed\xa0\x80", 1007),
        (close_payload(1004) + b"\xff", 1002),
    ],
)
def test_a_close_frame_that_is_none_is_a_breach(payload: bytes, code: int, way: str) -> None:
    reading = read(WAYS[way](frame(CLOSE, payload)))
    assert_failed(reading, code)
    assert len(reading.replies) == 1


def test_nothing_is_read_behind_a_close_frame() -> None:
    machine = make_machine()
    machine.receive_data(
        frame(CLOSE, close_payload(1000)) + frame(PING) + frame(TEXT, b"late") + frame(5)
    )
    assert take(machine) == []
    for data in (frame(TEXT, b"later"), frame(PING), b"\xff" * 100, frame(CLOSE)):
        machine.receive_data(data)
        assert take(machine) == []
        assert not machine.has_more
    machine.receive_eof()
    machine.lose()
    machine.close(1001, "")
    assert machine.closed == Closed(1000, "")
    assert replies_of(machine) == [Frame(True, 0, CLOSE, close_payload(1000))]
    assert machine.ping(b"") == b""


def test_what_came_before_a_close_frame_is_read() -> None:
    machine = make_machine()
    machine.receive_data(frame(TEXT, b"last") + frame(PING, b"p") + frame(CLOSE))
    assert machine.next_message() == "last"
    assert state(machine) == (False, None)
    assert machine.next_message() is None
    assert state(machine) == (True, Closed(1005, ""))
    assert replies_of(machine) == [Frame(True, 0, PONG, b"p"), Frame(True, 0, CLOSE, b"")]


def test_our_close_waits_for_the_client_s() -> None:
    machine = make_machine()
    machine.close(1001, "going")
    assert state(machine) == (True, None)
    assert replies_of(machine) == [Frame(True, 0, CLOSE, close_payload(1001, "going"))]
    machine.receive_data(frame(TEXT, b"on its way") + frame(PING, b"p") + frame(PONG))
    assert take(machine) == ["on its way"]
    assert state(machine) == (True, None)
    # Section 5.5.2: a ping is answered until a Close frame has come.
    assert replies_of(machine) == [Frame(True, 0, PONG, b"p")]
    machine.receive_data(frame(CLOSE, close_payload(1000, "ok")))
    assert take(machine) == []
    assert state(machine) == (True, Closed(1000, "ok"))
    assert machine.replies == []


@pytest.mark.parametrize("data", [frame(5), frame(TEXT, b"\xff"), frame(BINARY, bytes(1001))])
def test_a_breach_behind_our_close_gets_no_second_one(data: bytes) -> None:
    machine = make_machine()
    machine.close(1000, "")
    machine.replies.clear()
    machine.receive_data(data)
    assert take(machine) == []
    assert machine.closed is not None
    assert machine.replies == []


def test_one_close_is_made_at_most() -> None:
    machine = make_machine()
    for code in (1000, 1001, 1012):
        machine.close(code, "")
    assert [reply.code for reply in replies_of(machine)] == [1000]


# -- the end of the stream ----------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"\x81", frame(TEXT, b"abc")[:-1], frame(TEXT, fin=False)])
@pytest.mark.parametrize("end", ["receive_eof", "lose"])
def test_an_end_without_a_close_frame_is_abnormal(data: bytes, end: str) -> None:
    """Section 7.1.5: 1006, which is never sent."""
    machine = make_machine()
    machine.receive_data(data)
    assert take(machine) == []
    for _ in range(2):
        getattr(machine, end)()
        assert machine.closed == Closed(1006, "")
        assert machine.closing
        assert machine.replies == []
        assert not machine.has_more
    machine.receive_data(frame(TEXT, b"late"))
    machine.close(1000, "")
    machine.receive_eof()
    assert take(machine) == []
    assert machine.replies == []
    assert machine.ping(b"x") == b""


@pytest.mark.parametrize("end", ["receive_eof", "lose"])
def test_an_end_behind_our_close_is_abnormal_too(end: str) -> None:
    machine = make_machine()
    machine.close(1000, "")
    getattr(machine, end)()
    assert machine.closed == Closed(1006, "")
    assert [reply.opcode for reply in replies_of(machine)] == [CLOSE]


def test_an_end_behind_a_breach_changes_nothing() -> None:
    machine = make_machine()
    machine.receive_data(frame(5))
    assert take(machine) == []
    machine.receive_eof()
    machine.lose()
    assert machine.closed is not None
    assert machine.closed.code == 1002


# -- what is sent -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [*SIZES, *LARGE_SIZES])
def test_a_message_goes_out_in_one_frame(size: int) -> None:
    """Section 5.2: its length in the shortest form; section 5.1: without a mask."""
    machine = make_machine()
    payload = random.Random(size).randbytes(size)
    data = b"".join(machine.encode(payload))
    assert len(data) - size == (2 if size < 126 else 4 if size < 65_536 else 10)
    assert split_frames(bytearray(data)) == [Frame(True, 0, BINARY, payload)]
    data = b"".join(machine.encode("t" * size))
    assert split_frames(bytearray(data)) == [Frame(True, 0, TEXT, b"t" * size)]
    assert machine.replies == []


def test_a_large_payload_is_handed_on_without_a_copy() -> None:
    payload = bytes(LARGE)
    assert any(piece is payload for piece in make_machine().encode(payload))


def test_text_goes_out_as_utf_8() -> None:
    (one,) = split_frames(bytearray(b"".join(make_machine().encode("ä€🦔"))))
    assert one == Frame(True, 0, TEXT, "ä€🦔".encode())


@pytest.mark.parametrize("deflate", [None, DEFLATE], ids=["plain", "compressed"])
def test_text_that_utf_8_can_t_have_is_not_sent(deflate: None) -> None:
    """The exchange makes an AppProtocolError of it; what comes next is as it would have been."""
    machine, other = make_machine(deflate=deflate), make_machine(deflate=deflate)
    with pytest.raises(UnicodeEncodeError):
        machine.encode("\ud800")
    assert b"".join(machine.encode("next")) == b"".join(other.encode("next"))


@pytest.mark.parametrize("size", [0, 1, 125])
def test_a_ping_is_a_frame(size: int) -> None:
    data = make_machine(deflate=DEFLATE).ping(b"p" * size)
    assert split_frames(bytearray(data)) == [Frame(True, 0, PING, b"p" * size)]


def test_a_ping_is_nothing_once_it_is_closing() -> None:
    machine = make_machine()
    machine.close(1000, "")
    assert machine.ping(b"p") == b""


# -- what it costs ------------------------------------------------------------------------------


def _pieces_of(data: bytes, step: int) -> list[bytes]:
    places = [*range(0, len(data), step), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


@pytest.mark.parametrize(("size", "step"), [(8 * MEGABYTE, 1000), (8 * MEGABYTE, 4096), (LARGE, 3)])
def test_a_frame_in_small_pieces_takes_no_square_of_its_size(size: int, step: int) -> None:
    pieces = _pieces_of(frame(BINARY, bytes(size)), step)
    machine = make_machine(size)
    begin = time.thread_time()
    for piece in pieces[:-1]:
        machine.receive_data(piece)
        assert machine.next_message() is None
    machine.receive_data(pieces[-1])
    message = machine.next_message()
    assert time.thread_time() - begin < 3
    assert message == bytes(size)


@pytest.mark.parametrize("step", [2, 3, 511, 512])
def test_an_unfinished_frame_takes_little_more_than_its_bytes(step: int) -> None:
    size = 50_000
    data = frame(BINARY, bytes(size))[:-1]
    machine = make_machine(size)
    tracemalloc.start()
    try:
        for at in range(0, len(data), step):
            machine.receive_data(data[at : at + step])
            machine.next_message()
        assert tracemalloc.get_traced_memory()[1] < 1.6 * size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [0, 2])
def test_a_message_in_small_fragments_takes_little_more_than_its_bytes(
    opcode: int, size: int
) -> None:
    count = 4_000
    rest = frame(CONT, b"ab"[:size], fin=False)
    machine = make_machine(LARGE)
    machine.receive_data(frame(opcode, b"first", fin=False) + rest)
    assert machine.next_message() is None
    tracemalloc.start()
    try:
        for _ in range(count):
            machine.receive_data(rest)
            machine.next_message()
        assert tracemalloc.get_traced_memory()[0] < 10_000 + 2 * size * count
    finally:
        tracemalloc.stop()
    machine.receive_data(frame(CONT, b""))
    (message,) = take(machine)
    assert len(message) == 5 + size * (count + 1)


def test_an_idle_machine_keeps_nothing_of_what_came() -> None:
    machine = make_machine(MEGABYTE)
    for payload in (b"small", bytes(MEGABYTE)):
        data = frame(BINARY, payload)
        count = sys.getrefcount(data)
        machine.receive_data(data)
        assert take(machine) == [payload]
        assert sys.getrefcount(data) == count


def test_many_messages_of_one_read_are_taken_without_a_copy_each() -> None:
    one = frame(TEXT, b"x")
    machine = make_machine()
    machine.receive_data(one * 50_000)
    begin = time.thread_time()
    for _ in range(50_000):
        assert machine.next_message() == "x"
    assert time.thread_time() - begin < 1.5
