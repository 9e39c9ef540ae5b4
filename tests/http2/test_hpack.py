# SPDX-License-Identifier: MIT
"""Header compression: the "hpack" cases of h2spec, by RFC 7541's sections.

What can't be decoded ends the connection (RFC 9113 section 4.3): the table is the same for all
streams, and is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import hpack
import pytest

from tests.connection.service import read_body, reply
from tests.http2 import frames
from tests.http2.frames import get, headers
from trioserve.protocols.http2 import ErrorCode

if TYPE_CHECKING:
    from tests.http2.conftest import Serving
    from trioserve.types import Receive, Scope, Send


async def show(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the request's fields."""
    await read_body(receive)
    lines = [b"%b: %b" % (name, value) for name, value in scope["headers"]]
    await reply(send, b"\n".join([scope["path"].encode(), *lines]))


#: A literal without indexing, its name "x-test" in Huffman code.
X_TEST = b"\x00\x85\xf2\xb2\x4a\x84\xff"

#: name → a header block that can't be decoded.
UNDECODABLE = {
    "an index beyond both tables (2.3.3)": get() + b"\xc6",
    "a literal's name by an index beyond both tables (2.3.3)": get() + b"\x7f\x07\x01a",
    "index 0 (6.1)": get() + b"\x80",
    "a size update after a field (4.2)": get() + b"\x20",
    "a size update beyond what was announced (6.3)": b"\x3f\xe2\x1f" + get(),
    "an integer that doesn't end (5.1)": get() + b"\xff\x80",
    "an integer that is too large (5.1)": get() + b"\xff" + b"\xff" * 20 + b"\x01",
    "a string that is shorter than it says (5.2)": get() + b"\x40\x05abc",
    "a value that is missing (6.2.1)": get() + b"\x40\x01a",
    "Huffman padding of more than seven bits (5.2)": get() + X_TEST + b"\x84\x49\x50\x9f\xff",
    "Huffman padding that is not the beginning of EOS (5.2)": get() + X_TEST + b"\x83\x49\x50\x90",
    "a Huffman string with EOS in it (5.2)": get() + X_TEST + b"\x87\x49\x51\xff\xff\xff\xfa\x7f",
}
#: What the decoder of an engine is known to take all the same.
LAX = {
    ("jh2", "a size update after a field (4.2)"),
    ("jh2", "Huffman padding that is not the beginning of EOS (5.2)"),
}


@pytest.mark.parametrize("name", UNDECODABLE)
async def test_what_cannot_be_decoded_ends_the_connection(in_memory: Serving, name: str) -> None:
    if (in_memory.engine, name) in LAX:
        pytest.xfail("its decoder lets this pass; nothing comes of it but a field")
    async with in_memory(show) as server:
        client = await server.connect()
        verdict = await client.verdict(headers(1, UNDECODABLE[name]))
        assert (verdict.goaway, verdict.closed) == (ErrorCode.COMPRESSION_ERROR, True)


async def test_undecodable_trailers_end_the_connection_too(in_memory: Serving) -> None:
    async with in_memory(show) as server:
        client = await server.connect()
        verdict = await client.verdict(
            headers(1, frames.post(), end_stream=False), headers(1, b"\x80")
        )
        assert (verdict.goaway, verdict.closed) == (ErrorCode.COMPRESSION_ERROR, True)


#: name → (the fields after the pseudo-header fields, as they are encoded; what they are).
DECODABLE = {
    "an indexed field (6.1)": (b"\x90", b"accept-encoding: gzip, deflate"),
    "a literal with indexing, name by index (6.2.1)": (b"\x7a\x03abc", b"user-agent: abc"),
    "a literal with indexing, new name (6.2.1)": (b"\x40\x01a\x01b", b"a: b"),
    "a literal without indexing, name by index (6.2.2)": (b"\x0f\x2b\x03abc", b"user-agent: abc"),
    "a literal without indexing, new name (6.2.2)": (b"\x00\x01a\x01b", b"a: b"),
    "a literal never indexed, name by index (6.2.3)": (b"\x1f\x2b\x03abc", b"user-agent: abc"),
    "a literal never indexed, new name (6.2.3)": (b"\x10\x01a\x01b", b"a: b"),
    "an empty value (6.2.2)": (b"\x00\x01a\x00", b"a: "),
    "Huffman strings (5.2)": (b"\x00\x83\xf2\xb2\x4f\x82\x8c\x7f", None),
    "the dynamic table (2.3.2)": (b"\x40\x01a\x01b\xbe", b"a: b\na: b"),
}


