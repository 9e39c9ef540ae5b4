# SPDX-License-Identifier: MIT
"""permessage-deflate: what is agreed on (RFC 7692 section 7.1), and that it works (7.2)."""

from __future__ import annotations

import random
import time
import zlib
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.headers import build_extension, parse_extension

from tests.websocket.frames import BINARY, CONT, TEXT, frame, split_frames
from trioserve.protocols.errors import RemoteProtocolError
from trioserve.protocols.websocket import Deflate, negotiate_deflate

from .reading import agree, make_machine, read, take

if TYPE_CHECKING:
    from trioserve.protocols.websocket.machine import WebSocketMachine

#: What a sender takes off the end of each message (RFC 7692 section 7.2.1).
EMPTY_BLOCK: Final = b"\x00\x00\xff\xff"
NAME: Final = b"permessage-deflate"


def answer(*values: bytes) -> str | None:
    """The response's value, its own name left out."""
    deflate = negotiate_deflate(values)
    if deflate is None:
        return None
    assert deflate.response.startswith(NAME)
    return deflate.response[len(NAME) :].decode()


# -- what is agreed on --------------------------------------------------------------------------

#: Parameters of an offer → those of the response; None: it is declined.
OFFERS: Final[dict[str, str | None]] = {
    "": "; server_max_window_bits=12",
    # Section 7.1.1.
    "; server_no_context_takeover": "; server_no_context_takeover; server_max_window_bits=12",
    "; client_no_context_takeover": "; client_no_context_takeover; server_max_window_bits=12",
    "; server_no_context_takeover=1": None,
    '; client_no_context_takeover="1"': None,
    # Section 7.1.2.1: the server may have less than is asked for, not more.
    "; server_max_window_bits": None,
    "; server_max_window_bits=7": None,
    "; server_max_window_bits=8": None,  # zlib can't
    "; server_max_window_bits=9": "; server_max_window_bits=9",
    "; server_max_window_bits=10": "; server_max_window_bits=10",
    "; server_max_window_bits=11": "; server_max_window_bits=11",
    "; server_max_window_bits=12": "; server_max_window_bits=12",
    "; server_max_window_bits=13": "; server_max_window_bits=12",
    "; server_max_window_bits=14": "; server_max_window_bits=12",
    "; server_max_window_bits=15": "; server_max_window_bits=12",
    "; server_max_window_bits=16": None,
    "; server_max_window_bits=010": None,
    "; server_max_window_bits=+10": None,
    "; server_max_window_bits=1e1": None,
    "; server_max_window_bits=100": None,
    '; server_max_window_bits="10"': "; server_max_window_bits=10",
    '; server_max_window_bits="1\\0"': "; server_max_window_bits=10",
    '; server_max_window_bits="010"': None,
    # Section 7.1.2.2: only a client that names it can be told.
    "; client_max_window_bits": "; server_max_window_bits=12; client_max_window_bits=12",
    "; client_max_window_bits=7": None,
    "; client_max_window_bits=8": "; server_max_window_bits=12",
    "; client_max_window_bits=9": "; server_max_window_bits=12; client_max_window_bits=9",
    "; client_max_window_bits=10": "; server_max_window_bits=12; client_max_window_bits=10",
    "; client_max_window_bits=11": "; server_max_window_bits=12; client_max_window_bits=11",
    "; client_max_window_bits=12": "; server_max_window_bits=12; client_max_window_bits=12",
    "; client_max_window_bits=13": "; server_max_window_bits=12; client_max_window_bits=12",
    "; client_max_window_bits=14": "; server_max_window_bits=12; client_max_window_bits=12",
    "; client_max_window_bits=15": "; server_max_window_bits=12; client_max_window_bits=12",
    "; client_max_window_bits=16": None,
    "; client_max_window_bits=08": None,
    '; client_max_window_bits = "15"': "; server_max_window_bits=12; client_max_window_bits=12",
    # Section 7: what is unknown, or there twice.
    "; other": None,
    "; server_no_context_takeover; other=1": None,
    "; SERVER_NO_CONTEXT_TAKEOVER": None,
    "; server_no_context_takeover; server_no_context_takeover": None,
    "; client_max_window_bits; client_max_window_bits=10": None,
    "; server_max_window_bits=10; server_max_window_bits=10": None,
    # All of it, in any order, with any space.
    "; client_max_window_bits=10; server_max_window_bits=9; client_no_context_takeover; "
    "server_no_context_takeover": "; server_no_context_takeover; client_no_context_takeover; "
    "server_max_window_bits=9; client_max_window_bits=10",
    " \t;\tclient_max_window_bits\t=\t10 ": "; server_max_window_bits=12; "
    "client_max_window_bits=10",
}


