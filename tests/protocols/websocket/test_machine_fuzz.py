# SPDX-License-Identifier: MIT
"""WebSocketMachine against the library's client, and against whatever may come."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame as LibraryFrame
from websockets.frames import Opcode
from websockets.headers import parse_extension
from websockets.protocol import Protocol, Side

from tests.websocket.frames import CLOSE, CONT, close_payload, frame
from trioserve.protocols.websocket import NO_STATUS

from .reading import DEFLATE, MAY_COME, agree, byte_by_byte, make_machine, read, split, take

if TYPE_CHECKING:
    from trioserve.protocols.websocket import Deflate
    from trioserve.protocols.websocket.machine import Message

OFFERS: Final = [
    b"permessage-deflate; client_max_window_bits",
    b"permessage-deflate; client_max_window_bits=9; server_max_window_bits=9",
    b"permessage-deflate; client_no_context_takeover",
    b"permessage-deflate; server_no_context_takeover",
    b"permessage-deflate; client_no_context_takeover; server_no_context_takeover",
]
AGREED: Final = [None, *map(agree, OFFERS)]

_logger: Final = logging.Logger("tests.websocket.client", logging.CRITICAL + 1)


@attrs.frozen
class Sent:
    """A message as a client sends it.

    Attributes:
        cuts: where its payload is cut into fragments, in characters' bytes.
        pings: payloads of pings, one before each fragment as far as they go.
    """

    message: Message
    cuts: list[int]
    pings: list[bytes]


messages = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=40),
    st.builds(bytes.__mul__, st.binary(min_size=1, max_size=3), st.integers(0, 30_000)),
    st.builds(str.__mul__, st.sampled_from(["ä", "€uro", "🦔"]), st.integers(0, 5_000)),
)
sent_messages = st.builds(
    Sent,
    messages,
    st.lists(st.integers(0, 100_000), max_size=4),
    st.lists(st.binary(max_size=125), max_size=2),
)
cuts = st.lists(st.integers(0, 10**6), max_size=12)


def make_client(deflate: Deflate | None) -> Protocol:
    """The library's client, by what was agreed on."""
    client = Protocol(Side.CLIENT, max_size=None, logger=_logger)
    if deflate is not None:
        ((_, parameters),) = parse_extension(deflate.response.decode())
        factory = ClientPerMessageDeflateFactory()
        client.extensions = [factory.process_response_params(parameters, [])]
    return client


def encode(client: Protocol, sent: Sent) -> None:
    """Has the client write the message."""
    is_text = isinstance(sent.message, str)
    data = sent.message.encode() if isinstance(sent.message, str) else sent.message
    parts = split(data, sent.cuts) or [b""]
    for number, part in enumerate(parts):
        if number < len(sent.pings):
            client.send_ping(sent.pings[number])
        fin = number == len(parts) - 1
        if number:
            client.send_continuation(part, fin)
        elif is_text:
            client.send_text(part, fin)
        else:
            client.send_binary(part, fin)


def as_message(event: Any) -> Message:
    assert isinstance(event, LibraryFrame)
    assert event.fin
    data = bytes(event.data)
    return data.decode() if event.opcode is Opcode.TEXT else data


@pytest.mark.slow  # many examples
@settings(max_examples=150, deadline=None)
@given(sent=st.lists(sent_messages, max_size=4), cuts=cuts, deflate=st.sampled_from(AGREED))
def test_what_the_library_s_client_sends_is_read(
    sent: list[Sent], cuts: list[int], deflate: Deflate | None
) -> None:
    client = make_client(deflate)
    for one in sent:
        encode(client, one)
    client.send_close(1001, "done")
    data = b"".join(client.data_to_send())
    reading = read(split(data, cuts), max_size=200_000, deflate=deflate)
    assert reading.messages == [one.message for one in sent]
    assert reading.closed == (1001, "done")
    *pongs, close = reading.replies
    assert close.opcode == CLOSE
    parts = [len(split(_bytes(one.message), one.cuts)) or 1 for one in sent]
    pings = [ping for one, count in zip(sent, parts, strict=True) for ping in one.pings[:count]]
    assert [pong.payload for pong in pongs] == pings


def _bytes(message: Message) -> bytes:
    return message.encode() if isinstance(message, str) else message


