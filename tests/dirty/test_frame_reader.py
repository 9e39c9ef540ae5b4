# SPDX-License-Identifier: MIT
"""The reader of frames, at every place where a stream can be cut."""

from __future__ import annotations

import mmap
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioserve.dirty import frames
from trioserve.dirty.errors import DirtyProtocolError
from trioserve.dirty.frames import DEFAULT_MAX_FRAME_SIZE, Frame, FrameReader, FrameType

KIBIBYTE = 1024
MEBIBYTE = 1024 * 1024
TYPES = [value for name, value in vars(FrameType).items() if name.isupper()]


def header(
    frame_type: int = 1, size: int = 0, request_id: int = 1, magic: bytes = b"GD", version: int = 1
) -> bytes:
    return struct.pack(">2sBBIQ", magic, version, frame_type, size, request_id)


def stream(*sent: Frame) -> bytes:
    return b"".join(b"".join(frames.frame(*frame)) for frame in sent)


class Pipe:
    """Hands a stream to a reader as a socket would: by feed, or where the reader wants it.

    Args:
        sizes: how much each receive brings at most, again and again.
    """

    def __init__(self, data: bytes, *sizes: int) -> None:
        self.data = data
        self.sizes = sizes
        self.wanted = 0
        self.frames: list[Frame] = []

    def run(self, reader: FrameReader) -> list[Frame]:
        turn = 0
        while self.data:
            size = self.sizes[turn % len(self.sizes)]
            turn += 1
            target = reader.wanted()
            if target is None:
                came, self.data = self.data[:size], self.data[size:]
                self.frames += reader.feed(came)
            else:
                size = min(size, len(target), len(self.data))
                target[:size] = self.data[:size]
                self.data = self.data[size:]
                self.wanted += size
                self.frames += reader.filled(size)
        return self.frames


SAMPLE: list[Frame] = [
    (FrameType.REQUEST, 1, b"payload"),
    (FrameType.END, 2**64 - 1, b""),
    (FrameType.CHUNK, 3, b"x" * 300),
    (FrameType.PING, 0, b""),
]


# -- cuts -----------------------------------------------------------------------------------


def test_many_frames_come_out_of_one_read() -> None:
    reader = FrameReader()
    assert reader.feed(stream(*SAMPLE)) == SAMPLE
    reader.eof()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 15, 16, 17, 33])
def test_frames_come_whole_out_of_a_stream_in_small_pieces(size: int) -> None:
    reader = FrameReader()
    assert Pipe(stream(*SAMPLE), size).run(reader) == SAMPLE
    reader.eof()


def test_frames_come_whole_wherever_the_stream_is_cut_once() -> None:
    data = stream(*SAMPLE)
    for cut in range(len(data) + 1):
        reader = FrameReader()
        assert reader.feed(data[:cut]) + reader.feed(data[cut:]) == SAMPLE
        reader.eof()


def test_the_reader_knows_whether_it_is_between_frames() -> None:
    data = stream(SAMPLE[0], SAMPLE[1])
    ends = {0, len(stream(SAMPLE[0])), len(data)}
    for size in range(len(data) + 1):
        reader = FrameReader()
        reader.feed(data[:size])
        assert reader.is_between_frames == (size in ends)


def test_a_frame_is_given_with_the_byte_that_ends_it() -> None:
    data = stream(SAMPLE[0])
    reader = FrameReader()
    for byte in data[:-1]:
        assert reader.feed(bytes((byte,))) == []
    assert reader.feed(data[-1:]) == [SAMPLE[0]]


sizes = st.sampled_from([0, 1, 300, 65_535, 65_536, 70_000, 200_000, MEBIBYTE + 1])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(sizes, min_size=1, max_size=4),
    st.lists(st.sampled_from([5, 16, 4096, 65_536, 262_144]), min_size=1, max_size=4),
)
def test_large_and_small_frames_come_whole_by_either_way(
    payload_sizes: list[int], read_sizes: list[int]
) -> None:
    if max(read_sizes) < 4096:
        read_sizes.append(65_536)
    sent: list[Frame] = [
        (FrameType.CHUNK, number, random.Random(number).randbytes(size))
        for number, size in enumerate(payload_sizes)
    ]
    reader = FrameReader()
    came = Pipe(stream(*sent), *read_sizes).run(reader)
    reader.eof()
    assert came == sent
    for _, _, payload in came:
        assert type(payload) is (bytes if len(payload) < 64 * KIBIBYTE else memoryview)


