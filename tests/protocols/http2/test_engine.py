# SPDX-License-Identifier: MIT
"""Each engine, over its face: what the peer sees, what the Listener is told."""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, Any

import hpack
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.http2 import frames
from tests.http2.frames import data, get, headers, post, rst_stream, settings, window_update
from tests.http2_engines import make_engine
from trioserve.protocols.http2 import (
    PRIORITY_UPDATE,
    ErrorCode,
    Http2ConnectionError,
    LocalSettings,
    StreamPriority,
)

if TYPE_CHECKING:
    from trioserve.protocols.http2 import Engine

Told = list[tuple[Any, ...]]

SETTINGS = LocalSettings(
    max_concurrent_streams=10,
    initial_window_size=100_000,
    max_frame_size=20_000,
    max_header_list_size=4_000,
    connection_window_size=500_000,
)
ACK = frames.frame(frames.SETTINGS, frames.ACK, 0)
OK = [(b":status", b"200")]


class Recorder:
    """A Listener that writes everything down; may call the engine as a real one does."""

    def __init__(self) -> None:
        self.told: Told = []

    def on_request(self, *args: Any) -> None:
        stream_id, fields, end_stream, priority = args
        plain = [(bytes(name), bytes(value)) for name, value in fields]
        self.told.append(("request", stream_id, plain, end_stream, priority))

    def on_data(self, *args: Any) -> None:
        stream_id, body, size, end_stream = args
        self.told.append(("data", stream_id, bytes(body), size, end_stream))

    def on_trailers(self, stream_id: int, fields: Any) -> None:
        plain = [(bytes(name), bytes(value)) for name, value in fields]
        self.told.append(("trailers", stream_id, plain))

    def on_reset(self, *args: Any) -> None:
        self.told.append(("reset", *args))

    def on_window(self, *args: Any) -> None:
        self.told.append(("window", *args))

    def on_priority(self, *args: Any) -> None:
        self.told.append(("priority", *args))

    def on_extension(self, frame_type: int, stream_id: int, payload: bytes) -> None:
        self.told.append(("extension", frame_type, stream_id, bytes(payload)))

    def on_settings(self) -> None:
        self.told.append(("settings",))

    def on_goaway(self, *args: Any) -> None:
        self.told.append(("goaway", *args))


class Peer:
    """An engine with a client's view of what it sends."""

    def __init__(self, name: str, local: LocalSettings = SETTINGS, *, begin: bool = True) -> None:
        self.listener = Recorder()
        self.engine: Engine = make_engine(name, self.listener, local)
        self.decoder = hpack.Decoder()
        self._buffer = bytearray()
        if begin:
            self.receive(frames.PREFACE, settings(), ACK)
            self.first = self.sent()
            self.listener.told.clear()

    def receive(self, *parts: bytes) -> Told:
        """What the Listener is told of these bytes."""
        before = len(self.listener.told)
        self.engine.receive(b"".join(parts))
        return self.listener.told[before:]

    def sent(self) -> list[frames.Frame]:
        """What the engine has sent since the last look; whole frames only."""
        self._buffer += self.engine.take()
        found = list(frames.split_frames(self._buffer))
        assert not self._buffer
        return found

    def broken(self, *parts: bytes) -> tuple[ErrorCode, list[frames.Frame]]:
        """The code of the error that these bytes are, and what was sent then."""
        with pytest.raises(Http2ConnectionError) as caught:
            self.receive(*parts)
        if not caught.value.announced:
            self.engine.goaway(self.engine.highest_stream_id, caught.value.code)
        return caught.value.code, self.sent()


@pytest.fixture
def peer(http2_engine: str) -> Peer:
    return Peer(http2_engine)


def fields_of(peer: Peer, frame: frames.Frame) -> list[tuple[bytes, bytes]]:
    decoded = peer.decoder.decode(frame.payload, raw=True)
    return [(bytes(name), bytes(value)) for name, value in decoded]


# -- the beginning ------------------------------------------------------------------------------


