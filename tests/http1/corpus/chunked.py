# SPDX-License-Identifier: MIT
"""Chunks: ``chunk-size [chunk-ext] CRLF chunk-data CRLF`` (RFC 9112 section 7.1).

The application reads when the fault is found, and has not begun to answer: so the reply is 400.
"""

from __future__ import annotations

from .case import CRLF, Case, Reply, bad, chunked, good, post

HELLO = b"hello"
END = (b"0", b"")
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"


def _size(size: bytes, data: bytes = HELLO) -> bytes:
    return chunked(size, data, *END)


def _body(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body)


ACCEPTED = (
    good("9112-7.1 no chunk but the last", chunked(*END), body=""),
    good("9112-7.1 one chunk", _size(b"5"), body="hello"),
    good(
        "9112-7.1 three chunks", chunked(b"1", b"a", b"2", b"bc", b"3", b"def", *END), body="abcdef"
    ),
    good("9112-7.1 size in lower-case hex", _size(b"a", b"x" * 10), body="x" * 10),
    good("9112-7.1 size in upper-case hex", _size(b"A", b"x" * 10), body="x" * 10),
    good("9112-7.1 size of two digits", _size(b"1f", b"x" * 31), body="x" * 31),
    good("9112-7.1 size in mixed case", _size(b"aB", b"x" * 0xAB), body="x" * 0xAB),
    good("9112-7.1 size with leading zeros", _size(b"0005"), body="hello"),
    good("9112-7.1 size of sixteen digits", _size(b"0000000000000005"), body="hello"),
    good("9112-7.1 chunk of 100,000 bytes", _size(b"186a0", b"x" * 100_000), body="x" * 100_000),
    good("9112-7.1 last chunk of two zeros", chunked(b"5", HELLO, b"00", b""), body="hello"),
    good("9112-7.1 data of line ends", _size(b"4", CRLF * 2), body="\r\n\r\n"),
    good("9112-7.1 data like a last chunk", _size(b"5", b"0\r\n\r\n"), body="0\r\n\r\n"),
    good("9112-7.1 data like a size", _size(b"3", b"5\r\n"), body="5\r\n"),
    good("9112-7.1 data of NUL", _size(b"3", b"\0\0\0"), body="\0\0\0"),
    good(
        "9112-7.1 data like a request",
        _size(b"%x" % len(SMUGGLED), SMUGGLED),
        path="/",
        body=SMUGGLED.decode(),
    ),
    Case(
        name="9112-7.1 a request after the last chunk",
        raw=_size(b"5") + _size(b"3", b"bye"),
        expect=(
            Reply(status=200, sees={"body": "hello"}),
            Reply(status=200, sees={"body": "bye"}),
        ),
        fate="keep",
    ),
)

SIZES = tuple(
    bad(f"9112-7.1 size {size.decode('latin-1')!r}", _size(size))
    for size in (
        b"",
        b" ",
        b" 5",
        b"\t5",
        b"5 ",
        b"5\t",
        b"5  ",
        b"+5",
        b"-1",
        b"-0",
        b"0x5",
        b"0X5",
        b"x5",
        b"$5",
        b"\\x5",
        b"5h",
        b"5H",
        b"g",
        b"5.",
        b"5,",
        b"5_0",
        b"_5",
        b"5 5",
        b"5\x00",
        b"\x005",
        b"5\x0b",
        b"\x0c5",
        b"5\x0c",
        b"\xb2",
        b"5\x85",
        b"\xa05",
        b"\xef\xbc\x95",
        b'"5"',
    )
)

OVERFLOWS = tuple(
    bad(f"9112-7.1 size {name}", _size(size))
    for name, size in (
        ("of 17 digits", b"10000000000000005"),
        ("of 17 digits with leading zeros", b"00000000000000005"),
        ("of 17 times f", b"f" * 17),
        ("2**64 + 5 as 20 digits", b"00010000000000000005"),
        ("of 32 digits", b"1" + b"0" * 30 + b"5"),
        ("of 1000 zeros", b"0" * 1000 + b"5"),
        ("without end", b"0" * 20_000),
    )
)

LAST_CHUNKS = (
    bad("9112-7.1 space after the last size", chunked(b"0 ", b"")),
    bad("9112-7.1 tab after the last size", chunked(b"0\t", b"")),
    bad("9112-7.1 last size with a prefix", chunked(b"0x0", b"")),
    bad("9112-7.1 last size with a minus", chunked(b"-0", b"")),
    bad("9112-7.1 last size of 17 zeros", chunked(b"0" * 17, b"")),
)

LINE_ENDS = tuple(
    bad(f"9112-7.1 {name}", _body(body))
    for name, body in (
        ("size ended by LF", b"5\nhello\r\n0\r\n\r\n"),
        ("size ended by CR", b"5\rhello\r\n0\r\n\r\n"),
        ("size ended by CR CR LF", b"5\r\r\nhello\r\n0\r\n\r\n"),
        ("size ended by CR and a letter", b"5\rX\nhello\r\n0\r\n\r\n"),
        ("size ended by LF CR", b"5\n\rhello\r\n0\r\n\r\n"),
        ("data ended by LF", b"5\r\nhello\n0\r\n\r\n"),
        ("data ended by CR", b"5\r\nhello\r0\r\n\r\n"),
        ("data ended by CR CR LF", b"5\r\nhello\r\r\n0\r\n\r\n"),
        ("data ended by two other bytes", b"5\r\nhelloXX0\r\n\r\n"),
        ("data ended by CR and a letter", b"5\r\nhello\rX0\r\n\r\n"),
        ("data ended by nothing", b"5\r\nhello0\r\n\r\n"),
        ("data longer than its size", b"4\r\nhello\r\n0\r\n\r\n"),
        ("data shorter than its size", b"6\r\nhello\r\n0\r\n\r\n"),
        ("all line ends LF", b"5\nhello\n0\n\n"),
        ("last size ended by LF", b"5\r\nhello\r\n0\n\r\n"),
        ("last empty line ended by LF", b"5\r\nhello\r\n0\r\n\n"),
        ("last lines ended by LF", b"5\r\nhello\r\n0\n\n"),
        ("last size ended by CR", b"5\r\nhello\r\n0\r\r\n"),
        ("last empty line ended by CR", b"5\r\nhello\r\n0\r\n\rX"),
        ("last empty line ended by CR CR LF", b"5\r\nhello\r\n0\r\n\r\r\n"),
        ("an empty line before the first size", b"\r\n5\r\nhello\r\n0\r\n\r\n"),
        ("an empty line between chunks", b"1\r\na\r\n\r\n1\r\nb\r\n0\r\n\r\n"),
        ("no chunks at all", b"hello, world\r\n\r\n"),
        ("a request where a size belongs", SMUGGLED),
        ("a request where the second size belongs", b"5\r\nhello\r\n" + SMUGGLED),
    )
)

CASES: tuple[Case, ...] = ACCEPTED + SIZES + OVERFLOWS + LAST_CHUNKS + LINE_ENDS
