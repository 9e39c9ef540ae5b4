# SPDX-License-Identifier: MIT
"""Bounds of what a peer may send: lines 8190 bytes without their CRLF, 100 fields, a body.

Lines and fields have these bounds by default; a body has one where ``max_body_size`` says so.
A thing without an end is refused as soon as it is too long.
"""

from __future__ import annotations

from dataclasses import replace

from .case import CRLF, Case, Reply, bad, chunked, endless, get, good, post, request

LINE = 8190
#: ``GET /`` and `` HTTP/1.1``.
REST = 14


def _path(length: int) -> bytes:
    return get(target=b"/" + b"a" * (length - REST))


def _field(length: int) -> bytes:
    return get(b"X: " + b"y" * (length - 3))


LINES = (
    good("9112-3 request line of 8190 bytes", _path(LINE), raw_path="/" + "a" * (LINE - REST)),
    bad("9112-3 request line of 8191 bytes", _path(LINE + 1), status=414),
    bad("9112-3 request line of 10,000 bytes", _path(10_000), status=414),
    bad("9112-3 request line of 100,000 bytes", _path(100_000), status=414),
    bad("9112-3 query of 10,000 bytes", get(target=b"/?" + b"a" * 10_000), status=414),
    bad(
        "9112-3 absolute target of 10,000 bytes",
        get(target=b"http://h/" + b"a" * 10_000),
        status=414,
    ),
    endless("9112-3 request line without end", b"GET /" + b"a" * 10_000, status=414),
    # A method longer than any is 501 (RFC 9112 section 3); a line longer than any is 414.
    endless("9112-3 method without end", b"A" * 10_000, status=(400, 414, 501)),
    endless("9112-2.2 empty lines without end", CRLF * 5000),
)

FIELDS = (
    good("9110-5.4 field of 8190 bytes", _field(LINE)),
    bad("9110-5.4 field of 8191 bytes", _field(LINE + 1), status=431),
    bad("9110-5.4 field of 10,000 bytes", _field(10_000), status=431),
    bad("9110-5.4 field of 100,000 bytes", _field(100_000), status=431),
    bad("9110-5.4 name of 10,000 bytes", get(b"x" * 10_000 + b": y"), status=431),
    bad("9110-5.4 white space of 10,000 bytes", get(b"X:" + b" " * 10_000 + b"y"), status=431),
    bad(
        "9110-5.4 Host of 10,000 bytes",
        request(b"GET / HTTP/1.1", b"Host: " + b"h" * 10_000),
        status=431,
    ),
    endless("9110-5.4 value without end", get()[:-2] + b"X: " + b"y" * 10_000, status=431),
    endless("9110-5.4 name without end", get()[:-2] + b"x" * 10_000, status=431),
    good("9110-5.4 100 fields", get(*[b"X: y"] * 99)),
    bad("9110-5.4 101 fields", get(*[b"X: y"] * 100), status=431),
    bad("9110-5.4 1000 fields", get(*[b"X: y"] * 999), status=431),
    bad(
        "9110-5.4 101 fields in HTTP/1.0", request(b"GET / HTTP/1.0", *[b"X: y"] * 101), status=431
    ),
    endless("9110-5.4 fields without end", get()[:-2] + b"X: y\r\n" * 1000, status=431),
    endless(
        "9110-5.4 long fields without end",
        get()[:-2] + (b"X: " + b"y" * 8000 + CRLF) * 110,
        status=431,
    ),
)

LOW = {"limit_request_line": 32, "limit_request_fields": 3, "limit_request_field_size": 26}

LOWERED = tuple(
    replace(case, settings=LOW)
    for case in (
        good("9112-3 lowered: line of 32 bytes", _path(32)),
        bad("9112-3 lowered: line of 33 bytes", _path(33), status=414),
        good("9110-5.4 lowered: field of 26 bytes", _field(26)),
        bad("9110-5.4 lowered: field of 27 bytes", _field(27), status=431),
        good("9110-5.4 lowered: three fields", get(b"X: y", b"X: y")),
        good("9110-5.4 lowered: trailer of 26 bytes", chunked(b"0", b"X: " + b"y" * 23, b"")),
        bad(
            "9110-5.4 lowered: trailer of 27 bytes",
            chunked(b"0", b"X: " + b"y" * 24, b""),
            status=(400, 431),
        ),
        good("9110-5.4 lowered: three trailers", chunked(b"0", *[b"X: y"] * 3, b"")),
        bad(
            "9110-5.4 lowered: four trailers",
            chunked(b"0", *[b"X: y"] * 4, b""),
            status=(400, 431),
        ),
        bad("9110-5.4 lowered: four fields", get(b"X: y", b"X: y", b"X: y"), status=431),
    )
)

BODY = {"max_body_size": 16}


def _expecting(length: int) -> bytes:
    return post(b"Expect: 100-continue", b"Content-Length: %d" % length)


BODIES = tuple(
    replace(case, settings=BODY)
    for case in (
        good("9110-15.5.14 length of the limit", post(b"Content-Length: 16", body=b"x" * 16)),
        bad(
            "9110-15.5.14 length above it", post(b"Content-Length: 17", body=b"x" * 17), status=413
        ),
        bad("9110-15.5.14 length above it, no body yet", post(b"Content-Length: 17"), status=413),
        bad("9110-15.5.14 length of 2**62", post(b"Content-Length: %d" % 2**62), status=413),
        good("9110-15.5.14 chunk of the limit", chunked(b"10", b"x" * 16, b"0", b"")),
        good("9110-15.5.14 chunks of the limit", chunked(*[b"1", b"x"] * 16, b"0", b"")),
        good(
            "9110-15.5.14 framing does not count",
            chunked(*[b"1;a=b", b"x"] * 16, b"0", b"X: y", b""),
        ),
        bad("9110-15.5.14 chunk above it", chunked(b"11", b"x" * 17, b"0", b""), status=413),
        bad("9110-15.5.14 chunks above it", chunked(*[b"1", b"x"] * 17, b"0", b""), status=413),
        endless("9110-15.5.14 endless chunks", chunked(*[b"8", b"x" * 8] * 1000), status=413),
        Case(
            name="9110-15.5.14 length above it of a HEAD",
            raw=request(b"HEAD / HTTP/1.1", b"Host: h", b"Content-Length: 17"),
            expect=(Reply(status=413, head=True),),
            fate="close",
        ),
        bad("9110-10.1.1 413 instead of 100", _expecting(17), status=413),
        Case(
            name="9110-10.1.1 100 at the limit",
            raw=_expecting(16),
            after_continue=b"x" * 16,
            expect=(Reply(status=200, sees={"body": "x" * 16}),),
            fate="keep",
        ),
    )
)

CASES: tuple[Case, ...] = LINES + FIELDS + LOWERED + BODIES
