# SPDX-License-Identifier: MIT
"""Messages that end before their end (RFC 9112 section 8).

The client's side of the connection is at its end, so no more can come. The request is never
taken for whole, and the server closes: with a 4xx or without a word.
"""

from __future__ import annotations

from .case import Case, get, post, request

LENGTH, CHUNKED = b"Content-Length: 5", b"Transfer-Encoding: chunked"

CASES: tuple[Case, ...] = tuple(
    Case(name=f"9112-8 {name}", raw=raw, expect=(), fate="close", half_close=True)
    for name, raw in (
        ("nothing at all", b""),
        ("an empty line", b"\r\n"),
        ("one byte", b"G"),
        ("half a request line", b"GET / HT"),
        ("a request line", b"GET / HTTP/1.1\r\n"),
        ("half a field", b"GET / HTTP/1.1\r\nHost: h"),
        ("no empty line", get()[:-2]),
        ("half an empty line", get()[:-1]),
        ("no body", post(LENGTH)),
        ("half a body", post(LENGTH, body=b"he")),
        ("a body of one byte less", post(LENGTH, body=b"hell")),
        ("half a body with close", post(LENGTH, b"Connection: close", body=b"he")),
        ("half a body in HTTP/1.0", request(b"POST / HTTP/1.0", LENGTH, body=b"he")),
        ("no chunk", post(CHUNKED)),
        ("half a size", post(CHUNKED, body=b"5")),
        ("half a size line", post(CHUNKED, body=b"5\r")),
        ("half an extension", post(CHUNKED, body=b"5;a")),
        ("a size", post(CHUNKED, body=b"5\r\n")),
        ("half a chunk", post(CHUNKED, body=b"5\r\nhe")),
        ("a chunk without its line end", post(CHUNKED, body=b"5\r\nhello")),
        ("no last chunk", post(CHUNKED, body=b"5\r\nhello\r\n")),
        ("half a last chunk", post(CHUNKED, body=b"5\r\nhello\r\n0")),
        ("no empty line after the last chunk", post(CHUNKED, body=b"5\r\nhello\r\n0\r\n")),
        ("half an empty line after it", post(CHUNKED, body=b"5\r\nhello\r\n0\r\n\r")),
        ("half a trailer", post(CHUNKED, body=b"5\r\nhello\r\n0\r\nX: y")),
        ("no empty line after a trailer", post(CHUNKED, body=b"5\r\nhello\r\n0\r\nX: y\r\n")),
    )
)