def test_settings_come_first_then_the_connections_window(http2_engine: str) -> None:
    peer = Peer(http2_engine, begin=False)
    first, window = peer.sent()
    assert (first.type, first.flags, first.stream_id) == (frames.SETTINGS, 0, 0)
    pairs = dict(struct.iter_unpack(">HL", first.payload))
    assert pairs == {3: 10, 4: 100_000, 5: 20_000, 6: 4_000, 8: 1, 9: 1}
    assert (window.type, window.stream_id) == (frames.WINDOW_UPDATE, 0)
    assert window.increment == 500_000 - 65_535


def test_no_window_update_where_the_connections_window_is_the_default(http2_engine: str) -> None:
    peer = Peer(http2_engine, SETTINGS._replace(connection_window_size=65_535), begin=False)
    assert [frame.type for frame in peer.sent()] == [frames.SETTINGS]


def test_the_peers_settings_are_acknowledged(http2_engine: str) -> None:
    peer = Peer(http2_engine, begin=False)
    peer.sent()
    assert peer.receive(frames.PREFACE, settings((5, 30_000))) == [("settings",)]
    (ack,) = peer.sent()
    assert (ack.type, ack.flags, ack.payload) == (frames.SETTINGS, frames.ACK, b"")
    assert peer.engine.max_frame_size == 30_000


def test_before_any_settings_the_peer_has_the_defaults_of_the_rfc(http2_engine: str) -> None:
    """RFC 9113 section 6.5.2."""
    peer = Peer(http2_engine, begin=False)
    peer.receive(frames.PREFACE, settings(), headers(1, get()))
    assert (peer.engine.max_frame_size, peer.engine.window(1)) == (16_384, 65_535)


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", frames.PREFACE[:-1] + b"x", b"\0" * 24]
)
def test_a_wrong_preface_is_a_protocol_error(http2_engine: str, data: bytes) -> None:
    code, sent = Peer(http2_engine, begin=False).broken(data)
    assert code is ErrorCode.PROTOCOL_ERROR
    assert sent[-1].type == frames.GOAWAY


# -- requests -------------------------------------------------------------------------------------

REQUEST = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":authority", b"test"),
    (b":path", b"/"),
]


def test_a_request_is_told_whole(peer: Peer) -> None:
    assert peer.receive(headers(1, get())) == [("request", 1, REQUEST, True, None)]
    assert peer.engine.highest_stream_id == 1


def test_a_request_with_body_and_trailers_is_told_part_by_part(peer: Peer) -> None:
    told = peer.receive(
        headers(1, get(), end_stream=False),
        data(1, b"body"),
        data(1, b"", pad=4),
        headers(1, frames.block(("x", "y"))),
    )
    assert told == [
        ("request", 1, REQUEST, False, None),
        ("data", 1, b"body", 4, False),
        ("data", 1, b"", 5, False),
        ("trailers", 1, [(b"x", b"y")]),
    ]


def test_padding_counts_for_flow_control(peer: Peer) -> None:
    """RFC 9113 section 6.1."""
    told = peer.receive(headers(1, get(), end_stream=False), data(1, b"ab", end_stream=True, pad=9))
    assert told[1:] == [("data", 1, b"ab", 12, True)]


def test_the_priority_of_rfc_7540_is_told_with_the_request(peer: Peer) -> None:
    payload = struct.pack(">LB", 0x80000003, 99) + get()
    told = peer.receive(frames.frame(frames.HEADERS, 0x25, 5, payload))
    assert told[0] == ("request", 5, REQUEST, True, StreamPriority(100, 3, True))


def test_a_priority_frame_is_told(peer: Peer) -> None:
    assert peer.receive(frames.priority(5, 3, 256)) == [("priority", 5, StreamPriority(256, 3))]


def test_frames_of_unknown_types_are_told(peer: Peer) -> None:
    assert peer.receive(frames.priority_update(5, b"u=1")) == [
        ("extension", PRIORITY_UPDATE, 0, b"\0\0\0\x05u=1")
    ]


def test_a_reset_is_told(peer: Peer) -> None:
    peer.receive(headers(1, get()))
    assert peer.receive(rst_stream(1, 8)) == [("reset", 1, 8)]
    assert peer.engine.window(1) == 0


def test_more_window_is_told(peer: Peer) -> None:
    peer.receive(headers(1, get()))
    assert peer.receive(window_update(0, 5), window_update(1, 7)) == [("window", 0), ("window", 1)]
    assert peer.engine.window(1) == 65_535 + 5