@pytest.mark.parametrize("size", [64 * KIBIBYTE, 5 * MEBIBYTE])
@pytest.mark.parametrize("way", ["feed", "wanted"])
def test_a_large_payload_can_not_be_written_to_and_stays_as_it_is(size: int, way: str) -> None:
    payload = random.Random(1).randbytes(size)
    data = stream((FrameType.CHUNK, 1, payload), (FrameType.CHUNK, 2, payload))
    reader = FrameReader()
    came = reader.feed(data) if way == "feed" else Pipe(data, 100_000).run(reader)
    assert [bytes(frame[2]) for frame in came] == [payload, payload]
    view = came[0][2]
    assert isinstance(view, memoryview)
    assert view.readonly


# -- receiving in place ---------------------------------------------------------------------


def test_much_that_is_missing_is_received_in_its_place() -> None:
    sent: list[Frame] = [(FrameType.CHUNK, 1, bytes(range(256)) * 4096), SAMPLE[0]]
    pipe = Pipe(stream(*sent), 60_000)
    assert pipe.run(FrameReader()) == sent
    assert pipe.wanted > 0.9 * MEBIBYTE


def test_little_that_is_missing_is_fed() -> None:
    reader = FrameReader()
    assert reader.wanted() is None
    data = stream((FrameType.CHUNK, 1, bytes(100 * KIBIBYTE)))
    reader.feed(data[: 50 * KIBIBYTE])
    assert reader.wanted() is None
    [frame] = reader.feed(data[50 * KIBIBYTE :])
    assert frame[2] == bytes(100 * KIBIBYTE)


def test_what_is_fed_though_a_place_was_wanted_is_taken_too() -> None:
    sent: list[Frame] = [(FrameType.CHUNK, 1, b"y" * (17 * MEBIBYTE)), SAMPLE[0], SAMPLE[2]]
    data = stream(*sent)
    reader = FrameReader()
    assert reader.feed(data[:100]) == []
    assert reader.wanted() is not None
    assert reader.feed(data[100:]) == sent


def test_a_place_that_was_kept_does_not_hinder_the_reader() -> None:
    payload = b"z" * (20 * MEBIBYTE)
    reader = FrameReader()
    reader.feed(header(FrameType.CHUNK, len(payload)))
    kept = []
    came: list[Frame] = []
    position = 0
    while not came:
        target = reader.wanted()
        if target is None:
            came = reader.feed(payload[position:])
            break
        kept.append(target)
        size = len(target)
        target[:] = payload[position : position + size]
        position += size
        came = reader.filled(size)
    assert came == [(FrameType.CHUNK, 1, payload)]


@pytest.mark.parametrize("size", [-1, 100 * KIBIBYTE])
def test_more_than_was_wanted_is_refused(size: int) -> None:
    reader = FrameReader()
    with pytest.raises(ValueError, match="more than were wanted"):
        reader.filled(1)
    reader.feed(header(FrameType.CHUNK, 80 * KIBIBYTE))
    with pytest.raises(ValueError, match="more than were wanted"):
        reader.filled(size)


@pytest.mark.parametrize("came", [1, 256 * KIBIBYTE, 300 * KIBIBYTE, 3 * MEBIBYTE])
@pytest.mark.parametrize("claimed", [MEBIBYTE, 2 * MEBIBYTE, DEFAULT_MAX_FRAME_SIZE])
def test_a_length_that_is_only_claimed_takes_little_memory(claimed: int, came: int) -> None:
    before = resident()
    readers = [FrameReader() for _ in range(40)]
    for reader in readers:
        reader.feed(header(FrameType.CHUNK, claimed) + b"x" * min(came, claimed - 1))
        target = reader.wanted()
        assert target is None or len(target) > 0
    each = (resident() - before) / len(readers)
    assert each < 300 * KIBIBYTE + (0 if came < 256 * KIBIBYTE else 8 * came)
    assert each < 300 * KIBIBYTE + max(2 * MEBIBYTE, 2 * came)


