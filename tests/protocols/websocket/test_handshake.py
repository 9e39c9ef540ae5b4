# SPDX-License-Identifier: MIT
"""The opening handshake, rule by rule: RFC 6455 section 4.2, RFC 8441 section 5."""

from __future__ import annotations

import base64
import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioserve.config import Config
from trioserve.errors import AppProtocolError
from trioserve.protocols.errors import RemoteProtocolError
from trioserve.protocols.http1 import DefaultFields, RequestReader
from trioserve.protocols.http1.request import RequestHead
from trioserve.protocols.websocket import (
    Handshake,
    accept_fields,
    encode_switch,
    is_websocket_upgrade,
    parse_handshake,
)

from .reading import DEFLATE

Fields = list[tuple[bytes, bytes]]

#: RFC 6455 section 1.3.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

VERSION_FIELD = (b"sec-websocket-version", b"13")
KEY_FIELD = (b"sec-websocket-key", KEY)
#: Of any request, beside those that matter.
OTHERS: Fields = [(b"host", b"example.org"), (b"origin", b"https://example.org")]
OVER_1: Fields = [*OTHERS, KEY_FIELD, VERSION_FIELD]
OVER_2: Fields = [*OTHERS, VERSION_FIELD]

DEFAULTS = DefaultFields(b"\r\nserver: ours", b"\r\ndate: now")

both_versions = pytest.mark.parametrize("http2", [False, True], ids=["http/1.1", "h2"])


def parse(headers: Fields, *, http2: bool = False, **changes: Any) -> Handshake:
    settings = {"method": "CONNECT" if http2 else "GET", "has_body": False, **changes}
    return parse_handshake(headers, http2=http2, **settings)


def refusal(headers: Fields, *, http2: bool = False, **changes: Any) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        parse(headers, http2=http2, **changes)
    return caught.value


def with_field(name: bytes, *values: bytes, http2: bool = False) -> Fields:
    """A request in which a field has these values, in as many lines, and no others."""
    rest = [field for field in (OVER_2 if http2 else OVER_1) if field[0] != name]
    return rest + [(name, value) for value in values]


# -- what is asked for --------------------------------------------------------------------------


def test_a_handshake_over_http_1_has_a_key() -> None:
    assert parse(OVER_1) == Handshake(KEY, [], None)


def test_a_handshake_over_http_2_has_none() -> None:
    assert parse(OVER_2, http2=True) == Handshake(b"", [], None)


def test_a_key_is_nothing_over_http_2() -> None:
    assert parse([*OVER_2, (b"sec-websocket-key", b"?")], http2=True).key == b""


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS", "get", "CONNECT"])
def test_over_http_1_the_method_is_get(method: str) -> None:
    error = refusal(OVER_1, method=method)
    assert (error.status, error.reason[-22:]) == (400, "(RFC 6455 section 4.1)")


@both_versions
def test_a_handshake_has_no_body(http2: bool) -> None:
    error = refusal(OVER_2 if http2 else OVER_1, http2=http2, has_body=True)
    assert (error.status, error.reason[-22:]) == (400, "(RFC 6455 section 4.1)")


@both_versions
@pytest.mark.parametrize(
    "values",
    [(), (b"",), (b"8",), (b"12",), (b"14",), (b"013",), (b"13, 8",), (b"13", b"13"), (b"13.0",)],
)
def test_another_version_is_told_which_is_spoken(values: tuple[bytes, ...], http2: bool) -> None:
    """RFC 6455 section 4.4; Upgrade is a field of HTTP/1 (RFC 9113 section 8.2.2)."""
    error = refusal(with_field(b"sec-websocket-version", *values, http2=http2), http2=http2)
    upgrade = [] if http2 else [(b"upgrade", b"websocket")]
    assert error.status == 426
    assert error.headers == [VERSION_FIELD, *upgrade]
    assert "RFC 6455 section 4.2.2" in error.reason


@pytest.mark.parametrize("size", range(24))
def test_a_key_has_16_bytes(size: int) -> None:
    headers = with_field(b"sec-websocket-key", base64.b64encode(bytes(size)))
    if size == 16:
        assert parse(headers).key == base64.b64encode(bytes(16))
    else:
        assert refusal(headers).status == 400


