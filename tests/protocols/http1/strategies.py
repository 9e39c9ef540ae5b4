# SPDX-License-Identifier: MIT
"""Requests that are right, and what makes them wrong."""

from __future__ import annotations

import attrs
from hypothesis import strategies as st

__all__ = ["Sent", "cuts", "garbage", "mutated", "sent_requests", "streams", "tokens", "values"]

_TOKEN_CHARACTERS = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: Fields that mean something to a server: left to those who write them on purpose.
_MEANINGFUL = {
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"expect",
    b"upgrade",
    b"te",
    b"trailer",
}


def _bytes_of(characters: bytes, min_size: int, max_size: int) -> st.SearchStrategy[bytes]:
    """Bytes of an alphabet; much faster than a list of choices."""
    table = bytes(characters[byte % len(characters)] for byte in range(256))
    return st.binary(min_size=min_size, max_size=max_size).map(lambda data: data.translate(table))


tokens = _bytes_of(_TOKEN_CHARACTERS, 1, 12)

_VISIBLE = bytes([*range(0x21, 0x7F), *range(0x80, 0x100)])

values = st.one_of(
    st.just(b""),
    st.builds(
        lambda first, middle, last: first + middle + last,
        _bytes_of(_VISIBLE, 1, 1),
        _bytes_of(_VISIBLE + b" \t", 0, 20),
        _bytes_of(_VISIBLE, 1, 1),
    ),
)
#: Optional white space around a value (RFC 9110 section 5.6.3).
_spaces = st.sampled_from([b"", b" ", b"  ", b"\t", b" \t "])

_field_names = tokens.filter(lambda name: name.lower() not in _MEANINGFUL)

_paths = _bytes_of(bytes(set(range(0x21, 0x7F)) - set(b"#?")), 0, 20).map(lambda path: b"/" + path)
_queries = st.none() | _bytes_of(bytes(set(range(0x21, 0x7F)) - set(b"#")), 0, 20)


@attrs.frozen
class Sent:
    """A right request: its bytes, and what a server must understand of it."""

    method: str
    raw_path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    raw: bytes


@st.composite
def _chunks(draw: st.DrawFn, body: bytes) -> bytes:
    """``body`` in chunks, with digits of either case, leading zeros, extensions and trailers."""
    encoded = b""
    start = 0
    while start < len(body):
        size = draw(st.integers(1, len(body) - start))
        style = draw(st.sampled_from([b"%x", b"%X", b"0%x", b"%x;a=b", b'%x;a="b c";d']))
        encoded += style % size + b"\r\n" + body[start : start + size] + b"\r\n"
        start += size
    trailer = draw(st.sampled_from([b"", b"Checksum: 1\r\n", b"A: b\r\nC:\r\n"]))
    return encoded + draw(st.sampled_from([b"0", b"00", b"0;last"])) + b"\r\n" + trailer + b"\r\n"


@st.composite
def sent_requests(draw: st.DrawFn, *, closing: bool = True) -> Sent:
    """Any right request; with ``closing`` perhaps the last one of its connection."""
    method = draw(tokens.filter(lambda token: token != b"CONNECT"))
    method = draw(st.sampled_from([b"GET", b"HEAD", b"POST", b"OPTIONS"]) | st.just(method))
    path = draw(_paths)
    query = draw(_queries)
    target = path if query is None else path + b"?" + query
    fields = [(name, draw(_spaces) + value + draw(_spaces)) for name, value in draw(_fields)]
    body = draw(st.binary(max_size=40))
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    if framing == "length":
        fields.append((b"Content-Length", b" %d" % len(body)))
        framed = body
    elif framing == "chunked":
        fields.append((b"Transfer-Encoding", b"chunked"))
        framed = draw(_chunks(body))
    else:
        body = framed = b""
    fields.append((b"hOsT", b" example.org:80"))
    if closing and draw(st.booleans()):
        fields.append((b"Connection", b"close"))
    order = draw(st.permutations(fields))
    raw = method + b" " + target + b" HTTP/1.1\r\n"
    raw += b"".join(name + b":" + value + b"\r\n" for name, value in order)
    headers = [(name.lower(), value.strip(b" \t")) for name, value in order]
    return Sent(method.decode(), path, query or b"", headers, body, raw + b"\r\n" + framed)


_fields = st.lists(st.tuples(_field_names, values), max_size=5)

cuts = st.lists(st.integers(0, 10_000), max_size=8)

#: What requests are made of, so that garbage gets further than its first byte.
_SHARDS = [
    *(bytes([byte]) for byte in b'\r\n\t :;,="/?#*\x00\x7f\x80\xff+-_ag09'),
    *(b"\r\n", b"\r\n\r\n", b"\n\n", b" HTTP/1.1\r\n", b" HTTP/1.0", b"HTTP/2.0", b"http://h"),
    *(b"GET / HTTP/1.1", b"Host: h\r\n", b"Host:", b"Content-Length: ", b"content-length:5\r\n"),
    *(b"Transfer-Encoding:", b"transfer-encoding: chunked\r\n", b"chunked", b"Connection: "),
    *(b"close", b"keep-alive", b"Upgrade", b"Expect: 100-continue\r\n"),
    *(b"0\r\n\r\n", b"5\r\nhello\r\n", b"ffffffffffffffff"),
]

_shards = st.one_of(st.sampled_from(_SHARDS), st.binary(max_size=6))

garbage = st.lists(_shards, max_size=30).map(b"".join)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A right request with some bytes replaced, inserted, removed or doubled."""
    data = bytearray(draw(sent_requests()).raw)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 4)))
        match draw(st.sampled_from(["replace", "insert", "double"])):
            case "replace":
                data[start:end] = draw(_shards)
            case "insert":
                data[start:start] = draw(_shards)
            case _:
                data[start:start] = data[start:end]
    return bytes(data)


def streams() -> st.SearchStrategy[bytes]:
    """What a connection may bring: requests, right, mutated or garbage, behind each other."""
    right = sent_requests(closing=False).map(lambda sent: sent.raw)
    return st.lists(right | mutated() | garbage, max_size=4).map(b"".join)
