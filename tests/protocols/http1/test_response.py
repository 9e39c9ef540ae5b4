# SPDX-License-Identifier: MIT
"""A response's bytes, row by row of the table of framings."""

from __future__ import annotations

import pytest

from trioserve.errors import AppProtocolError
from trioserve.protocols.http1 import DefaultFields, Framing, ResponseEncoder

NO_DEFAULTS = DefaultFields(b"", b"")
DEFAULTS = DefaultFields(b"\r\nserver: s", b"\r\ndate: d")
Headers = list[tuple[bytes, bytes]]


def begun(
    minor_version: int = 1, *, head: bool = False, keep_alive: bool = True
) -> ResponseEncoder:
    encoder = ResponseEncoder()
    encoder.begin(minor_version, head, keep_alive)
    return encoder


def encode(
    encoder: ResponseEncoder,
    headers: Headers | None = None,
    *,
    status: int = 200,
    body_size: int | None = None,
    trailers: bool = False,
    defaults: DefaultFields = NO_DEFAULTS,
) -> list[bytes]:
    """The lines of a head."""
    head = encoder.encode_head(status, headers or [], body_size, trailers, defaults)
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")


@pytest.mark.parametrize(
    ("minor", "method", "status", "given", "size", "framing", "added"),
    [
        (1, "GET", 200, None, 5, Framing.LENGTH, b"content-length: 5"),
        (1, "GET", 200, None, 0, Framing.LENGTH, b"content-length: 0"),
        (1, "GET", 200, b"5", 5, Framing.LENGTH, b"content-length: 5"),
        (1, "GET", 200, b"5", None, Framing.LENGTH, b"content-length: 5"),
        (1, "GET", 200, None, None, Framing.CHUNKED, b"transfer-encoding: chunked"),
        (1, "HEAD", 200, None, 5, Framing.NO_BODY, b"content-length: 5"),
        (1, "HEAD", 200, b"7", 0, Framing.NO_BODY, b"content-length: 7"),
        (1, "HEAD", 200, None, 0, Framing.NO_BODY, None),
        (1, "HEAD", 200, None, None, Framing.NO_BODY, None),
        (1, "GET", 204, None, 0, Framing.NO_BODY, None),
        (1, "GET", 204, b"5", 5, Framing.NO_BODY, None),
        (1, "GET", 304, b"5", 0, Framing.NO_BODY, b"content-length: 5"),
        (1, "GET", 304, None, 0, Framing.NO_BODY, None),
    ],
)
def test_the_framing_follows_from_request_and_head(
    minor: int,
    method: str,
    status: int,
    given: bytes | None,
    size: int | None,
    framing: Framing,
    added: bytes | None,
) -> None:
    encoder = begun(minor, head=method == "HEAD")
    headers = [] if given is None else [(b"Content-Length", given)]
    lines = encode(encoder, headers, status=status, body_size=size)
    assert encoder.framing is framing
    assert encoder.started
    assert encoder.keep_alive
    assert lines[1:] == ([] if added is None else [added])


def test_http_1_0_has_its_body_end_with_the_connection_and_is_told_of_both_fates() -> None:
    encoder = begun(0)
    assert encode(encoder) == [b"HTTP/1.1 200 OK", b"connection: close"]
    assert encoder.framing is Framing.UNTIL_CLOSE
    assert not encoder.keep_alive
    encoder = begun(0)
    assert encode(encoder, body_size=2)[1:] == [b"content-length: 2", b"connection: keep-alive"]


def test_trailers_make_it_chunked_whatever_length_is_given() -> None:
    encoder = begun()
    lines = encode(encoder, [(b"content-length", b"5")], body_size=5, trailers=True)
    assert lines[1:] == [b"transfer-encoding: chunked"]
    encoder = begun(0)
    encode(encoder, trailers=True)
    assert encoder.framing is Framing.UNTIL_CLOSE