@pytest.mark.parametrize(
    "values",
    [
        (),
        (KEY, KEY),
        (KEY + b", " + KEY,),
        (KEY[:-1],),
        (KEY[:-2],),
        (KEY + b"=",),
        (KEY + b" ",),
        (b" " + KEY,),
        (KEY[:10] + b" " + KEY[10:],),
        (KEY[:10] + b"\t" + KEY[10:],),
        (KEY[:10] + b"=" + KEY[11:],),
        (b"=" + KEY[1:],),
        (KEY[:5] + b"-" + KEY[6:],),  # of the alphabet for URLs
        (KEY[:5] + b"\xff" + KEY[6:],),
        (b"the sample nonce",),
        (b"=" * 24,),
        (b"A" * 8192,),
    ],
)
def test_a_key_is_one_and_plain_base64(values: tuple[bytes, ...]) -> None:
    error = refusal(with_field(b"sec-websocket-key", *values))
    assert error.status == 400
    assert "RFC 6455 section 4.2.1" in error.reason
    assert not error.headers


@both_versions
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), []),
        ((b"",), []),
        ((b"chat",), ["chat"]),
        ((b"chat, superchat",), ["chat", "superchat"]),
        ((b"b,a,\tc ",), ["b", "a", "c"]),
        ((b"b", b"a, c"), ["b", "a", "c"]),
        ((b", ,a,,b ,",), ["a", "b"]),
        ((b"Chat, chat",), ["Chat", "chat"]),
        ((b"v1.chat+json", b"!#$%&'*+-.^_`|~"), ["v1.chat+json", "!#$%&'*+-.^_`|~"]),
    ],
)
def test_subprotocols_are_a_list_in_the_client_s_order(
    values: tuple[bytes, ...], expected: list[str], http2: bool
) -> None:
    headers = with_field(b"sec-websocket-protocol", *values, http2=http2)
    assert parse(headers, http2=http2).subprotocols == expected


@pytest.mark.parametrize(
    "value", [b"a b", b'"chat"', b"a;b", b"a/b", b"a@b", b"\xe4", b"a, b c", b"a\xa0", b"a\x00"]
)
def test_subprotocols_are_tokens(value: bytes) -> None:
    error = refusal(with_field(b"sec-websocket-protocol", b"chat", value))
    assert (error.status, "RFC 6455 section 4.1" in error.reason) == (400, True)


@both_versions
def test_compression_is_negotiated_over_all_fields(http2: bool) -> None:
    name = b"sec-websocket-extensions"
    values = (b"x-other", b"permessage-deflate; client_max_window_bits")
    assert parse(with_field(name, *values, http2=http2), http2=http2).deflate == DEFLATE
    assert parse(with_field(name, b"x-other", http2=http2), http2=http2).deflate is None
    assert refusal(with_field(name, b"x;", http2=http2), http2=http2).status == 400


NAMES = st.sampled_from(
    [
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"sec-websocket-protocol",
        b"sec-websocket-extensions",
    ]
)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=40)), max_size=4), st.booleans())
def test_any_fields_are_a_handshake_or_refused(fields: Fields, http2: bool) -> None:
    with contextlib.suppress(RemoteProtocolError):
        parse([*(OVER_2 if http2 else OVER_1), *fields], http2=http2)


# -- whether one is asked for -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("upgrade", "expected"),
    [
        (None, False),
        (b"", False),
        (b"websocket", True),
        (b"WebSocket", True),
        (b"WEBSOCKET", True),
        (b"h2c, websocket", True),
        (b"websocket,h2c", True),
        (b"h2c ,\tWebsocket\t, foo/1", True),
        (b",,websocket", True),
        (b"websocket/13", False),
        (b"websockets", False),
        (b"h2c", False),
        (b"web socket", False),
        (b"h2c websocket", False),
        (b"websocket\xa0", False),
    ],
)
def test_an_upgrade_to_a_websocket_is_found_in_its_list(
    upgrade: bytes | None, expected: bool
) -> None:
    request = RequestHead("GET", b"/", b"/", b"", 1)
    request.upgrade = upgrade
    assert is_websocket_upgrade(request) is expected


@pytest.mark.parametrize(
    ("version", "fields", "expected"),
    [
        (1, b"Connection: Upgrade\r\nUpgrade: websocket\r\n", True),
        (1, b"connection: keep-alive, UPGRADE\r\nupgrade: WebSocket\r\n", True),
        (1, b"Connection: keep-alive\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", True),
        (1, b"Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n", True),
        (1, b"Upgrade: websocket\r\n", False),
        (1, b"Connection: keep-alive\r\nUpgrade: websocket\r\n", False),
        (1, b"Connection: upgrade\r\n", False),
        (0, b"Connection: Upgrade\r\nUpgrade: websocket\r\n", False),
    ],
)
def test_an_upgrade_needs_its_connection_option(
    version: int, fields: bytes, expected: bool
) -> None:
    """RFC 9110 section 7.8; in HTTP/1.0 it is to be ignored."""
    reader = RequestReader(Config())
    reader.receive_data(b"GET / HTTP/1.%d\r\nHost: h\r\n%b\r\n" % (version, fields))
    request = reader.next_request()
    assert request is not None
    assert is_websocket_upgrade(request) is expected


