# SPDX-License-Identifier: MIT
"""HTTP-version: ``%s"HTTP" "/" DIGIT "." DIGIT``, case-sensitive (RFC 9112 section 2.3).

A higher minor version of 1 is answered as 1.1 (RFC 9110 section 2.5); another major version
is 505 (RFC 9110 section 15.6.6); what is no HTTP-version at all is 400.
"""

from __future__ import annotations

from .case import Case, bad, get, good, request

SUPPORTED = (
    good("9112-2.3 HTTP/1.1", get(), http_version="1.1"),
    good("9112-2.3 HTTP/1.0", get(version=b"HTTP/1.0"), http_version="1.0", fate="close"),
    good("9110-2.5 HTTP/1.2 is answered as 1.1", get(version=b"HTTP/1.2"), http_version="1.1"),
    good("9110-2.5 HTTP/1.9 is answered as 1.1", get(version=b"HTTP/1.9"), http_version="1.1"),
    bad("9112-3.2 HTTP/1.2 needs Host too", request(b"GET / HTTP/1.2")),
)

UNSUPPORTED = tuple(
    bad(f"9110-15.6.6 {version.decode()}", get(version=version), status=505)
    for version in (b"HTTP/2.0", b"HTTP/2.1", b"HTTP/3.0", b"HTTP/9.9")
)

# 0.9 never had a version in its line: both answers are true of one that has.
ANCIENT = (
    bad("9110-15.6.6 HTTP/0.9 by name", get(version=b"HTTP/0.9"), status=(400, 505)),
    bad("9110-15.6.6 HTTP/0.0", get(version=b"HTTP/0.0"), status=(400, 505)),
    bad("9112-3 HTTP/0.9 simple request", b"GET /\r\n\r\n"),
    bad("9112-3 simple request with a trailing space", b"GET / \r\n\r\n"),
    bad("9112-3 simple request with fields", request(b"GET /", b"Host: h")),
)

MALFORMED = tuple(
    bad(f"9112-2.3 {version.decode('latin-1')!r}", get(version=version))
    for version in (
        b"http/1.1",
        b"Http/1.1",
        b"hTTP/1.1",
        b"HTTP/1.10",
        b"HTTP/11.1",
        b"HTTP/01.1",
        b"HTTP/1.01",
        b"HTTP/1",
        b"HTTP/1.",
        b"HTTP/.1",
        b"HTTP/1.1.1",
        b"HTTP/1,1",
        b"HTTP/1:1",
        b"HTTP/+1.1",
        b"HTTP/-1.1",
        b"HTTP/1.x",
        b"HTTP/x.1",
        b"HTTP/",
        b"HTTP",
        b"HTTP 1.1",
        b"HTTP/ 1.1",
        b"HTTP /1.1",
        b"HTTP\\1.1",
        b"HTTP/1.\xb9",
        b"HTTP/1.1\x00",
        b"HTTP/1.1\x0b",
        b"HTTP/1.1;q=1",
        b"HTTP/2",
        b"HTTP/20.0",
        b"HTP/1.1",
        b"HTTTP/1.1",
        b"HTTPS/1.1",
        b"XHTTP/1.1",
        b"ICE/1.0",
        b"RTSP/1.0",
        b"SIP/2.0",
    )
)

CASES: tuple[Case, ...] = SUPPORTED + UNSUPPORTED + ANCIENT + MALFORMED
