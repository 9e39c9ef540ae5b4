# SPDX-License-Identifier: MIT
"""Attacks on a whole server: the connection ends with ENHANCE_YOUR_CALM, the others go on.

The figures are those of floods.py, and its unit tests hold them exactly; here they are felt.
"""

from __future__ import annotations

import gc
import logging
import tracemalloc
from typing import TYPE_CHECKING

import pytest
import trio

from tests.connection.service import read_body, reply
from tests.http2 import frames
from tests.http2.frames import (
    block,
    continuation,
    data,
    get,
    headers,
    ping,
    post,
    priority,
    priority_update,
    rst_stream,
    settings,
    window_update,
)
from trioserve.protocols.http2 import ErrorCode

if TYPE_CHECKING:
    from tests.http2.client import Http2Client
    from tests.http2.conftest import Server, Serving
    from trioserve.types import Receive, Scope, Send

CALM = ErrorCode.ENHANCE_YOUR_CALM


class App:
    """Answers; at /wait it never does. Counts how many run, and ever ran, at a time."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await read_body(receive)
            if scope["path"] == "/wait":
                await trio.sleep_forever()
            await reply(send, bytes(50_000) if scope["path"] == "/large" else b"ok")
        finally:
            self.running -= 1


async def flood(client: Http2Client, piece: bytes, count: int) -> int:
    """Sends a piece again and again until the server has had enough; returns how many passed."""
    sent = 0
    while sent < count and not client.of_type(frames.GOAWAY):
        await client.send(piece)
        sent += 1
        if sent % 20 == 0 and not await client.sync():
            break
    return sent


async def check_calm(client: Http2Client) -> None:
    """The connection has ended, and why."""
    await client.rest()
    last = client.of_type(frames.GOAWAY)[-1]
    assert last.code == CALM
    assert b"10.5" in last.payload


async def good_request(server: Server) -> None:
    """A new connection and one that was there before are served as ever."""
    client = await server.connect()
    assert (await client.request()).body == b"ok"
    await client.leave()


FRAMES = {
    "PING": ping(),
    "PING's acknowledgement": ping(flags=frames.ACK),
    "SETTINGS": settings(),
    "SETTINGS that flip the window": settings((4, 0)) + settings((4, 2**31 - 1)),
    "SETTINGS that flip the table's size": settings((1, 0)) + settings((1, 4096)),
    "SETTINGS' acknowledgement": frames.frame(frames.SETTINGS, frames.ACK, 0),
    "PRIORITY": priority(9),
    "PRIORITY_UPDATE": priority_update(9, b"u=1"),
    "WINDOW_UPDATE of the connection": window_update(0, 1),
    "WINDOW_UPDATE of a stream": window_update(1, 1),
    "RST_STREAM of a stream that is closed": rst_stream(1),
    "GOAWAY while a stream runs": frames.goaway(),
    "an unknown type": frames.frame(0xFA, 0, 0, b"x"),
    "empty DATA": data(1),
    "DATA that is all padding": data(1, pad=0),
}


@pytest.mark.parametrize("name", FRAMES)
async def test_frames_that_are_of_no_use_end_their_connection(
    in_memory: Serving, name: str
) -> None:
    app = App()
    async with in_memory(app, asgi_disconnect_grace_period=0) as server:
        other = await server.connect()
        waiting = await other.open()
        client = await server.connect()
        await client.send(headers(1, frames.post("/wait"), end_stream=False))
        if "closed" in name:
            await client.send(rst_stream(1))
        passed = await flood(client, FRAMES[name], 3000)
        assert 200 <= passed <= 600
        await check_calm(client)
        await good_request(server)
        await other.send(data(waiting, b"x", end_stream=True))
        assert (await other.response(waiting)).body == b"ok"


async def test_a_hundred_control_frames_a_second_are_no_flood(in_memory: Serving) -> None:
    async with in_memory(App()) as server:
        client = await server.connect()
        stream_id = await client.open()
        for _ in range(30):
            for _ in range(9):
                await client.send(ping() * 10)
            assert await client.sync()
            await trio.sleep(1)
        await client.send(data(stream_id, end_stream=True))
        assert (await client.response(stream_id)).body == b"ok"


async def test_the_updates_of_an_honest_download_are_no_flood(in_memory: Serving) -> None:
    """A WINDOW_UPDATE for each frame, on its stream and the connection, for thousands of frames."""
    size = 20_000_000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(size // 1_000_000):
            await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
        await send({"type": "http.response.body"})

    async with in_memory(app) as server:
        client = await server.connect()
        client.streams[1] = received = await client.request()
        assert len(received.body) == size
        assert len(client.of_type(frames.DATA)) > 1000


@pytest.mark.slow  # thousands of requests
async def test_an_honest_client_makes_thousands_of_requests(in_memory: Serving) -> None:
    async with in_memory(App()) as server:
        client = await server.connect()
        for _ in range(600):
            assert (await client.request("/")).ended
            await client.send(window_update(0, 2), ping(), priority_update(1, b"i"))


# -- streams --------------------------------------------------------------------------------------


async def test_rapid_reset_ends_its_connection(in_memory: Serving) -> None:
    """CVE-2023-44487: 200 streams, and no more than twice the limit of applications at a time."""
    app = App()
    async with in_memory(app, http2_max_concurrent_streams=50) as server:
        client = await server.connect()
        sent = 0
        while not client.of_type(frames.GOAWAY):
            await client.send(
                *[
                    headers(sent * 2 + 1 + 2 * at, get("/wait")) + rst_stream(sent * 2 + 1 + 2 * at)
                    for at in range(10)
                ]
            )
            sent += 10
            assert sent <= 400
            if not await client.sync():
                break
        assert 150 <= sent <= 320
        await check_calm(client)
        await good_request(server)
        assert app.most <= 101
        await trio.sleep(4)
        assert app.running == 0


async def test_rapid_reset_in_one_piece_ends_its_connection(in_memory: Serving) -> None:
    app = App()
    async with in_memory(app) as server:
        client = await server.connect()
        await client.send(*[headers(at, get("/wait")) + rst_stream(at) for at in range(1, 2001, 2)])
        await check_calm(client)
        assert app.calls <= 200
        await good_request(server)


async def test_resets_that_a_client_provokes_end_its_connection(in_memory: Serving) -> None:
    """As rapid reset, but it is the server that resets: malformed, or too many at a time."""
    async with in_memory(App(), http2_max_concurrent_streams=5) as server:
        bad = get("/", ("connection", "close"))
        client = await server.connect()
        await client.send(*[headers(at, bad) for at in range(1, 2001, 2)])
        await check_calm(client)
        assert len(client.of_type(frames.RST_STREAM)) <= 201
        client = await server.connect()
        await client.send(
            *[headers(at, post("/wait"), end_stream=False) for at in range(1, 2001, 2)]
        )
        await check_calm(client)
        await good_request(server)


async def test_late_window_updates_by_nothing_reset_only_what_they_must(
    in_memory: Serving,
) -> None:
    """MadeYouReset (CVE-2025-8671): a client provokes resets by frames that are invalid."""
    app = App()
    async with in_memory(app, asgi_disconnect_grace_period=0) as server:
        client = await server.connect()
        stream_id = 1
        while not client.of_type(frames.GOAWAY):
            overflow = window_update(stream_id, 2**31 - 1)
            await client.send(headers(stream_id, get("/wait")), overflow)
            stream_id += 2
            assert stream_id < 2000
            if not await client.sync():
                break
        assert stream_id < 2 * 260
        await check_calm(client)
        await good_request(server)


async def test_uploads_that_nobody_reads_do_not_pile_up(in_memory: Serving) -> None:
    """A response each at once, while the request goes on: no more than the limit are kept open."""

    async def at_once(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"ok")

    async with in_memory(at_once, http2_max_concurrent_streams=10) as server:
        client = await server.connect()
        for number in range(50):
            assert (await client.response(await client.open())).body == b"ok"
            await client.sync()
            assert len(client.of_type(frames.RST_STREAM)) == max(0, number - 9)
        await trio.sleep(3)
        await client.sync()
        assert len(client.of_type(frames.RST_STREAM)) == 50


async def test_a_client_that_cancels_now_and_then_is_served_for_long(in_memory: Serving) -> None:
    app = App()
    async with in_memory(app) as server:
        client = await server.connect()
        for _ in range(60):
            for _ in range(10):
                await client.send(rst_stream(await client.ask("/wait")))
            assert (await client.request()).body == b"ok"
            await trio.sleep(1)


# -- header sections ------------------------------------------------------------------------------


async def test_a_header_section_in_endless_pieces_ends_its_connection(serving: Serving) -> None:
    """CVE-2024-27316: by the 33rd CONTINUATION."""
    async with serving(App()) as server:
        client = await server.connect()
        await client.send(headers(1, get()[:1], end_headers=False))
        await client.send(*[continuation(1, b"", end_headers=False)] * 33)
        await check_calm(client)
        await good_request(server)


async def test_a_header_section_that_trickles_ends_its_connection_by_its_deadline(
    in_memory: Serving,
) -> None:
    async with in_memory(App(), header_timeout=5) as server:
        client = await server.connect()
        waiting = await client.open()
        began = trio.current_time()
        await client.send(headers(3, get()[:1], end_headers=False))
        for byte in get()[1:6]:
            await trio.sleep(2)
            await client.send(continuation(3, bytes([byte]), end_headers=False))
        await client.rest()
        assert trio.current_time() - began < 15
        assert client.of_type(frames.GOAWAY)
        assert waiting in (1,)
        await good_request(server)


async def test_a_frame_of_headers_that_trickles_ends_its_connection_by_its_deadline(
    in_memory: Serving,
) -> None:
    frame = headers(3, get())
    async with in_memory(App(), header_timeout=5) as server:
        client = await server.connect()
        await client.open()
        began = trio.current_time()
        await client.send(frame[:10])
        for at in range(10, 13):
            await trio.sleep(1)
            await client.send(frame[at : at + 1])
        await client.rest()
        assert trio.current_time() - began < 10
        assert client.of_type(frames.GOAWAY)
        await good_request(server)


async def test_a_header_section_that_is_too_large_compressed_ends_its_connection(
    in_memory: Serving,
) -> None:
    """By its length, before it is decoded: twice the announced size."""
    async with in_memory(App(), http2_max_header_list_size=10_000) as server:
        client = await server.connect()
        await client.send(headers(1, bytes(20_001))[:9])
        await check_calm(client)


async def test_a_bomb_of_header_compression_ends_its_connection(in_memory: Serving) -> None:
    """CVE-2016-6581: 4 KB once in the table, then by a byte each, 50,000 times: 200 MB."""
    entry = b"\x40\x01a" + b"\x7f\xa1\x1e" + b"b" * 4000
    async with in_memory(App()) as server:
        client = await server.connect()
        tracemalloc.start()
        try:
            await client.send(headers(1, get() + entry + b"\xbe" * 50_000))
            await client.rest()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert client.of_type(frames.GOAWAY)[-1].code == CALM
        assert peak < 8_000_000
        await good_request(server)


async def test_many_small_fields_are_a_431_and_in_the_end_too_much(in_memory: Serving) -> None:
    many = block(*[("a", "")] * 2000)
    async with in_memory(App()) as server:
        client = await server.connect()
        await client.send(headers(1, get() + many))
        assert (await client.response(1)).status == 431
        await good_request(server)


# -- windows --------------------------------------------------------------------------------------


async def test_a_download_byte_by_byte_ends_its_connection(in_memory: Serving) -> None:
    """CVE-2019-9511: a WINDOW_UPDATE of 1 for each byte."""
    async with in_memory(App(), asgi_disconnect_grace_period=0) as server:
        client = await server.connect((4, 0), auto=False)
        stream_id = await client.ask("/large")
        passed = await flood(client, window_update(stream_id, 1), 2000)
        assert 400 <= passed <= 600
        await check_calm(client)
        assert len(client.streams[stream_id].body) <= passed
        await good_request(server)


async def test_windows_that_are_flipped_do_not_multiply_what_is_held(in_memory: Serving) -> None:
    """Huge and none, in turn, with many responses waiting."""
    async with in_memory(App(), asgi_disconnect_grace_period=0) as server:
        client = await server.connect((4, 0), auto=False)
        for _ in range(50):
            await client.ask("/large")
        await client.sync()
        for _ in range(100):
            await client.send(settings((4, 2**31 - 1)), settings((4, 0)))
        assert await client.sync()
        assert client.body_size <= 65_535
        await good_request(server)


async def test_responses_that_a_client_never_takes_are_bounded_and_end(
    in_memory: Serving,
) -> None:
    """CVE-2019-9517: a closed window, and request after request."""
    app = App()
    async with in_memory(app, http2_max_concurrent_streams=20, write_timeout=5) as server:
        client = await server.connect((4, 0), auto=False)
        for _ in range(100):
            await client.ask("/large")
        await client.sync()
        assert app.running <= 20
        await good_request(server)
        await trio.sleep(10)
        assert app.running == 0


# -- memory ---------------------------------------------------------------------------------------


@pytest.mark.slow  # tens of thousands of frames under tracemalloc
async def test_what_attackers_leave_behind_is_freed(
    in_memory: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    """Each attack of this file in turn, ten times: the server is as small as before."""
    caplog.set_level(logging.CRITICAL, "trioserve.error")  # what it keeps isn't the server's
    app = App()
    attacks = [
        b"".join(headers(at, get("/wait")) + rst_stream(at) for at in range(1, 401, 2)),
        ping() * 600,
        settings((4, 0), (1, 0)) * 600,
        b"".join(priority_update(at, b"u=1") for at in range(1, 1201, 2)),
        headers(1, get("/wait")) + window_update(1, 1) * 600,
        headers(1, frames.post("/wait"), end_stream=False) + data(1, bytes(16_000)) * 4,
        headers(1, get()[:1], end_headers=False) + continuation(1, b"", end_headers=False) * 40,
    ]

    async def attack(server: Server) -> None:
        for sent in attacks:
            client = await server.connect()
            await client.send(sent)
            await client.sync()
            await client.leave()
        server.service.clients.clear()
        await trio.sleep(20)

    async with in_memory(app, asgi_disconnect_grace_period=0.1) as server:
        await attack(server)
        tracemalloc.start()
        try:
            await attack(server)
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(5):
                await attack(server)
            gc.collect()
            after = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert app.running == 0
        assert server.service.connections == 0
        assert after - before < 50_000
        await good_request(server)
