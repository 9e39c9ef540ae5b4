# SPDX-License-Identifier: MIT
"""The reader by itself: what it buffers, what it hands out, when it refuses."""

from __future__ import annotations

import pytest

from trioserve.config import Config
from trioserve.protocols.http1 import RemoteProtocolError, RequestReader

from .reading import BACKENDS, Backend, read

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"


@pytest.fixture(params=BACKENDS)
def reader(request: pytest.FixtureRequest) -> RequestReader:
    return RequestReader(Config(http=request.param))


def test_half_a_head_is_no_request_yet(reader: RequestReader) -> None:
    reader.receive_data(GET[:20])
    assert reader.next_request() is None
    assert reader.buffer
    reader.receive_data(GET[20:])
    request = reader.next_request()
    assert request is not None
    assert not reader.buffer
    assert reader.request_complete


def test_a_body_is_handed_out_as_it_comes(reader: RequestReader) -> None:
    reader.receive_data(POST + b"he")
    assert reader.next_request()
    assert not reader.request_complete
    assert (reader.next_body(), reader.request_complete) == (b"he", False)
    assert (reader.next_body(), reader.request_complete) == (b"", False)
    reader.receive_data(b"llo" + GET)
    assert (reader.next_body(), reader.request_complete) == (b"llo", True)
    assert reader.body_size == 5
    assert (reader.next_body(), bytes(reader.buffer[-len(GET) :])) == (b"", GET)
    request = reader.next_request()
    assert request is not None
    assert request.method == "GET"
    assert reader.body_size == 0


def test_a_whole_segment_is_handed_out_without_a_copy(reader: RequestReader) -> None:
    reader.receive_data(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n")
    assert reader.next_request()
    segment = b"x" * 3000
    reader.receive_data(segment)
    assert reader.next_body() is segment


def test_a_repeated_head_is_not_parsed_again(reader: RequestReader) -> None:
    reader.receive_data(GET * 3)
    first = reader.next_request()
    assert reader.next_request() is first
    assert reader.next_request() is first


def test_a_repeated_head_with_a_body_reads_each_body(reader: RequestReader) -> None:
    for body in (b"first", b"other"):
        reader.receive_data(POST + body)
        assert reader.next_request()
        assert reader.next_body() == body


def test_a_large_head_is_not_kept_to_compare(reader: RequestReader) -> None:
    large = GET[:-2] + b"A: " + b"b" * 2000 + b"\r\n\r\n"
    reader.receive_data(large * 2)
    assert reader.next_request() is not reader.next_request()


def test_a_refused_head_is_refused_again(reader: RequestReader) -> None:
    bad = b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"
    for _ in range(2):
        reader.receive_data(bad)
        with pytest.raises(RemoteProtocolError):
            reader.next_request()


@pytest.mark.parametrize("empty_lines", [b"\r\n", b"\r\n\r\n"])
def test_up_to_two_empty_lines_before_a_request_are_nothing(
    reader: RequestReader, empty_lines: bytes
) -> None:
    for _ in range(5):
        reader.receive_data(empty_lines + GET)
        assert reader.next_request()


@pytest.mark.parametrize("step", [1, 2, 100])
def test_a_third_empty_line_is_refused_however_it_comes(step: int) -> None:
    data = b"\r\n" * 3 + GET
    reading = read([data[at : at + step] for at in range(0, len(data), step)])
    assert reading.refusal == (400, "too many empty lines before a request (RFC 9112 2.2)")
    assert not reading.requests


def test_an_empty_line_after_a_body_leaves_the_connection_idle(reader: RequestReader) -> None:
    for _ in range(5):
        reader.receive_data(POST + b"hello\r\n")
        assert reader.next_request()
        assert reader.next_body() == b"hello"
        assert reader.next_request() is None
        assert not reader.buffer


@pytest.mark.parametrize(
    "start",
    [b"\x16\x03\x01", b"\x00", b" GET", b"\nGET", b"\x80", b"{", b"\r\r", b"GET /\n", b"G\rE"],
)
def test_what_no_further_byte_can_mend_is_refused_at_once(
    reader: RequestReader, start: bytes
) -> None:
    reader.receive_data(start)
    with pytest.raises(RemoteProtocolError) as caught:
        reader.next_request()
    assert caught.value.status == 400


def test_a_carriage_return_at_the_end_waits_for_its_line_feed(reader: RequestReader) -> None:
    for piece in (b"\r", b"\nGET / HTTP/1.1\r", b"\nHost: h\r\n\r"):
        reader.receive_data(piece)
        assert reader.next_request() is None
    reader.receive_data(b"\n")
    assert reader.next_request()


@pytest.mark.parametrize(("method", "head_only"), [(b"HEAD", True), (b"GET", False)])
def test_a_refusal_of_a_head_request_may_have_no_body(
    reader: RequestReader, method: bytes, head_only: bool
) -> None:
    reader.receive_data(method + b" / HTTP/1.1\r\n\r\n")
    with pytest.raises(RemoteProtocolError) as caught:
        reader.next_request()
    assert caught.value.head_only is head_only
    assert str(caught.value).startswith("400: ")


@pytest.mark.parametrize("http", BACKENDS)
@pytest.mark.parametrize(
    ("limits", "data", "status"),
    [
        ({"limit_request_line": 14}, GET, None),
        ({"limit_request_line": 13}, GET, 414),
        ({"limit_request_line": 13}, GET[:15], 414),
        ({"limit_request_line": 13}, GET[:14], None),
        ({"limit_request_field_size": 7}, GET, None),
        ({"limit_request_field_size": 6}, GET, 431),
        ({"limit_request_field_size": 6}, GET[:-4] + b"ost", 431),
        ({"limit_request_fields": 1}, GET, None),
        ({"limit_request_fields": 1}, GET[:-2] + b"A: b\r\n\r\n", 431),
        ({"limit_request_fields": 1}, GET[:-2] + b"A: b\r\nC: d\r\nE: f\r\n", 431),
    ],
)
def test_a_limit_is_the_last_number_that_passes(
    limits: dict[str, int], data: bytes, status: int | None, http: Backend
) -> None:
    assert read([data], http, **limits).status == status
