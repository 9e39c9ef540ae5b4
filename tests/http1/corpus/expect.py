# SPDX-License-Identifier: MIT
"""Expect (RFC 9110 section 10.1.1): 100 Continue when the application asks for a body not here.

Never before that, never to HTTP/1.0, never for a body that is already here; and an expectation
that is not ``100-continue`` is 417.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .case import Case, Reply, bad, get, good, post, request

if TYPE_CHECKING:
    from .case import Fate

EXPECT = b"Expect: 100-continue"
LENGTH = b"Content-Length: 5"
CHUNKED = b"Transfer-Encoding: chunked"
HELLO = b"hello"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"


def _waits(name: str, head: bytes, body: bytes = HELLO, fate: Fate = "keep") -> Case:
    """The body is sent when 100 Continue has come, not before."""
    return Case(
        name=name,
        raw=head,
        after_continue=body,
        expect=(Reply(status=200, sees={"body": "hello"}),),
        fate=fate,
    )


def _impatient(name: str, raw: bytes) -> Case:
    """The body comes with the head: only where they come apart may 100 Continue be sent."""
    return Case(
        name=name,
        raw=raw,
        expect=(Reply(status=200, sees={"body": "hello"}, may_continue=True),),
        fate="keep",
    )


CONTINUED = (
    _waits("9110-10.1.1 before a length", post(EXPECT, LENGTH)),
    _waits("9110-10.1.1 before chunks", post(EXPECT, CHUNKED), CHUNKS),
    _waits("9110-10.1.1 value in upper case", post(b"Expect: 100-CONTINUE", LENGTH)),
    _waits("9110-10.1.1 field in lower case", post(b"expect:100-continue", LENGTH)),
    _waits("9110-10.1.1 last in the head", post(LENGTH, EXPECT)),
    _waits("9110-10.1.1 with close", post(EXPECT, LENGTH, b"Connection: close"), fate="close"),
    _waits("9110-10.1.1 HTTP/1.2", request(b"POST / HTTP/1.2", b"Host: h", EXPECT, LENGTH)),
)

BROKEN_AFTERWARDS = (
    Case(
        name="9110-10.1.1 bad chunks after the 100",
        raw=post(EXPECT, CHUNKED),
        after_continue=b"x\r\n",
        expect=(Reply(status=400),),
        fate="close",
    ),
)

NOT_CONTINUED = (
    _impatient("9110-10.1.1 length that is here", post(EXPECT, LENGTH, body=HELLO)),
    _impatient("9110-10.1.1 chunks that are here", post(EXPECT, CHUNKED, body=CHUNKS)),
    good("9110-10.1.1 no body", get(EXPECT), body=""),
    good("9110-10.1.1 empty body", post(EXPECT, b"Content-Length: 0"), body=""),
    good(
        "9110-10.1.1 ignored in HTTP/1.0",
        request(b"POST / HTTP/1.0", EXPECT, LENGTH, body=HELLO),
        fate="close",
        body="hello",
    ),
    good(
        "9110-10.1.1 ignored in HTTP/1.0 keep-alive",
        request(b"POST / HTTP/1.0", EXPECT, LENGTH, b"Connection: keep-alive", body=HELLO),
        body="hello",
    ),
    Case(
        name="9110-10.1.1 app that answers before it reads",
        raw=post(EXPECT, LENGTH, target=b"/unread"),
        expect=(Reply(status=200),),
        fate="close",
    ),
)

REFUSED = (
    bad("9110-10.1.1 unknown", post(b"Expect: foo", LENGTH, body=HELLO), status=417),
    bad("9110-10.1.1 unknown without a body", get(b"Expect: foo"), status=417),
    bad("9110-10.1.1 unknown of the form a=b", get(b"Expect: foo=bar"), status=417),
    bad("9110-10.1.1 another status", post(b"Expect: 200-ok", LENGTH, body=HELLO), status=417),
    bad("9110-10.1.1 begins like it", post(b"Expect: 100-continued", LENGTH), status=417),
    bad("9110-10.1.1 status alone", post(b"Expect: 100", LENGTH), status=417),
    bad("9110-10.1.1 quoted", post(b'Expect: "100-continue"', LENGTH), status=417),
    bad("9110-10.1.1 one unknown in a list", post(EXPECT + b", foo", LENGTH), status=417),
    bad("9110-10.1.1 one unknown in a second line", post(EXPECT, b"Expect: x", LENGTH), status=417),
    bad("9110-10.1.1 100 of an unframed request", post(EXPECT, LENGTH, CHUNKED)),
    bad("9110-10.1.1 100 of a bad length", post(EXPECT, b"Content-Length: x")),
    bad("9110-10.1.1 no Host", request(b"POST / HTTP/1.1", EXPECT, LENGTH)),
    Case(
        name="9110-10.1.1 unknown to HEAD",
        raw=request(b"HEAD / HTTP/1.1", b"Host: h", b"Expect: foo"),
        expect=(Reply(status=417, head=True),),
        fate="close",
    ),
)

CASES: tuple[Case, ...] = CONTINUED + BROKEN_AFTERWARDS + NOT_CONTINUED + REFUSED
