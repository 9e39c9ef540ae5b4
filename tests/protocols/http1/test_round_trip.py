# SPDX-License-Identifier: MIT
"""What a client says is what is read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioserve.protocols.http1.body import ChunkedDecoder

from .reading import BACKENDS, Backend, one_request, read, split
from .strategies import Sent, cuts, sent_requests

backends = st.sampled_from(BACKENDS)


@pytest.mark.slow  # many examples
@settings(max_examples=80, deadline=None)
@given(sent=sent_requests(), http=backends)
def test_a_right_request_is_read_as_it_was_meant(sent: Sent, http: Backend) -> None:
    request = one_request(sent.raw, http)
    assert request.method == sent.method
    assert request.raw_path == sent.raw_path
    assert request.query == sent.query
    assert request.headers == sent.headers
    assert request.body == sent.body
    assert request.minor_version == 1
    assert request.keep_alive is ((b"connection", b"close") not in sent.headers)


@pytest.mark.slow  # many examples
@settings(max_examples=60, deadline=None)
@given(sent=st.lists(sent_requests(closing=False), max_size=5), cuts=cuts, http=backends)
def test_requests_behind_each_other_are_told_apart(
    sent: list[Sent], cuts: list[int], http: Backend
) -> None:
    reading = read(split(b"".join(request.raw for request in sent), cuts), http)
    assert reading.refusal is None
    assert [(request.method, request.body) for request in reading.requests] == [
        (request.method, request.body) for request in sent
    ]
    assert [request.headers for request in reading.requests] == [one.headers for one in sent]


@pytest.mark.slow  # many examples
@settings(max_examples=60, deadline=None)
@given(sent=sent_requests(), http=backends, missing=st.integers(1, 1000))
def test_a_request_that_is_cut_short_is_never_taken_for_whole(
    sent: Sent, http: Backend, missing: int
) -> None:
    reading = read([sent.raw[: -(missing % len(sent.raw)) or -1]], http)
    assert reading.refusal is None
    assert all(request.body is None for request in reading.requests)


@pytest.mark.slow  # many examples
@settings(max_examples=60, deadline=None)
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=30), max_size=8),
    cuts=cuts,
    rest=st.binary(max_size=5),
)
def test_chunks_in_any_pieces_are_the_same_body(
    chunks: list[bytes], cuts: list[int], rest: bytes
) -> None:
    encoded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    decoder = ChunkedDecoder(max_fields=10, max_field_size=100)
    body = unused = b""
    for piece in split(encoded + b"0\r\n\r\n" + rest, cuts):
        if decoder.done:
            unused += piece
        else:
            body += decoder.feed(piece)
    assert decoder.done
    assert body == b"".join(chunks)
    assert decoder.unused + unused == rest


@pytest.mark.parametrize("http", BACKENDS)
def test_a_megabyte_in_odd_pieces_comes_out_whole(http: Backend) -> None:
    body = bytes(range(256)) * 4096
    sizes = [1, 2, 3, 65536, 100_000, 255]
    encoded = bytearray()
    start = 0
    while start < len(body):
        chunk = body[start : start + sizes[start % len(sizes)]]
        encoded += b"%X\r\n%b\r\n" % (len(chunk), chunk)
        start += len(chunk)
    head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = head + bytes(encoded) + b"0\r\n\r\n"
    reading = read(split(data, range(0, len(data), 65_521)), http)
    assert reading.requests[0].body == body
