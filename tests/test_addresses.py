# SPDX-License-Identifier: MIT
"""Bind forms in and out, and what each wrong one is told."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioserve.addresses import (
    BindAddress,
    BoundAddress,
    FdAddress,
    TcpAddress,
    UnixAddress,
    format_bound,
    parse_bind,
)
from trioserve.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "address", "canonical"),
    [
        ("127.0.0.1:8000", TcpAddress("127.0.0.1", 8000), None),
        ("0.0.0.0:0", TcpAddress("0.0.0.0", 0), None),
        ("localhost:65535", TcpAddress("localhost", 65535), None),
        ("localhost", TcpAddress("localhost", 8000), "localhost:8000"),
        ("my_app.web-1.example.:80", TcpAddress("my_app.web-1.example.", 80), None),
        ("xn--bcher-kva.example:80", TcpAddress("xn--bcher-kva.example", 80), None),
        (":8000", TcpAddress("", 8000), None),
        ("[::1]:0", TcpAddress("::1", 0), None),
        ("[::1]", TcpAddress("::1", 8000), "[::1]:8000"),
        ("[0:0:0:0:0:0:0:1]:80", TcpAddress("::1", 80), "[::1]:80"),
        ("[fe80::1%eth0]:80", TcpAddress("fe80::1%eth0", 80), None),
        ("unix:app.sock", UnixAddress("app.sock"), None),
        ("unix:./@app.sock", UnixAddress("./@app.sock"), None),
        ("unix:/run/app.sock", UnixAddress("/run/app.sock"), None),
        ("unix:///run/app.sock", UnixAddress("/run/app.sock"), "unix:/run/app.sock"),
        ("unix:////run/app.sock", UnixAddress("/run/app.sock"), "unix:/run/app.sock"),
        ("unix:@name", UnixAddress("@name"), None),
        ("fd://3", FdAddress(3), None),
        ("fd://03", FdAddress(3), "fd://3"),
    ],
)
def test_a_bind_form_is_parsed_and_printed_back(
    text: str, address: BindAddress, canonical: str | None
) -> None:
    assert parse_bind(text) == address
    assert str(address) == (canonical or text)
    assert parse_bind(str(address)) == address


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is empty"),
        ("8000", 'write ":8000"'),
        (":", "the port is missing"),
        ("localhost:", "the port is missing"),
        ("[::1]:", "the port is missing"),
        ("localhost:65536", 'from 0 (any free one) to 65535, not "65536"'),
        ("localhost:-1", 'not "-1"'),
        ("localhost:+1", 'not "+1"'),
        ("localhost:http", 'not "http"'),
        ("localhost:٣", 'not "٣"'),
        ("localhost:" + "9" * 5000, "from 0"),
        ("::1", 'write "[::1]:8000"'),
        ("fe80::1:80", "stands in brackets"),
        ("a:b:c", "stands in brackets"),
        ("[::1", 'the closing "]" is missing'),
        ("[::1]8000", 'after "]" comes ":port", not "8000"'),
        ("[localhost]:80", 'no IPv6 address ("localhost")'),
        ("[]:80", "no IPv6 address"),
        ("256.0.0.1:80", '"256.0.0.1" is no IPv4 address'),
        ("127.1:80", "is no IPv4 address"),
        ("bücher.example:80", 'its "xn--" form'),
        ("*:80", 'leave the host out, as in ":8000"'),
        ("local host:80", "neither a host name nor an IP address"),
        ("-a.example:80", "neither a host name"),
        ("a..example:80", "neither a host name"),
        ("a" * 64 + ":80", "neither a host name"),
        (".".join(["a" * 60] * 5) + ":80", "neither a host name"),
        ("localhost\n:80", "neither a host name"),
        ("localhost/x", "neither a host name"),
        ("http://localhost:80", "has no scheme"),
        ("unix:", "the path is missing"),
        ("unix:///", "the path is missing"),
        ("unix:@", "the path is missing"),
        ("unix://run/app.sock", '"unix:///run/app.sock"'),
        ("unix:a\0b", "NUL"),
        ("unix:\ud800", "lone surrogate"),
        ("unix:/" + "é" * 60, "the path has 121 bytes"),
        ("unix", "unix:path"),
        ("fd", "fd://N"),
        ("fd:3", "fd://N"),
        ("fd://", "fd://N"),
        ("fd://x", "fd://N"),
        ("fd://-1", "fd://N"),
        ("fd://" + "9" * 5000, "fd://N"),
    ],
)
def test_a_wrong_bind_form_is_quoted_and_told_what_is_right(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_bind(text)
    assert told in str(caught.value)
    assert repr(text) in str(caught.value)


@given(st.text() | st.text("[]:.0123456789af%@/unixd"))
def test_any_text_is_an_address_that_prints_back_or_a_config_error(text: str) -> None:
    try:
        address = parse_bind(text)
    except ConfigError:
        return
    assert parse_bind(str(address)) == address


@pytest.mark.parametrize(
    ("sockname", "family", "url"),
    [
        (("127.0.0.1", 43121), socket.AF_INET, "http://127.0.0.1:43121"),
        (("0.0.0.0", 80), socket.AF_INET, "http://0.0.0.0:80"),
        (("::1", 80, 0, 0), socket.AF_INET6, "http://[::1]:80"),
        (("::", 80, 0, 0), socket.AF_INET6, "http://[::]:80"),
        (("fe80::1", 80, 0, 2), socket.AF_INET6, "http://[fe80::1%252]:80"),
        (("fe80::1%eth0", 80, 0, 2), socket.AF_INET6, "http://[fe80::1%25eth0]:80"),
        ("/run/x.sock", socket.AF_UNIX, "unix:/run/x.sock"),
        (b"\0name", socket.AF_UNIX, "unix:@name"),
    ],
)
def test_what_a_socket_has_got_is_shown_as_a_url(sockname: Any, family: int, url: str) -> None:
    bound = format_bound(sockname, family)
    assert bound.url == url
    assert str(bound) == url


def test_a_bound_address_has_the_parts_and_the_scheme() -> None:
    bound = format_bound(("::1", 443, 0, 0), socket.AF_INET6, scheme="https")
    assert bound == BoundAddress(family="tcp", host="::1", port=443, scheme="https")
    assert bound.url == "https://[::1]:443"


def test_only_an_abstract_unix_address_has_no_file() -> None:
    assert UnixAddress("@name").is_abstract
    assert not UnixAddress("./@name").is_abstract


def test_a_socket_of_another_family_has_no_bound_address() -> None:
    with pytest.raises(ValueError, match="neither AF_INET"):
        format_bound((), 12345)