@pytest.mark.parametrize("name", DECODABLE)
async def test_each_kind_of_field_is_decoded(in_memory: Serving, name: str) -> None:
    encoded, shown = DECODABLE[name]
    async with in_memory(show) as server:
        client = await server.connect()
        await client.send(headers(1, get() + encoded))
        response = await client.response(1)
        if shown is None:
            decoded = hpack.Decoder().decode(encoded, raw=True)
            shown = b"\n".join(b"%b: %b" % (field[0], field[1]) for field in decoded)
        assert response.body == b"/\nhost: test\n" + shown


@pytest.mark.parametrize(
    "update", [b"\x20", b"\x3f\xe1\x1f", b"\x20\x3f\xe1\x1f"], ids=["0", "4096", "0 and 4096"]
)
async def test_a_size_update_before_the_first_field_is_taken(
    in_memory: Serving, update: bytes
) -> None:
    """RFC 7541 section 4.2: to any size up to the announced one, twice at most."""
    async with in_memory(show) as server:
        client = await server.connect()
        await client.send(headers(1, update + get()))
        assert (await client.response(1)).status == 200


async def test_the_table_is_that_of_all_streams_in_their_order(in_memory: Serving) -> None:
    """RFC 7541 section 2.2: what one request put there, a later one names."""
    encoder = hpack.Encoder()
    fields = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/")]
    async with in_memory(show) as server:
        client = await server.connect()
        sizes = []
        for number in range(5):
            encoded = encoder.encode([*fields, ("x-long", "value " * 9)])
            sizes.append(len(encoded))
            await client.send(headers(2 * number + 1, encoded))
            response = await client.response(2 * number + 1)
            assert response.body.endswith(b"x-long: " + (b"value " * 9).strip()) or (
                response.reset == ErrorCode.PROTOCOL_ERROR
            )
        assert sizes[1] < sizes[0]


async def test_the_table_holds_over_requests_that_are_refused(in_memory: Serving) -> None:
    """RFC 9113 section 4.3: a header section is decoded even where its stream is refused."""
    encoder = hpack.Encoder()

    def encode(*more: tuple[str, str]) -> bytes:
        pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/")]
        return encoder.encode([*pseudo, *more])

    async with in_memory(show, limit_request_field_size=100) as server:
        client = await server.connect()
        await client.send(
            headers(1, encode(("x-a", "1"), ("connection", "close"))),  # malformed
            headers(3, encode(("x-b", "2"), ("x-big", "b" * 200))),  # 431
            frames.rst_stream(3),
            headers(3, encode(("x-c", "3"))),  # on a stream that was reset
            headers(5, encode(("x-a", "1"), ("x-b", "2"), ("x-c", "3"))),
        )
        assert (await client.response(5)).body == b"/\nhost: test\nx-a: 1\nx-b: 2\nx-c: 3"


async def test_the_server_obeys_the_clients_table_size(in_memory: Serving) -> None:
    """RFC 7541 section 4.2: the client allows no table, and its decoder holds it to that."""
    async with in_memory(show) as server:
        client = await server.connect((1, 0))
        client._decoder.max_allowed_table_size = 0
        for _ in range(3):
            assert (await client.request()).status == 200
        assert client._decoder.header_table_size == 0


async def test_the_servers_own_table_stays_small_whatever_the_client_allows(
    in_memory: Serving,
) -> None:
    """A client that allows 4 GiB can't have its connection fill them with its responses."""

    async def unique(scope: Scope, receive: Receive, send: Send) -> None:
        value = scope["path"].encode() * 100
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"x-unique", value)]}
        )
        await send({"type": "http.response.body"})

    async with in_memory(unique) as server:
        client = await server.connect((1, 2**32 - 1))
        client._decoder.max_allowed_table_size = 2**32 - 1
        for number in range(50):
            await client.request(f"/{number}")
        assert client._decoder.header_table_size <= 4096
        assert len(client._decoder.header_table.dynamic_entries) < 40