def test_a_request_is_malformed_for_others_to_say(peer: Peer) -> None:
    """The engine leaves what a request may look like to request.py."""
    bad = frames.block(("x", "1"), ("connection", "close"), (":path", "/"), ("content-length", "a"))
    told = peer.receive(headers(1, bad, end_stream=False), data(1, b"body", end_stream=True))
    assert [item[0] for item in told] == ["request", "data"]


# -- responses --------------------------------------------------------------------------------


def test_a_response_goes_out_in_order(peer: Peer) -> None:
    peer.receive(headers(1, get()))
    engine = peer.engine
    engine.send_headers(1, [(b":status", b"103"), (b"link", b"<a>")], False)
    engine.send_headers(1, [*OK, (b"x", b"y")], False)
    engine.send_data(1, b"bo", False)
    engine.send_data(1, memoryview(b"dy"), False)
    engine.send_headers(1, [(b"x-sum", b"1")], True)
    hint, head, one, two, trailers = peer.sent()
    assert fields_of(peer, hint) == [(b":status", b"103"), (b"link", b"<a>")]
    assert fields_of(peer, head) == [*OK, (b"x", b"y")]
    assert (one.payload + two.payload, one.flags, two.flags) == (b"body", 0, 0)
    assert fields_of(peer, trailers) == [(b"x-sum", b"1")]
    assert [frame.ends for frame in (hint, head, one, two, trailers)] == [False] * 4 + [True]


def test_a_large_header_section_goes_in_several_frames(peer: Peer) -> None:
    """RFC 9113 section 4.3: none larger than the peer takes."""
    peer.receive(headers(1, get()))
    fields = [*OK, *[(b"x-%d" % number, b"\x80" * 900) for number in range(60)]]
    peer.engine.send_headers(1, fields, True)
    sent = peer.sent()
    assert [frame.type for frame in sent] == [1] + [9] * (len(sent) - 1)
    assert len(sent) > 1
    assert max(len(frame.payload) for frame in sent) <= 16_384
    assert [bool(frame.flags & 4) for frame in sent] == [False] * (len(sent) - 1) + [True]
    whole = sent[0]._replace(payload=b"".join(frame.payload for frame in sent))
    assert fields_of(peer, whole) == fields


def test_what_is_sent_counts_against_both_windows(peer: Peer) -> None:
    peer.receive(headers(1, get()), headers(3, get()))
    engine = peer.engine
    engine.send_headers(1, OK, False)
    engine.send_data(1, bytes(16_000), False)
    assert (engine.window(1), engine.window(3)) == (49_535, 49_535)
    peer.receive(settings((4, 10_000)))
    assert (engine.window(1), engine.window(3)) == (10_000 - 16_000, 10_000)


def test_nothing_is_sent_on_a_stream_that_was_reset(peer: Peer) -> None:
    peer.receive(headers(1, get()), headers(3, get()), rst_stream(1))
    engine = peer.engine
    engine.reset(3, ErrorCode.CANCEL)
    (reset,) = peer.sent()
    assert (reset.type, reset.stream_id, reset.code) == (frames.RST_STREAM, 3, 8)
    for stream_id in (1, 3):
        engine.send_headers(stream_id, OK, False)
        engine.send_data(stream_id, b"x", True)
        engine.reset(stream_id, ErrorCode.CANCEL)
        assert engine.window(stream_id) <= 0
    assert peer.sent() == []


def test_the_tables_of_both_sides_agree_over_many_streams(peer: Peer) -> None:
    encoder = hpack.Encoder()
    for number in range(50):
        fields = [*REQUEST, (b"x-n", b"%d" % (number % 7))]
        told = peer.receive(headers(2 * number + 1, encoder.encode(fields)))
        assert told[0][2] == fields
        response = [*OK, (b"x-n", b"%d" % (number % 5)), (b"date", b"now")]
        peer.engine.send_headers(2 * number + 1, response, True)
        assert fields_of(peer, peer.sent()[-1]) == response


# -- credit ---------------------------------------------------------------------------------------


def test_no_credit_is_given_before_anything_is_taken(peer: Peer) -> None:
    """RFC 9113 section 5.2."""
    peer.receive(headers(1, post(), end_stream=False), *[data(1, bytes(10_000))] * 10)
    assert peer.sent() == []


