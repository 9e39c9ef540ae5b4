# SPDX-License-Identifier: MIT
"""Each parser by itself: a head's fields, or a 400."""

from __future__ import annotations

import builtins
import importlib
import sys
from typing import TYPE_CHECKING

import pytest

from trioserve.protocols.http1 import RemoteProtocolError, parsers
from trioserve.protocols.http1.parsers import (
    FieldParser,
    H11FieldParser,
    HttptoolsFieldParser,
    make_field_parser,
)

from .reading import BACKENDS

if TYPE_CHECKING:
    from trioserve.types import Headers


@pytest.fixture(params=BACKENDS)
def parser(request: pytest.FixtureRequest) -> FieldParser:
    return make_field_parser(request.param)


def fields_of(parser: FieldParser, *lines: bytes, target: bytes = b"/") -> Headers:
    line = b"GET " + target + b" HTTP/1.1"
    head = b"\r\n".join([line, *lines, b"", b""])
    return parser.parse(head, len(line), target)


def test_names_come_in_lower_case_and_values_without_white_space(parser: FieldParser) -> None:
    assert fields_of(parser, b"Host: h", b"X-Tab:\t a b \t", b"Empty:", b"Blank: \t") == [
        (b"host", b"h"),
        (b"x-tab", b"a b"),
        (b"empty", b""),
        (b"blank", b""),
    ]


def test_fields_keep_their_order_and_their_number(parser: FieldParser) -> None:
    lines = [b"A: %d" % number for number in range(5)]
    assert fields_of(parser, *lines) == [(b"a", b"%d" % number) for number in range(5)]


def test_a_value_may_hold_obs_text_and_tabs(parser: FieldParser) -> None:
    value = b"a\tb" + bytes(range(0x80, 0x100))
    assert fields_of(parser, b"A: " + value) == [(b"a", value)]


@pytest.mark.parametrize(
    "line",
    [
        b"A : b",
        b" A: b",
        b"A",
        b": b",
        b"A\x00: b",
        b"A: b\x00",
        b"A: b\rc",
        b"A: b\nc",
        b"A: \x7f",
        b"A: \x01",
        b"A: b\r\n c",
        b"A\xe9: b",
        b"A(b): c",
    ],
)
def test_a_malformed_line_is_a_400_and_the_parser_starts_afresh(
    parser: FieldParser, line: bytes
) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        fields_of(parser, b"Host: h", line)
    assert caught.value.status == 400
    assert fields_of(parser, b"Host: h") == [(b"host", b"h")]


@pytest.mark.parametrize(
    "target", [b"/#a", b"/\x7f", b"/\x80", b"/\t", b"/\x00", b"/a\rb", b"/\xc3\xa9"]
)
def test_a_target_with_a_character_that_no_uri_holds_is_a_400(
    parser: FieldParser, target: bytes
) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        fields_of(parser, b"Host: h", target=target)
    assert caught.value.status == 400


def test_an_upgrade_leaves_nothing_behind(parser: FieldParser) -> None:
    for _ in range(3):
        fields = fields_of(parser, b"Host: h", b"Connection: upgrade", b"Upgrade: websocket")
        assert (b"upgrade", b"websocket") in fields
        assert fields_of(parser, b"Host: h") == [(b"host", b"h")]


def test_methods_and_versions_are_not_the_parsers_business(parser: FieldParser) -> None:
    for line in (b"BREW / HTTP/1.1", b"GET / HTTP/1.7", b"DESCRIBE / HTTP/1.1"):
        assert parser.parse(line + b"\r\nHost: h\r\n\r\n", len(line), b"/") == [(b"host", b"h")]


def test_auto_is_httptools_where_it_is_installed() -> None:
    assert parsers.HTTPTOOLS_INSTALLED
    assert isinstance(make_field_parser("auto"), HttptoolsFieldParser)
    assert isinstance(make_field_parser("httptools"), HttptoolsFieldParser)
    assert isinstance(make_field_parser("h11"), H11FieldParser)


def test_auto_is_h11_where_httptools_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def no_httptools(name: str, *args: object, **kwargs: object) -> object:
        if name == "httptools":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", no_httptools)
    monkeypatch.delitem(sys.modules, "trioserve.protocols.http1.parsers")
    fresh = importlib.import_module("trioserve.protocols.http1.parsers")
    monkeypatch.setitem(sys.modules, "trioserve.protocols.http1.parsers", parsers)
    assert not fresh.HTTPTOOLS_INSTALLED
    assert type(fresh.make_field_parser("auto")).__name__ == "H11FieldParser"
