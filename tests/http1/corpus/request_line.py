# SPDX-License-Identifier: MIT
"""Request lines: ``method SP request-target SP HTTP-version CRLF`` (RFC 9112 section 3).

A line that is not exactly this is refused, never repaired: a proxy before us may have repaired
it in another way. The lenient parsing that section 3 allows is not ours.
"""

from __future__ import annotations

from .case import CRLF, Case, Reply, bad, get, good, request

HOST = b"Host: h"


def _line(line: bytes) -> bytes:
    return request(line, HOST)


SEPARATORS = (
    bad("9112-3 two spaces before the target", _line(b"GET  / HTTP/1.1")),
    bad("9112-3 two spaces before the version", _line(b"GET /  HTTP/1.1")),
    bad("9112-3 tab before the target", _line(b"GET\t/ HTTP/1.1")),
    bad("9112-3 tab before the version", _line(b"GET /\tHTTP/1.1")),
    bad("9112-3 vertical tab before the target", _line(b"GET\x0b/ HTTP/1.1")),
    bad("9112-3 form feed before the version", _line(b"GET /\x0cHTTP/1.1")),
    bad("9112-3 no space before the target", _line(b"GET/ HTTP/1.1")),
    bad("9112-3 no space before the version", _line(b"GET /HTTP/1.1")),
    bad("9112-3 trailing space", _line(b"GET / HTTP/1.1 ")),
    bad("9112-3 trailing tab", _line(b"GET / HTTP/1.1\t")),
    bad("9112-3 a fourth word", _line(b"GET / HTTP/1.1 x")),
    bad("9112-3 leading space", _line(b" GET / HTTP/1.1")),
    bad("9112-3 leading tab", _line(b"\tGET / HTTP/1.1")),
    bad("9112-3 no target", _line(b"GET HTTP/1.1")),
    bad("9112-3 empty target", _line(b"GET  HTTP/1.1")),
    bad("9112-3 method alone", _line(b"GET")),
    bad("9112-3 a line of one space", _line(b" ")),
    bad("9112-3 two versions", _line(b"GET / HTTP/1.1 HTTP/1.1")),
    bad("9112-3 a field where the request line belongs", HOST + CRLF + CRLF),
    bad("9112-3 a status line", _line(b"HTTP/1.1 200 OK")),
)

EMPTY_LINES = (
    good("9112-2.2 one empty line before the request", CRLF + get(), method="GET"),
    good("9112-2.2 two empty lines before the request", CRLF + CRLF + get(), method="GET"),
    bad("9112-2.2 three empty lines before the request", CRLF * 3 + get()),
    Case(
        name="9112-2.2 an empty line before each of five requests",
        raw=(CRLF + get()) * 5,
        expect=(Reply(status=200),) * 5,
        fate="keep",
    ),
    bad("9112-2.2 bare LF before the request", b"\n" + get()),
    bad("9112-2.2 bare CR before the request", b"\r" + get()),
    bad("9112-2.2 CRLF and bare LF before the request", CRLF + b"\n" + get()),
    bad("9112-2.2 CRLF and bare CR before the request", CRLF + b"\r" + get()),
    bad("9112-2.2 CR CR LF before the request", b"\r\r\n" + get()),
    bad("9112-2.2 request line ended by LF", b"GET / HTTP/1.1\nHost: h\r\n\r\n"),
    bad("9112-2.2 request line ended by CR", b"GET / HTTP/1.1\rHost: h\r\n\r\n"),
    bad("9112-2.2 request line ended by CR CR LF", b"GET / HTTP/1.1\r\r\nHost: h\r\n\r\n"),
    bad("9112-2.2 request line ended by LF CR", b"GET / HTTP/1.1\n\rHost: h\r\n\r\n"),
    bad("9112-2.2 all lines ended by LF", b"GET / HTTP/1.1\nHost: h\n\n"),
    bad("9112-2.2 bare CR after the method", _line(b"GET\r / HTTP/1.1")),
)

METHODS = (
    good("9110-9.1 unknown method", _line(b"FOO / HTTP/1.1"), method="FOO"),
    good("9110-9.1 method with a hyphen", _line(b"X-Y / HTTP/1.1"), method="X-Y"),
    good("9110-9.1 every token character", _line(b"!#$%&'*+-.^_`|~09AZ / HTTP/1.1")),
    good("9110-9.1 one-letter method", _line(b"X / HTTP/1.1"), method="X"),
    good("9110-9.1 method that only begins like GET", _line(b"GETX / HTTP/1.1"), method="GETX"),
    good("9110-9.1 method that is all but GET", _line(b"GE / HTTP/1.1"), method="GE"),
    # Case-sensitive: this is not GET (RFC 9110 section 9.1), but it is a legal name.
    good("9110-9.1 lower-case get", _line(b"get / HTTP/1.1"), path="/"),
    # It is not HEAD, so its content must follow; else the next reply is out of step.
    good("9110-9.1 lower-case head has content", _line(b"head / HTTP/1.1"), path="/"),
    *(
        good(f"9110-9.1 {name}", _line(name.encode() + b" /m HTTP/1.1"), method=name, path="/m")
        for name in ("DELETE", "PATCH", "TRACE", "QUERY", "PROPFIND", "M-SEARCH", "PURGE")
    ),
    good("9110-9.1 a method of RTSP", _line(b"DESCRIBE / HTTP/1.1"), method="DESCRIBE"),
    good("9110-9.1 a method of ICE", _line(b"SOURCE / HTTP/1.1"), method="SOURCE"),
    *(
        bad(f"9110-9.1 {byte!r} in the method", _line(b"G" + byte + b"T / HTTP/1.1"))
        for byte in (b"(", b")", b",", b"/", b":", b";", b"<", b"=", b"@", b'"', b"\\", b"{")
    ),
    *(
        bad(f"9110-5.6.2 {byte!r} in the method", _line(b"G" + byte + b"T / HTTP/1.1"))
        for byte in (b"\x00", b"\x01", b"\x1b", b"\x7f", b"\x80", b"\xc9", b"\xff")
    ),
    bad("9110-9.3.6 CONNECT", request(b"CONNECT h:443 HTTP/1.1", b"Host: h:443"), status=501),
    bad("9110-9.3.6 CONNECT in HTTP/1.0", request(b"CONNECT h:443 HTTP/1.0"), status=501),
    bad("9110-9.3.6 CONNECT of a path", _line(b"CONNECT / HTTP/1.1"), status=(400, 501)),
)

STRANGERS = (
    bad("9112-3 TLS ClientHello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + CRLF + CRLF),
    bad("9112-3 SSH banner", b"SSH-2.0-OpenSSH_9.6" + CRLF + CRLF),
    bad("9112-3 SMTP greeting", b"EHLO mail.example" + CRLF + CRLF),
    bad("9112-3 byte order mark", b"\xef\xbb\xbf" + get()),
    bad("9112-3 NUL bytes", b"\x00" * 8 + CRLF + CRLF),
    bad("9112-3 PROXY protocol v1", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2" + CRLF + get()),
    bad("9112-3 PROXY protocol v2", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + b"\x01" * 12),
)

CASES: tuple[Case, ...] = SEPARATORS + EMPTY_LINES + METHODS + STRANGERS