# -- the answer ---------------------------------------------------------------------------------

OFFERED = Handshake(KEY, ["chat", "superchat"], DEFLATE)


def test_an_answer_says_what_was_chosen() -> None:
    headers = [(b"x-a", b"1"), (b"Set-Cookie", b"a=b"), (b"x-a", b"2")]
    assert accept_fields(OFFERED, "superchat", headers, DEFLATE) == [
        (b"sec-websocket-protocol", b"superchat"),
        (b"sec-websocket-extensions", DEFLATE.response),
        *headers,
    ]


def test_an_answer_may_choose_nothing() -> None:
    assert accept_fields(OFFERED, None, iter(()), None) == []


@pytest.mark.parametrize("subprotocol", ["Chat", "other", "", "chat, superchat", "ch\xe4t"])
def test_a_subprotocol_that_was_not_offered_is_refused(subprotocol: str) -> None:
    with pytest.raises(AppProtocolError, match=r"offers \(chat, superchat\), got .*4\.2\.2"):
        accept_fields(OFFERED, subprotocol, [], None)


def test_no_subprotocol_can_be_chosen_where_none_was_offered() -> None:
    with pytest.raises(AppProtocolError, match=r"offers \(none\), got 'chat'"):
        accept_fields(Handshake(KEY, [], None), "chat", [], None)


@pytest.mark.parametrize("change", [bytes.lower, bytes.upper, bytes.title])
@pytest.mark.parametrize(
    "name",
    [
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-connection",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ],
)
def test_fields_of_the_handshake_are_the_server_s(name: bytes, change: Any) -> None:
    with pytest.raises(AppProtocolError, match=r"can't be among the headers of websocket\."):
        accept_fields(OFFERED, None, [(b"x-a", b"1"), (change(name), b"x")], None)


@pytest.mark.parametrize("name", [3, 10**12, "x-a", bytearray(b"Upgrade"), None, b"", b"a b"])
def test_a_name_that_is_no_token_in_bytes_is_refused(name: Any) -> None:
    with pytest.raises(AppProtocolError, match="must be bytes holding a token"):
        accept_fields(OFFERED, None, [(name, b"1")], None)


def switch_lines(fields: Fields, key: bytes = KEY) -> list[bytes]:
    head = encode_switch(key, fields, DEFAULTS)
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")


def test_the_switch_has_the_accept_value_of_the_rfc() -> None:
    """RFC 6455 section 1.3."""
    assert switch_lines([]) == [
        b"HTTP/1.1 101 Switching Protocols",
        b"upgrade: websocket",
        b"connection: Upgrade",
        b"sec-websocket-accept: " + ACCEPT,
        b"server: ours",
        b"date: now",
    ]


@pytest.mark.parametrize(
    ("fields", "defaults"),
    [
        ([(b"x-a", b"1")], [b"server: ours", b"date: now"]),
        ([(b"Date", b"then")], [b"server: ours"]),
        ([(b"SERVER", b"app")], [b"date: now"]),
        ([(b"server", b"app"), (b"date", b"then")], []),
    ],
)
def test_date_and_server_yield_to_the_application_s(fields: Fields, defaults: list[bytes]) -> None:
    ours = [name.lower() + b": " + value for name, value in fields]
    assert switch_lines(fields)[4:] == ours + defaults


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-a", b"1\r\nx-b: 2"),
        (b"x-a", b"1\nx-b: 2"),
        (b"x-a", b"1\r"),
        (b"x-a", b"1\x00"),
        (b"x-a", b"\x7f"),
        (b"x-a", "1"),
        (b"x-a: 1\r\nx-b", b"2"),
        (b"x a", b"1"),
        (b"", b"1"),
        ("x-a", b"1"),
    ],
)
def test_no_field_can_split_the_switch(name: Any, value: Any) -> None:
    with pytest.raises(AppProtocolError):
        encode_switch(KEY, [(b"x-c", b"3"), (name, value)], DEFAULTS)
