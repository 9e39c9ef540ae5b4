# SPDX-License-Identifier: MIT
"""Transfer-Encoding: one field that says ``chunked``, in HTTP/1.1 (RFC 9112 sections 6.1, 7).

Chunked last behind a coding that we don't have is 501. Everything else that is not ``chunked``
is 400: each of these spellings has parted a proxy from its server.
"""

from __future__ import annotations

from .case import Case, bad, get, good, post, request

HELLO = b"5\r\nhello\r\n0\r\n\r\n"
FIELD = b"Transfer-Encoding: "
CHUNKED = FIELD + b"chunked"


def _coding(value: bytes) -> bytes:
    return post(FIELD + value, body=HELLO)


ACCEPTED = (
    good("9112-7.1 chunked", _coding(b"chunked"), body="hello"),
    good("9112-7 coding in title case", _coding(b"Chunked"), body="hello"),
    good("9112-7 coding in upper case", _coding(b"CHUNKED"), body="hello"),
    good("9112-6.1 name in mixed case", post(b"tRANSFER-eNCODING: chunked", body=HELLO)),
    good("9112-5.1 no space before the coding", post(b"Transfer-Encoding:chunked", body=HELLO)),
    good("9112-5.1 two spaces before the coding", _coding(b" chunked"), body="hello"),
    good("9112-7.1 chunked GET", get(CHUNKED) + HELLO, method="GET", body="hello"),
    good(
        "9112-7.1 chunked body of an unknown method",
        request(b"FOO / HTTP/1.1", b"Host: h", CHUNKED, body=HELLO),
        body="hello",
    ),
    good(
        "9112-7.1 chunked HTTP/1.2",
        request(b"POST / HTTP/1.2", b"Host: h", CHUNKED, body=HELLO),
        body="hello",
    ),
    good(
        "9110-7.6.1 Connection can't remove the coding",
        post(b"Connection: transfer-encoding", CHUNKED, body=HELLO),
        body="hello",
    ),
    good("9110-10.1.4 TE is another field", post(b"TE: trailers", b"Connection: TE"), body=""),
    good(
        "9112-6.1 an underscore makes another field", post(b"Transfer_Encoding: chunked"), body=""
    ),
)

UNKNOWN = (
    bad("9112-6.1 gzip, chunked", _coding(b"gzip, chunked"), status=501),
    bad("9112-6.1 gzip,chunked", _coding(b"gzip,chunked"), status=501),
    bad("9112-6.1 gzip, deflate, chunked", _coding(b"gzip, deflate, chunked"), status=501),
    bad("9112-6.1 unknown, chunked", _coding(b"x-foo, chunked"), status=501),
    # Not a coding since RFC 7230: unknown, or plainly wrong.
    bad("9112-7 identity, chunked", _coding(b"identity, chunked"), status=(400, 501)),
)

NOT_CHUNKED_LAST = tuple(
    bad(f"9112-6.3 coding {value.decode('latin-1')!r}", _coding(value))
    for value in (
        b"",
        b" ",
        b"gzip",
        b"deflate",
        b"compress",
        b"identity",
        b"none",
        b"x",
        b"xchunked",
        b"chunkedx",
        b"chunke",
        b"chunk",
        b"x-chunked",
        b"chunked-x",
        b"chunked, gzip",
        b"chunked, identity",
        b"chunked, chunked",
        b"gzip, chunked, chunked",
        b"chunked;q=1",
        b"chunked;",
        b"chunked; a=b",
        b"chunked,",
        b",chunked",
        b", chunked",
        b"chunked chunked",
        b"gzip chunked",
        b"chunked gzip",
        b"gzip\tchunked",
        b"chun ked",
        b'"chunked"',
        b"'chunked'",
        b"[chunked]",
        b"(x)chunked",
        b"chunked ",
        b"chunked\t",
        b"\x0bchunked",
        b"\x0cchunked",
        b"chunked\x0b",
        b"chunked\x00",
        b"\x00chunked",
        b"\xa0chunked",
        b"chunked\x85",
        b"\xefchunked",
        b"chun\xe2\x84\xaaed",
        b"chunked\r",
        b"\rchunked",
        b"\nchunked",
        b"chunked\x7f",
    )
)

LINES = (
    bad("9112-6.1 chunked twice", post(CHUNKED, CHUNKED, body=HELLO)),
    bad("9112-6.1 chunked, identity in two lines", post(CHUNKED, FIELD + b"identity", body=HELLO)),
    bad("9112-6.1 identity, chunked in two lines", post(FIELD + b"identity", CHUNKED, body=HELLO)),
    bad("9112-6.1 gzip, chunked in two lines", post(FIELD + b"gzip", CHUNKED, body=HELLO)),
    bad("9112-6.1 chunked and an empty line of it", post(CHUNKED, FIELD, body=HELLO)),
    bad("9112-6.1 two lines apart", post(CHUNKED, b"A: b", FIELD + b"x", body=HELLO)),
    bad("9112-6.1 two lines in two cases", post(CHUNKED, b"transfer-encoding: x", body=HELLO)),
    bad("9112-5.2 folded by a space", post(b"Transfer-Encoding:", b" chunked", body=HELLO)),
    bad("9112-5.2 folded by a tab", post(b"Transfer-Encoding:", b"\tchunked", body=HELLO)),
    bad("9112-5.2 folded after the coding", post(CHUNKED, b" , identity", body=HELLO)),
    bad("9112-5.2 in a folded line", post(b"X: y", b" Transfer-Encoding: chunked", body=HELLO)),
    bad(
        "9112-5.1 coding: space before the colon", post(b"Transfer-Encoding : chunked", body=HELLO)
    ),
    bad("9112-5.1 coding: tab before the colon", post(b"Transfer-Encoding\t: chunked", body=HELLO)),
    bad("9112-5 vertical tab before the name", post(b"\x0bTransfer-Encoding: chunked", body=HELLO)),
    bad("9112-5 NUL after the name", post(b"Transfer-Encoding\x00: chunked", body=HELLO)),
    bad("9112-5 colon twice", post(b"Transfer-Encoding:: chunked", body=HELLO)),
    bad("9112-2.2 after a bare LF", post(b"X: y\nTransfer-Encoding: chunked", body=HELLO)),
    bad("9112-2.2 after a bare CR", post(b"X: y\rTransfer-Encoding: chunked", body=HELLO)),
    bad("9112-5 a list by semicolon", post(b"Transfer-Encoding: gzip; chunked", body=HELLO)),
)

OLD = tuple(
    bad(f"9112-6.1 HTTP/1.0 with {name}", request(b"POST / HTTP/1.0", *fields, body=HELLO))
    for name, fields in (
        ("chunked", (CHUNKED,)),
        ("chunked and keep-alive", (CHUNKED, b"Connection: keep-alive")),
        ("identity", (FIELD + b"identity",)),
        ("an empty coding", (FIELD,)),
    )
)

CASES: tuple[Case, ...] = ACCEPTED + UNKNOWN + NOT_CHUNKED_LAST + LINES + OLD
