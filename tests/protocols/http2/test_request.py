# SPDX-License-Identifier: MIT
"""RFC 9113 section 8 over a request's header section, rule by rule."""

from __future__ import annotations

import contextlib
import string

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioserve.config import Config
from trioserve.protocols.errors import RemoteProtocolError
from trioserve.protocols.http2 import (
    UNKNOWN,
    Http2RequestHead,
    MalformedRequest,
    parse_request,
    parse_trailers,
)
from trioserve.protocols.http2 import request as module

Fields = list[tuple[bytes, bytes]]

OPTIONS = Config(
    limit_request_line=100, limit_request_fields=10, limit_request_field_size=200, lifespan="off"
)
METHOD, SCHEME, AUTHORITY, PATH = (
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"example.org"),
    (b":path", b"/a%20b?c=d"),
)
GET: Fields = [METHOD, SCHEME, AUTHORITY, PATH]
LARGE = 65_536


def parse(fields: Fields, *, end_stream: bool = True, most: int = LARGE) -> Http2RequestHead:
    return parse_request(fields, end_stream, OPTIONS, most)


def changed(**changes: bytes | None) -> Fields:
    """GET with some pseudo-header fields changed, or left out (None)."""
    names = {b":" + name.encode(): value for name, value in changes.items()}
    return [
        (name, value)
        for name, old in GET
        if (value := names.get(name, old)) is not None  # None: left out
    ]


def test_a_head_is_what_the_fields_say() -> None:
    head = parse([*GET, (b"accept", b"*/*"), (b"x-a", b"1"), (b"x-a", b"2")])
    assert (head.method, head.raw_path, head.query) == ("GET", b"/a%20b", b"c=d")
    assert head.headers == [
        (b"host", b"example.org"),
        (b"accept", b"*/*"),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
    ]
    assert (head.content_length, head.expect_continue, head.priority) == (0, False, b"")


def test_pseudo_header_fields_come_in_any_order() -> None:
    head = parse([PATH, AUTHORITY, SCHEME, METHOD])
    assert (head.method, head.raw_path) == ("GET", b"/a%20b")


# -- what is malformed --------------------------------------------------------------------------

