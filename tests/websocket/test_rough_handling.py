# SPDX-License-Identifier: MIT
"""Clients and applications that are slow, busy, impatient or hostile, and what it costs others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from trioserve.config import Config
from trioserve.errors import AppProtocolError
from trioserve.transports import Peer
from trioserve.websocket.sansio_engine import SansIOEngine

from .apps import Recorder, accept, echo
from .frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, close_payload, frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trioserve.protocols.websocket import Closed
    from trioserve.types import Receive, Scope, Send

    from .conftest import Serving


class Source:
    """A pipe that always has more of the same."""

    peer = Peer.PRESENT

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.taken = 0
        self.reminders = 0

    async def receive(self) -> bytes:
        return self.data

    def take(self) -> bytes:
        self.taken += 1
        return self.data

    def remind(self) -> None:
        self.reminders += 1

    def interrupt(self) -> None: ...

    def write(self, data: bytes) -> None: ...

    def write_all(self, pieces: Sequence[bytes]) -> None: ...

    def write_soon(self, pieces: Sequence[bytes]) -> None: ...

    def post(self, data: bytes, *, urgent: bool = False) -> bool:
        return True

    def skip(self, size: int) -> None: ...

    def pause(self) -> None: ...

    def abort(self) -> None: ...


class Nobody:
    """A listener."""

    def on_pong(self) -> None: ...

    def on_closed(self, closed: Closed) -> None: ...


@pytest.mark.parametrize(
    "flood", [frame(PONG), frame(PING), frame(CONT, b"", fin=False)], ids=["pong", "ping", "empty"]
)
async def test_a_flood_is_looked_at_in_small_helpings(flood: bytes) -> None:
    """While nobody waits for a message, and while somebody does."""
    source = Source(flood * (65536 // len(flood)))
    engine = SansIOEngine(source, Nobody(), Config(), None)
    engine.start(frame(TEXT, b"x", fin=False) if flood[0] == 0 else b"")
    assert source.taken == 1
    assert source.reminders == 1
    turns = 0

    async def others() -> None:
        nonlocal turns
        while turns < 10:
            await trio.lowlevel.checkpoint()
            turns += 1
        nursery.cancel_scope.cancel()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.receive)
            nursery.start_soon(others)
    assert turns == 10


async def test_pings_are_answered_between_the_messages_of_many_senders(
    serving_sockets: Serving,
) -> None:
    """There is always one that waits for the client."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def talk() -> None:
            while True:
                await send({"type": "websocket.send", "bytes": b"x" * 100_000})

        await accept(receive, send)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk)
            nursery.start_soon(talk)
            while (await receive())["type"] == "websocket.receive":
                pass
            nursery.cancel_scope.cancel()

    async with serving_sockets(app) as server:
        client = await server.open()
        await client.send_frame(PING, b"now")
        read = 0
        while not client.pongs:
            found = await client.frame()
            assert found is not None
            if found.opcode == PONG:
                client.pongs.append(found.payload)
            read += 1
            assert read < 2000, "no pong came between the messages"
        assert client.pongs == [b"now"]
        await client.leave()


async def test_a_pong_behind_a_backlog_is_waited_for(serving: Serving) -> None:
    """The application takes one message after the other, but slowly."""
    options = {"websocket_ping_interval": 10, "websocket_ping_timeout": 5}
    got = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal got
        await accept(receive, send)
        while (await receive())["type"] == "websocket.receive":
            got += 1
            await trio.sleep(7)

    async with serving(app, websocket_max_queue=4, **options) as server:
        client = await server.open()
        await client.send_bytes(b"".join(frame(BINARY, b"x" * 1000) for _ in range(20)))
        with trio.move_on_after(135) as waiting:
            found = await client.next_frame()  # answers pings
        assert waiting.cancelled_caught, found
        await client.leave()
    assert got >= 15


async def test_our_close_comes_after_a_message_that_waits_and_is_not_lost(
    serving_sockets: Serving,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def talk() -> None:
            await send({"type": "websocket.send", "bytes": b"x" * 3_000_000})

        await accept(receive, send)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk)
            await trio.sleep(1)
            await send({"type": "websocket.close", "code": 4000})

    async with serving_sockets(app) as server:
        client = server.client(buffer_size=4096 if serving_sockets.version == "1.1" else 0)
        await client.open()
        await client.send_bytes(frame(PING, b"p") * 40)
        await trio.sleep(3)
        assert len(await client.message()) == 3_000_000
        assert (await client.closing()).code == 4000
        await client.send_frame(CLOSE, close_payload(4000))
        assert await client.ended()


async def test_answers_that_wait_are_no_reason_to_give_a_client_up(
    serving_sockets: Serving,
) -> None:
    if serving_sockets.version == "2":
        pytest.skip("the window is in the way")
    async with serving_sockets(echo) as server:
        client = await server.open()
        one = frame(BINARY, b"x" * 30_000) + frame(PING, b"p")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_bytes, one * 100)
            await trio.sleep(1)
            for _ in range(100):
                assert len(await client.message()) == 30_000
        assert (await client.close()).code == 1000


