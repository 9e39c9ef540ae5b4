# SPDX-License-Identifier: MIT
"""Policy over a head: line, target, host, framing, and what becomes of the connection."""

from __future__ import annotations

import pytest

from trioserve.protocols.http1 import RemoteProtocolError
from trioserve.protocols.http1.request import CHUNKED, inspect_fields, parse_request_line

from .reading import BACKENDS, Backend, one_request, read


def status_of(data: bytes) -> tuple[int | None, str]:
    """The status and the reason of a refusal by policy, which both backends share."""
    readings = [read([data], http) for http in BACKENDS]
    assert readings[0].status == readings[1].status
    return readings[0].refusal or (None, "")


def head(*lines: bytes, line: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join([line, *lines, b"", b""])


@pytest.mark.parametrize(
    ("target", "path", "query", "authority"),
    [
        (b"/", b"/", b"", None),
        (b"/a%20b?c=d?e", b"/a%20b", b"c=d?e", None),
        (b"/?", b"/", b"", None),
        (b"//host/path", b"//host/path", b"", None),
        (b"http://h", b"/", b"", b"h"),
        (b"HTTPS://h:1/p?q", b"/p", b"q", b"h:1"),
        (b"http://h?q", b"/", b"q", b"h"),
        (b"http://[::1]:80/", b"/", b"", b"[::1]:80"),
    ],
)
def test_a_target_is_taken_apart(
    target: bytes, path: bytes, query: bytes, authority: bytes | None
) -> None:
    request = parse_request_line(b"GET " + target + b" HTTP/1.1")
    assert (request.raw_path, request.query, request.authority) == (path, query, authority)
    assert request.target == target


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"", 400),
        (b"GET /", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b" GET / HTTP/1.1", 400),
        (b"GET\t/ HTTP/1.1", 400),
        (b"GET / http/1.1", 400),
        (b"GET / HTTP/11", 400),
        (b"GET / HTTP/1.10", 400),
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/0.9", 505),
        (b"G(T / HTTP/1.1", 400),
        (b"CONNECT h:1 HTTP/1.1", 501),
        (b"CONNECT /a HTTP/1.1", 501),
        (b"GET * HTTP/1.1", 400),
        (b"GET h:80 HTTP/1.1", 400),
        (b"GET ftp://h/ HTTP/1.1", 400),
        (b"GET http:///a HTTP/1.1", 400),
        (b"GET http://u@h/ HTTP/1.1", 400),
        (b"GET http://h:99999/ HTTP/1.1", 400),
    ],
)
def test_any_other_request_line_is_refused(line: bytes, status: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_request_line(line)
    assert caught.value.status == status


@pytest.mark.parametrize(("version", "minor"), [(b"0", 0), (b"1", 1), (b"2", 1), (b"9", 1)])
def test_later_minor_versions_are_spoken_to_as_1_1(version: bytes, minor: int) -> None:
    assert parse_request_line(b"GET / HTTP/1." + version).minor_version == minor


def test_the_asterisk_is_for_options_alone() -> None:
    assert parse_request_line(b"OPTIONS * HTTP/1.1").raw_path == b"*"


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"h",
        b"h:",
        b"h:65535",
        b"1.2.3.4",
        b"[::1]",
        b"[::ffff:1.2.3.4]:1",
        b"[v1.a:b]",
        b"a_b.c~",
    ],
)
def test_a_host_that_is_one_host_passes(host: bytes) -> None:
    reading = [read([head(b"Host: " + host)], http) for http in BACKENDS]
    assert reading[0].status == reading[1].status
    # An empty Host would be legal for a URI without authority, which http has not.
    assert reading[0].status == (None if host else 400)


@pytest.mark.parametrize(
    "host",
    [
        b"h:65536",
        b"h:-1",
        b"a, b",
        b"a b",
        b"u@h",
        b"h/p",
        b"[::1",
        b"[::g]",
        b"::1",
        b"h:1:2",
        b"\xe9",
    ],
)
def test_any_other_host_is_a_400(host: bytes) -> None:
    status, reason = status_of(head(b"Host: " + host))
    assert status == 400
    assert "Host" in reason