MALFORMED: dict[str, tuple[str, Fields]] = {
    "no field at all": ("8.3.1", []),
    "no :method": ("8.3.1", changed(method=None)),
    "no :scheme": ("8.3.1", changed(scheme=None)),
    "no :path": ("8.3.1", changed(path=None)),
    "an empty :method": ("8.3.1", changed(method=b"")),
    ":method that is no token": ("8.3.1", changed(method=b"GE T")),
    ":method with a line's end": ("8.2.1", changed(method=b"GET\r\n")),
    "an empty :path": ("8.3.1", changed(path=b"")),
    ":path that doesn't begin with a slash": ("8.3.1", changed(path=b"a")),
    ":path that is a whole URI": ("8.3.1", changed(path=b"http://example.org/")),
    ":path with a fragment": ("8.3.1", changed(path=b"/#a")),
    ":path with a space": ("8.3.1", changed(path=b"/a b")),
    ":path with a byte beyond ASCII": ("8.3.1", changed(path=b"/\xc3\xa4")),
    "an asterisk that isn't OPTIONS'": ("8.3.1", changed(path=b"*")),
    "an asterisk with a query": ("8.3.1", changed(method=b"OPTIONS", path=b"*?a")),
    ":scheme that isn't served": ("8.3.1", changed(scheme=b"ftp")),
    "an empty :scheme": ("8.3.1", changed(scheme=b"")),
    "an empty :authority": ("8.3.1", changed(authority=b"")),
    ":authority with userinfo": ("8.3.1", changed(authority=b"user@example.org")),
    ":authority with a path": ("8.3.1", changed(authority=b"example.org/a")),
    ":authority that is a list": ("8.3.1", changed(authority=b"a, b")),
    ":authority with a port that is none": ("8.3.1", changed(authority=b"a:65536")),
    ":authority with a broken IPv6 address": ("8.3.1", changed(authority=b"[::g]")),
    "host that differs from :authority": ("8.3.1", [*GET, (b"host", b"other.org")]),
    "host in another port than :authority": ("8.3.1", [*GET, (b"host", b"example.org:81")]),
    "two hosts": (
        "7.2",
        [METHOD, SCHEME, PATH, (b"host", b"example.org"), (b"host", b"example.org")],
    ),
    "an empty host": ("8.3.1", [METHOD, SCHEME, PATH, (b"host", b"")]),
    ":status": ("8.2.1", [*GET, (b":status", b"200")]),
    ":protocol, but not CONNECT": ("RFC 8441", [*GET, (b":protocol", b"websocket")]),
    "an unknown pseudo-header field": ("8.2.1", [*GET, (b":foo", b"bar")]),
    ":method twice": ("8.3", [METHOD, *GET]),
    ":scheme twice": ("8.3", [SCHEME, *GET]),
    ":authority twice": ("8.3", [AUTHORITY, *GET]),
    ":path twice": ("8.3", [PATH, *GET]),
    "a pseudo-header field after a field": ("8.3", [METHOD, SCHEME, (b"a", b"b"), PATH]),
    "a pseudo-header field after a cookie": ("8.3", [METHOD, SCHEME, (b"cookie", b"b"), PATH]),
    "a pseudo-header field after host": ("8.3", [METHOD, SCHEME, (b"host", b"b"), PATH]),
    "connection": ("8.2.2", [*GET, (b"connection", b"keep-alive")]),
    "keep-alive": ("8.2.2", [*GET, (b"keep-alive", b"5")]),
    "proxy-connection": ("8.2.2", [*GET, (b"proxy-connection", b"close")]),
    "transfer-encoding": ("8.2.2", [*GET, (b"transfer-encoding", b"chunked")]),
    "upgrade": ("8.2.2", [*GET, (b"upgrade", b"websocket")]),
    "te with a coding": ("8.2.2", [*GET, (b"te", b"gzip")]),
    "te with a coding beside trailers": ("8.2.2", [*GET, (b"te", b"trailers, gzip")]),
    "te twice, once with a coding": ("8.2.2", [*GET, (b"te", b"trailers"), (b"te", b"gzip")]),
    "an empty name": ("8.2.1", [*GET, (b"", b"a")]),
    "a name in upper case": ("8.2.1", [*GET, (b"Accept", b"a")]),
    "a name with a space": ("8.2.1", [*GET, (b"a b", b"a")]),
    "a name with a colon": ("8.2.1", [*GET, (b"a:b", b"a")]),
    "a name with a NUL": ("8.2.1", [*GET, (b"a\0", b"a")]),
    "a name with a line's end": ("8.2.1", [*GET, (b"a\n", b"a")]),
    "a name beyond ASCII": ("8.2.1", [*GET, (b"\xe4", b"a")]),
    "a value with a NUL": ("8.2.1", [*GET, (b"a", b"b\0")]),
    "a value with CR": ("8.2.1", [*GET, (b"a", b"b\rc")]),
    "a value with LF": ("8.2.1", [*GET, (b"a", b"b\nc")]),
    "a value that is LF": ("8.2.1", [*GET, (b"a", b"\n")]),
    "a value with DEL": ("8.2.1", [*GET, (b"a", b"\x7f")]),
    "a value with another control": ("8.2.1", [*GET, (b"a", b"\x1b[0m")]),
    "a value that begins with a space": ("8.2.1", [*GET, (b"a", b" b")]),
    "a value that begins with a tab": ("8.2.1", [*GET, (b"a", b"\tb")]),
    "a value that ends with a space": ("8.2.1", [*GET, (b"a", b"b ")]),
    "a value that is a space": ("8.2.1", [*GET, (b"a", b" ")]),
    "content-length that is no number": ("8.6", [*GET, (b"content-length", b"a")]),
    "content-length with a sign": ("8.6", [*GET, (b"content-length", b"+1")]),
    "an empty content-length": ("8.6", [*GET, (b"content-length", b"")]),
    "content-length that is a list": ("8.6", [*GET, (b"content-length", b"0, 0")]),
    "content-length of 2**63": ("8.6", [*GET, (b"content-length", b"%d" % 2**63)]),
    "content-length twice": (
        "8.6",
        [*GET, (b"content-length", b"0"), (b"content-length", b"0")],
    ),
    "content-length of a request that ends with its head": (
        "8.1.1",
        [*GET, (b"content-length", b"1")],
    ),
    "CONNECT with :path": ("8.5", changed(method=b"CONNECT", scheme=None)),
    "CONNECT with :scheme": ("8.5", changed(method=b"CONNECT", path=None)),
    "CONNECT without :authority": (
        "8.5",
        changed(method=b"CONNECT", scheme=None, path=None, authority=None),
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_request_is_malformed_with(name: str) -> None:
    section, fields = MALFORMED[name]
    with pytest.raises(MalformedRequest) as caught:
        parse(fields)
    if section not in str(caught.value):
        assert name == ":scheme that isn't served" or section == "8.3.1"


# -- what asks for too much -----------------------------------------------------------------------

REFUSED: dict[str, tuple[int, Fields]] = {
    "a path that is too long": (414, changed(path=b"/" + b"a" * 100)),
    "too many fields": (431, [*GET, *[(b"a", b"b")] * 11]),
    "a field that is too long": (431, [*GET, (b"a", b"b" * 200)]),
    "a name that is too long": (431, [*GET, (b"a" * 201, b"")]),
    "a cookie crumb that is too long": (431, [*GET, (b"cookie", b"b" * 200)]),
    "an unknown expectation": (417, [*GET, (b"expect", b"a miracle")]),
    "two expectations": (417, [*GET, (b"expect", b"100-continue"), (b"expect", b"more")]),
    "CONNECT": (501, changed(method=b"CONNECT", scheme=None, path=None)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_status_tells_a_client_that_asked_for(name: str) -> None:
    status, fields = REFUSED[name]
    with pytest.raises(RemoteProtocolError) as caught:
        parse(fields, end_stream=False)
    assert caught.value.status == status


def test_what_is_just_within_the_limits_passes() -> None:
    parse(changed(path=b"/" + b"a" * 99))
    parse([*GET, *[(b"a", b"b")] * 10])
    parse([*GET, (b"a", b"b" * 199)])


def test_a_head_counts_as_rfc_9113_counts_it() -> None:
    """Section 6.5.2: 32 bytes more for each field."""
    size = sum(len(name) + len(value) + 32 for name, value in GET)
    parse(GET, most=size)
    with pytest.raises(RemoteProtocolError) as caught:
        parse(GET, most=size - 1)
    assert caught.value.status == 431


def test_a_malformed_request_is_malformed_before_it_is_too_large() -> None:
    with pytest.raises(MalformedRequest):
        parse([*GET, (b"a", b"b" * 200), (b"connection", b"close")])


# -- what passes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("authority", [b"example.org", b"127.0.0.1:80", b"[::1]:8000", b"EXAMPLE"])
def test_the_host_is_that_of_authority(authority: bytes) -> None:
    assert parse(changed(authority=authority)).headers == [(b"host", authority)]


def test_host_stands_for_authority_where_there_is_none() -> None:
    head = parse([METHOD, SCHEME, PATH, (b"a", b"b"), (b"host", b"example.org")])
    assert head.headers == [(b"host", b"example.org"), (b"a", b"b")]


def test_a_host_that_says_the_same_as_authority_is_one_host() -> None:
    head = parse([*GET, (b"host", b"EXAMPLE.org")])
    assert head.headers == [(b"host", b"example.org")]


def test_a_request_without_any_host_has_none() -> None:
    """As HAProxy's checks are."""
    assert parse([METHOD, SCHEME, PATH]).headers == []


def test_cookie_crumbs_are_joined() -> None:
    """Section 8.2.3."""
    crumbs = [(b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2"), (b"cookie", b"c=3")]
    assert parse([*GET, *crumbs]).headers == [
        (b"host", b"example.org"),
        (b"x", b"y"),
        (b"cookie", b"a=1; b=2; c=3"),
    ]


def test_options_may_ask_for_the_whole_server() -> None:
    head = parse(changed(method=b"OPTIONS", path=b"*"))
    assert (head.method, head.raw_path) == ("OPTIONS", b"*")


@pytest.mark.parametrize("method", [b"GET", b"PATCH", b"PROPFIND", b"get", b"M-SEARCH", b"!"])
def test_any_token_is_a_method(method: bytes) -> None:
    assert parse(changed(method=method)).method == method.decode()


@pytest.mark.parametrize("scheme", [b"http", b"https", b"HTTPS"])
def test_both_schemes_of_the_web_are_served(scheme: bytes) -> None:
    assert parse(changed(scheme=scheme)).method == "GET"


@pytest.mark.parametrize("value", [b"trailers", b"Trailers"])
def test_te_may_say_trailers(value: bytes) -> None:
    assert (b"te", value) in parse([*GET, (b"te", value)]).headers


def test_a_query_is_all_after_the_first_question_mark() -> None:
    head = parse(changed(path=b'/?a?b={}|^"'))
    assert (head.raw_path, head.query) == (b"/", b'a?b={}|^"')


def test_a_body_has_the_length_that_is_said_or_an_unknown_one() -> None:
    assert parse(GET, end_stream=False).content_length == UNKNOWN
    assert parse([*GET, (b"content-length", b"007")], end_stream=False).content_length == 7
    assert parse([*GET, (b"content-length", b"0")], end_stream=True).content_length == 0


def test_a_100_is_only_waited_for_before_a_body() -> None:
    fields = [*GET, (b"expect", b"100-Continue")]
    assert parse(fields, end_stream=False).expect_continue
    assert not parse(fields, end_stream=True).expect_continue


def test_priority_is_all_that_its_fields_say() -> None:
    head = parse([*GET, (b"priority", b"u=1"), (b"priority", b"i")])
    assert head.priority == b"u=1,i"
    assert (b"priority", b"u=1") in head.headers


def test_bytes_beyond_ascii_may_be_in_values() -> None:
    assert (b"a", b"\xe4\tb") in parse([*GET, (b"a", b"\xe4\tb")]).headers


# -- trailers -------------------------------------------------------------------------------------


def test_trailers_are_their_fields() -> None:
    assert parse_trailers([(b"x-sum", b"1"), (b"x", b"")], OPTIONS) == [
        (b"x-sum", b"1"),
        (b"x", b""),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        [(b":path", b"/")],
        [(b":status", b"200")],
        [(b"Upper", b"a")],
        [(b"connection", b"close")],
        [(b"transfer-encoding", b"chunked")],
        [(b"a", b"b\0")],
        [(b"a", b" b")],
        [(b"a", b"b")] * 11,
    ],
)
def test_trailers_are_malformed_with(fields: Fields) -> None:
    with pytest.raises(MalformedRequest):
        parse_trailers(fields, OPTIONS)


# -- any fields -----------------------------------------------------------------------------------

NAMES = st.sampled_from(
    [*sorted(module._KINDS, key=bytes), b":status", b"x", b"X", b""]
) | st.binary(max_size=8)
VALUES = st.sampled_from(
    [
        b"GET",
        b"CONNECT",
        b"OPTIONS",
        b"http",
        b"/",
        b"*",
        b"a.b",
        b"0",
        b"5",
        b"trailers",
        b"u=1",
        b"",
    ]
) | st.binary(max_size=12)
#: Mostly right, so that the fuzz gets behind the first check.
ANY_FIELDS = st.builds(
    lambda begin, rest: begin + rest,
    st.permutations(GET).map(list) | st.lists(st.tuples(NAMES, VALUES), max_size=5),
    st.lists(st.tuples(NAMES, VALUES), max_size=6),
)


@given(fields=ANY_FIELDS, end_stream=st.booleans(), most=st.integers(0, 1000))
def test_any_fields_are_a_head_or_malformed_or_refused(
    fields: Fields, end_stream: bool, most: int
) -> None:
    try:
        head = parse_request(fields, end_stream, OPTIONS, most)
    except MalformedRequest:
        return
    except RemoteProtocolError as exc:
        status = exc.status
    else:
        status = 0
    if status:
        assert status in (414, 417, 431, 501)
        return
    assert head.method.isascii()
    assert head.raw_path[:1] in (b"/", b"*")
    assert head.content_length >= UNKNOWN
    names = [name for name, _ in head.headers]
    assert names.count(b"host") <= 1
    assert names.count(b"cookie") <= 1
    lower = string.ascii_lowercase.encode() + b"!#$%&'*+-.^_`|~0123456789"
    for name, value in head.headers:
        assert name
        assert not name.strip(lower)
        assert value == value.strip(b" \t")
        assert not set(value) & {0, 10, 13, 127}


@given(fields=st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_any_fields_are_trailers_or_malformed(fields: Fields) -> None:
    with contextlib.suppress(MalformedRequest):
        assert parse_trailers(fields, OPTIONS) == fields


def test_names_that_clients_make_up_do_not_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[bytes, module._Kind] = {}
    monkeypatch.setattr(module, "_KINDS", known)
    options = attrs.evolve(OPTIONS, limit_request_fields=100_000)
    parse_trailers([(b"n%d" % number, b"") for number in range(2000)], options)
    parse_trailers([(b"n%d" % number + b"x" * 5000, b"") for number in range(5)], options)
    assert len(known) == 1024
    assert max(map(len, known)) <= 64
