# SPDX-License-Identifier: MIT
"""A response's header sections, and the account of its body."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioserve.errors import AppProtocolError
from trioserve.protocols.http1 import DefaultFields
from trioserve.protocols.http2 import Http2Response

DATE, SERVER = (b"date", b"now"), (b"server", b"us")
DEFAULTS = DefaultFields(b"\r\nserver: us", b"\r\ndate: now")


def head(
    status: int = 200,
    *headers: Any,
    size: int | None = None,
    head_only: bool = False,
) -> list[tuple[bytes, bytes]]:
    return Http2Response(head_only=head_only).make_head(status, headers, size, DEFAULTS)


def test_a_head_begins_with_its_status_and_has_date_and_server() -> None:
    fields = head(404, (b"X-A", b"1"))
    assert fields[:2] == [(b":status", b"404"), (b"x-a", b"1")]
    assert set(fields[2:]) == {DATE, SERVER}


def test_the_applications_date_and_server_come_before_ours() -> None:
    fields = head(200, (b"Date", b"then"), (b"SERVER", b"app"))
    assert fields == [(b":status", b"200"), (b"date", b"then"), (b"server", b"app")]


@pytest.mark.parametrize(
    "name",
    [b"Connection", b"keep-alive", b"Proxy-Connection", b"transfer-encoding", b"Upgrade", b"te"],
)
def test_fields_of_one_connection_are_left_out(name: bytes) -> None:
    """RFC 9113 section 8.2.2."""
    assert name.lower() not in dict(head(200, (name, b"x")))


def test_the_length_of_a_body_that_is_known_is_announced() -> None:
    assert (b"content-length", b"5") in head(size=5)
    assert b"content-length" not in dict(head(size=None))


def test_the_applications_length_holds() -> None:
    assert (b"content-length", b"5") in head(200, (b"Content-Length", b"5"))
    fields = head(200, (b"content-length", b"5"), (b"content-length", b"5"), size=5)
    assert [name for name, _ in fields].count(b"content-length") == 1


def test_a_204_has_neither_body_nor_length() -> None:
    response = Http2Response(head_only=False)
    fields = response.make_head(204, [(b"content-length", b"5")], 5, DEFAULTS)
    assert b"content-length" not in dict(fields)
    assert not response.has_body


def test_a_304_and_a_head_have_the_length_that_a_get_would_have() -> None:
    for status, head_only in ((304, False), (200, True)):
        response = Http2Response(head_only=head_only)
        fields = response.make_head(status, [(b"content-length", b"5")], 0, DEFAULTS)
        assert (b"content-length", b"5") in fields
        assert not response.has_body
        response.count_body(100, more=False)  # whatever of it is given: it isn't sent
        assert b"content-length" not in dict(head(status, size=0, head_only=head_only))
        assert (b"content-length", b"7") in head(status, size=7, head_only=head_only)


WRONG: dict[str, tuple[int, list[Any], int | None]] = {
    "an interim status": (199, [], None),
    "a status that is none": (1000, [], None),
    "a length that is no number": (200, [(b"content-length", b"five")], None),
    "a length that is no bytes": (200, [(b"content-length", "5")], None),
    "two lengths": (200, [(b"content-length", b"5"), (b"content-length", b"6")], None),
    "a length that isn't the body's": (200, [(b"content-length", b"5")], 6),
    "a value with CR and LF": (200, [(b"a", b"b\r\nc: d")], None),
    "a value with NUL": (200, [(b"a", b"\0")], None),
    "a value that is no bytes": (200, [(b"a", "b")], None),
    "a name that is no token": (200, [(b"a b", b"c")], None),
    "a pseudo-header field": (200, [(b":status", b"500")], None),
    "a name that is no bytes": (200, [("a", b"b")], None),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_application_may_not_give(name: str) -> None:
    status, headers, size = WRONG[name]
    response = Http2Response(head_only=False)
    with pytest.raises(AppProtocolError):
        response.make_head(status, headers, size, DEFAULTS)
    assert not response.started


def test_white_space_around_a_value_is_taken_off() -> None:
    assert (b"a", b"b c") in head(200, (b"a", b" \tb c "))
    assert (b"a", b"b") in head(200, (b"a", bytearray(b"b")))


def test_a_body_must_have_its_length() -> None:
    response = Http2Response(head_only=False)
    response.make_head(200, [(b"content-length", b"10")], None, DEFAULTS)
    response.count_body(4, more=True)
    with pytest.raises(AppProtocolError, match="1 bytes too many"):
        response.count_body(7, more=True)
    with pytest.raises(AppProtocolError, match="1 bytes are missing"):
        response.count_body(5, more=False)
    response.count_body(6, more=False)


def test_trailers_are_plain_fields() -> None:
    assert Http2Response.make_trailers([(b"X-Sum", b"1")]) == [(b"x-sum", b"1")]


@pytest.mark.parametrize("name", [b"Content-Length", b"host", b"transfer-encoding", b"set-cookie"])
def test_some_fields_have_no_place_in_trailers(name: bytes) -> None:
    with pytest.raises(AppProtocolError, match="not allowed"):
        Http2Response.make_trailers([(name, b"1")])


def test_an_interim_response_has_its_status_first() -> None:
    assert Http2Response.make_interim(103, [(b"Link", b"<a>"), (b"connection", b"x")]) == [
        (b":status", b"103"),
        (b"link", b"<a>"),
    ]


@given(
    headers=st.lists(
        st.tuples(st.binary(max_size=6) | st.just(b"content-length"), st.binary(max_size=6)),
        max_size=5,
    ),
    size=st.none() | st.integers(0, 9),
    head_only=st.booleans(),
    status=st.sampled_from([200, 204, 304, 599]),
)
def test_any_head_that_leaves_is_one_that_http_2_allows(
    headers: list[tuple[bytes, bytes]], size: int | None, head_only: bool, status: int
) -> None:
    response = Http2Response(head_only=head_only)
    try:
        fields = response.make_head(status, headers, size, DEFAULTS)
    except AppProtocolError:
        return
    assert fields[0] == (b":status", b"%d" % status)
    for name, value in fields[1:]:
        assert name == name.lower()
        assert b":" not in name
        assert value == value.strip(b" \t")
        assert not set(value) & {0, 10, 13}
