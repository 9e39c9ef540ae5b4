# SPDX-License-Identifier: MIT
from __future__ import annotations

import base64
import os
import pickle
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trioserve.access_format import (
    ATOMS,
    AccessEntry,
    basic_auth_user,
    check_access_log_format,
    compile_access_format,
    request_target,
)
from trioserve.config import Config
from trioserve.errors import ConfigError


def entry(
    scope: dict[str, Any] | None = None,
    *,
    headers: list[tuple[bytes, bytes]] | None = None,
    **changes: Any,
) -> AccessEntry:
    whole: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/caf\u00e9",
        "raw_path": b"/caf%C3%A9",
        "query_string": b"q=1",
        "headers": headers or [],
        "client": ("192.0.2.7", 50123),
    }
    values: dict[str, Any] = {
        "status": 200,
        "response_headers": [(b"Content-Type", b"text/plain"), (b"x-n", b"1"), (b"x-n", b"2")],
        "body_size": 1234,
        "duration": 1.5024,
    }
    return AccessEntry(whole | (scope or {}), **(values | changes))


def basic(user: bytes) -> bytes:
    return b"Basic " + base64.b64encode(user + b":secret")


REQUEST_FIELDS = [
    (b"authorization", basic(b"ada")),
    (b"referer", b"http://example.com/"),
    (b"user-agent", b"curl/8"),
    (b"x-trace", b"first"),
    (b"x-trace", b"last"),
]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("%(h)s", "192.0.2.7"),
        ("%(l)s", "-"),
        ("%(u)s", "ada"),
        ("%(r)s", "GET /caf%C3%A9?q=1 HTTP/1.1"),
        ("%(m)s", "GET"),
        ("%(U)s", "/caf%C3%A9"),
        ("%(q)s", "q=1"),
        ("%(H)s", "HTTP/1.1"),
        ("%(s)s", "200"),
        ("%(B)s", "1234"),
        ("%(b)s", "1234"),
        ("%(f)s", "http://example.com/"),
        ("%(a)s", "curl/8"),
        ("%(T)s", "1"),
        ("%(M)s", "1502"),
        ("%(D)s", "1502400"),
        ("%(L)s", "1.502400"),
        ("%(p)s", f"<{os.getpid()}>"),
        ("%(X)s", "-"),
        ("%({X-Trace}i)s", "last"),
        ("%({x-none}i)s", "-"),
        ("%({content-type}o)s", "text/plain"),
        ("%({X-N}o)s", "2"),
        ("%({x-none}o)s", "-"),
        ("%(s)d|%(s)5s|%(m)-5s|%(B)6d", "200|  200|GET  |  1234"),
        ("100%%, no atom\tat all", "100%, no atom\tat all"),
        ("\\%(m)s\t%(s)s\\", "\\GET\t200\\"),
        ("", ""),
    ],
)
def test_each_atom_shows_its_value(text: str, line: str) -> None:
    assert compile_access_format(text)(entry(headers=REQUEST_FIELDS)) == line


def test_the_time_is_in_common_log_format() -> None:
    line = compile_access_format("%(t)s")(entry())
    assert re.fullmatch(r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]", line)


def test_an_environment_variable_is_read_when_the_format_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REGION", '100% "north"')
    render = compile_access_format("%({REGION}e)s %({NO_SUCH}e)s")
    monkeypatch.delenv("REGION")
    assert render(entry()) == r"100% \"north\" -"


def test_the_default_format_and_duration_and_disconnect_behind_it() -> None:
    line = compile_access_format(Config().access_log_format + " %(L)s %(X)s")(
        entry({"client": None}, body_size=0, status=499, disconnected=True)
    )
    start, request, rest = line.partition('"GET /caf%C3%A9?q=1 HTTP/1.1"')
    assert start.startswith("- - - [")
    assert request
    assert rest == ' 499 - "-" "-" 1.502400 X'


def test_a_websocket_scope_has_a_line_too() -> None:
    handshake = entry({"type": "websocket"}, status=101)
    del handshake.scope["method"], handshake.scope["raw_path"]
    assert compile_access_format("%(r)s %(s)s")(handshake) == "GET /caf%C3%A9?q=1 HTTP/1.1 101"


