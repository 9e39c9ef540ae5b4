# SPDX-License-Identifier: MIT
"""Which connections go on (RFC 9112 section 9.3), and what the bytes after the last request do.

Nothing, that is: they never spoil the last answer, and are never taken for a request.
"""

from __future__ import annotations

from .case import CRLF, Case, Reply, get, good, post, request

OLD = b"HTTP/1.0"


def _closes(name: str, *fields: bytes, version: bytes = b"HTTP/1.1") -> Case:
    return good(name, get(*fields, version=version), fate="close", path="/")


def _keeps(name: str, *fields: bytes, version: bytes = b"HTTP/1.1") -> Case:
    return good(name, get(*fields, version=version), path="/")


PERSISTENCE = (
    _keeps("9112-9.3 HTTP/1.1 is kept"),
    _keeps("9112-9.3 HTTP/1.1 with keep-alive is kept", b"Connection: keep-alive"),
    _keeps("9112-9.3 other options are ignored", b"Connection: foo, bar", b"Foo: 1"),
    _keeps("9112-9.3 empty Connection", b"Connection:"),
    _keeps("9112-9.3 empty list elements", b"Connection: , ,"),
    _keeps("9112-9.3 option that begins like close", b"Connection: closed"),
    _keeps("9112-9.3 option that ends like close", b"Connection: x-close"),
    _keeps("9112-C.2.2 Proxy-Connection is ignored", b"Proxy-Connection: close"),
    _keeps("9112-9.3 Keep-Alive is ignored", b"Keep-Alive: timeout=1, max=1"),
    _closes("9112-9.6 close", b"Connection: close"),
    _closes("9110-7.6.1 close in upper case", b"CONNECTION: CLOSE"),
    _closes("9110-7.6.1 close in mixed case", b"Connection: cLoSe"),
    _closes("9110-7.6.1 close without white space", b"Connection:close"),
    _closes("9110-7.6.1 close first in a list", b"Connection: close, foo"),
    _closes("9110-7.6.1 close last in a list", b"Connection: foo,close"),
    _closes("9110-7.6.1 close in the middle", b"Connection: foo\t,\tclose\t,bar"),
    _closes("9110-5.6.1 close among empty elements", b"Connection: ,close,,"),
    _closes("9110-5.3 close in a second line", b"Connection: foo", b"Connection: close"),
    _closes("9110-5.3 close in a first line", b"Connection: close", b"Connection: keep-alive"),
    _closes("9112-9.3 close wins over keep-alive", b"Connection: keep-alive, close"),
    _closes("9112-9.3 close wins wherever it is", b"Connection: close, keep-alive"),
    _closes("9112-9.3 HTTP/1.2 with close", b"Connection: close", version=b"HTTP/1.2"),
    _closes("9112-9.3 HTTP/1.0 is closed", version=OLD),
    _closes("9112-9.3 HTTP/1.0 with close", b"Connection: close", version=OLD),
    _closes("9112-9.3 HTTP/1.0 with other options", b"Connection: keep", version=OLD),
    _closes("9112-9.3 HTTP/1.0 with both", b"Connection: keep-alive, close", version=OLD),
    _closes("9112-C.2.2 HTTP/1.0 Proxy-Connection", b"Proxy-Connection: keep-alive", version=OLD),
    _keeps("9112-9.3 HTTP/1.0 with keep-alive", b"Connection: keep-alive", version=OLD),
    _keeps("9112-9.3 HTTP/1.0 with Keep-Alive", b"Connection: Keep-Alive", version=OLD),
    _keeps("9112-9.3 HTTP/1.0 keep-alive in a list", b"Connection: a, keep-alive", version=OLD),
    good(
        "9112-9.3 HTTP/1.0 keep-alive with a body",
        request(b"POST / HTTP/1.0", b"Connection: keep-alive", b"Content-Length: 5", body=b"hello"),
        body="hello",
    ),
    good(
        "9112-9.3 HTTP/1.0 keep-alive without Host",
        request(b"GET / HTTP/1.0", b"Connection: keep-alive"),
        headers=[("connection", "keep-alive")],
    ),
    good(
        "9112-9.6 close with a body",
        post(b"Connection: close", b"Content-Length: 2", body=b"ab"),
        fate="close",
        body="ab",
    ),
)

UPGRADES = (
    _keeps("9110-7.8 unknown protocol is ignored", b"Connection: upgrade", b"Upgrade: foo/2"),
    _keeps("9110-7.8 Upgrade without the option", b"Upgrade: foo/2"),
    _keeps("9110-7.8 option without Upgrade", b"Connection: upgrade"),
    _closes("9110-7.8 unknown protocol and close", b"Connection: close, upgrade", b"Upgrade: foo"),
    _closes("9110-7.8 Upgrade in HTTP/1.0", b"Connection: upgrade", b"Upgrade: foo", version=OLD),
    good(
        "9110-7.8 unknown protocol with a body",
        post(b"Connection: upgrade", b"Upgrade: foo", b"Content-Length: 5", body=b"hello"),
        body="hello",
    ),
    good(
        "9110-7.8 unknown protocol with chunks",
        post(
            b"Connection: upgrade",
            b"Upgrade: foo",
            b"Transfer-Encoding: chunked",
            body=b"5\r\nhello\r\n0\r\n\r\n",
        ),
        body="hello",
    ),
)

GARBAGE = tuple(
    good(f"9112-9.6 {name} after {last}", request_ + garbage, fate="close", path="/")
    for name, garbage in (
        ("a byte", b"x"),
        ("empty lines", CRLF * 3),
        ("NUL", b"\0"),
        ("bare LF", b"\n"),
        ("a bad request", b"GET / HTTP/1.1\r\n\r\n"),
        ("a request", get(target=b"/smuggled")),
        ("100 KB", b"x" * 100_000),
    )
    for last, request_ in (
        ("HTTP/1.0", get(version=OLD)),
        ("close", get(b"Connection: close")),
        ("close and a body", post(b"Connection: close", b"Content-Length: 0")),
    )
)

BETWEEN = (
    Case(
        name="9112-2.2 empty line between requests",
        raw=post(b"Content-Length: 1", body=b"a" + CRLF) + get(),
        expect=(Reply(status=200, sees={"body": "a"}), Reply(status=200)),
        fate="keep",
    ),
    Case(
        name="9112-9.3.2 a bad request after a good one",
        raw=get(target=b"/1") + get(b"X : y"),
        expect=(Reply(status=200, sees={"path": "/1"}), Reply(status=400)),
        fate="close",
    ),
    Case(
        name="9112-9.3.2 garbage after a good request",
        raw=get(target=b"/1") + b"\x16\x03\x01\r\n\r\n",
        expect=(Reply(status=200), Reply(status=400)),
        fate="close",
    ),
    Case(
        name="9112-9.6 nothing after close in a pipeline",
        raw=get(target=b"/1") + get(b"Connection: close", target=b"/2") + get(target=b"/3"),
        expect=(
            Reply(status=200, sees={"path": "/1"}),
            Reply(status=200, sees={"path": "/2"}),
        ),
        fate="close",
    ),
)

CASES: tuple[Case, ...] = PERSISTENCE + UPGRADES + GARBAGE + BETWEEN