def test_credit_is_as_much_as_was_taken_in_the_end(peer: Peer) -> None:
    for stream_id in range(1, 60, 2):
        peer.receive(headers(stream_id, post(), end_stream=False))
        left = 100_000
        while left:
            peer.receive(data(stream_id, bytes(10_000)))
            peer.engine.acknowledge(stream_id, 10_000)
            left -= 10_000
        peer.receive(data(stream_id, end_stream=True))
        peer.engine.send_headers(stream_id, OK, True)
    given = sum(f.increment for f in peer.sent() if f.type == 8 and f.stream_id == 0)
    assert given >= 30 * 100_000 - 500_000 / 2


def test_a_window_never_stays_closed_once_all_was_taken(peer: Peer) -> None:
    """However small the pieces in which it is taken."""
    peer.receive(headers(1, post(), end_stream=False), *[data(1, bytes(10_000))] * 10)
    for _ in range(1000):
        peer.engine.acknowledge(1, 100)
    given = sum(f.increment for f in peer.sent() if f.type == 8 and f.stream_id == 1)
    assert given >= 50_000


def test_credit_for_a_stream_that_has_ended_goes_to_the_connection(peer: Peer) -> None:
    local = SETTINGS.connection_window_size
    sent = 0
    for stream_id in range(1, 40, 2):
        peer.receive(
            headers(stream_id, post(), end_stream=False), *[data(stream_id, bytes(10_000))] * 3
        )
        peer.receive(rst_stream(stream_id))
        peer.engine.acknowledge(stream_id, 30_000)
        sent += 30_000
    assert sent > local  # it would have been a flow-control error long before
    assert {f.stream_id for f in peer.sent() if f.type == 8} == {0}


def test_nothing_is_acknowledged_by_0(peer: Peer) -> None:
    peer.receive(headers(1, post(), end_stream=False))
    peer.engine.acknowledge(1, 0)
    assert peer.sent() == []


def refusal(peer: Peer, part: bytes) -> int:
    """The code of the error that these bytes are, of the connection or of the stream."""
    peer.sent()
    try:
        peer.receive(part)
    except Http2ConnectionError as exc:
        return exc.code
    (reset,) = (frame for frame in peer.sent() if frame.type == frames.RST_STREAM)
    return reset.code


def test_a_window_is_not_exceeded(http2_engine: str) -> None:
    peer = Peer(http2_engine)
    peer.receive(headers(1, post(), end_stream=False), *[data(1, bytes(20_000))] * 5)
    assert refusal(peer, data(1, b"x")) == ErrorCode.FLOW_CONTROL_ERROR


def test_a_connections_window_is_not_exceeded(http2_engine: str) -> None:
    peer = Peer(http2_engine, SETTINGS._replace(connection_window_size=150_000))
    peer.receive(headers(1, post(), end_stream=False), headers(3, post(), end_stream=False))
    peer.receive(*[data(1, bytes(20_000))] * 5, *[data(3, bytes(10_000))] * 5)
    code, _ = peer.broken(data(3, b"x"))
    assert code is ErrorCode.FLOW_CONTROL_ERROR


def test_a_small_window_holds_only_from_its_acknowledgement_on(http2_engine: str) -> None:
    """RFC 9113 section 6.5.3."""
    local = SETTINGS._replace(initial_window_size=1024)
    peer = Peer(http2_engine, local, begin=False)
    peer.receive(frames.PREFACE, settings(), headers(1, post(), end_stream=False))
    peer.receive(*[data(1, bytes(10_000))] * 6)
    peer.receive(ACK, headers(3, post(), end_stream=False), data(3, bytes(1024)))
    assert refusal(peer, data(3, b"x")) == ErrorCode.FLOW_CONTROL_ERROR


# -- ends -----------------------------------------------------------------------------------------


