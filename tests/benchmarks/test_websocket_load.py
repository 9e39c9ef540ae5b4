# SPDX-License-Identifier: MIT
"""The load generator over real sockets. A load of no seconds is what is in flight, once."""

from __future__ import annotations

import asyncio
import itertools
import select
import socket
import time
from contextlib import closing
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio

from benchmarks.apps import websocket_app
from benchmarks.clients import websocket, websocket_load
from benchmarks.clients.idle_connections import ClientError
from benchmarks.clients.websocket_broadcast import Broadcast
from benchmarks.clients.websocket_echo import Echo
from benchmarks.clients.websocket_wire import PONG, client_frame
from benchmarks.core.load import LoadError, LoadResult
from tests.benchmarks.websocket_servers import (
    MESSAGE,
    REPLY,
    SIZE,
    behaving,
    read_message,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.clients.websocket_load import Load

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="the benchmarks need Linux")

in_thread = trio.to_thread.run_sync


def one_load(load: Load, port: int, connections: int) -> tuple[LoadResult, dict[str, int]]:
    with closing(load):
        load.open(port, connections)
        return load.run(0), load.failures()


# -- what is right -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "connections", "in_flight"),
    [(125, 1, 1), (125, 5, 16), (65_000, 3, 1), (70_000, 2, 2)],
)
async def test_every_message_comes_back(size: int, connections: int, in_flight: int) -> None:
    async with serving(websocket_app.app) as port:
        result, failures = await in_thread(one_load, Echo(size, in_flight), port, connections)
    assert (result.requests, result.errors, failures) == (connections * in_flight, 0, {})
    assert result.p50_ms is not None
    assert result.p99_ms is not None
    assert 0 < result.p50_ms <= result.p99_ms
    assert result.per_second > 0
    assert result.load_percent is not None


@pytest.fixture
def second_by_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is a second later with each look at it: a load's time is then a count."""
    clock = SimpleNamespace(
        perf_counter=itertools.count().__next__,
        process_time=time.process_time,
        monotonic=time.monotonic,
    )
    monkeypatch.setattr(websocket_load, "time", clock)


@pytest.mark.usefixtures("second_by_look")
async def test_a_load_goes_on_until_its_time_is_over() -> None:
    def load_one(port: int) -> LoadResult:
        with closing(Echo(SIZE, 1)) as load:
            load.open(port, 1)
            return load.run(10)

    async with serving(websocket_app.app) as port:
        result = await in_thread(load_one, port)
    # A reply a second, and the message that is sent at the ninth has one, too.
    assert (result.requests, result.per_second, result.errors) == (10, 1.0, 0)
    assert (result.p50_ms, result.p99_ms) == (1000, 1000)


async def test_what_a_socket_does_not_take_at_once_is_sent_later() -> None:
    def narrow(port: int) -> LoadResult:
        with closing(Echo(1_000_000, 1)) as load:
            load.open(port, 1)
            for peer in load._peers.values():
                peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            return load.run(0)

    async with serving(websocket_app.app) as port:
        result = await in_thread(narrow, port)
    assert (result.requests, result.errors) == (1, 0)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"\x89\x04ping" + REPLY],
        [REPLY[:1], REPLY[1:60], REPLY[60:] + b"\x89\x04ping"],
        [b"\x89", b"\x04", b"pi", b"ng" + REPLY],
        [b"\x8a\x00" + REPLY[:60], REPLY[60:] + b"\x89\x04pi", b"ng\x8a\x00"],
    ],
)
async def test_pings_are_answered_wherever_they_come(
    pieces: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_load, "CLOSE_TIMEOUT", 0)
    pong = client_frame(b"ping", PONG)
    received = b""

    async def script(stream: trio.SocketStream) -> None:
        nonlocal received
        await read_message(stream)
        for piece in pieces:
            await stream.send_all(piece)
        while len(received) < len(pong + MESSAGE):
            received += await stream.receive_some()
        await stream.send_all(REPLY)
        await trio.sleep_forever()

    def two_loads(port: int) -> list[tuple[int, int]]:
        with closing(Echo(SIZE, 1)) as load:
            load.open(port, 1)
            results = [load.run(0), load.run(0)]
            return [(result.requests, result.errors) for result in results]

    async with behaving(script) as port:
        assert await in_thread(two_loads, port) == [(1, 0), (1, 0)]
    # A ping that comes after the reply may be read after the second message has been sent.
    assert received in (pong + MESSAGE, MESSAGE + pong)


