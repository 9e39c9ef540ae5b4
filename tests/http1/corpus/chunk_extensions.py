# SPDX-License-Identifier: MIT
"""Chunk extensions: ``*( ";" name [ "=" ( token / quoted-string ) ] )`` (RFC 9112 section 7.1.1).

They are parsed and dropped. The grammar allows bad white space around ``;`` and ``=``; we refuse
it, for a proxy that cuts the line at a space reads another size. They are bounded, each line and
all of them together, for they cost a sender nothing (RFC 9112 section 7.1.1, last paragraph).
"""

from __future__ import annotations

from .case import Case, bad, chunked, endless, good, post

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"


def _extension(extension: bytes) -> bytes:
    return chunked(b"5" + extension, b"hello", b"0", b"")


ACCEPTED = tuple(
    good(f"9112-7.1.1 {extension.decode()}", _extension(extension), body="hello")
    for extension in (
        b";a",
        b";a=b",
        b";a;b",
        b";a=b;c=d",
        b";a=0",
        b";a=5",
        b';a=""',
        b';a="q"',
        b';a="q r\ts"',
        b';a="q;\\"x"',
        b';a="q;r=s"',
        b';a="\\\\"',
        b';a="b";c',
        b";!#$%&'*+-.^_`|~9=!#$%&'*+-.^_`|~9",
    )
)

LAST = (
    good("9112-7.1.1 on the last chunk", chunked(b"0;a=b", b""), body=""),
    good("9112-7.1.1 on the last chunk, quoted", chunked(b'0;a="b"', b""), body=""),
    bad("9112-7.1.1 bare semicolon on the last chunk", chunked(b"0;", b"")),
    bad("9112-7.1.1 no name on the last chunk", chunked(b"0;=b", b"")),
    bad("9112-7.1.1 space on the last chunk", chunked(b"0;a b", b"")),
)

MALFORMED = tuple(
    bad(f"9112-7.1.1 {extension.decode('latin-1')!r}", _extension(extension))
    for extension in (
        b";",
        b";;",
        b";;a",
        b";a;",
        b";=b",
        b";=",
        b";a=",
        b";a==b",
        b";a=b=c",
        b";a=;b",
        b" ;a",
        b"\t;a",
        b";a b",
        b";a=b c",
        b";a ",
        b";a=b\t",
        b";a/b",
        b";a(b",
        b";a=b,c",
        b";a={b}",
        b";a=b/c",
        b";a,b",
        b",a",
        b"=a",
        b"a;b=c ;",
        b';"a"',
        b';"a"=b',
        b';a="b',
        b';a="',
        b';a="b\\"',
        b';a="b"c',
        b';a="b"c;d',
        b';a=b"c"',
        b";a='b c'",
        b";a\x00",
        b";a=\x00",
        b';a="\x00"',
        b";a\x7f",
        b';a="\x7f"',
        b";a\x0b",
        b";\x0ca",
        b";a=\xe9",
        b";\xe9",
    )
)

# A CR or LF inside an extension: the line ends for one parser and not for the other.
LINE_ENDS = tuple(
    bad(f"9112-7.1.1 {name}", _extension(extension))
    for name, extension in (
        ("CR in the name", b";a\rb"),
        ("CR in the value", b";a=b\rc"),
        ("CR in the quotes", b';a="b\rc"'),
        ("CR behind the semicolon", b";\ra"),
        ("CR CR", b";a\r"),
        ("LF in the name", b";a\nb"),
        ("LF in the value", b";a=b\nc"),
        ("LF in the quotes", b';a="b\nc"'),
        ("LF behind a backslash", b';a="b\\\nc"'),
        ("CRLF in the quotes", b';a="b\r\nc"'),
        ("LF behind the semicolon", b";\n"),
        ("LF and a request", b";\n" + SMUGGLED),
        ("LF and a size", b";a\n0\n\n"),
        ("CR and a size", b";a\r0\r\r"),
    )
)


def _many(count: int, extension: bytes) -> bytes:
    return chunked(*(b"1" + extension, b"x") * count, b"0", b"")


LIMITS = (
    good("9112-7.1.1 a line of 1000 bytes", _extension(b";a=" + b"b" * 1000), body="hello"),
    good("9112-7.1.1 a few on each chunk", _many(20, b";a=b"), body="x" * 20),
    bad("9112-7.1.1 a line of 5000 bytes", _extension(b";a=" + b"b" * 5000)),
    bad("9112-7.1.1 a quoted line of 5000 bytes", _extension(b';a="' + b" " * 5000 + b'"')),
    bad("9112-7.1.1 a line of 2500 names", _extension(b";a" * 2500)),
    endless(
        "9112-7.1.1 a line without end",
        post(b"Transfer-Encoding: chunked", body=b"5;a=" + b"b" * 20_000),
    ),
    bad("9112-7.1.1 256 KiB of them on chunks of one byte", _many(1024, b";a=" + b"b" * 253)),
)

CASES: tuple[Case, ...] = ACCEPTED + LAST + MALFORMED + LINE_ENDS + LIMITS