def test_a_goaway_is_sent_and_streams_go_on(peer: Peer) -> None:
    peer.receive(headers(1, post(), end_stream=False))
    peer.engine.goaway(2**31 - 1, ErrorCode.NO_ERROR)
    peer.engine.goaway(1, ErrorCode.NO_ERROR, b"why")
    first, second = peer.sent()
    assert (first.last_stream_id, first.code, first.payload[8:]) == (2**31 - 1, 0, b"")
    assert (second.last_stream_id, second.code, second.payload[8:]) == (1, 0, b"why")
    assert peer.receive(data(1, b"x", end_stream=True)) == [("data", 1, b"x", 1, True)]
    peer.engine.send_headers(1, OK, True)
    assert peer.sent()[0].ends


def test_a_goaway_of_the_peer_is_told_and_streams_go_on(peer: Peer) -> None:
    peer.receive(headers(1, post(), end_stream=False))
    peer.engine.send_headers(1, OK, False)  # waits to be taken: isn't lost
    assert peer.receive(frames.goaway(0, 2, b"bye")) == [("goaway", 2)]
    assert peer.receive(frames.goaway(0, 12345)) == [("goaway", 12345)]
    assert peer.receive(data(1, b"x", end_stream=True)) == [("data", 1, b"x", 1, True)]
    peer.engine.send_data(1, b"x", True)
    assert [frame.type for frame in peer.sent()] == [frames.HEADERS, frames.DATA]


def test_frames_and_our_own_goaway_keep_their_order(peer: Peer) -> None:
    peer.receive(headers(1, get()))
    peer.engine.send_headers(1, OK, False)
    peer.engine.goaway(1, ErrorCode.NO_ERROR)
    peer.engine.send_data(1, b"x", True)
    assert [frame.type for frame in peer.sent()] == [frames.HEADERS, frames.GOAWAY, frames.DATA]