@pytest.mark.parametrize("in_flight", [1, 3])
async def test_a_broadcast_is_counted_by_its_deliveries(in_flight: int) -> None:
    async with serving(websocket_app.app) as port:
        result, failures = await in_thread(one_load, Broadcast(SIZE, in_flight), port, 7)
    assert (result.requests, result.errors, failures) == (7 * in_flight, 0, {})


@pytest.mark.usefixtures("second_by_look")
async def test_a_broadcast_goes_on_when_a_message_has_come_to_all() -> None:
    def load_one(port: int) -> LoadResult:
        with closing(Broadcast(SIZE, 1)) as load:
            load.open(port, 7)
            return load.run(20)

    async with serving(websocket_app.app) as port:
        result = await in_thread(load_one, port)
    # The third message has come to all after 21 s.
    assert (result.requests, result.errors) == (3 * 7, 0)


def test_the_app_runs_on_asyncio_too() -> None:
    sent: list[dict[str, Any]] = []

    async def conversation() -> None:
        incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for message in (
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "bytes": b"to and fro"},
            {"type": "websocket.disconnect"},
        ):
            incoming.put_nowait(message)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "websocket", "path": "/echo"}
        await websocket_app.app(scope, incoming.get, send)

    asyncio.run(conversation())
    assert sent == [
        {"type": "websocket.accept"},
        {"type": "websocket.send", "bytes": b"to and fro"},
    ]


# -- what is not ---------------------------------------------------------------------------------


async def close_at_once(stream: trio.SocketStream) -> None:
    await read_message(stream)


async def reset(stream: trio.SocketStream) -> None:
    # What has been sent is not read, so the kernel answers it with a reset.
    await stream.wait_send_all_might_not_block()
    while not select.select([stream.socket.fileno()], [], [], 0)[0]:
        await trio.lowlevel.checkpoint()


async def say_more(stream: trio.SocketStream) -> None:
    await read_message(stream)
    await stream.send_all(REPLY * 2)
    await trio.sleep_forever()


async def say_half_a_reply_more(stream: trio.SocketStream) -> None:
    await read_message(stream)
    await stream.send_all(REPLY + REPLY[:7])
    await trio.sleep_forever()


async def say_text(stream: trio.SocketStream) -> None:
    await read_message(stream)
    await stream.send_all(b"\x81" + REPLY[1:])
    await trio.sleep_forever()


async def say_goodbye(stream: trio.SocketStream) -> None:
    await read_message(stream)
    await stream.send_all(b"\x88\x02\x03\xf3")
    await trio.sleep_forever()


async def say_nothing(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (close_at_once, "closed by the server"),
        (reset, "ConnectionResetError"),
        (say_more, "more replies than messages"),
        (say_half_a_reply_more, "7 bytes that are no reply"),
        (say_text, "a frame that begins with 0x81"),
        (say_goodbye, "closed by the server, code 1011"),
        (say_nothing, "no reply in 0 s"),
    ],
)
async def test_a_connection_that_fails_is_counted_once_and_has_its_reason(
    script: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_load, "SILENCE", 0.02)
    monkeypatch.setattr(websocket_load, "CLOSE_TIMEOUT", 0)

    def two_loads(port: int) -> tuple[list[int], dict[str, int]]:
        with closing(Echo(SIZE, 1)) as load:
            load.open(port, 2)
            return [load.run(0).errors, load.run(0).errors], load.failures()

    async with behaving(script) as port:
        errors, failures = await in_thread(two_loads, port)
    assert errors == [2, 2]
    assert failures == {reason: 2}


