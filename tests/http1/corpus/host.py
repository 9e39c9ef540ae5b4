# SPDX-License-Identifier: MIT
"""Host: exactly one in HTTP/1.1, and an authority without userinfo (RFC 9112 section 3.2)."""

from __future__ import annotations

from .case import Case, bad, get, good, request

LINE = b"GET / HTTP/1.1"
OLD_LINE = b"GET / HTTP/1.0"


def _hosts(*values: bytes, line: bytes = LINE) -> bytes:
    return request(line, *(b"Host: " + value for value in values))


NUMBER = (
    bad("9112-3.2 no Host", request(LINE)),
    bad("9112-3.2 no Host but other fields", request(LINE, b"X-Host: h", b"Hostx: h")),
    good("9112-3.2 no Host in HTTP/1.0", request(OLD_LINE), fate="close", headers=[]),
    good("9110-7.6.1 Connection can't remove Host", get(b"Connection: host")),
    bad("9112-3.2 two Hosts", _hosts(b"a", b"b")),
    bad("9112-3.2 two equal Hosts", _hosts(b"h", b"h")),
    bad("9112-3.2 two Hosts, one empty", _hosts(b"h", b"")),
    bad("9112-3.2 two Hosts, one empty and first", _hosts(b"", b"h")),
    bad("9112-3.2 two Hosts in two cases", get(b"HOST: h")),
    bad("9112-3.2 two Hosts apart", get(b"A: b", b"C: d", b"host: x")),
    bad("9112-3.2 two Hosts in HTTP/1.0", _hosts(b"a", b"b", line=OLD_LINE)),
    bad("9112-3.2 empty Host", _hosts(b"")),
    bad("9112-3.2 Host of white space", _hosts(b" \t")),
    bad("9112-3.2 bad Host in HTTP/1.0", _hosts(b"u@h", line=OLD_LINE)),
)

VALID = tuple(
    good(f"9110-7.2 Host: {value}", _hosts(value.encode()), headers=[("host", value)])
    for value in (
        "example.com",
        "example.com:8000",
        "EXAMPLE.com.",
        "under_score",
        "xn--bcher-kva.example",
        "127.0.0.1",
        "127.0.0.1:8000",
        "[::1]",
        "[::1]:8000",
        "[2001:db8::1]:443",
        "[::ffff:192.0.2.1]",
        "h:1",
        "h:65535",
        # port = *DIGIT: it may be empty (RFC 3986 section 3.2.3).
        "h:",
    )
)

INVALID = tuple(
    bad(f"9110-7.2 Host: {value.decode('latin-1')!r}", _hosts(value))
    for value in (
        b"a,b",
        b"a, b",
        b"a b",
        b"a\tb",
        b"u@h",
        b"u:p@h",
        b"@h",
        b"h@",
        b"h/p",
        b"h/",
        b"/",
        b"http://h",
        b"h?q",
        b"h#f",
        b"h\\p",
        b"h:x",
        b"h:80x",
        b"h:-1",
        b"h:+1",
        b"h: 80",
        b"h:0x50",
        b"h:80:80",
        b"h:65536",
        b"h:99999",
        b"h:8\xb2",
        b":",
        b":80",
        b'"h"',
        b"<h>",
        b"h|x",
        b"h^x",
        b"h`x",
        b"{h}",
        b"h\xe9",
        b"\xff",
        b"h\x00",
        b"\x00",
        b"::1",
        b"[::1",
        b"::1]",
        b"[]",
        b"[]:80",
        b"[h]",
        b"[::g]",
        b"[1:2]",
        b"[::1::2]",
        b"[127.0.0.1]",
        b"[::1]x",
        b"[::1]8000",
        b"[::1]:x",
        b"[::1]:99999",
        b"x[::1]",
        b"[[::1]]",
    )
)

CASES: tuple[Case, ...] = NUMBER + VALID + INVALID
