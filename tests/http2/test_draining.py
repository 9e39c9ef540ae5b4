# SPDX-License-Identifier: MIT
"""The end of a connection in order: by our two GOAWAYs, its client's, or a deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.connection.service import read_body, reply
from tests.http2 import frames
from tests.http2.frames import data, get, headers, ping
from trioserve.protocols.http2 import ErrorCode

if TYPE_CHECKING:
    from tests.http2.client import Http2Client
    from tests.http2.conftest import Serving
    from trioserve.types import Receive, Scope, Send

ANY = 2**31 - 1


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await reply(send, b"got " + await read_body(receive))


def goaways(client: Http2Client) -> list[tuple[int, int]]:
    return [(frame.last_stream_id, frame.code) for frame in client.of_type(frames.GOAWAY)]


async def test_a_stop_says_goaway_twice_and_streams_under_way_finish(serving: Serving) -> None:
    """RFC 9113 section 6.8: what was on its way when the first came is still served."""
    done = trio.Event()

    async def talk(client: Http2Client) -> None:
        first = await client.open()
        await client.sync()
        opened.set()
        await client.until_frame(frames.GOAWAY)
        assert goaways(client) == [(ANY, 0)]
        second = await client.open()  # it hadn't read the GOAWAY yet
        while len(goaways(client)) < 2:
            assert await client.pump()
        assert goaways(client)[1] == (second, 0)
        refused = await client.open()
        assert (await client.response(refused)).reset == ErrorCode.REFUSED_STREAM
        for stream_id in (first, second):
            await client.send(data(stream_id, b"body", end_stream=True))
            assert (await client.response(stream_id)).body == b"got body"
        await client.rest()
        assert {last for last, _ in goaways(client)[1:]} <= {second, refused}
        done.set()

    opened = trio.Event()
    async with trio.open_nursery() as nursery:
        async with serving(app, clients_leave=False) as server:
            client = await server.connect()
            nursery.start_soon(talk, client)
            await opened.wait()
        assert done.is_set()


async def test_a_stop_ends_an_idle_connection_at_once(serving: Serving) -> None:
    ended: list[float] = []

    async def talk(client: Http2Client) -> None:
        await client.rest()
        ended.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        async with serving(app, keep_alive_timeout=100, clients_leave=False) as server:
            client = await server.connect()
            await client.request()
            nursery.start_soon(talk, client)
            began = trio.current_time()
        assert trio.current_time() - began < 3
    assert goaways(client)[0] == (ANY, 0)
    assert goaways(client)[-1] == (1, 0)
    assert ended


async def test_requests_that_go_on_after_graceful_timeout_are_cancelled(serving: Serving) -> None:
    log: list[str] = []

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await trio.sleep_forever()
        finally:
            log.append("cancelled")

    async with serving(endless, graceful_timeout=5, clients_leave=False) as server:
        client = await server.connect()
        await client.ask()
        await client.ask()
        await client.sync()
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(5, abs=2)
    assert log == ["cancelled", "cancelled"]


async def test_a_stop_while_a_client_reads_nothing_is_bounded(over_tcp: Serving) -> None:
    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, bytes(10_000_000))

    options = {"graceful_timeout": 5, "write_timeout": 100, "clients_leave": False}
    async with over_tcp(large, **options) as server:
        client = await server.connect((4, ANY), auto=False, buffer_size=8192)
        await client.send(frames.window_update(0, ANY - 65_535))
        await client.ask()
        await trio.sleep(1)
        began = trio.current_time()
    assert trio.current_time() - began < 10


async def test_a_client_that_says_goaway_gets_what_it_asked_for_and_then_the_end(
    serving: Serving,
) -> None:
    async with serving(app) as server:
        client = await server.connect()
        ids = [await client.open(), await client.open()]
        await client.sync()
        await client.send(frames.goaway())
        for stream_id in ids:
            await client.send(data(stream_id, b"body", end_stream=True))
            assert (await client.response(stream_id)).body == b"got body"
        await client.rest()
        assert goaways(client)[-1] == (ids[-1], 0)


async def test_a_client_that_says_goaway_with_idle_streams_is_let_go_at_once(
    serving: Serving,
) -> None:
    async with serving(app, keep_alive_timeout=100) as server:
        client = await server.connect()
        await client.request()
        began = trio.current_time()
        await client.send(frames.goaway())
        await client.rest()
        assert trio.current_time() - began < 3


async def test_an_idle_connection_ends_by_keep_alive_timeout(serving: Serving) -> None:
    async with serving(app, keep_alive_timeout=5) as server:
        client = await server.connect()
        await client.request()
        began = trio.current_time()
        await client.rest()
        assert trio.current_time() - began == pytest.approx(5, abs=2.5)
        assert goaways(client) == [(1, 0)]


@pytest.mark.parametrize("noise", [ping(), frames.settings(), frames.priority(9)])
async def test_noise_does_not_keep_an_idle_connection(in_memory: Serving, noise: bytes) -> None:
    for asks in (True, False):
        async with in_memory(app, keep_alive_timeout=5) as server:
            client = await server.connect()
            if asks:
                await client.request()
            began = trio.current_time()
            while not client.of_type(frames.GOAWAY):
                await client.send(noise)
                await trio.sleep(1)
                if not await client.sync():
                    break
                assert trio.current_time() - began < 15


async def test_a_connection_with_a_stream_is_not_idle(in_memory: Serving) -> None:
    async with in_memory(app, keep_alive_timeout=2, header_timeout=2) as server:
        client = await server.connect()
        stream_id = await client.open()
        await trio.sleep(20)
        await client.send(data(stream_id, b"body", end_stream=True))
        assert (await client.response(stream_id)).body == b"got body"


async def test_a_client_that_never_asks_is_let_go(serving: Serving) -> None:
    async with serving(app, header_timeout=4, keep_alive_timeout=6) as server:
        began = trio.current_time()
        silent = server.connect_raw(auto=False)
        await silent.send(frames.PREFACE)
        await silent.rest()
        assert trio.current_time() - began == pytest.approx(4, abs=3)
        greeted = await server.connect()
        await greeted.rest()
        assert trio.current_time() - began < 20


async def test_half_a_frame_does_not_keep_an_idle_connection(in_memory: Serving) -> None:
    async with in_memory(app, keep_alive_timeout=5) as server:
        client = await server.connect()
        await client.request()
        began = trio.current_time()
        await client.send(headers(3, get())[:-3])
        await client.rest()
        assert trio.current_time() - began < 20


async def test_a_half_closed_idle_connection_ends(serving: Serving) -> None:
    async with serving(app) as server:
        client = await server.connect()
        await client.request()
        await client.raw.send_eof()
        await client.rest()
        await server.service.all_closed()
