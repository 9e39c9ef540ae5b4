# SPDX-License-Identifier: MIT
"""Trailers of a request (RFC 9112 section 7.1.2): parsed as strictly as fields, then dropped.

A trailer that frames or routes the message comes too late to be true (RFC 9110 section 6.5.1).
"""

from __future__ import annotations

from .case import Case, Reply, bad, chunked, endless, good, post


def _trailers(*lines: bytes) -> bytes:
    return chunked(b"5", b"hello", b"0", *lines, b"")


def _raw(end: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n" + end)


SEEN = [("host", "h"), ("transfer-encoding", "chunked")]
TOO_MANY = (400, 431)

ACCEPTED = (
    good("9112-7.1.2 one", _trailers(b"X: y"), headers=SEEN, body="hello"),
    good("9112-7.1.2 two", _trailers(b"X: y", b"Z: w"), headers=SEEN, body="hello"),
    good("9112-7.1.2 equal names", _trailers(b"X: y", b"X: y"), headers=SEEN, body="hello"),
    good("9112-7.1.2 empty value", _trailers(b"X:"), headers=SEEN, body="hello"),
    good("9112-7.1.2 obs-text", _trailers(b"X: \xe9"), headers=SEEN, body="hello"),
    good("9112-7.1.2 after no data", chunked(b"0", b"X: y", b""), headers=SEEN, body=""),
    good("9112-7.1.2 after an extension", chunked(b"0;a=b", b"X: y", b""), body=""),
    good(
        "9110-6.6.2 announced",
        post(b"Trailer: X", b"Transfer-Encoding: chunked", body=b"0\r\nX: y\r\n\r\n"),
        headers=[("host", "h"), ("trailer", "X"), ("transfer-encoding", "chunked")],
    ),
    Case(
        name="9112-7.1.2 a request after them",
        raw=_trailers(b"X: y") + _trailers(b"Z: w"),
        expect=(Reply(status=200, sees={"body": "hello"}), Reply(status=200)),
        fate="keep",
    ),
)

FORBIDDEN = (
    *(
        bad(f"9110-6.5.1 {line.decode()}", _trailers(line))
        for line in (
            b"Content-Length: 5",
            b"Content-Length: 0",
            b"content-length: x",
            b"Transfer-Encoding: chunked",
            b"TRANSFER-ENCODING: gzip",
            b"Host: h",
            b"host: other",
        )
    ),
    bad("9110-6.5.1 Host behind another", _trailers(b"X: y", b"Host: h")),
    bad("9110-6.5.1 Content-Length after no data", chunked(b"0", b"Content-Length: 0", b"")),
)

MALFORMED = tuple(
    bad(f"9112-7.1.2 {name}", raw)
    for name, raw in (
        ("no colon", _trailers(b"X")),
        ("a request line", _trailers(b"GET /smuggled HTTP/1.1", b"Host: h")),
        ("a request line with a colon", _trailers(b"GET http://h/ HTTP/1.1")),
        ("empty name", _trailers(b": y")),
        ("space before the colon", _trailers(b"X : y")),
        ("tab before the colon", _trailers(b"X\t: y")),
        ("space in the name", _trailers(b"X Y: z")),
        ("white space first", _trailers(b" X: y")),
        ("obs-fold by a space", _trailers(b"X: y", b" z")),
        ("obs-fold by a tab", _trailers(b"X: y", b"\tz")),
        ("a line of white space", _trailers(b" ")),
        ("NUL in the value", _trailers(b"X: \0")),
        ("NUL in the name", _trailers(b"X\0: y")),
        ("DEL in the value", _trailers(b"X: \x7f")),
        ("vertical tab in the value", _trailers(b"X: \x0b")),
        ("obs-text in the name", _trailers(b"X\xe9: y")),
        ("bare CR in the value", _trailers(b"X: a\rb")),
        ("bare LF in the value", _trailers(b"X: a\nContent-Length: 5")),
        ("line ended by LF", _raw(b"X: y\n\r\n")),
        ("line ended by CR CR LF", _raw(b"X: y\r\r\n\r\n")),
        ("empty line ended by LF", _raw(b"X: y\r\n\n")),
        ("empty line ended by CR", _raw(b"X: y\r\n\rX")),
        ("all lines ended by LF", _raw(b"X: y\n\n")),
        ("a size", _trailers(b"5", b"hello", b"0")),
    )
)

LIMITS = (
    good("9110-5.4 twenty", _trailers(*[b"X: y"] * 20), headers=SEEN, body="hello"),
    bad("9110-5.4 101 of them", _trailers(*[b"X: y"] * 101), status=TOO_MANY),
    endless("9110-5.4 1000 without end", _raw(b"X: y\r\n" * 1000), status=TOO_MANY),
    bad("9110-5.4 a line of 10,000 bytes", _trailers(b"X: " + b"y" * 10_000), status=TOO_MANY),
    endless("9110-5.4 a line without end", _raw(b"X: " + b"y" * 10_000), status=TOO_MANY),
    endless("9110-5.4 a name without end", _raw(b"X" * 10_000), status=TOO_MANY),
)

CASES: tuple[Case, ...] = ACCEPTED + FORBIDDEN + MALFORMED + LIMITS
