# SPDX-License-Identifier: MIT
"""Request targets in their four forms (RFC 9112 section 3.2), and the bytes in them.

Control characters, spaces, bytes above 0x7e and fragments are refused. What RFC 3986 forbids
but browsers send (``{}|^"<>[]`` and the backtick) is taken as it is. ``path`` is decoded,
``raw_path`` is what came.
"""

from __future__ import annotations

from .case import Case, Seen, bad, get, good, request


def _ok(name: str, target: bytes, sees: Seen) -> Case:
    return good(name, get(target=target), **sees)


def _options(target: bytes) -> bytes:
    return request(b"OPTIONS " + target + b" HTTP/1.1", b"Host: h")


def _absolute(target: bytes, host: bytes = b"other") -> bytes:
    return request(b"GET " + target + b" HTTP/1.1", b"Host: " + host)


ORIGIN = (
    _ok("9112-3.2.1 path and query", b"/p?q=1", {"raw_path": "/p", "query_string": "q=1"}),
    _ok("9112-3.2.1 empty query", b"/p?", {"path": "/p", "raw_path": "/p", "query_string": ""}),
    _ok("3986-3.4 question mark in the query", b"/p?a?b", {"path": "/p", "query_string": "a?b"}),
    _ok("3986-3.4 slash in the query", b"/p?/../q", {"path": "/p", "query_string": "/../q"}),
    _ok("9112-3.2.1 two slashes are no authority", b"//x/p", {"path": "//x/p"}),
    _ok("9112-3.2.1 two slashes and a port", b"//x:80", {"path": "//x:80", "raw_path": "//x:80"}),
    _ok("9112-3.2.1 two slashes and userinfo", b"//u@x/p", {"path": "//u@x/p"}),
    _ok("9112-3.2.1 three slashes", b"///", {"path": "///", "raw_path": "///"}),
    _ok("9112-3.2.1 a URL in the path", b"/http://x/p", {"path": "/http://x/p"}),
    _ok("9112-3.2.1 a URL in the query", b"/?u=http://x/p", {"query_string": "u=http://x/p"}),
    _ok("3986-3.3 colon and at sign in the path", b"/a:b@c", {"path": "/a:b@c"}),
    _ok("3986-3.3 parameters in the path", b"/a;b=c,d", {"path": "/a;b=c,d"}),
    _ok("3986-5.2.4 dot segments are kept", b"/a/../b/.", {"path": "/a/../b/."}),
    _ok("9112-3.2.1 asterisk in a path", b"/*", {"path": "/*", "raw_path": "/*"}),
    _ok("3986-2.1 percent-encoded UTF-8", b"/%C3%A9", {"path": "/é", "raw_path": "/%C3%A9"}),
    _ok("3986-2.1 percent-encoded slash", b"/a%2Fb", {"path": "/a/b", "raw_path": "/a%2Fb"}),
    _ok("3986-2.1 percent-encoded question mark", b"/a%3Fb", {"path": "/a?b", "query_string": ""}),
    _ok("3986-2.1 percent-encoded fragment", b"/a%23b", {"path": "/a#b", "raw_path": "/a%23b"}),
    _ok("3986-2.1 percent-encoded percent", b"/%2541", {"path": "/%41", "raw_path": "/%2541"}),
    _ok("3986-2.1 percent-encoded NUL", b"/%00", {"path": "/\0", "raw_path": "/%00"}),
    _ok("3986-2.1 percent-encoded CRLF", b"/%0d%0aX:%20y", {"path": "/\r\nX: y"}),
    _ok("3986-2.1 percent-encoded bytes that are no UTF-8", b"/%FF", {"raw_path": "/%FF"}),
    _ok("3986-2.1 no hex digits", b"/%zz", {"path": "/%zz", "raw_path": "/%zz"}),
    _ok("3986-2.1 half a percent sequence", b"/a%4", {"path": "/a%4", "raw_path": "/a%4"}),
    _ok("3986-2.1 percent at the end", b"/%", {"path": "/%", "raw_path": "/%"}),
    _ok("3986-2.1 query is not decoded", b"/?%41%zz", {"path": "/", "query_string": "%41%zz"}),
    _ok("3986-2.2 plus is no space", b"/a+b?c+d", {"path": "/a+b", "query_string": "c+d"}),
    _ok("3986-2 unwise characters in the path", b'/{}|^"<>[]`', {"path": '/{}|^"<>[]`'}),
    _ok("3986-2 unwise characters in the query", b'/?{}|^"<>[]`', {"query_string": '{}|^"<>[]`'}),
    _ok("3986-2 backslash in the path", b"/a\\b", {"path": "/a\\b", "raw_path": "/a\\b"}),
    *(
        bad(f"9112-3.2 {byte!r} in the {where}", get(target=target + byte + b"b"))
        for byte in (b"\x00", b"\x01", b"\t", b"\x0b", b"\x1f", b"\x7f", b"\x80", b"\xe9", b"\xff")
        for where, target in (("path", b"/a"), ("query", b"/?a"))
    ),
    bad("9112-3.2 space in the path", get(target=b"/a b")),
    bad("9112-3.2 space in the query", get(target=b"/?a b")),
    bad("9112-3.2 bare CR in the path", get(target=b"/a\rb")),
    bad("9112-3.2 bare LF in the path", get(target=b"/a\nb")),
    bad("9112-3.2 a version in the path", get(target=b"/ HTTP/1.1\nX: /")),
    bad("9112-3.2.1 fragment", get(target=b"/a#b")),
    bad("9112-3.2.1 empty fragment", get(target=b"/a#")),
    bad("9112-3.2.1 fragment after a query", get(target=b"/a?b#c")),
    bad("9112-3.2.1 no slash", get(target=b"a")),
    bad("9112-3.2.1 query alone", get(target=b"?q")),
    bad("9112-3.2.1 dot", get(target=b"./a")),
    bad("9112-3.2.1 backslash for a slash", get(target=b"\\a")),
    bad("9112-3.2.1 percent-encoded slash for a slash", get(target=b"%2Fa")),
)

