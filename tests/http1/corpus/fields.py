# SPDX-License-Identifier: MIT
"""Field lines: ``field-name ":" OWS field-value OWS CRLF`` (RFC 9112 section 5).

Whatever a peer might read in two ways is refused: folded lines, white space before the colon,
line ends that are not CRLF, control characters.
"""

from __future__ import annotations

from .case import Case, bad, get, good, post, request

LINE = b"GET / HTTP/1.1"
TOKEN = b"!#$%&'*+-.^_`|~0129abzABZ"


def _seen(*fields: tuple[str, str]) -> list[tuple[str, str]]:
    return [("host", "h"), *fields]


ACCEPTED = (
    good("9112-5.1 no white space after the colon", get(b"X:y"), headers=_seen(("x", "y"))),
    good("9112-5.1 white space is trimmed", get(b"X: \t y \t "), headers=_seen(("x", "y"))),
    good("9112-5.1 trailing space is trimmed", get(b"X: y "), headers=_seen(("x", "y"))),
    good("9110-5.5 empty value", get(b"X:"), headers=_seen(("x", ""))),
    good("9110-5.5 value of white space only", get(b"X: \t "), headers=_seen(("x", ""))),
    good(
        "9110-5.5 empty value before another",
        get(b"X:", b"Y: z"),
        headers=_seen(("x", ""), ("y", "z")),
    ),
    good("9110-5.5 tab inside a value", get(b"X: a\tb"), headers=_seen(("x", "a\tb"))),
    good("9110-5.5 spaces inside a value", get(b"X: a   b"), headers=_seen(("x", "a   b"))),
    good("9110-5.5 colons in a value", get(b"X: :a:b:"), headers=_seen(("x", ":a:b:"))),
    good(
        "9110-5.5 quotes and commas",
        get(b'X: "a, b", c;d="'),
        headers=_seen(("x", '"a, b", c;d="')),
    ),
    good(
        "9110-5.5 obs-text", get(b"X: \x80\xa0\xe9\xff"), headers=_seen(("x", "\x80\xa0\xe9\xff"))
    ),
    good(
        "9110-5.5 obs-text that is white space to Unicode is not trimmed",
        get(b"X: \xa0a\x85"),
        headers=_seen(("x", "\xa0a\x85")),
    ),
    good(
        "9110-5.5 every visible character",
        get(b"X: " + bytes(range(0x21, 0x7F))),
        headers=_seen(("x", bytes(range(0x21, 0x7F)).decode())),
    ),
    good("9110-5.1 names in any case", get(b"x-AbC: Y"), headers=_seen(("x-abc", "Y"))),
    good(
        "9110-5.1 every token character",
        get(TOKEN + b": y"),
        headers=_seen((TOKEN.decode().lower(), "y")),
    ),
    good(
        "9110-5.3 repeated fields keep their order",
        get(b"A: 1", b"B: 2", b"a: 3", b"A: 1"),
        headers=_seen(("a", "1"), ("b", "2"), ("a", "3"), ("a", "1")),
    ),
    good(
        "9110-5.3 repeated Cookie fields",
        get(b"Cookie: a=b", b"Cookie: c=d"),
        headers=_seen(("cookie", "a=b"), ("cookie", "c=d")),
    ),
    good(
        "9110-7.2 Host need not come first",
        request(LINE, b"X: y", b"Host: h"),
        headers=[("x", "y"), ("host", "h")],
    ),
)

