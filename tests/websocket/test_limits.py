# SPDX-License-Identifier: MIT
"""What a client must not do, and how much of what it may do is taken."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from .apps import Recorder, accept, echo
from .frames import BINARY, CLOSE, CONT, PING, TEXT, frame

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send

    from .conftest import Serving

BREACHES = {
    "unmasked": frame(TEXT, b"x", mask=None),
    "reserved opcode": frame(3, b"x"),
    "reserved control opcode": frame(11, b"x"),
    "RSV1 without compression": frame(TEXT, b"x", rsv=4),
    "RSV2": frame(TEXT, b"x", rsv=2),
    "RSV3": frame(TEXT, b"x", rsv=1),
    "continuation of nothing": frame(CONT, b"x"),
    "a message within a message": frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"),
    "fragmented ping": frame(PING, b"x", fin=False),
    "long ping": frame(PING, b"x" * 126),
    "length not in its shortest form": frame(BINARY, b"x", length=b"\x7e\x00\x01"),
    "length above 2**63": frame(BINARY, b"x", length=b"\x7f" + b"\xff" * 8),
    "close of one byte": frame(CLOSE, b"x"),
    "close with 1005": frame(CLOSE, b"\x03\xed"),
    "close with 999": frame(CLOSE, b"\x03\xe7"),
}


@pytest.mark.parametrize("name", BREACHES)
async def test_a_breach_of_the_protocol_is_1002(serving: Serving, name: str) -> None:
    app = Recorder()
    async with serving(app) as server:
        client = await server.open()
        assert await client.echo("before") == "before"
        await client.send_bytes(BREACHES[name])
        assert (await client.closing()).code == 1002
        assert await client.ended()
    assert app.messages == ["before"]
    assert app.code == 1002


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"\xff"),
        frame(TEXT, b"abc\xc3"),
        frame(TEXT, b"\xed\xa0\x80"),
        frame(TEXT, b"\xc3", fin=False) + frame(CONT, b"x", fin=False),
        frame(CLOSE, b"\x03\xe8\xff"),
    ],
)
async def test_text_that_is_no_utf_8_is_1007(serving: Serving, data: bytes) -> None:
    app = Recorder()
    async with serving(app) as server:
        client = await server.open()
        await client.send_bytes(data)
        assert (await client.closing()).code == 1007
        assert await client.ended()
    assert app.messages == []
    assert app.code == 1007


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflate"])
@pytest.mark.parametrize("fragments", [1, 4])
async def test_a_message_above_the_limit_is_1009(
    serving: Serving, deflate: bool, fragments: int
) -> None:
    app = Recorder()
    async with serving(app, websocket_max_message_size=1000) as server:
        client = await server.open(deflate=deflate)
        await client.send(b"x" * 1000)
        assert await client.message() is not None
        data = b"x" * 1001
        if deflate:
            compressor = zlib.compressobj(wbits=-12)
            data = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
            data = data[:-4]
        size = -(-len(data) // fragments)
        for at in range(0, len(data), size):
            await client.send_frame(
                CONT if at else BINARY,
                data[at : at + size],
                fin=at + size >= len(data),
                rsv=4 if deflate and not at else 0,
            )
        assert (await client.closing()).code == 1009
        assert await client.ended()
    assert app.messages == [b"x" * 1000]
    assert app.code == 1009


async def test_a_size_that_is_only_announced_is_enough_to_be_refused(serving: Serving) -> None:
    if serving.engine == "trio-websocket":
        pytest.skip("the library counts what has come")
    async with serving(echo, websocket_max_message_size=1000) as server:
        client = await server.open()
        await client.send_bytes(frame(BINARY, b"", length=b"\x7e\xff\xff"))
        assert (await client.closing()).code == 1009


async def test_zero_is_no_limit(serving: Serving) -> None:
    async with serving(echo, websocket_max_message_size=0) as server:
        client = await server.open()
        await client.send_frame(BINARY, b"x" * 60_000, fin=False)
        await client.send_frame(CONT, b"y" * 1_000)
        assert await client.message() == b"x" * 60_000 + b"y" * 1_000


async def test_a_bomb_costs_its_limit_and_no_more(serving: Serving) -> None:
    """A megabyte of compressed zeros is a gigabyte."""
    app = Recorder()
    compressor = zlib.compressobj(9, wbits=-12)
    bomb = b"".join(compressor.compress(bytes(2**20)) for _ in range(64))
    bomb += compressor.flush(zlib.Z_SYNC_FLUSH)[:-4]
    assert len(bomb) < 100_000
    async with serving(app, websocket_max_message_size=100_000) as server:
        client = await server.open(deflate=True)
        await client.send_frame(BINARY, bomb, rsv=4)
        assert (await client.closing()).code == 1009
        assert await client.ended()
    assert app.messages == []


async def test_a_slow_application_slows_its_own_client(serving_sockets: Serving) -> None:
    go_on = trio.Event()
    got = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal got
        await accept(receive, send)
        await go_on.wait()
        while (await receive())["type"] == "websocket.receive":
            got += 1

    async with serving_sockets(app, websocket_max_queue=4) as server:
        client = server.client(buffer_size=4096)
        await client.open()
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(400):
                await client.send(b"x" * 10_000)
                sent += 1

        if serving_sockets.version == "2":
            # The client would have to stop by itself: it is told when by its window.
            for _ in range(11):
                await client.send(b"x" * 10_000)
            http2: Any = client
            await http2.http2.sync()
            credit = http2.http2.credit.get(http2.stream_id, 0)
            assert credit <= 65_536 + 4 * 10_000
            go_on.set()
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                await trio.sleep(5)
                assert sent < 200, "nothing has stopped the client"
                go_on.set()
        await client.close()
        await server.gone()
        assert got == (11 if serving_sockets.version == "2" else 400)


async def test_messages_that_wait_are_bounded_by_their_number(serving: Serving) -> None:
    """Pings behind a full queue wait, as they would behind a message that is still coming."""
    go_on = trio.Event()
    got = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await go_on.wait()
        while (message := await receive())["type"] == "websocket.receive":
            got.append(message["text"])

    async with serving(app, websocket_max_queue=3) as server:
        client = await server.open()
        await client.send_bytes(b"".join(frame(TEXT, b"%d" % n) for n in range(50)))
        await client.send_frame(PING, b"behind")
        with trio.move_on_after(2) as waiting:
            await client.frame()
        assert waiting.cancelled_caught, "the server has read on"
        go_on.set()
        await client.close()
        await server.gone()
    assert got == [str(n) for n in range(50)]


async def test_a_client_that_reads_nothing_makes_the_application_wait(
    serving_sockets: Serving,
) -> None:
    sent = 0
    outcome = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await accept(receive, send)
        try:
            while sent < 10_000:
                await send({"type": "websocket.send", "bytes": b"x" * 10_000})
                sent += 1
        except OSError:
            outcome.set()

    async with serving_sockets(app, websocket_send_timeout=5) as server:
        # Over HTTP/2 it reads, and gives no credit.
        client = server.client(buffer_size=4096 if serving_sockets.version == "1.1" else 0)
        if serving_sockets.version == "2":
            http2: Any = client
            http2.http2.auto = False
        await client.open()
        began = trio.current_time()
        await outcome.wait()
        assert 4 < trio.current_time() - began < 30
        assert sent < 1000
        await client.leave()


async def test_pings_that_nobody_reads_the_answers_of_are_bounded(
    serving_sockets: Serving,
) -> None:
    """A client that floods and doesn't read is lost, or stopped; what waits for it is bounded."""
    if serving_sockets.version == "2":
        pytest.skip("its windows bound it: tests/http2/test_floods.py")
    async with serving_sockets(echo, websocket_send_timeout=5) as server:
        client = server.client(buffer_size=4096)
        await client.open()
        flood = frame(PING, b"x" * 125) * 500
        sent = 0
        with trio.move_on_after(60):
            while server.service.connections and sent < 2000:
                with trio.move_on_after(1):
                    await client.raw.try_to_send(flood)
                sent += 1
        await client.leave(reset=True)
        await server.service.all_closed()


async def test_pings_in_one_segment_are_all_answered(serving: Serving) -> None:
    async with serving(echo) as server:
        client = await server.open()
        await client.send_bytes(b"".join(frame(PING, b"%d" % n) for n in range(100)))
        await client.send("end")
        assert await client.message() == "end"
        if len(client.pongs) < 100:
            await client.ping()
        assert client.pongs[:100] == [b"%d" % n for n in range(100)]