@pytest.mark.slow  # many examples
@settings(max_examples=150, deadline=None)
@given(sent=st.lists(messages, max_size=5), cuts=cuts, deflate=st.sampled_from(AGREED))
def test_what_is_sent_is_read_by_the_library_s_client(
    sent: list[Message], cuts: list[int], deflate: Deflate | None
) -> None:
    machine, client = make_machine(deflate=deflate), make_client(deflate)
    data = b"".join(b"".join(machine.encode(message)) for message in sent)
    machine.close(1001, "done")
    data += machine.ping(b"") + b"".join(machine.replies)
    events = []
    for piece in split(data, cuts):
        client.receive_data(piece)
        events += client.events_received()
    assert client.parser_exc is None
    assert [as_message(event) for event in events[:-1]] == sent
    assert client.close_rcvd is not None
    assert (client.close_rcvd.code, client.close_rcvd.reason) == (1001, "done")
    # Its answer ends it.
    machine.receive_data(b"".join(client.data_to_send()))
    assert take(machine) == []
    assert machine.closed == (1001, "done")


# -- whatever comes -----------------------------------------------------------------------------

payloads = st.one_of(
    st.binary(max_size=20),
    st.sampled_from(
        [
            "ä€🦔".encode(),
            "€".encode()[:2],
            b"\xf2\x48\xcd\xc9\xc9\x07\x00",
            b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
            b"\x4b\x04\x00" * 10,
            b"x" * 126,
            b"x" * 300,
            close_payload(1000, "bye"),
            close_payload(4000),
        ]
    ),
)
#: More often than not without a fault.
frames = st.one_of(
    st.builds(
        frame,
        st.sampled_from([0, 0, 1, 2, 9, 10]),
        payloads,
        fin=st.booleans(),
        rsv=st.sampled_from([0, 0, 0, 4]),
    ),
    st.builds(
        frame,
        st.integers(0, 15),
        payloads,
        fin=st.booleans(),
        rsv=st.integers(0, 7),
        mask=st.sampled_from([None, b"\0\0\0\0", b"abcd"]),
        length=st.one_of(
            st.none(), st.binary(min_size=1, max_size=9).map(lambda data: b"\x7e" + data)
        ),
    ),
)
streams = st.one_of(
    st.binary(max_size=100),
    st.lists(frames, max_size=8).map(b"".join),
    st.tuples(st.lists(frames, max_size=5).map(b"".join), st.binary(max_size=20)).map(b"".join),
)


@pytest.mark.slow  # many examples
@settings(max_examples=400, deadline=None)
@given(
    data=streams,
    cuts=cuts,
    deflate=st.sampled_from([None, DEFLATE]),
    max_size=st.sampled_from([5, 100, 1000]),
)
def test_any_bytes_are_messages_or_its_end_however_they_are_split(
    data: bytes, cuts: list[int], deflate: Deflate | None, max_size: int
) -> None:
    whole = read([data], deflate=deflate, max_size=max_size)
    assert read(split(data, cuts), deflate=deflate, max_size=max_size) == whole
    assert read(byte_by_byte(data), deflate=deflate, max_size=max_size) == whole
    assert all(len(_bytes(message)) <= max_size for message in whole.messages)
    closes = [reply for reply in whole.replies if reply.opcode == CLOSE]
    if whole.closed is None:
        assert not closes
        return
    (close,) = closes
    assert close is whole.close_sent
    assert close.code == whole.closed.code
    assert close.reason == whole.closed.reason
    # The client's own, or what it did wrong.
    code = whole.closed.code
    assert code in MAY_COME or code == NO_STATUS


@pytest.mark.slow  # many examples
@settings(max_examples=200, deadline=None)
@given(
    data=streams,
    calls=st.lists(st.sampled_from(["close", "receive_eof", "lose", "ping"]), max_size=4),
    cuts=cuts,
)
def test_nothing_that_is_done_between_makes_it_fail(
    data: bytes, calls: list[str], cuts: list[int]
) -> None:
    machine = make_machine(100, DEFLATE)
    arguments: dict[str, tuple[Any, ...]] = {"close": (1000, ""), "ping": (b"p",)}
    pieces = split(data, cuts)
    for number in range(max(len(pieces), len(calls))):
        closed = machine.closed
        if number < len(pieces):
            machine.receive_data(pieces[number])
        take(machine)
        if number < len(calls):
            getattr(machine, calls[number])(*arguments.get(calls[number], ()))
        take(machine)
        # It ends once.
        assert closed is None or machine.closed == closed
        if not machine.closing:
            assert b"".join(machine.encode("on"))


def test_a_fragment_in_the_library_s_words_is_a_continuation() -> None:
    """That Sent's fragments are what their names say."""
    client = make_client(None)
    encode(client, Sent("abc", [1, 2], [b"p"]))
    sent = client.data_to_send()
    assert [data[0] for data in sent] == [0x89, 0x01, CONT, 0x80]
