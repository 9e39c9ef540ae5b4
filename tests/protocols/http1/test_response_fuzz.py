# SPDX-License-Identifier: MIT
"""What an application says is what h11's client reads; what can't be said safely is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioserve.errors import AppProtocolError
from trioserve.protocols.fields import FORBIDDEN_IN_TRAILERS
from trioserve.protocols.http1 import DefaultFields, ResponseEncoder

from .strategies import tokens, values

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULTS = DefaultFields(b"\r\nserver: s", b"\r\ndate: d")
OWN = {
    *(b"connection", b"content-length", b"date", b"keep-alive"),
    *(b"proxy-connection", b"server", b"transfer-encoding"),
}
CONTROLS = frozenset([*range(9), *range(10, 32), 127])

names = tokens.filter(lambda name: name.lower() not in OWN)
header_lists = st.lists(st.tuples(names, values), max_size=8)
trailer_lists = st.lists(
    st.tuples(names.filter(lambda name: name.lower() not in FORBIDDEN_IN_TRAILERS), values),
    max_size=4,
)


@attrs.define
class Read:
    """A response as h11 reads it."""

    status: int = 0
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes = b""
    trailers: Sequence[tuple[bytes, bytes]] = ()
    whole: bool = False
    rest: bytes = b""


def read_response(data: bytes, method: str, *, eof: bool) -> Read:
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=10**6)
    client.send(h11.Request(method=method, target="/", headers=[("host", "h")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    if eof:
        client.receive_data(b"")
    read = Read()
    while True:
        match client.next_event():
            case h11.Response(status_code=status, headers=headers):
                read.status, read.headers = status, list(headers)
            case h11.Data(data=part):
                read.body += part
            case h11.EndOfMessage(headers=trailers):
                read.trailers = list(trailers)
                read.whole = True
                read.rest = client.trailing_data[0]
                return read
            case _:
                return read


def without_own(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name not in OWN]


def lowered(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in headers]


@pytest.mark.slow  # many examples
@settings(max_examples=120, deadline=None)
@given(
    status=st.integers(200, 599),
    headers=header_lists,
    parts=st.lists(st.binary(max_size=40), max_size=5),
    known=st.booleans(),
    announced=st.booleans(),
    trailers=trailer_lists,
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    minor=st.sampled_from([0, 1]),
    keep_alive=st.booleans(),
)
def test_a_client_reads_what_the_application_said(
    status: int,
    headers: list[tuple[bytes, bytes]],
    parts: list[bytes],
    known: bool,
    announced: bool,
    trailers: list[tuple[bytes, bytes]],
    method: str,
    minor: int,
    keep_alive: bool,
) -> None:
    body = b"".join(parts)
    encoder = ResponseEncoder()
    encoder.begin(minor, method == "HEAD", keep_alive)
    size = len(body) if known and not announced else None
    data = encoder.encode_head(status, headers, size, announced, DEFAULTS)
    if size is not None:
        parts = [body]
    for part in parts:
        data += b"".join(encoder.encode_body(part, size is None, announced))
    if size is None:
        data += b"".join(encoder.encode_body(b"", False, announced))
    if announced:
        data += encoder.encode_trailers(trailers, False)
    rest = b"HTTP/1.1 200 OK\r\n" if encoder.keep_alive else b""
    read = read_response(data + rest, method, eof=not encoder.keep_alive)
    assert read.whole
    assert read.rest == rest
    assert read.status == status
    assert without_own(read.headers) == lowered(headers)
    has_body = method != "HEAD" and status not in (204, 304)
    assert read.body == (body if has_body else b"")
    assert list(read.trailers) == (lowered(trailers) if announced and minor and has_body else [])
    closes = (b"connection", b"close") in read.headers
    assert closes is not encoder.keep_alive
    assert encoder.keep_alive <= keep_alive


@pytest.mark.slow  # many examples
@settings(max_examples=120, deadline=None)
@given(
    headers=header_lists,
    name=tokens,
    before=st.binary(max_size=5),
    control=st.sampled_from(sorted(CONTROLS)),
    after=st.binary(max_size=5) | st.just(b"\r\nset-cookie: a=b") | st.just(b"\n\nHTTP/1.1 200 OK"),
    place=st.integers(0, 8),
    trailing=st.booleans(),
)
def test_no_control_character_gets_out_in_a_value(
    headers: list[tuple[bytes, bytes]],
    name: bytes,
    before: bytes,
    control: int,
    after: bytes,
    place: int,
    trailing: bool,
) -> None:
    headers.insert(place, (name, before + bytes([control]) + after))
    encoder = ResponseEncoder()
    encoder.begin(1, False, True)
    try:
        if trailing:
            data = encoder.encode_trailers(headers, False)
        else:
            data = encoder.encode_head(200, headers, 0, False, DEFAULTS)
    except AppProtocolError:
        return
    # Only a field that the server leaves out may have held it.
    assert not trailing
    assert name.lower() in OWN
    assert read_response(data, "GET", eof=False).whole
    assert after not in data or len(after) < 2 or after in b"\r\n"


@pytest.mark.slow  # many examples
@settings(max_examples=120, deadline=None)
@given(headers=st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=8)), max_size=4))
def test_any_bytes_as_fields_are_refused_or_read_back_the_same(
    headers: list[tuple[bytes, bytes]],
) -> None:
    encoder = ResponseEncoder()
    encoder.begin(1, False, True)
    try:
        data = encoder.encode_head(200, headers, 0, False, DEFAULTS)
    except AppProtocolError:
        assert not encoder.started
        return
    read = read_response(data, "GET", eof=False)
    assert read.whole
    kept = [(name.lower(), value.strip(b" \t")) for name, value in headers]
    assert without_own(read.headers) == [(n, v) for n, v in kept if n not in OWN]
    assert data.count(b"\r\n") == data.count(b"\n") == data.count(b"\r")