@pytest.mark.parametrize("parameters", OFFERS)
def test_an_offer_is_met_or_declined(parameters: str) -> None:
    offer = NAME + parameters.encode()
    expected = OFFERS[parameters]
    assert answer(offer) == expected
    # The next is met instead.
    fallback = NAME + b"; server_max_window_bits=11"
    assert answer(offer + b"," + fallback) == (expected or "; server_max_window_bits=11")
    assert answer(offer, fallback) == (expected or "; server_max_window_bits=11")


@pytest.mark.parametrize(
    "values",
    [
        (),
        (b"",),
        (b"", b" ", b",\t,"),
        (b"x-webkit-deflate-frame",),
        (b'x-other; a=1; b="2", y',),
        (b"permessage-bzip2; client_max_window_bits",),
        (b"permessage-deflate-2",),
    ],
)
def test_without_an_offer_of_deflate_nothing_is_compressed(values: tuple[bytes, ...]) -> None:
    assert negotiate_deflate(values) is None


@pytest.mark.parametrize(
    "values",
    [
        (b"permessage-deflate",),
        (b",, permessage-deflate ,",),
        (b"x-other; permessage-deflate=1, permessage-deflate",),
        (b"x-other", b"permessage-deflate"),
        (b"permessage-deflate", b"permessage-deflate; server_no_context_takeover"),
    ],
)
def test_the_first_offer_that_can_be_met_is(values: tuple[bytes, ...]) -> None:
    assert answer(*values) == "; server_max_window_bits=12"


MALFORMED: Final = [
    b";",
    b"=",
    b"x;",
    b"x; ;y",
    b"x; y=",
    b"x; =1",
    b"x=1",
    b"x y",
    b"x; y z",
    b"x; y=1=2",
    b"x; y=1 2",
    b'x; y="',
    b'x; y="1',
    b'x; y=""',
    b'x; y="1"2',
    b'x; y="1 2"',
    b'x; y="1,2"',
    b'x; y="\\"',
    b'x; y="\\""',
    b'"x"',
    b"x/y",
    b"x\xa0",
    b"x\x85;y",
    b"x\x0b",
    b"x\x00",
    b"x\n",
    b"\xe4",
    b"x; y=\xef\xbc\x91",  # a wide digit
]


@pytest.mark.parametrize("value", MALFORMED)
def test_what_is_no_list_of_extensions_is_refused_wherever_it_stands(value: bytes) -> None:
    """RFC 6455 section 9.1."""
    for values in ((value,), (NAME, value), (value, NAME), (NAME + b", " + value,)):
        with pytest.raises(RemoteProtocolError, match=r"^400: .*RFC 6455 section 9\.1"):
            negotiate_deflate(values)


PIECES = st.sampled_from(
    [
        NAME,
        b"server_max_window_bits",
        b"client_max_window_bits",
        b"server_no_context_takeover",
        b"client_no_context_takeover",
        *(str(bits).encode() for bits in range(7, 17)),
        *(b"; ", b",", b"=", b'"', b" ", b"\t", b"\\", b"x", b"\xff", b"\x00"),
    ]
)


@given(
    st.lists(
        st.one_of(st.binary(max_size=30), st.lists(PIECES, max_size=12).map(b"".join)), max_size=3
    )
)
def test_any_bytes_are_an_answer_or_a_refusal(values: list[bytes]) -> None:
    try:
        deflate = negotiate_deflate(values)
    except RemoteProtocolError:
        return
    if deflate is not None:
        assert 9 <= deflate.server_max_window_bits <= 12
        assert 9 <= deflate.client_max_window_bits <= 15


