# SPDX-License-Identifier: MIT
"""permessage-deflate over a whole server; its negotiation is in tests/protocols/websocket."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest

from .apps import Recorder, echo
from .frames import BINARY, CONT, PING, TEXT

if TYPE_CHECKING:
    from .client import WebSocketClient
    from .conftest import Serving

TAIL = b"\x00\x00\xff\xff"


class Deflate:
    """A client's side of it, by zlib alone."""

    def __init__(self, client: WebSocketClient, bits: int = 15) -> None:
        self.client = client
        self._compressor = zlib.compressobj(wbits=-bits)
        self._decompressor = zlib.decompressobj(wbits=-15)

    def compress(self, data: bytes) -> bytes:
        data = self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        return data[: -len(TAIL)]

    async def message(self) -> bytes:
        """The next message, which must have come compressed, in one frame."""
        frame = await self.client.next_frame()
        assert frame is not None
        assert (frame.fin, frame.rsv) == (True, 4), frame
        return self._decompressor.decompress(frame.payload + TAIL)

    async def echo(self, data: bytes, opcode: int = BINARY) -> bytes:
        await self.client.send_frame(opcode, self.compress(data), rsv=4)
        return await self.message()


OFFERS = {
    "permessage-deflate": 15,
    "permessage-deflate; client_max_window_bits": 12,
    "permessage-deflate; client_no_context_takeover; server_no_context_takeover": 15,
    "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9": 9,
    'x-unknown; a="b", permessage-deflate; mode=5, permessage-deflate': 15,
}


@pytest.mark.parametrize("offer", OFFERS)
async def test_messages_are_compressed_both_ways(serving: Serving, offer: str) -> None:
    app = Recorder()
    async with serving(app) as server:
        client = server.client()
        answer = await client.open("/", ("sec-websocket-extensions", offer))
        assert answer.headers[b"sec-websocket-extensions"].startswith(b"permessage-deflate; ")
        fresh = b"client_no_context_takeover" in answer.headers[b"sec-websocket-extensions"]
        deflate = Deflate(client, OFFERS[offer])
        for size in (0, 1, 125, 5000, 60_000):
            data = bytes(range(97, 123)) * (size // 26 + 1)
            assert await deflate.echo(data[:size]) == data[:size]
            if fresh:
                deflate = Deflate(client, OFFERS[offer])
        text = "größer".encode()
        assert await deflate.echo(text, TEXT) == text
        await client.close()
    assert app.messages[-1] == "größer"


async def test_a_compressed_message_may_be_in_fragments(serving: Serving) -> None:
    async with serving(echo) as server:
        client = await server.open(deflate=True)
        deflate = Deflate(client)
        data = deflate.compress(b"abc" * 1000)
        await client.send_frame(BINARY, data[:5], fin=False, rsv=4)
        await client.send_frame(PING, b"between")
        await client.send_frame(CONT, data[5:9], fin=False)
        await client.send_frame(CONT, data[9:])
        assert await deflate.message() == b"abc" * 1000


async def test_a_client_need_not_compress_each_message(serving: Serving) -> None:
    async with serving(echo) as server:
        client = await server.open(deflate=True)
        deflate = Deflate(client)
        await client.send(b"plain")
        assert await deflate.message() == b"plain"
        assert await deflate.echo(b"compressed") == b"compressed"


async def test_compressed_nonsense_ends_the_websocket(serving: Serving) -> None:
    app = Recorder()
    async with serving(app) as server:
        client = await server.open(deflate=True)
        await client.send_frame(BINARY, b"\xff" * 50, rsv=4)
        assert (await client.closing()).code in (1002, 1007)
        assert await client.ended()
    assert app.messages == []


async def test_nothing_is_compressed_where_it_is_off(serving: Serving) -> None:
    async with serving(echo, websocket_compression="off") as server:
        client = server.client()
        answer = await client.open("/", deflate=True)
        assert b"sec-websocket-extensions" not in answer.headers
        await client.send(b"x" * 1000)
        frame = await client.next_frame()
        assert frame is not None
        assert (frame.rsv, frame.payload) == (0, b"x" * 1000)