# --- wrong formats


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("%(z)s", r"unknown atom %\(z\)s; expected one of h l u t r .*\{name\}e"),
        ("%()s", r"unknown atom %\(\)s"),
        ("%(mm)s", r"unknown atom %\(mm\)s"),
        ("%({two words}i)s", "unknown atom"),
        ("%({x}z)s", "unknown atom"),
        ("%({}i)s", "unknown atom"),
        ("%({a=b}e)s", "unknown atom"),
        ("%h %s", r"'%h %s' is no %\(atom\)s"),
        ("100%", "'%' is no"),
        ("%(h", "is no"),
        ("%(a).3s", r"'%\(a\)\.3s' is no"),
        ("%(a)9999s", "is no"),
        ("%(a)d", "only the atoms s B T D M are numbers"),
        ("%({x}i)d", "are numbers"),
        ("one\ntwo", r"contains '\\n'; expected one line"),
        ("\x1b[31m", "printable"),
    ],
)
def test_a_wrong_format_is_a_config_error_that_says_what_is_legal(
    text: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=f"^access_log_format: .*{complaint}"):
        check_access_log_format(text)


def test_checking_a_legal_format_does_nothing() -> None:
    check_access_log_format(Config().access_log_format)


@given(st.text("%()sd{}ioehlx-19 \n"))
@example("%(h)s%")
def test_any_text_is_a_format_or_a_config_error(text: str) -> None:
    try:
        render = compile_access_format(text)
    except ConfigError:
        return
    assert "\n" not in render(entry())


# --- hostile values

EVERYTHING = " ".join(
    [f'"%({name})s"' for name in ATOMS] + ['"%({x-evil}i)s" "%({x-evil}o)s" "%({x-evil}i)30s"']
)


@given(st.binary(), st.binary(), st.binary(), st.text(st.characters()))
@example(b"\r\n1.2.3.4 - - forged", b'" 200 "', b"\\", "\ud800 \x1b[31m")
def test_any_bytes_give_one_printable_line_with_all_quotes_in_place(
    path: bytes, query: bytes, value: bytes, text: str
) -> None:
    hostile = entry(
        {"method": text, "raw_path": path, "query_string": query, "client": (text, 1)},
        headers=[
            (name, value) for name in (b"referer", b"user-agent", b"authorization", b"x-evil")
        ],
        response_headers=[(b"x-evil", value)],
    )
    line = compile_access_format(EVERYTHING)(hostile)
    assert line.isprintable()
    line.encode("utf-8")
    fields = re.findall(r'"(?:[^"\\]|\\.)*"', line)
    assert " ".join(fields) == line
    assert len(fields) == len(ATOMS) + 3


def test_bytes_that_are_no_utf8_are_shown_as_hex() -> None:
    hostile = entry(headers=[(b"user-agent", b"caf\xc3\xa9 caf\xe9 \x1b")])
    assert compile_access_format("%(a)s")(hostile) == r"caf\u00e9 caf\xe9 \x1b".replace(
        r"\u00e9", "\u00e9"
    )


def test_a_space_in_the_user_name_shifts_no_field() -> None:
    hostile = entry(headers=[(b"authorization", basic(b'a [x] "'))])
    assert compile_access_format("%(h)s %(u)s")(hostile) == r"192.0.2.7 a%20[x]%20\""


@pytest.mark.parametrize(
    ("authorization", "user"),
    [
        (basic(b"ada"), "ada"),
        (b"bAsIc  " + base64.b64encode(b"ada:a:b"), "ada"),
        (basic("zo\u00eb".encode()), "zo\u00eb"),
        (basic(b"\xff"), "\udcff"),
        (basic(b""), None),
        (b"Basic " + base64.b64encode(b"no colon"), None),
        (b"Basic !!!", None),
        (b"Basic \xff", None),
        (b"Basic", None),
        (b"Bearer YWRhOmE=", None),
        (b"", None),
    ],
)
def test_rfc7617_2_the_user_is_what_stands_before_the_first_colon(
    authorization: bytes, user: str | None
) -> None:
    assert basic_auth_user(authorization) == user


@given(st.binary())
def test_any_authorization_has_a_user_or_none(authorization: bytes) -> None:
    basic_auth_user(authorization)
    basic_auth_user(b"Basic " + base64.b64encode(authorization))


def test_a_target_without_raw_path_is_the_quoted_path() -> None:
    assert request_target({"path": "/a b/\udc80?", "query_string": b""}) == b"/a%20b/%ED%B2%80%3F"


def test_an_entry_is_pickled_without_what_the_app_keeps_in_its_scope() -> None:
    original = entry({"state": {"lock": lambda: None}, "extensions": {"x": lambda: None}})
    copy = pickle.loads(pickle.dumps(original))
    assert copy.scope.keys() == original.scope.keys() - {"state", "extensions"}
    render = compile_access_format("%(h)s %(r)s %(s)s %({x-n}o)s %(D)s")
    assert render(copy) == render(original)