async def test_a_subscriber_that_is_lost_holds_up_nobody() -> None:
    def lose_one(port: int) -> tuple[LoadResult, dict[str, int]]:
        with closing(Broadcast(SIZE, 1)) as load:
            load.open(port, 3)
            load._subscribers[0].socket.shutdown(socket.SHUT_RDWR)
            load.run(0)
            return load.run(0), load.failures()

    async with serving(websocket_app.app) as port:
        result, failures = await in_thread(lose_one, port)
    assert (result.requests, result.errors) == (2, 1)
    assert failures == {"closed by the server": 1}


async def test_without_a_publisher_there_is_nothing_to_wait_for() -> None:
    def lose_it(port: int) -> tuple[LoadResult, dict[str, int]]:
        with closing(Broadcast(SIZE, 1)) as load:
            load.open(port, 3)
            load._publisher.socket.shutdown(socket.SHUT_RDWR)
            return load.run(0), load.failures()

    async with serving(websocket_app.app) as port:
        result, failures = await in_thread(lose_it, port)
    assert (result.requests, result.errors) == (0, 1)
    assert failures == {"BrokenPipeError": 1}


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (partial(Echo, SIZE, 1), "connection 1 of 2: a wrong message: byte 2 of"),
        (partial(Broadcast, SIZE, 1), "subscriber 1 of 2: a wrong message: byte 2 of"),
    ],
)
async def test_a_wrong_first_message_says_whose(load: Callable[[], Load], words: str) -> None:
    async def wrong(scope: dict[str, Any], receive: Any, send: Any) -> None:
        async def send_zeros(message: dict[str, Any]) -> None:
            await send(message | {"bytes": bytes(SIZE)})

        await websocket_app.app(scope, receive, send_zeros)

    async with serving(wrong) as port:
        with pytest.raises(ClientError, match=words):
            await in_thread(one_load, load(), port, 2)


# -- the process of its own ----------------------------------------------------------------------


async def test_a_process_of_its_own_makes_one_load_after_the_other() -> None:
    def generate(port: int) -> list[LoadResult]:
        with websocket.generating(port, "echo", connections=2, size=SIZE, in_flight=3) as generator:
            return [generator.load(0), generator.load(0)]

    async with serving(websocket_app.app) as port:
        results = await in_thread(generate, port)
    assert [(result.requests, result.errors) for result in results] == [(6, 0), (6, 0)]


async def test_what_the_process_could_not_open_is_an_error_here() -> None:
    def generate() -> None:
        with closing(socket.socket()) as deaf:  # bound, so that nobody else listens there
            deaf.bind(("127.0.0.1", 0))
            port = deaf.getsockname()[1]
            with (
                pytest.raises(LoadError, match=r"connection 1 of 2: .*refused"),
                websocket.generating(port, "echo", connections=2, size=SIZE, in_flight=1),
            ):
                pass

    await in_thread(generate)


async def test_the_reasons_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    def generate(port: int) -> LoadResult:
        with websocket.generating(port, "echo", connections=1, size=SIZE, in_flight=1) as generator:
            return generator.load(0)

    async with behaving(close_at_once) as port:
        result = await in_thread(generate, port)
    assert (result.requests, result.errors) == (0, 1)
    assert "1 connections: closed by the server" in capsys.readouterr().err


async def test_a_process_that_is_gone_is_an_error() -> None:
    def generate(port: int) -> None:
        with websocket.generating(port, "echo", connections=1, size=SIZE, in_flight=1) as generator:
            generator._process.kill()
            with pytest.raises(LoadError, match="the load generator ended"):
                generator.load(0)

    async with serving(websocket_app.app) as port:
        await in_thread(generate, port)