async def test_a_send_that_is_cancelled_half_way_costs_the_websocket(
    serving_sockets: Serving,
) -> None:
    sent = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await accept(receive, send)
        for _ in range(100):
            with trio.move_on_after(0.5):
                await send({"type": "websocket.send", "bytes": b"x" * 1_000_000})
            sent += 1

    async with serving_sockets(app) as server:
        client = server.client(buffer_size=4096 if serving_sockets.version == "1.1" else 0)
        if serving_sockets.version == "2":
            http2: Any = client
            http2.http2.auto = False
        await client.open()
        await trio.sleep(5)
        assert sent <= 2
        await client.leave(reset=True)


async def test_a_send_in_a_cancelled_scope_spoils_no_compression(serving: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        with trio.CancelScope() as scope_:
            scope_.cancel()
            await send({"type": "websocket.send", "bytes": bytes(range(256)) * 4})
        await send({"type": "websocket.send", "bytes": bytes(range(256)) * 4})

    async with serving(app) as server:
        client = await server.open(deflate=True)
        import zlib

        decompressor = zlib.decompressobj(wbits=-15)
        while (found := await client.next_frame()) is not None and found.opcode == BINARY:
            data = decompressor.decompress(found.payload + b"\x00\x00\xff\xff")
            assert data == bytes(range(256)) * 4


async def test_a_task_left_in_receive_does_not_delay_the_end(serving: Serving) -> None:
    got = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def listen() -> None:
            got.append(await receive())

        await accept(receive, send)
        scope["extensions"]["trioserve"]["nursery"].start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()

    async with serving(app) as server:
        client = await server.open()
        await client.closing()
        began = trio.current_time()
        await client.send_frame(CLOSE, close_payload(1000))
        assert await client.ended()
        assert trio.current_time() - began < 2
    assert [message["type"] for message in got] == ["websocket.disconnect"]


@pytest.mark.parametrize("how", ["returns", "raises", "bad header"])
async def test_a_denial_of_which_nothing_was_sent_is_a_500(serving: Serving, how: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        headers = [(b"bad name", b"x")] if how == "bad header" else []
        await send({"type": "websocket.http.response.start", "status": 400, "headers": headers})
        if how == "raises":
            raise ZeroDivisionError
        if how == "bad header":
            await send({"type": "websocket.http.response.body", "body": b"x"})

    async with serving(app) as server:
        client = server.client()
        await client.ask()
        assert (await client.answer()).status == 500


async def test_a_denial_is_no_success(serving: Serving) -> None:
    """Over HTTP/2 that would accept it (RFC 8441 section 5)."""
    errors: list[AppProtocolError] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await send({"type": "websocket.http.response.start", "status": 200})
        except AppProtocolError as exc:
            errors.append(exc)
        await send({"type": "websocket.close"})

    async with serving(app) as server:
        client = server.client()
        await client.ask()
        assert (await client.answer()).status == 403
    assert "300 or more, got 200" in str(errors[0])


@pytest.mark.parametrize("answers", [True, False])
async def test_an_application_may_go_on_after_it_has_closed(
    serving: Serving, answers: bool
) -> None:
    over = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await send({"type": "websocket.close"})
        await trio.sleep(60)
        over.set()

    async with serving(app, websocket_close_timeout=4) as server:
        client = await server.open()
        await client.closing()
        began = trio.current_time()
        if answers:
            await client.send_frame(CLOSE, close_payload(1000))
        assert await client.ended()
        assert trio.current_time() - began < (1 if answers else 7)
        if serving.version == "1.1":
            await client.leave()
        await over.wait()


async def test_bytes_now_and_then_are_a_sign_of_life(serving: Serving) -> None:
    """Even if more pings go out while the first one's pong is awaited."""
    app = Recorder()
    options = {"websocket_ping_interval": 1, "websocket_ping_timeout": 4}
    async with serving(app, **options) as server:
        client = await server.open()
        client.answers_pings = False
        data = frame(TEXT, b"x" * 20)
        for at in range(0, len(data), 2):
            await client.send_bytes(data[at : at + 2])
            await trio.sleep(2.6)
        assert await client.message() == "x" * 20


async def test_what_a_task_sends_after_the_end_is_an_oserror(serving: Serving) -> None:
    errors: list[OSError] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def later() -> None:
            await trio.sleep(1)
            try:
                await send({"type": "websocket.accept"})
            except OSError as exc:
                errors.append(exc)

        await receive()
        scope["extensions"]["trioserve"]["nursery"].start_soon(later)

    async with serving(app) as server:
        client = server.client()
        await client.ask()
        assert (await client.answer()).status == 500
    assert len(errors) == 1
