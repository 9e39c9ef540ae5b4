# SPDX-License-Identifier: MIT
"""Pipelines, and responses without content (RFC 9110 section 6.4.1, RFC 9112 section 6.3).

A byte of content after HEAD, 204 or 304 would be read as the beginning of the next response.
The echo application sends content whatever the method; below ``/204`` and ``/304`` it answers
with that status, and with content where the path ends in ``-content``; at ``/unread`` it
answers before it reads, and at ``/parts`` it sends its content in parts of no announced length.
"""

from __future__ import annotations

from .case import CRLF, Case, Reply, bad, get, good, post, request

HELLO = b"hello"


def _head(target: bytes = b"/", version: bytes = b"HTTP/1.1") -> bytes:
    return request(b"HEAD " + target + b" " + version, b"Host: h")


def _sees(path: str, body: str = "") -> Reply:
    return Reply(status=200, sees={"path": path, "body": body})


HEAD = Reply(status=200, head=True, sees={"method": "HEAD"})

NO_CONTENT = (
    Case(name="9110-9.3.2 HEAD", raw=_head(), expect=(HEAD,), fate="keep"),
    Case(
        name="9110-9.3.2 HEAD in HTTP/1.0",
        raw=_head(version=b"HTTP/1.0"),
        expect=(HEAD,),
        fate="close",
    ),
    Case(
        name="9110-9.3.2 HEAD in a pipeline",
        raw=_head(b"/1") + get(target=b"/2") + _head(b"/3") + _head(b"/4"),
        expect=(HEAD, _sees("/2"), HEAD, HEAD),
        fate="keep",
    ),
    Case(
        name="9110-9.3.2 HEAD with a body",
        raw=request(b"HEAD / HTTP/1.1", b"Host: h", b"Content-Length: 5", body=HELLO) + get(),
        expect=(Reply(status=200, head=True, sees={"body": "hello"}), _sees("/")),
        fate="keep",
    ),
    Case(
        name="9110-9.3.2 refused HEAD",
        raw=request(b"HEAD / HTTP/1.1"),
        expect=(Reply(status=400, head=True),),
        fate="close",
    ),
    *(
        Case(
            name=f"9110-{section} {name}",
            raw=get(target=target) + get(target=b"/2"),
            expect=(Reply(status=status), _sees("/2")),
            fate="keep",
        )
        for section, name, target, status in (
            ("15.3.5", "204", b"/204", 204),
            ("15.3.5", "204 of an app that sends content", b"/204-content", 204),
            ("15.4.5", "304", b"/304", 304),
            ("15.4.5", "304 of an app that sends content", b"/304-content", 304),
        )
    ),
    Case(
        name="9110-15.3.5 204 to HEAD",
        raw=_head(b"/204") + get(),
        expect=(Reply(status=204, head=True), _sees("/")),
        fate="keep",
    ),
    Case(
        name="9110-15.3.5 204 to HTTP/1.0",
        raw=get(target=b"/204", version=b"HTTP/1.0"),
        expect=(Reply(status=204),),
        fate="close",
    ),
    Case(
        name="9110-15.4.5 304 to HEAD",
        raw=_head(b"/304-content") + get(),
        expect=(Reply(status=304, head=True), _sees("/")),
        fate="keep",
    ),
)

CHUNKS = b"2\r\nab\r\n0\r\n\r\n"

PIPELINES = (
    Case(
        name="9112-9.3.2 answers in order",
        raw=b"".join(get(target=b"/%d" % number) for number in range(20)),
        expect=tuple(_sees(f"/{number}") for number in range(20)),
        fate="keep",
    ),
    Case(
        name="9112-9.3.2 more than one read brings",
        raw=b"".join(get(b"X: " + b"y" * 150, target=b"/n%d" % number) for number in range(500)),
        expect=tuple(_sees(f"/n{number}") for number in range(500)),
        fate="keep",
    ),
    Case(
        name="9112-9.3.2 bodies of each kind",
        raw=post(b"Content-Length: 5", body=HELLO, target=b"/1")
        + get(target=b"/2")
        + post(b"Transfer-Encoding: chunked", body=CHUNKS, target=b"/3")
        + post(target=b"/4")
        + post(b"Content-Length: 0", target=b"/5"),
        expect=(_sees("/1", "hello"), _sees("/2"), _sees("/3", "ab"), _sees("/4"), _sees("/5")),
        fate="keep",
    ),
    Case(
        name="9112-9.3.2 closed by HTTP/1.0 in its midst",
        raw=get(target=b"/1") + get(target=b"/2", version=b"HTTP/1.0") + get(target=b"/smuggled"),
        expect=(_sees("/1"), _sees("/2")),
        fate="close",
    ),
    Case(
        name="9112-9.3.2 HTTP/1.0 keep-alive, then 1.1",
        raw=get(b"Connection: keep-alive", target=b"/1", version=b"HTTP/1.0") + get(target=b"/2"),
        expect=(_sees("/1"), _sees("/2")),
        fate="keep",
    ),
)

LATE = Reply(status=200, sees={"path": "/unread"})
INNER = get(target=b"/smuggled")

UNREAD = (
    Case(
        name="9112-9.3 body that the app leaves",
        raw=post(b"Content-Length: %d" % len(INNER), body=INNER, target=b"/unread"),
        expect=(LATE,),
        fate="either",
    ),
    Case(
        name="9112-9.3 chunks that the app leaves",
        raw=post(
            b"Transfer-Encoding: chunked",
            body=b"%x" % len(INNER) + CRLF + INNER + CRLF + b"0\r\n\r\n",
            target=b"/unread",
        ),
        expect=(LATE,),
        fate="either",
    ),
    Case(
        name="9112-9.3 large body that the app leaves",
        raw=post(b"Content-Length: 300000", body=INNER.ljust(300_000, b"x"), target=b"/unread"),
        expect=(LATE,),
        fate="either",
    ),
    Case(
        name="9112-7.1 bad chunks that the app leaves",
        raw=post(b"Transfer-Encoding: chunked", body=b"x\r\n" + INNER, target=b"/unread"),
        expect=(Reply(status=(200, 400), announces_close=False),),
        fate="close",
    ),
)

#: Of no length: HTTP/1.1 gets chunks, HTTP/1.0 an end of the connection.
PARTS = (
    good("9112-6.3 content in parts", get(target=b"/parts"), path="/parts"),
    Case(
        name="9112-6.3 content in parts to HEAD",
        raw=_head(b"/parts") + get(target=b"/2"),
        expect=(HEAD, _sees("/2")),
        fate="keep",
    ),
    Case(
        name="9112-6.3 content in parts, in a pipeline",
        raw=get(target=b"/parts") + get(target=b"/2") + get(target=b"/parts"),
        expect=(_sees("/parts"), _sees("/2"), _sees("/parts")),
        fate="keep",
    ),
    good(
        "9112-6.1 content in parts to HTTP/1.0",
        get(target=b"/parts", version=b"HTTP/1.0"),
        fate="close",
    ),
    good(
        "9112-6.3 content in parts to HTTP/1.0 can't be kept",
        get(b"Connection: keep-alive", target=b"/parts", version=b"HTTP/1.0"),
        fate="close",
    ),
)

ERRORS = (
    good("9112-9.3 no fault is no error", get()),
    bad("9112-9.6 refused once", get(b"X : y") + get(b"X : y")),
    bad("9112-9.6 nothing behind a refusal", get(b"X : y") + INNER),
)

CASES: tuple[Case, ...] = NO_CONTENT + PIPELINES + UNREAD + PARTS + ERRORS
