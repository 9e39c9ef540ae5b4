# SPDX-License-Identifier: MIT
"""Whatever comes, in whatever pieces: requests, or a refusal, and a bounded buffer."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioserve.config import Config
from trioserve.protocols.http1 import RemoteProtocolError, RequestReader

from .reading import BACKENDS, Backend, largest_head, read, split
from .strategies import cuts, garbage, mutated, streams

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMITS = {"limit_request_line": 300, "limit_request_fields": 6, "limit_request_field_size": 200}

backends = st.sampled_from(BACKENDS)


@pytest.mark.slow  # many examples
@settings(max_examples=120, deadline=None)
@given(data=st.one_of(garbage, mutated(), st.binary(max_size=200)), cuts=cuts, http=backends)
def test_any_bytes_end_in_requests_or_in_a_refusal(
    data: bytes, cuts: list[int], http: Backend
) -> None:
    status = read(split(data, cuts), http).status
    assert status in {None, 400, 414, 417, 431, 501, 505}


@pytest.mark.slow  # many examples
@settings(max_examples=80, deadline=None)
@given(data=st.one_of(garbage, mutated()), cuts=cuts, http=backends)
def test_any_bytes_keep_to_tight_limits(data: bytes, cuts: list[int], http: Backend) -> None:
    read(split(data * 5, cuts), http, **LIMITS)


@pytest.mark.slow  # many examples
@settings(max_examples=80, deadline=None)
@given(data=streams(), cuts=cuts, more_cuts=cuts, http=backends)
def test_how_the_bytes_are_split_changes_nothing(
    data: bytes, cuts: list[int], more_cuts: list[int], http: Backend
) -> None:
    one, other = read(split(data, cuts), http), read(split(data, more_cuts), http)
    assert one.requests == other.requests
    assert one.status == other.status


ENDLESS = {
    "a method": (b"A", ""),
    "a target": (b"GET /", "a"),
    "a version": (b"GET / HTTP/1.", "1"),
    "a field name": (b"GET / HTTP/1.1\r\nHost: h\r\n", "a"),
    "a field value": (b"GET / HTTP/1.1\r\nHost: h\r\nA: ", "a"),
    "fields": (b"GET / HTTP/1.1\r\nHost: h\r\n", "A: b\r\n"),
    "short fields": (b"GET / HTTP/1.1\r\nHost: h\r\n", "A:\r\n"),
    "empty lines": (b"", "\r\n"),
    "a chunk size": (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", "0"),
    "a chunk extension": (
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;a=",
        "b",
    ),
    "chunk extensions": (
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
        "1;abcdefghijkl\r\na\r\n",
    ),
    "a trailer": (
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA:",
        "b",
    ),
    "trailers": (
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        "A: b\r\n",
    ),
}


@pytest.mark.parametrize("http", BACKENDS)
@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("name", ENDLESS)
def test_what_never_ends_is_refused_before_it_fills_memory(
    name: str, size: int, http: Backend
) -> None:
    start, period = ENDLESS[name]
    data = start + (period or "A").encode() * 40_000
    reading = read((data[at : at + size] for at in range(0, len(data), size)), http, **LIMITS)
    assert reading.status in {400, 414, 431}
    assert reading.largest <= 2500 + size


@pytest.mark.parametrize("http", BACKENDS)
def test_a_body_is_never_gathered(http: Backend) -> None:
    reader = RequestReader(Config(http=http))
    reader.receive_data(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert reader.next_request()
    for _ in range(50):
        reader.receive_data(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        assert len(reader.next_body()) == 0x8000
        assert len(reader.buffer) == 0


def _misaligned(size: int) -> Iterator[bytes]:
    """Requests for ever, in segments that all end inside a head."""
    request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    stream = request * (size + 1)
    step = len(request)
    yield stream[: step // 2]
    for number in range(size):
        yield stream[step // 2 + number * step : step // 2 + (number + 1) * step]


@pytest.mark.parametrize("http", BACKENDS)
def test_segments_that_all_end_inside_a_head_do_not_add_up(http: Backend) -> None:
    reading = read(islice(_misaligned(5_000), 5_000), http)
    assert len(reading.requests) == 4_999
    assert reading.largest < 100


@pytest.mark.parametrize("http", BACKENDS)
def test_segments_that_all_end_inside_a_body_do_not_add_up(http: Backend) -> None:
    request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 40\r\n\r\n" + b"x" * 40
    stream = request * 2_000
    step = len(request)
    rest = range(step - 20, len(stream), step)
    reading = read([stream[: rest[0]], *(stream[at : at + step] for at in rest)], http)
    assert len(reading.requests) == 2_000
    assert reading.largest < 200


@pytest.mark.parametrize("http", BACKENDS)
@pytest.mark.parametrize("size", [1, 1000, 65536])
def test_a_head_of_the_largest_size_passes_and_one_byte_more_does_not(
    size: int, http: Backend
) -> None:
    def head(line: int, field: int) -> bytes:
        target = b"/" + b"a" * (line - len(b"GET / HTTP/1.1"))
        fields = [b"Host: h", *(b"A:" + b"v" * (field - 2) for _ in range(5))]
        return b"GET " + target + b" HTTP/1.1\r\n" + b"\r\n".join(fields) + b"\r\n\r\n"

    def status(data: bytes) -> int | None:
        return read(
            (data[at : at + size] for at in range(0, len(data), size)), http, **LIMITS
        ).status

    assert status(head(300, 200)) is None
    assert status(head(301, 200)) == 414
    assert status(head(300, 201)) == 431
    assert status(head(300, 200)[:-2] + b"A: b\r\n\r\n") == 431


def test_the_bound_of_the_tests_is_the_bound_of_the_limits() -> None:
    assert largest_head(Config().with_changes(**LIMITS)) == 300 + 6 * 200 + 2 * 8
    with pytest.raises(RemoteProtocolError, match="larger than 1048576"):
        _feed_a_large_head()


def _feed_a_large_head() -> None:
    options = Config(limit_request_fields=10**6)
    reader = RequestReader(options)
    reader.receive_data(b"GET / HTTP/1.1\r\nHost: h\r\n")
    for _ in range(40):
        reader.receive_data(b"A: b\r\n" * 5_000)
        assert reader.next_request() is None