@pytest.mark.parametrize(
    "period",
    [
        *(b" ", b"\t", b",", b", ", b" ,", b";", b"=", b'"', b"\\", b"x", b"x ", b"x,", b"x;"),
        *(b"; x", b';x="', b"x; y=", b'; x = "y"', b';x="\\y\\', b'"\\', b"\xa0", b"\x00"),
    ],
)
@pytest.mark.parametrize("start", [b"", b"x", b"x;", b"x; y", b"x; y=", b'x; y="', b'x; y="\\'])
def test_long_values_take_no_longer_than_they_are(start: bytes, period: bytes) -> None:
    """Twice what limit_request_field_size lets pass; what grew as its square would take seconds."""
    value = start + period * (16_384 // len(period))
    begin = time.thread_time()
    for end in (b"", b"@", b'"', b" x"):
        try:
            negotiate_deflate([value + end])
        except RemoteProtocolError:
            continue
    assert time.thread_time() - begin < 1.5


bits_or_none = st.one_of(st.none(), st.integers(9, 15))


@given(st.booleans(), st.booleans(), bits_or_none, st.one_of(bits_or_none, st.just(True)))
def test_an_independent_client_takes_every_answer(
    server_fresh: bool, client_fresh: bool, server_bits: int | None, client_bits: int | None
) -> None:
    factory = ClientPerMessageDeflateFactory(server_fresh, client_fresh, server_bits, client_bits)
    offer = build_extension([(factory.name, list(factory.get_request_params()))])
    deflate = agree(offer.encode())
    ((name, parameters),) = parse_extension(deflate.response.decode())
    theirs = factory.process_response_params(parameters, [])
    assert name == NAME.decode()
    assert theirs.remote_no_context_takeover is deflate.server_no_context_takeover
    assert theirs.remote_max_window_bits == deflate.server_max_window_bits
    assert deflate.client_max_window_bits >= theirs.local_max_window_bits
    assert theirs.local_no_context_takeover or not deflate.client_no_context_takeover


# -- that it works ------------------------------------------------------------------------------


class Client:
    """The client's half, on zlib alone.

    Args:
        bits: of its own window, where it is less than was agreed on.
    """

    def __init__(self, deflate: Deflate, bits: int | None = None) -> None:
        self._deflate = deflate
        self._bits = bits or deflate.client_max_window_bits
        self._begin()

    def _begin(self) -> None:
        self._out = zlib.compressobj(9, zlib.DEFLATED, -self._bits)
        self._in = zlib.decompressobj(-self._deflate.server_max_window_bits)

    def compress(self, message: bytes) -> bytes:
        """The payload of a message's frame."""
        if self._deflate.client_no_context_takeover:
            self._out = zlib.compressobj(9, zlib.DEFLATED, -self._bits)
        data = self._out.compress(message) + self._out.flush(zlib.Z_SYNC_FLUSH)
        assert data.endswith(EMPTY_BLOCK)
        return data[:-4]

    def decompress(self, payload: bytes) -> bytes:
        """A message, from its frame's payload."""
        if self._deflate.server_no_context_takeover:
            self._in = zlib.decompressobj(-self._deflate.server_max_window_bits)
        data = self._in.decompress(payload + EMPTY_BLOCK)
        assert not self._in.unconsumed_tail
        return data


def repetitive(size: int) -> bytes:
    """Bytes that repeat at every distance up to 2**15."""
    generator = random.Random(size)
    words = [generator.randbytes(40) for _ in range(900)]
    return b"".join(generator.choices(words, k=size // 40 + 1))[:size]


def sent(machine: WebSocketMachine, message: str | bytes) -> tuple[int, int, bytes]:
    """Of the one frame: its reserved bits, its opcode, its payload."""
    (one,) = split_frames(bytearray(b"".join(machine.encode(message))))
    assert one.fin
    return one.rsv, one.opcode, one.payload


AGREED: Final = [
    b"",
    b"; server_no_context_takeover",
    b"; client_no_context_takeover",
    b"; server_no_context_takeover; client_no_context_takeover",
    *(b"; server_max_window_bits=%d" % bits for bits in range(9, 16)),
    *(b"; client_max_window_bits=%d" % bits for bits in range(8, 16)),
    *(b"; client_no_context_takeover; client_max_window_bits=%d" % bits for bits in (9, 15)),
    b"; server_no_context_takeover; server_max_window_bits=9",
]


@pytest.mark.parametrize("offer", AGREED)
def test_messages_go_both_ways_by_what_was_agreed_on(offer: bytes) -> None:
    deflate = agree(NAME + offer)
    machine, client = make_machine(200_000, deflate), Client(deflate)
    for message in (b"", b"a", b"", repetitive(100_000), b"a" * 200_000, repetitive(100_000)):
        machine.receive_data(frame(BINARY, client.compress(message), rsv=4))
        assert take(machine) == [message]
        rsv, opcode, payload = sent(machine, message)
        assert (rsv, opcode) == (4, BINARY)
        assert client.decompress(payload) == message
    machine.receive_data(frame(TEXT, client.compress("Grüße".encode()), rsv=4))
    assert take(machine) == ["Grüße"]
    rsv, opcode, payload = sent(machine, "Grüße")
    assert (rsv, opcode) == (4, TEXT)
    assert client.decompress(payload).decode() == "Grüße"


def test_a_client_of_the_least_window_is_read() -> None:
    """Section 7.1.2.2: it has asked for 8 bits; zlib's own needs 9, which a larger window reads."""
    deflate = agree(NAME + b"; client_max_window_bits=8")
    client = Client(deflate, bits=9)
    data = repetitive(5_000)
    assert read(
        [frame(BINARY, client.compress(data), rsv=4)] * 1, max_size=5_000, deflate=deflate
    ).messages == [data]


@pytest.mark.parametrize(("offer", "kept"), [(b"", True), (b"; server_no_context_takeover", False)])
def test_a_context_is_kept_unless_it_was_agreed_not_to(offer: bytes, kept: bool) -> None:
    """Section 7.1.1: the second time, a message is a reference to the first."""
    machine = make_machine(1000, agree(NAME + offer))
    message = random.Random(1).randbytes(500)
    sizes = [len(sent(machine, message)[2]) for _ in range(3)]
    assert sizes[0] > 500
    assert [size < 50 for size in sizes[1:]] == [kept, kept]


def test_a_message_may_be_left_uncompressed() -> None:
    """Section 6: RSV1 says which are; the context is as it was."""
    deflate = agree(NAME)
    client = Client(deflate)
    data = b"".join(
        (
            frame(TEXT, client.compress(b"first"), rsv=4),
            frame(TEXT, b"pl", fin=False),
            frame(CONT, b"ain"),
            frame(TEXT, b"plain"),
            frame(TEXT, client.compress(b"first"), rsv=4),
        )
    )
    assert read([data], deflate=deflate).messages == ["first", "plain", "plain", "first"]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"\xf2\x48\xcd\xc9\xc9\x07\x00", b"Hello"),  # section 7.2.3.1
        (b"\xf2\x00\x11\x00\x00", b"Hello"),  # 7.2.3.2, where "Hello" came before
        (b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", b"Hello"),  # 7.2.3.3
        (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", b"Hello"),  # 7.2.3.4
        (b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", b"Hello"),  # 7.2.3.5
        (b"\x00", b""),  # 7.2.3.6
    ],
)
@pytest.mark.parametrize("step", [100, 1, 3])
def test_the_examples_of_the_rfc_are_read(payload: bytes, expected: bytes, step: int) -> None:
    hello = frame(BINARY, b"\xf2\x48\xcd\xc9\xc9\x07\x00", rsv=4)
    parts = [payload[at : at + step] for at in range(0, len(payload), step)]
    fragments = [
        frame(CONT if at else BINARY, part, rsv=0 if at else 4, fin=at == len(parts) - 1)
        for at, part in enumerate(parts)
    ]
    reading = read([hello + b"".join(fragments)], deflate=agree(NAME))
    assert reading.messages == [b"Hello", expected]


def ended(data: bytes) -> bytes:
    """A deflate stream with its end."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize("offer", [NAME, NAME + b"; client_no_context_takeover"])
@pytest.mark.parametrize("rest", [b"\x00", b""])
def test_a_stream_that_ends_takes_no_later_message_with_it(offer: bytes, rest: bytes) -> None:
    """Section 7.2.1: any block may have BFINAL; some clients leave out the empty one behind it."""
    deflate = agree(offer)
    compressed = frame(TEXT, ended(b"compressed") + rest, rsv=4)
    plain = frame(TEXT, b"plain")
    flushed = frame(TEXT, Client(deflate).compress(b"flushed"), rsv=4)
    data = compressed + compressed + plain + flushed
    expected = ["compressed", "compressed", "plain", "flushed"]
    assert read([data], deflate=deflate).messages == expected


def test_what_follows_the_end_of_a_stream_belongs_to_its_message() -> None:
    """Section 7.2.1: the next block follows at the next byte."""
    streams = [ended(b"a" * 100), ended(b"b" * 100), Client(agree(NAME)).compress(b"c" * 100)]
    expected = [b"a" * 100 + b"b" * 100 + b"c" * 100]
    whole = frame(BINARY, b"".join(streams), rsv=4)
    fragments = (
        frame(BINARY, streams[0], rsv=4, fin=False)
        + frame(CONT, streams[1], fin=False)
        + frame(CONT, streams[2])
    )
    for data in (whole, fragments):
        assert read([data], deflate=agree(NAME), max_size=300).messages == expected
        reading = read([data], deflate=agree(NAME), max_size=299)
        assert (reading.messages, reading.code) == ([], 1009)


def test_streams_that_end_again_and_again_are_refused() -> None:
    """Two bytes are a stream: a megabyte of them would be half a million decompressors."""
    reading = read(
        [frame(BINARY, b"\x03\x00" * 100_000, rsv=4)], deflate=agree(NAME), max_size=10**6
    )
    assert (reading.messages, reading.code) == ([], 1002)