LINES = (
    bad("9112-5.1 space before the colon", get(b"X : y")),
    bad("9112-5.1 tab before the colon", get(b"X\t: y")),
    bad("9112-5.1 space before the colon of Host", request(LINE, b"Host : h")),
    bad("9112-5.1 space before the colon of Content-Length", post(b"Content-Length : 0")),
    bad("9112-2.2 white space before the first field", request(LINE, b" Host: h")),
    bad("9112-2.2 tab before the first field", request(LINE, b"\tHost: h")),
    bad("9112-2.2 a line of white space first", request(LINE, b" ", b"Host: h")),
    bad("9112-5.2 obs-fold by a space", get(b"X: a", b" b")),
    bad("9112-5.2 obs-fold by a tab", get(b"X: a", b"\tb")),
    bad("9112-5.2 obs-fold of an empty value", get(b"X:", b" b")),
    bad("9112-5.2 obs-fold that looks like a field", get(b"X: a", b" Content-Length: 5")),
    bad("9112-5.2 obs-fold of white space only", get(b"X: a", b" ")),
    bad("9112-5.2 obs-fold of Host", request(LINE, b"Host: h", b" i", b"X: y")),
    bad("9112-5.2 obs-fold of Content-Length", post(b"Content-Length: 1", b" 0", body=b"a" * 10)),
    bad("9112-5 no colon", get(b"X")),
    bad("9112-5 no colon in the last line", get(b"X: y", b"Z")),
    bad("9112-5 no colon but an equals sign", get(b"X=y")),
    bad("9112-5 another request line among the fields", get(b"GET /smuggled HTTP/1.1")),
    bad("9112-5 empty name", get(b": y")),
    bad("9112-5 colon alone", get(b":")),
    bad("9112-5 pseudo-header of HTTP/2", get(b":method: POST")),
    bad("9112-5 empty name first", request(LINE, b": y", b"Host: h")),
    bad("9112-2.2 line ended by LF", LINE + b"\r\nHost: h\nX: y\r\n\r\n"),
    bad("9112-2.2 last line ended by LF", LINE + b"\r\nHost: h\n\r\n"),
    bad("9112-2.2 empty line ended by LF", LINE + b"\r\nHost: h\r\n\n"),
    bad("9112-2.2 line and empty line ended by LF", LINE + b"\r\nHost: h\n\n"),
    bad("9112-2.2 line ended by CR", LINE + b"\r\nHost: h\rX: y\r\n\r\n"),
    bad("9112-2.2 line ended by CR CR LF", LINE + b"\r\nHost: h\r\r\n\r\n"),
    bad("9112-2.2 empty line ended by CR CR LF", LINE + b"\r\nHost: h\r\n\r\r\n"),
    bad("9112-2.2 empty line ended by CR", LINE + b"\r\nHost: h\r\n\rGET"),
    bad("9112-2.2 bare CR in a value", get(b"X: a\rb")),
    bad("9112-2.2 bare CR before a value", get(b"X:\ra")),
    bad("9112-2.2 bare CR in an empty value", get(b"X: \r")),
    bad("9112-2.2 bare CR in a name", get(b"X\rY: a")),
    bad("9112-2.2 bare LF in a value", get(b"X: a\nContent-Length: 5")),
    bad("9112-2.2 bare LF in a name", get(b"X\nY: a")),
    bad("9112-2.2 bare LF in an empty value", get(b"X:\n")),
)

#: CTL without HTAB, CR and LF, which have cases of their own.
CONTROLS = sorted({*range(0x20), 0x7F} - {0x09, 0x0A, 0x0D})
#: Everything but CTL, tchar, the colon that ends a name, and SP.
DELIMITERS = b'"(),/;<=>?@[\\]{}'

BYTES = (
    *(bad(f"9110-5.5 {byte:#04x} in a value", get(b"X: a%cb" % byte)) for byte in CONTROLS),
    *(bad(f"9110-5.6.2 {byte:c} in a name", get(b"X%cY: a" % byte)) for byte in DELIMITERS),
    *(
        bad(f"9110-5.6.2 {byte:#04x} in a name", get(b"X%cY: a" % byte))
        for byte in b"\x00\x01\x0b\x0c\x1f \t\x7f\x80\xa0\xe9\xff"
    ),
    bad("9110-5.5 NUL at the end of a value", get(b"X: a\0")),
    bad("9110-5.5 NUL as the value", get(b"X: \0")),
    bad("9110-5.5 vertical tab before a value", get(b"X:\x0ba")),
    bad("9110-5.5 form feed after a value", get(b"X: a\x0c")),
    bad("9110-5.5 DEL at the end of a value", get(b"X: a\x7f")),
    bad("9110-5.6.2 NUL before a name", get(b"\0X: a")),
    bad("9110-5.6.2 DEL after a name", get(b"X\x7f: a")),
)

CASES: tuple[Case, ...] = ACCEPTED + LINES + BYTES