def test_hop_by_hop_fields_are_the_servers_and_close_is_obeyed() -> None:
    headers = [
        (b"Transfer-Encoding", b"gzip"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Connection", b"Close"),
        (b"Proxy-Connection", b"x"),
        (b"X-Own", b"1"),
    ]
    encoder = begun()
    assert encode(encoder, headers, body_size=0)[1:] == [
        b"x-own: 1",
        b"content-length: 0",
        b"connection: close",
    ]
    assert not encoder.keep_alive
    assert encode(begun(), [(b"connection", b"upgrade")], body_size=0)[1:] == [b"content-length: 0"]


@pytest.mark.parametrize(
    ("said", "lines"),
    [
        ([], [b"server: s", b"date: d"]),
        ([b"Date"], [b"server: s", b"date: x"]),
        ([b"Server"], [b"date: d", b"server: x"]),
        ([b"Server", b"Date"], [b"server: x", b"date: x"]),
    ],
)
def test_server_and_date_are_added_where_the_application_does_not_say_them(
    said: list[bytes], lines: list[bytes]
) -> None:
    headers = [(name, b"x") for name in said]
    assert encode(begun(), headers, body_size=0, defaults=DEFAULTS)[1:-1] == lines


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"x")],
        [(b"content-length", b"-1")],
        [(b"content-length", b"")],
        [(b"content-length", b"1" * 20)],
        [(b"content-length", b"\xb2")],
        [(b"content-length", b"5"), (b"content-length", b"6")],
        [(b"content-length", 5)],
        [(b"content-length", None)],
        [(b"content-length", b"6")],  # the body has five
        [(b"a b", b"x")],
        [(b"a", b"x\r\ny")],
        [(b"a", None)],
        [(b"a", "text")],
        [("a", b"x")],
        [(b"connection", None)],
        [(b"connection", "close")],
        [(b"connection", 5)],
    ],
)
def test_a_head_that_is_refused_changes_nothing(headers: Headers) -> None:
    encoder = begun()
    with pytest.raises(AppProtocolError):
        encode(encoder, headers, body_size=5)
    assert not encoder.started
    assert encoder.keep_alive
    assert encode(encoder, status=500, body_size=0)[0] == b"HTTP/1.1 500 Internal Server Error"


def test_the_same_length_twice_is_one() -> None:
    headers = [(b"content-length", b"5"), (b"Content-Length", b"5")]
    assert encode(begun(), headers, body_size=5)[1:] == [b"content-length: 5"]


def test_a_body_keeps_to_its_length() -> None:
    encoder = begun()
    encode(encoder, [(b"content-length", b"5")])
    assert list(encoder.encode_body(b"hel", True, False)) == [b"hel"]
    with pytest.raises(AppProtocolError, match="longer than its content-length: 1 byte"):
        encoder.encode_body(b"lo!", False, False)
    assert not encoder.keep_alive
    encoder = begun()
    encode(encoder, [(b"content-length", b"5")])
    with pytest.raises(AppProtocolError, match="shorter than its content-length: 1 byte"):
        encoder.encode_body(b"hell", False, False)
    assert not encoder.keep_alive


def test_chunks_are_one_a_message_and_an_empty_one_is_none() -> None:
    encoder = begun()
    encode(encoder)
    large = b"x" * 20
    assert b"".join(encoder.encode_body(large, True, False)) == b"14\r\n" + large + b"\r\n"
    assert encoder.encode_body(large, True, False)[1] is large
    assert b"".join(encoder.encode_body(b"", True, False)) == b""
    assert b"".join(encoder.encode_body(b"a", False, False)) == b"1\r\na\r\n0\r\n\r\n"
    assert b"".join(encoder.encode_body(b"", False, False)) == b"0\r\n\r\n"


def test_trailers_end_a_chunked_body() -> None:
    encoder = begun()
    encode(encoder, trailers=True)
    sent = b"".join(encoder.encode_body(b"a", False, True))
    sent += encoder.encode_trailers([(b"Checksum", b"1")], True)
    sent += encoder.encode_trailers([], True)
    sent += encoder.encode_trailers([(b"b", b"2"), (b"c", b"3")], False)
    assert sent == b"1\r\na\r\n0\r\nchecksum: 1\r\nb: 2\r\nc: 3\r\n\r\n"
    assert encoder.encode_trailers([], False) == b"\r\n"


@pytest.mark.parametrize(("minor", "method"), [(0, "GET"), (1, "HEAD")])
def test_trailers_go_nowhere_without_chunks(minor: int, method: str) -> None:
    encoder = begun(minor, head=method == "HEAD")
    encode(encoder, trailers=True)
    assert encoder.encode_trailers([(b"a", b"b")], False) == b""
    with pytest.raises(AppProtocolError):
        encoder.encode_trailers([(b"host", b"b")], False)


def test_a_body_is_not_sent_where_none_may_be() -> None:
    encoder = begun(head=True)
    encode(encoder, body_size=5)
    assert b"".join(encoder.encode_body(b"hello", False, False)) == b""


def test_an_interim_response_is_for_http_1_1() -> None:
    links = [(b"link", b"</a>"), (b"link", b"</b>")]
    assert begun().encode_interim(103, links) == (
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nlink: </b>\r\n\r\n"
    )
    assert begun().encode_interim(100, ()) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert begun(0).encode_interim(103, links) == b""
    with pytest.raises(AppProtocolError):
        begun().encode_interim(103, [(b"link", b"a\r\nb: c")])


def test_a_status_without_a_name_still_gets_a_phrase() -> None:
    assert encode(begun(), status=299, body_size=0)[0] == b"HTTP/1.1 299 Unknown"
    with pytest.raises(AppProtocolError):
        encode(begun(), status=199)
