# SPDX-License-Identifier: MIT
"""Chunked bodies: each case whole, and a byte at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest

from trioserve.protocols.fields import FORBIDDEN_IN_TRAILERS
from trioserve.protocols.http1 import RemoteProtocolError
from trioserve.protocols.http1.body import MAX_EXTENSIONS, MAX_SIZE_LINE, ChunkedDecoder

Decode: TypeAlias = Callable[[bytes], tuple[bytes, ChunkedDecoder]]


@pytest.fixture(params=["whole", "bytewise"])
def decode(request: pytest.FixtureRequest) -> Decode:
    def decode(data: bytes) -> tuple[bytes, ChunkedDecoder]:
        decoder = ChunkedDecoder(max_fields=3, max_field_size=50)
        step = len(data) if request.param == "whole" else 1
        body = b""
        for at in range(0, len(data), step):
            if decoder.done:
                decoder.unused += data[at : at + step]
            else:
                body += decoder.feed(data[at : at + step])
        return body, decoder

    return decode


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"0\r\n\r\n", b""),
        (b"000\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", b"hello!"),
        (b"0000000000000005\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b"5;a\r\nhello\r\n0;b\r\n\r\n", b"hello"),
        (b"5;a=b;c=d\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b'5;a="b;\\"\xff\t c"\r\nhello\r\n0\r\n\r\n', b"hello"),
        (b"0\r\nA: b\r\nC:\r\nD: \xff\t\r\n\r\n", b""),
    ],
)
def test_a_right_body_is_decoded_and_what_follows_is_left(
    decode: Decode, data: bytes, body: bytes
) -> None:
    got, decoder = decode(data + b"GET /")
    assert got == body
    assert decoder.done
    assert decoder.unused == b"GET /"


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b"1_0\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"1\t\r\n",
        b"1;\r\n",
        b"1 ;a\r\n",
        b"1; a\r\n",
        b"1;a =b\r\n",
        b"1;a=\r\n",
        b'1;a="b\r\n',
        b'1;a="b"c\r\n',
        b"1;a=b\x00\r\n",
        b"1\n",
        b"1\r\r\n",
        b"1\ra\r\n",
        b"\xb2\r\n",
        b"10000000000000000\r\n",
        b"8000000000000000\r\n",
        b"ffffffffffffffff\r\n",
        b"1\r\nabc",
        b"1\r\na\n",
        b"1\r\na\r\r\n",
        b"1\r\na0\r\n\r\n",
        b"0\r\nA\r\n\r\n",
        b"0\r\nA : b\r\n\r\n",
        b"0\r\n A: b\r\n\r\n",
        b"0\r\nA: b\r\n c\r\n\r\n",
        b"0\r\nA: \x00\r\n\r\n",
        b"0\r\nA: b\n\r\n",
        b"0\r\n\n",
        b"0\r\n\r\r\n",
    ],
)
def test_a_malformed_body_is_a_400(decode: Decode, data: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(data)
    assert caught.value.status == 400


@pytest.mark.parametrize("name", sorted(FORBIDDEN_IN_TRAILERS))
def test_a_trailer_that_frames_or_routes_is_a_400(decode: Decode, name: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=r"RFC 9110 6\.5\.1"):
        decode(b"0\r\n" + name.upper() + b": x\r\n\r\n")


def test_the_limits_of_trailers_are_the_last_that_pass(decode: Decode) -> None:
    line = b"A:" + b"b" * 48 + b"\r\n"
    assert decode(b"0\r\n" + line * 3 + b"\r\n")[1].done
    for trailers in (line * 4, b"A:" + b"b" * 49 + b"\r\n"):
        with pytest.raises(RemoteProtocolError) as caught:
            decode(b"0\r\n" + trailers + b"\r\n")
        assert caught.value.status == 431


def test_the_limit_of_a_size_line_is_the_last_that_passes(decode: Decode) -> None:
    assert decode(b"0;" + b"a" * (MAX_SIZE_LINE - 2) + b"\r\n\r\n")[1].done
    with pytest.raises(RemoteProtocolError) as caught:
        decode(b"0;" + b"a" * (MAX_SIZE_LINE - 1) + b"\r\n\r\n")
    assert caught.value.status == 400


def test_the_extensions_of_one_body_have_a_limit_in_all(decode: Decode) -> None:
    chunk = b"1;" + b"a" * 511 + b"\r\nx\r\n"
    count = MAX_EXTENSIONS // 512
    assert decode(chunk * count + b"0\r\n\r\n")[0] == b"x" * count
    with pytest.raises(RemoteProtocolError, match="chunk extensions"):
        decode(chunk * count + b"0;a\r\n\r\n")


def test_a_chunk_may_be_as_large_as_63_bits_hold() -> None:
    decoder = ChunkedDecoder(3, 50)
    assert decoder.feed(b"7fffffffffffffff\r\nx") == b"x"


def test_one_segment_of_a_large_chunk_is_not_copied() -> None:
    decoder = ChunkedDecoder(3, 50)
    decoder.feed(b"ffff\r\n")
    segment = b"x" * 1000
    assert decoder.feed(segment) is segment