H_SEEN: list[tuple[str, str]] = [("host", "h")]

ABSOLUTE = (
    good(
        "9112-3.2.2 host of the target wins",
        _absolute(b"http://h/p?q"),
        path="/p",
        raw_path="/p",
        query_string="q",
        headers=H_SEEN,
    ),
    good(
        "9112-3.2.2 port of the target",
        _absolute(b"http://h:81/p"),
        path="/p",
        headers=[("host", "h:81")],
    ),
    good("9112-3.2.2 no path", _absolute(b"http://h"), path="/", raw_path="/", headers=H_SEEN),
    good("9112-3.2.2 no path but a query", _absolute(b"http://h?q"), path="/", query_string="q"),
    good("9112-3.2.2 a query with a URL", _absolute(b"http://h/?u=http://x/"), headers=H_SEEN),
    good("9112-3.2.2 at sign in the path", _absolute(b"http://h/a@b"), headers=H_SEEN),
    good("9112-3.2.2 https", _absolute(b"https://h/p"), path="/p", headers=H_SEEN),
    good("3986-3.1 scheme in upper case", _absolute(b"HTTP://h/p"), path="/p", headers=H_SEEN),
    good(
        "9112-3.2.2 IPv6 literal",
        _absolute(b"http://[::1]:8000/p"),
        path="/p",
        headers=[("host", "[::1]:8000")],
    ),
    good("9112-3.2.2 decoded as any path", _absolute(b"http://h/%41"), path="/A", raw_path="/%41"),
    good("9112-3.2.2 same host twice", _absolute(b"http://h/", b"h"), path="/", headers=H_SEEN),
    good(
        "9112-3.2.2 HTTP/1.0 without Host",
        request(b"GET http://h/p HTTP/1.0"),
        fate="close",
        path="/p",
        headers=H_SEEN,
    ),
    bad("9112-3.2.2 HTTP/1.1 without Host", request(b"GET http://h/p HTTP/1.1")),
    bad(
        "9112-3.2.2 two Hosts beside it", request(b"GET http://h/ HTTP/1.1", b"Host: h", b"Host: h")
    ),
    bad("9112-3.2.2 empty Host beside it", _absolute(b"http://h/p", b"")),
    bad("9112-3.2.2 bad Host beside it", _absolute(b"http://h/p", b"a b")),
    *(
        bad(f"9112-3.2.2 {target.decode()}", _absolute(target))
        for target in (
            b"http://u@h/",
            b"http://u:p@h/",
            b"http://@h/",
            b"http:///p",
            b"http://",
            b"http://:80/",
            b"http://?q",
            b"http:/p",
            b"http:p",
            b"http:",
            b"http//h/",
            b"http:\\\\h\\",
            b"http://h\\@x/",
            b"http://h:x/",
            b"http://h:99999/",
            b"http://a,b/",
            b"http://[::1/",
            b"http://[x]/",
            b'http://"h"/',
            b"http://h/#f",
            b"ftp://h/p",
            b"httpx://h/p",
            b"ws://h/p",
            b"file:///etc/passwd",
            b"mailto:u@h",
            b"javascript:1",
            b"://h/",
        )
    ),
)

OTHER_FORMS = (
    good("9112-3.2.4 OPTIONS *", _options(b"*"), path="*", raw_path="*", query_string=""),
    good("9112-3.2.4 OPTIONS of a path", _options(b"/p"), method="OPTIONS", path="/p"),
    bad("9112-3.2.4 GET *", get(target=b"*")),
    bad("9112-3.2.4 POST *", request(b"POST * HTTP/1.1", b"Host: h")),
    bad("9112-3.2.4 OPTIONS **", _options(b"**")),
    bad("9112-3.2.4 OPTIONS * with a query", _options(b"*?q")),
    bad("9112-3.2.4 OPTIONS */p", _options(b"*/p")),
    bad("9112-3.2.3 GET of an authority", get(target=b"h:443")),
    bad("9112-3.2.3 OPTIONS of an authority", _options(b"h:443")),
)

CASES: tuple[Case, ...] = ORIGIN + ABSOLUTE + OTHER_FORMS
