# SPDX-License-Identifier: MIT
"""Frames and handshakes made by hand, judged by a library and by RFC 6455."""

from __future__ import annotations

import socket

import pytest
from wsproto.frame_protocol import FrameProtocol, Opcode

from benchmarks.clients.idle_connections import ClientError
from benchmarks.clients.websocket_wire import (
    ACCEPT,
    CLOSE,
    check_answer,
    client_frame,
    expect,
    handshake,
    payload,
    server_frame,
)

# About the borders between the three forms of a length (RFC 6455 section 5.2).
SIZES = [0, 1, 125, 126, 65_000, 65_535, 65_536]
ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    b"sec-websocket-accept: " + ACCEPT
)


@pytest.mark.parametrize("size", SIZES)
def test_a_library_reads_what_a_client_sends(size: int) -> None:
    reader = FrameProtocol(client=False, extensions=[])
    reader.receive_bytes(client_frame(payload(size)))
    (frame,) = reader.received_frames()
    assert (frame.opcode, frame.message_finished) == (Opcode.BINARY, True)
    assert frame.payload == payload(size)


@pytest.mark.parametrize("size", SIZES)
def test_a_library_sends_what_a_client_expects(size: int) -> None:
    writer = FrameProtocol(client=False, extensions=[])
    assert writer.send_data(payload(size), fin=True) == server_frame(payload(size))


def test_a_library_reads_the_close() -> None:
    reader = FrameProtocol(client=False, extensions=[])
    reader.receive_bytes(client_frame((1000).to_bytes(2), CLOSE))
    (frame,) = reader.received_frames()
    assert frame.opcode is Opcode.CLOSE
    assert frame.payload == (1000, "")


def test_no_byte_goes_out_as_it_is() -> None:
    data = payload(1000)
    assert len(set(data)) > 200
    assert all(sent != meant for sent, meant in zip(client_frame(data)[8:], data, strict=True))


def test_the_key_and_its_answer_are_those_of_the_rfc() -> None:
    assert ACCEPT == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # section 1.3
    check_answer(ANSWER)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0", "status 403, expected 101"),
        (b"", "status none, expected 101"),
        (ANSWER[:-1], "Sec-WebSocket-Accept does not fit"),
        (ANSWER.partition(b"\r\nsec")[0], "Sec-WebSocket-Accept does not fit"),
        (ANSWER + b"\r\nSec-WebSocket-Extensions: permessage-deflate", "was not offered"),
    ],
)
def test_an_answer_that_opens_no_plain_websocket_is_refused(head: bytes, words: str) -> None:
    with pytest.raises(ClientError, match=words):
        check_answer(head)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (ANSWER + b"\r\n\r\n\x89\x00", "2 bytes before the first message"),
        (ANSWER, r"closed in the handshake, after \d+ bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\nHello, world!", "status 200, expected 101"),
        (b"HTTP/1.1 101 OK\r\n" + b"x: y\r\n" * 20_000, "more than 65,536 bytes"),
    ],
)
def test_a_handshake_ends_where_the_head_does(said: bytes, words: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(said)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(ClientError, match=words):
            handshake(ours, "/echo")


@pytest.mark.parametrize(
    ("comes", "words"),
    [
        (b"\x82\x03ab", "closed after 4 bytes of 5"),
        (b"\x82\x03abd", "byte 4 of the frame's 5 differs"),
        (b"\x81\x03abc", "byte 0 of the frame's 5 differs"),
    ],
)
def test_a_reply_is_compared(comes: bytes, words: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(comes)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(ClientError, match=words):
            expect(ours, server_frame(b"abc"))