def resident() -> int:
    """Bytes of this process's that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


# -- what is refused ------------------------------------------------------------------------

BAD = [
    (header(magic=b"HT"), r'expected a frame, which begins with "GD", got b\'HT\'', 0),
    (b"GET / HTTP/1.1\r\n", r'expected a frame, which begins with "GD", got b\'GE\'', 0),
    (header(version=2), "expected version 1 of the protocol, got 2", 0),
    (header(0x06, request_id=9), "0x06 is no frame type", 9),
    (header(0xFF, request_id=9), "0xff is no frame type", 9),
    (
        header(FrameType.CHUNK, 1001, request_id=9),
        "a CHUNK frame of 1,001 bytes: dirty_max_frame_size is 1,000",
        9,
    ),
    (header(FrameType.CHUNK, 2**32 - 1, request_id=9), "a CHUNK frame of 4,294,967,295 bytes", 9),
]


@pytest.mark.parametrize(("bad", "message", "request_id"), BAD)
def test_what_is_no_frame_is_refused(bad: bytes, message: str, request_id: int) -> None:
    reader = FrameReader(max_frame_size=1000)
    for _ in range(2):
        with pytest.raises(DirtyProtocolError, match=message):
            reader.feed(bad)
    assert reader.error is not None
    assert reader.error_request_id == request_id
    assert reader.wanted() is None
    with pytest.raises(DirtyProtocolError, match=message):
        reader.eof()


@pytest.mark.parametrize(("bad", "message", "request_id"), BAD)
def test_the_frames_before_a_bad_one_are_not_lost(
    bad: bytes, message: str, request_id: int
) -> None:
    data = stream(*SAMPLE) + bad + stream(*SAMPLE)
    reader = FrameReader(max_frame_size=1000)
    assert reader.feed(data) == SAMPLE
    assert reader.error is not None
    assert reader.error_request_id == request_id
    with pytest.raises(DirtyProtocolError, match=message):
        reader.feed(b"")
    # The same with the last good frame cut in two.
    cut = len(stream(*SAMPLE[:3])) - 10
    reader = FrameReader(max_frame_size=1000)
    assert reader.feed(data[:cut]) + reader.feed(data[cut:]) == SAMPLE
    assert reader.error is not None


def test_a_payload_of_max_frame_size_is_taken() -> None:
    reader = FrameReader(max_frame_size=1000)
    assert reader.feed(header(FrameType.CHUNK, 1000) + bytes(1000))[0][2] == bytes(1000)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (3, "the stream ends after 3 of 16 bytes of header"),
        (16, "the stream ends after 0 of 7 bytes of a REQUEST frame's payload"),
        (22, "the stream ends after 6 of 7 bytes of a REQUEST frame's payload"),
    ],
)
def test_an_end_in_the_middle_of_a_frame_is_told_in_numbers(size: int, message: str) -> None:
    reader = FrameReader()
    assert reader.feed(stream(*SAMPLE[:1])[:size]) == []
    with pytest.raises(DirtyProtocolError, match=message):
        reader.eof()


@pytest.mark.parametrize("seed", range(4))
def test_random_and_mutated_streams_give_frames_or_a_protocol_error(seed: int) -> None:
    rng = random.Random(seed)
    whole = stream(*SAMPLE, (FrameType.CHUNK, 9, bytes(70_000)))
    for _ in range(100):
        data = bytearray(whole if rng.random() < 0.9 else rng.randbytes(100))
        for _ in range(rng.randint(0, 3)):
            place = rng.randrange(450)
            data[place : place + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 2))
        outcomes = []
        for sizes in ((len(data),), (1000, 70_000), (61, 20_000)):
            pipe = Pipe(bytes(data), *sizes)
            try:
                pipe.run(FrameReader(100_000))
            except DirtyProtocolError as exc:
                outcomes.append((pipe.frames, str(exc)))
            else:
                outcomes.append((pipe.frames, ""))
        for came, error in outcomes[1:]:
            assert came == outcomes[0][0]
            assert not error or not outcomes[0][1] or error == outcomes[0][1]
        assert all(frame_type in TYPES for frame_type, _, _ in outcomes[0][0])