def test_the_authority_of_an_absolute_target_replaces_host() -> None:
    request = one_request(head(b"A: b", b"Host: other", line=b"GET http://h:1/ HTTP/1.1"))
    assert request.headers == [(b"host", b"h:1"), (b"a", b"b")]


def test_a_host_that_is_known_to_be_valid_is_not_looked_at_again() -> None:
    request = parse_request_line(b"GET / HTTP/1.1")
    request.headers = [(b"host", b"not valid")]
    assert inspect_fields(request, b"", b"not valid") == b"not valid"


@pytest.mark.parametrize(
    ("lines", "status", "section"),
    [
        ([], 400, "9112 3.2"),
        ([b"Host: a", b"Host: a"], 400, "section 3.2"),
        ([b"Host: h", b"Content-Length: 1", b"Transfer-Encoding: chunked"], 400, "section 6.1"),
        ([b"Host: h", b"Transfer-Encoding: chunked, chunked"], 400, "section 7"),
        ([b"Host: h", b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"], 400, "6.1"),
        ([b"Host: h", b"Transfer-Encoding: gzip"], 400, "6.3"),
        ([b"Host: h", b"Transfer-Encoding: gzip, chunked"], 501, "6.1"),
        ([b"Host: h", b"Transfer-Encoding:"], 400, "6.3"),
        ([b"Host: h", b"Transfer-Encoding: chunked "], 400, "6.3"),
        ([b"Host: h", b"Content-Length: 1", b"Content-Length: 1"], 400, "section 6.3"),
        ([b"Host: h", b"Content-Length: 9223372036854775808"], 400, "section 8.6"),
        ([b"Host: h", b"Content-Length: " + b"9" * 5000], 400, "section 8.6"),
        ([b"Host: h", b"Content-Length: 0x1"], 400, "section 8.6"),
        ([b"Host: h", b"Content-Length: \xb2"], 400, "section 8.6"),
        ([b"Host: h", b"Expect: 200-ok"], 417, "100-continue"),
        ([b"Host: h", b"Expect: 100-continue", b"Expect: 100-continue"], 417, "100-continue"),
    ],
)
def test_ambiguous_framing_is_refused_by_its_section(
    lines: list[bytes], status: int, section: str
) -> None:
    got, reason = status_of(head(*lines))
    assert got == status
    assert section in reason


def test_transfer_encoding_in_http_1_0_is_refused() -> None:
    data = head(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0")
    assert status_of(data)[0] == 400


@pytest.mark.parametrize("http", BACKENDS)
def test_the_largest_length_is_what_64_bits_hold(http: Backend) -> None:
    reading = read([head(b"Host: h", b"Content-Length: 9223372036854775807")], http)
    assert reading.requests[0].content_length == 2**63 - 1


@pytest.mark.parametrize("http", BACKENDS)
def test_chunked_is_known_in_any_case(http: Backend) -> None:
    reading = read([head(b"Host: h", b"Transfer-Encoding: cHunKed")], http)
    assert reading.requests[0].content_length == CHUNKED


@pytest.mark.parametrize("http", BACKENDS)
@pytest.mark.parametrize(
    ("version", "lines", "keep_alive"),
    [
        (b"1.1", [], True),
        (b"1.1", [b"Connection: close"], False),
        (b"1.1", [b"Connection: CLOSE"], False),
        (b"1.1", [b"Connection: keep-alive, close"], False),
        (b"1.1", [b"Connection: keep-alive", b"Connection: x, close"], False),
        (b"1.1", [b"Connection: closed"], True),
        (b"1.0", [], False),
        (b"1.0", [b"Connection: Keep-Alive"], True),
        (b"1.0", [b"Connection: keep-alive, close"], False),
    ],
)
def test_close_wins_and_1_0_persists_only_where_it_asks_to(
    version: bytes, lines: list[bytes], keep_alive: bool, http: Backend
) -> None:
    data = head(b"Host: h", *lines, line=b"GET / HTTP/" + version)
    assert one_request(data, http).keep_alive is keep_alive


@pytest.mark.parametrize("http", BACKENDS)
def test_an_expectation_is_for_http_1_1(http: Backend) -> None:
    lines = [b"Host: h", b"Expect: 100-Continue"]
    assert one_request(head(*lines), http).expect_continue
    assert not one_request(head(*lines, line=b"GET / HTTP/1.0"), http).expect_continue
