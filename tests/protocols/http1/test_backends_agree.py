# SPDX-License-Identifier: MIT
"""One policy, two parsers: what one of them takes, the other takes for the same."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trioserve.protocols.http1.parsers import HTTPTOOLS_INSTALLED

from .reading import BACKENDS, Reading, read, split
from .strategies import Sent, cuts, mutated, sent_requests, streams

pytestmark = pytest.mark.skipif(not HTTPTOOLS_INSTALLED, reason="there is one parser only")


def _assert_same(one: Reading, other: Reading) -> None:
    assert one.requests == other.requests
    assert one.status == other.status


@pytest.mark.slow  # many examples
@settings(max_examples=200, deadline=None)
@given(data=mutated())
@example(data=b"GET /\x80 HTTP/1.1\r\nHost: h\r\n\r\n")
@example(data=b"GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n")
@example(data=b"GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n")
@example(data=b"GET /\t HTTP/1.1\r\nHost: h\r\n\r\n")
@example(data=b"GET /\x0c HTTP/1.1\r\nHost: h\r\n\r\n")
@example(data=b'GET /{}|^`\\"<> HTTP/1.1\r\nHost: h\r\n\r\n')
@example(data=b"BREW / HTTP/1.1\r\nHost: h\r\n\r\n")
@example(data=b"DESCRIBE / HTTP/1.1\r\nHost: h\r\n\r\n")
@example(data=b"SOURCE / HTTP/1.1\r\nHost: h\r\n\r\n")
@example(data=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
@example(data=b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nrest")
@example(data=b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close, upgrade\r\nUpgrade: h2c\r\n\r\n")
@example(data=b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n")
@example(data=b"GET / HTTP/1.1\r\nHost: h\r\nA:\x0b\r\n\r\n")
@example(data=b"GET / HTTP/1.1\r\nHost: h\r\nA: \xa0b\xa0\r\n\r\n")
@example(data=b"GET / HTTP/1.1\r\nHost: h\r\nA: b \t \r\n\r\n")
@example(data=b"GET / HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n")
@example(data=b"GET / HTTP/1.1\r\nHost: h\r\nA\r\n\r\n")
@example(data=b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello")
@example(data=b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nhello")
@example(data=b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello")
@example(data=b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n")
@example(data=b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n")
@example(data=b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n")
@example(data=b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")
@example(data=b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
@example(data=b"GET / HTTP/1.9\r\nHost: h\r\n\r\n")
def test_both_take_and_refuse_the_same(data: bytes) -> None:
    _assert_same(read([data], "httptools"), read([data], "h11"))


@pytest.mark.slow  # many examples
@settings(max_examples=120, deadline=None)
@given(data=streams(), cuts=cuts)
def test_both_take_and_refuse_the_same_on_a_connection(data: bytes, cuts: list[int]) -> None:
    # The first parser may carry something over from one head to the next; the second can't.
    pieces = split(data, cuts)
    _assert_same(read(pieces, "httptools"), read(pieces, "h11"))


@pytest.mark.slow  # many examples
@settings(max_examples=60, deadline=None)
@given(data=mutated())
def test_a_byte_at_a_time_makes_no_difference(data: bytes) -> None:
    pieces = [bytes([byte]) for byte in data]
    for http in BACKENDS:
        _assert_same(read([data], http), read(pieces, http))


@pytest.mark.slow  # many examples
@settings(max_examples=80, deadline=None)
@given(sent=st.lists(sent_requests(closing=False), min_size=2, max_size=4), repeat=st.booleans())
def test_a_head_that_comes_again_is_read_like_the_first_time(
    sent: list[Sent], repeat: bool
) -> None:
    # The reader keeps its last head, so as not to parse a repeated one.
    raws = [request.raw for request in sent for _ in range(1 + repeat)]
    for http in BACKENDS:
        alone = [read([raw], http).requests[0] for raw in raws]
        assert read([b"".join(raws)], http).requests == alone
