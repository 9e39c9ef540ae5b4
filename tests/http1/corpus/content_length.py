# SPDX-License-Identifier: MIT
"""Content-Length: one field of digits, and never beside Transfer-Encoding (RFC 9112 section 6).

RFC 9110 section 8.6 lets a recipient merge equal lengths. We refuse all repetition: nobody
honest sends it, and the peer before us may have merged in another way.
"""

from __future__ import annotations

from .case import CRLF, Case, bad, chunked, get, good, post, request

HELLO = b"hello"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"


def _length(value: bytes, body: bytes = HELLO) -> bytes:
    return post(b"Content-Length: " + value, body=body)


ACCEPTED = (
    good("9112-6.3 length and body", _length(b"5"), body="hello"),
    good("9112-6.3 length zero", _length(b"0", b""), body=""),
    good("9112-6.3 no length is no body", post(), method="POST", body=""),
    good("9112-6.3 body of a GET", get(b"Content-Length: 5") + HELLO, method="GET", body="hello"),
    good(
        "9112-6.3 body of a DELETE",
        request(b"DELETE / HTTP/1.1", b"Host: h", b"Content-Length: 5", body=HELLO),
        body="hello",
    ),
    good(
        "9112-6.3 body of an unknown method",
        request(b"FOO / HTTP/1.1", b"Host: h", b"Content-Length: 5", body=HELLO),
        method="FOO",
        body="hello",
    ),
    good(
        "9112-6.3 body of an OPTIONS *",
        request(b"OPTIONS * HTTP/1.1", b"Host: h", b"Content-Length: 5", body=HELLO),
        body="hello",
    ),
    good(
        "9112-6.3 length in HTTP/1.0",
        request(b"POST / HTTP/1.0", b"Content-Length: 5", body=HELLO),
        fate="close",
        body="hello",
    ),
    good("9110-8.6 leading zeros", _length(b"005"), body="hello"),
    good("9112-5.1 white space around a length", _length(b"\t 5 \t"), body="hello"),
    good("9112-6.3 name in upper case", post(b"CONTENT-LENGTH: 5", body=HELLO), body="hello"),
    good(
        "9112-6.3 body that looks like a request",
        _length(b"%d" % len(SMUGGLED), SMUGGLED),
        path="/",
        body=SMUGGLED.decode(),
    ),
    good(
        "9112-6.3 body of every byte",
        _length(b"256", bytes(range(256))),
        body=bytes(range(256)).decode("latin-1"),
    ),
    good(
        "9112-6.3 body of 200,000 bytes",
        _length(b"200000", b"\r\n\r\nabcd" * 25_000),
        body="\r\n\r\nabcd" * 25_000,
    ),
    good("9112-6.3 body of empty lines", _length(b"4", CRLF * 2), body="\r\n\r\n"),
    good(
        "9112-6.3 an underscore makes another field",
        post(b"Content_Length: 5"),
        headers=[("host", "h"), ("content_length", "5")],
        body="",
    ),
    good(
        "9110-7.6.1 Connection can't remove the length",
        post(b"Connection: content-length", b"Content-Length: 5", body=HELLO),
        body="hello",
    ),
)

MALFORMED = tuple(
    bad(f"9112-6.3 length {value.decode('latin-1')!r}", _length(value))
    for value in (
        b"",
        b"+5",
        b"-5",
        b"-0",
        b"5 5",
        b"5, 5",
        b"5,5",
        b"5,",
        b",5",
        b"5, 6",
        b"5;",
        b"5;q=1",
        b"5.0",
        b"5e0",
        b"5_0",
        b"_5",
        b"0x5",
        b"0b1",
        b"0o5",
        b"5h",
        b"a",
        b"five",
        b'"5"',
        b"'5'",
        b"(5)",
        b"5\x0b",
        b"\x0c5",
        b"\x005",
        b"5\x00",
        # Digits and spaces to str methods of Python, not to RFC 9110 section 8.6.
        b"\xb2",
        b"5\xb9",
        b"\xa05",
        b"5\x85",
        b"\xd9\xa5",
    )
)

HUGE = tuple(
    bad(f"9110-8.6 length {name}", _length(value))
    for name, value in (
        ("2**63 + 1", b"9223372036854775809"),
        ("2**64", b"18446744073709551616"),
        ("2**64 + 5 wraps to 5", b"18446744073709551621"),
        ("2**32 times 2**32 plus 5", b"340282366920938463463374607431768211461"),
        ("of 40 digits", b"9" * 40),
        # Above the 4300 digits that int() takes.
        ("of 5000 digits", b"9" * 5000),
    )
)

SEVERAL = (
    bad("9112-6.3 two equal lengths", post(b"Content-Length: 5", b"Content-Length: 5", body=HELLO)),
    bad("9112-6.3 two lengths", post(b"Content-Length: 5", b"Content-Length: 6", body=HELLO)),
    bad("9112-6.3 two lengths, zero first", post(b"Content-Length: 0", b"Content-Length: 5")),
    bad("9112-6.3 two lengths, zero last", post(b"Content-Length: 5", b"Content-Length: 0")),
    bad("9112-6.3 two lengths, one empty", post(b"Content-Length: 5", b"Content-Length:")),
    bad("9112-6.3 two lengths in two cases", post(b"content-length: 5", b"CONTENT-LENGTH: 5")),
    bad("9112-6.3 two lengths apart", post(b"Content-Length: 5", b"A: b", b"Content-Length: 5")),
    bad("9112-6.3 two lengths of a GET", get(b"Content-Length: 0", b"Content-Length: 0")),
    bad(
        "9112-6.3 two lengths in HTTP/1.0",
        request(b"POST / HTTP/1.0", b"Content-Length: 5", b"Content-Length: 5", body=HELLO),
    ),
)

LENGTH, CHUNKED = b"Content-Length: 5", b"Transfer-Encoding: chunked"
END = b"0\r\n\r\n"

WITH_TRANSFER_ENCODING = (
    bad("9112-6.3 length, then chunked", post(LENGTH, CHUNKED, body=END)),
    bad("9112-6.3 chunked, then length", post(CHUNKED, LENGTH, body=END)),
    bad("9112-6.3 length zero and chunked", post(b"Content-Length: 0", CHUNKED, body=END)),
    bad("9112-6.3 equal length and chunked", post(CHUNKED, LENGTH, body=END + SMUGGLED)),
    bad("9112-6.3 length and identity", post(LENGTH, b"Transfer-Encoding: identity", body=HELLO)),
    bad("9112-6.3 length and gzip", post(LENGTH, b"Transfer-Encoding: gzip", body=HELLO)),
    bad("9112-6.3 length and a hidden chunked", post(LENGTH, CHUNKED + b"x", body=END)),
    bad("9112-6.3 length and an empty coding", post(LENGTH, b"Transfer-Encoding:", body=HELLO)),
    bad("9112-6.3 length and chunked of a GET", get(LENGTH, CHUNKED) + END),
    bad("9112-6.3 length and gzip, chunked", post(LENGTH, b"Transfer-Encoding: gzip, chunked")),
    bad("9112-6.3 bad length and chunked", post(b"Content-Length: x", CHUNKED, body=END)),
    bad(
        "9112-6.3 length and chunked in HTTP/1.0",
        request(b"POST / HTTP/1.0", LENGTH, CHUNKED, body=END),
    ),
    bad("9112-6.3 length in a trailer", chunked(b"0", b"Content-Length: 5", b"")),
)

CASES: tuple[Case, ...] = ACCEPTED + MALFORMED + HUGE + SEVERAL + WITH_TRANSFER_ENCODING