BROKEN = {
    "a stream id that isn't the client's": (headers(2, get()), ErrorCode.PROTOCOL_ERROR),
    "an unreadable header section": (headers(1, b"\x80"), ErrorCode.COMPRESSION_ERROR),
    "a frame that is too large": (data(1, bytes(20_001)), ErrorCode.FRAME_SIZE_ERROR),
    "a SETTINGS ACK with a payload": (
        frames.frame(frames.SETTINGS, frames.ACK, 0, bytes(6)),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "RST_STREAM of an idle stream": (rst_stream(1), ErrorCode.PROTOCOL_ERROR),
    "CONTINUATION of nothing": (frames.continuation(1, get()), ErrorCode.PROTOCOL_ERROR),
    "a header section that is far too large": (
        headers(1, get() + frames.block(*[("x", "y" * 100)] * 170)),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_protocol_ends_the_connection_by_one_goaway(peer: Peer, name: str) -> None:
    sent, expected = BROKEN[name]
    code, answer = peer.broken(sent)
    assert code is expected
    goaways = [frame for frame in answer if frame.type == frames.GOAWAY]
    assert [frame.code for frame in goaways] == [expected]


def test_a_header_section_a_little_too_large_is_told_so_that_it_can_be_answered(peer: Peer) -> None:
    fields = frames.block(*[("x", "y" * 100)] * 60)  # 7,980 bytes as they are counted, of 4,000
    assert peer.receive(headers(1, get() + fields))[0][0] == "request"


def test_a_compressed_bomb_is_not_unpacked(peer: Peer) -> None:
    """CVE-2016-6581: a byte a field, each of them 4,000 bytes long."""
    entry = b"\x40\x01a" + b"\x7f\xa1\x1e" + b"b" * 4000
    code, _ = peer.broken(headers(1, get() + entry + b"\xbe" * 3000))
    assert code is ErrorCode.ENHANCE_YOUR_CALM


# -- any bytes ------------------------------------------------------------------------------------


class Talker(Recorder):
    """Does what a connection does: answers, takes, refuses."""

    engine: Engine

    def on_request(self, *args: Any) -> None:
        stream_id, _, end_stream, _ = args
        if stream_id % 3 == 0:
            self.engine.reset(stream_id, ErrorCode.REFUSED_STREAM)
        elif stream_id % 5 == 0 or end_stream:
            self.engine.send_headers(stream_id, OK, False)
            if self.engine.window(stream_id) > 0:
                self.engine.send_data(stream_id, b"x", True)

    def on_data(self, *args: Any) -> None:
        stream_id, _, size, end_stream = args
        self.engine.acknowledge(stream_id, size)
        if end_stream:
            self.engine.send_headers(stream_id, OK, True)
            self.engine.reset(stream_id, ErrorCode.NO_ERROR)


def take_any(name: str, pieces: list[bytes]) -> ErrorCode | None:
    """Feeds it; any error but Http2ConnectionError comes out. What is sent is whole frames."""
    listener = Talker()
    engine = listener.engine = make_engine(name, listener, SETTINGS)
    code = None
    try:
        for piece in pieces:
            engine.receive(piece)
    except Http2ConnectionError as exc:
        code = exc.code
    buffer = bytearray(engine.take())
    for _ in frames.split_frames(buffer):
        pass
    assert not buffer
    return code


BLOCKS = st.sampled_from(
    [get(), post(), b"", b"\x80", b"\x20", frames.block(("x", "y")), b"\x3f\xe1\x1f", b"\xbe"]
) | st.binary(max_size=12)
IDS = st.sampled_from([0, 1, 2, 3, 5, 7, 2**31 - 1])
ANY_FRAME = st.one_of(
    st.builds(frames.frame, st.integers(0, 17), st.integers(0, 255), IDS, st.binary(max_size=20)),
    st.builds(
        lambda stream_id, fragment, end_stream, end_headers: headers(
            stream_id, fragment, end_stream=end_stream, end_headers=end_headers
        ),
        IDS,
        BLOCKS,
        st.booleans(),
        st.booleans(),
    ),
    st.builds(frames.continuation, IDS, BLOCKS),
    st.builds(
        lambda stream_id, body, end: data(stream_id, body, end_stream=end),
        IDS,
        st.binary(max_size=9),
        st.booleans(),
    ),
    st.builds(
        lambda pairs: settings(*pairs),
        st.lists(
            st.tuples(
                st.integers(0, 9), st.sampled_from([0, 1, 2, 16_384, 65_535, 2**31, 2**32 - 1])
            ),
            max_size=3,
        ),
    ),
    st.builds(window_update, IDS, st.sampled_from([0, 1, 65_535, 2**31 - 1, 2**32 - 1])),
    st.builds(rst_stream, IDS, st.sampled_from([0, 8, 2**32 - 1])),
    st.builds(frames.goaway, IDS, st.sampled_from([0, 1, 2**32 - 1]), st.binary(max_size=4)),
    st.builds(frames.priority, IDS, IDS, st.integers(1, 256)),
    st.builds(frames.priority_update, IDS, st.binary(max_size=6)),
)
BEGIN = frames.PREFACE + settings()
fuzz = hypothesis_settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.slow  # a hundred connections, twice
@fuzz
@given(sent=st.lists(ANY_FRAME, max_size=12), cuts=st.lists(st.integers(0, 300), max_size=3))
def test_any_frames_are_taken_or_end_the_connection_however_they_are_cut(
    http2_engine: str, sent: list[bytes], cuts: list[int]
) -> None:
    whole = b"".join(sent)
    code = take_any(http2_engine, [BEGIN + whole])
    at = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    pieces = [whole[start:end] for start, end in itertools.pairwise(at)]
    assert take_any(http2_engine, [BEGIN, *pieces]) == code


@fuzz
@given(
    sent=st.lists(ANY_FRAME, max_size=6),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=5),
)
def test_any_changed_bytes_are_taken_or_end_the_connection(
    http2_engine: str, sent: list[bytes], changes: list[tuple[int, int]]
) -> None:
    whole = bytearray(BEGIN + headers(1, get()) + b"".join(sent))
    for at, byte in changes:
        if at < len(whole):
            whole[at] = byte
    take_any(http2_engine, [bytes(whole)])


@fuzz
@given(rest=st.binary(max_size=200))
def test_any_bytes_are_taken_or_end_the_connection(http2_engine: str, rest: bytes) -> None:
    take_any(http2_engine, [BEGIN, rest])


@fuzz
@given(fragment=st.binary(max_size=60))
def test_any_header_block_is_taken_or_ends_the_connection(
    http2_engine: str, fragment: bytes
) -> None:
    code = take_any(http2_engine, [BEGIN + headers(1, fragment)])
    assert code in (None, ErrorCode.COMPRESSION_ERROR, ErrorCode.ENHANCE_YOUR_CALM)
