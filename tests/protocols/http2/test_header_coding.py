# SPDX-License-Identifier: MIT
"""HPACK (RFC 7541) of our own, against the library's and against its rules."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioserve.protocols.http2.header_coding import (
    HeaderDecoder,
    HeaderEncoder,
    HeaderListTooLarge,
)
from trioserve.protocols.http2.header_table import HpackError, encode_integer

if TYPE_CHECKING:
    from trioserve.types import Headers

NAMES = st.sampled_from(
    [b":status", b"content-type", b"x-a", b"x-b", b"set-cookie", b"etag", b"date"]
)
VALUES = st.one_of(st.sampled_from([b"200", b"text/html", b"", b"1"]), st.binary(max_size=300))
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=12)
#: Bytes that are more often than not the beginning of something.
BLOCKS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"\x82",
                b"\xbe",
                b"\xbf",
                b"\x40\x01a\x01b",
                b"\x20",
                b"\x3f\xe1\x1f",
                b"\x00\x01a\x01b",
            ]
        ),
        st.binary(max_size=8),
    ),
    max_size=8,
).map(b"".join)


def theirs(decoder: hpack.Decoder, block: bytes) -> Headers | None:
    try:
        return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
    except hpack.HPACKError:
        return None


@pytest.mark.slow  # many examples
@settings(max_examples=400, deadline=None)
@given(st.lists(BLOCKS, max_size=8))
def test_blocks_say_what_the_library_says_they_do(blocks: list[bytes]) -> None:
    ours, library = HeaderDecoder(65_536), hpack.Decoder()
    for block in blocks:
        expected = theirs(library, block)
        if expected is None:
            with pytest.raises(HpackError):
                ours.decode(block)
            return
        assert ours.decode(block) == expected


@pytest.mark.slow  # many examples
@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(FIELDS, st.integers(0, 10_000)), max_size=12))
def test_sections_come_back_through_the_library_whatever_the_table_may_be(
    steps: list[list[tuple[bytes, bytes]] | int],
) -> None:
    encoder, decoder = HeaderEncoder(), hpack.Decoder()
    for step in steps:
        if isinstance(step, int):
            encoder.resize(step)
            continue
        assert theirs(decoder, encoder.encode(step)) == step
        assert theirs(decoder, encoder.encode(step)) == step


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_fields_or_an_hpack_error(block: bytes) -> None:
    decoder = HeaderDecoder(1000)
    with contextlib.suppress(HpackError, HeaderListTooLarge):
        decoder.decode(block)


def test_what_was_evicted_is_not_remembered() -> None:
    """RFC 7541 section 2.3.3: also where the table has its old size again within one block."""
    decoder = HeaderDecoder(65_536)
    decoder.decode(b"\x40\x01a\x01b")
    assert decoder.decode(b"\xbe") == [(b"a", b"b")]
    decoder.decode(b"\x20\x3f\xe1\x1f")
    with pytest.raises(HpackError, match=r"beyond both tables \(RFC 7541 section 2.3.3\)"):
        decoder.decode(b"\xbe")


def test_the_smallest_table_size_is_signalled_before_the_last() -> None:
    """RFC 7541 section 4.2."""
    encoder = HeaderEncoder()
    encoder.encode([(b"x-a", b"1")])
    encoder.resize(0)
    encoder.resize(4096)
    block = encoder.encode([(b":status", b"200")])
    assert block == b"\x20" + b"\x3f\xe1\x1f" + b"\x88"
    assert encoder.encode([(b":status", b"200")]) == b"\x88"


def test_cookies_never_enter_a_table() -> None:
    """RFC 7541 section 7.1.3."""
    encoder = HeaderEncoder()
    first = encoder.encode([(b"set-cookie", b"secret")])
    assert first[0] & 0xF0 == 0x10
    assert encoder.encode([(b"set-cookie", b"secret")]) == first


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (b"\x80", "beyond both tables"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x01", "too many bytes"),
        (b"\x00\x05ab", "longer than its block"),
        (b"\x40", "in the middle of a field"),
        (b"\x82\x20", "after a field"),
        (b"\x3f\xe2\x1f", "4096 are allowed"),
        (b"\x00\x81\xff\x00", "Huffman"),
    ],
)
def test_what_is_wrong_with_a_block_is_said(block: bytes, message: str) -> None:
    with pytest.raises(HpackError, match=message):
        HeaderDecoder(65_536).decode(block)


def test_a_section_has_a_largest_size() -> None:
    """Indexed again and again, a few bytes are a megabyte: the HPACK bomb."""
    decoder = HeaderDecoder(65_536)
    large = b"v" * 3000
    decoder.decode(b"\x40\x01a" + encode_integer(len(large), 7, 0) + large)
    with pytest.raises(HeaderListTooLarge):
        decoder.decode(b"\xbe" * 100)
