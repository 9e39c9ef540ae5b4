# SPDX-License-Identifier: MIT
"""Windows, both ways (RFC 9113 sections 5.2 and 6.9), and deadlines for those that don't move."""

from __future__ import annotations

import hashlib
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.connection.service import read_body, reply, text_app
from tests.http2 import frames
from tests.http2.frames import data, rst_stream, settings, window_update
from trioserve.protocols.http2 import ErrorCode

if TYPE_CHECKING:
    from tests.http2.client import Http2Client
    from tests.http2.conftest import Serving
    from trioserve.types import Receive, Scope, Send

#: 2 MB, no part like another.
LARGE = b"".join(b"%07d\n" % number for number in range(250_000))


async def large(scope: Scope, receive: Receive, send: Send) -> None:
    await reply(send, LARGE)


async def upload(client: Http2Client, stream_id: int, body: bytes) -> None:
    """Sends as a client must: within both windows, in frames of 16,384 bytes."""
    sent = 0
    while sent < len(body):
        credit = client.credit
        window = min(
            65_535 + credit.get(0, 0) - sent,
            client.settings[4] + credit.get(stream_id, 0) - sent,
        )
        if window <= 0:
            assert await client.pump()
            continue
        piece = body[sent : sent + min(window, 16_384)]
        sent += len(piece)
        await client.send(data(stream_id, piece, end_stream=sent == len(body)))


# -- uploads --------------------------------------------------------------------------------------


async def test_a_large_upload_arrives_whole(serving: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        digest = hashlib.sha256()
        more = True
        while more:
            message = await receive()
            digest.update(message["body"])
            more = message["more_body"]
        await reply(send, digest.hexdigest().encode())

    async with serving(app) as server:
        client = await server.connect()
        stream_id = await client.open()
        await upload(client, stream_id, LARGE)
        response = await client.response(stream_id)
        assert response.body == hashlib.sha256(LARGE).hexdigest().encode()


@pytest.mark.parametrize("window", [1024, 16_384, 65_535, 1_000_000])
async def test_an_upload_gets_through_windows_of_any_size(in_memory: Serving, window: int) -> None:
    async with in_memory(text_app, http2_initial_window_size=window) as server:
        client = await server.connect()
        await client.sync()
        assert client.settings[4] == window
        stream_id = await client.open()
        await upload(client, stream_id, LARGE[:200_000])
        assert (await client.response(stream_id)).body == b"/ " + LARGE[:200_000]


async def test_credit_is_only_given_for_what_the_application_takes(serving: Serving) -> None:
    take = trio.Event()
    taken = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await take.wait()
        await receive()
        taken.set()
        await read_body(receive)
        await reply(send)

    async with serving(app) as server:
        client = await server.connect()
        window = client.settings[4]
        before = client.credit
        stream_id = await client.open()
        await client.send(*[data(stream_id, bytes(16_384))] * (window // 16_384))
        await client.sync()
        assert client.credit == before  # none
        take.set()
        await taken.wait()
        await client.sync()
        assert client.credit[stream_id] >= window // 2
        await client.send(data(stream_id, end_stream=True))
        assert (await client.response(stream_id)).status == 200


async def test_a_slow_application_slows_only_its_own_client_stream(serving: Serving) -> None:
    """Though it takes nothing, others' bodies come: the connection's window is all streams'."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            await trio.sleep(20)
        await reply(send, b"%d" % len(await read_body(receive)))

    async with serving(app) as server:
        client = await server.connect()
        slow = [await client.open("/slow") for _ in range(5)]
        for stream_id in slow:
            await client.send(*[data(stream_id, bytes(16_384))] * (client.settings[4] // 16_384))
        began = trio.current_time()
        for _ in range(3):
            fast = await client.open("/fast")
            await client.send(*[data(fast, bytes(16_384))] * 8, data(fast, end_stream=True))
            assert (await client.response(fast)).body == b"131072"
        assert trio.current_time() - began < 10
        for stream_id in slow:
            await client.send(data(stream_id, end_stream=True))
            assert (await client.response(stream_id)).body == b"131072"


async def test_a_window_may_not_be_exceeded(in_memory: Serving) -> None:
    """Sections 6.9 and 6.9.1: FLOW_CONTROL_ERROR, of the stream or the connection."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep_forever()

    async with in_memory(app) as server:
        client = await server.connect()
        await client.sync()
        stream_id = await client.open()
        full = client.settings[4] // 16_384
        verdict = await client.verdict(*[data(stream_id, bytes(16_384))] * full)
        assert (verdict.goaway, verdict.resets) == (None, {})
        verdict = await client.verdict(data(stream_id, b"x"))
        code = ErrorCode.FLOW_CONTROL_ERROR
        assert code in (verdict.goaway, verdict.resets.get(stream_id))


async def test_what_nobody_took_of_a_body_is_credited_when_its_application_ends(
    in_memory: Serving,
) -> None:
    """Else the connection's window would shrink with each such request."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(1)
        if scope["path"] == "/raises":
            raise ValueError
        await reply(send, b"not read")

    async with in_memory(app, http2_max_concurrent_streams=2) as server:
        client = await server.connect()
        total = client.credit.get(0, 0) + 65_535
        sent = 0
        number = 0
        while sent < 4 * total:
            number += 1
            path = "/raises" if number % 3 == 0 else "/"
            stream_id = await client.open(path)
            await client.send(*[data(stream_id, bytes(16_384))] * 8)
            sent += 8 * 16_384
            if number % 3 == 1:
                await client.send(rst_stream(stream_id))
                await trio.sleep(2)
            else:
                await client.response(stream_id)
            assert not client.closed
            assert await client.sync()
            assert sent < total + client.credit[0]


@pytest.mark.slow  # tracing memory makes everything slow
async def test_small_frames_do_not_cost_a_multiple_of_their_size(in_memory: Serving) -> None:
    """A window of one-byte frames takes about as much memory as one of large frames."""
    go = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        await reply(send, b"%d" % len(await read_body(receive)))

    async with in_memory(app) as server:
        client = await server.connect()
        stream_id = await client.open()
        await client.sync()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(10):
                await client.send(data(stream_id, b"x") * 1000)
                await client.sync()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert grown < 10_000 * 12  # a tuple for each would be 64 bytes and more
        go.set()
        await client.send(data(stream_id, end_stream=True))
        assert (await client.response(stream_id)).body == b"10000"


# -- deadlines and limits of uploads --------------------------------------------------------------


async def test_a_body_that_does_not_come_is_a_408(serving: Serving) -> None:
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/other":
            await reply(send)
            return
        while (message := await receive())["type"] != "http.disconnect":
            pass
        told.append(message["type"])

    async with serving(app, body_timeout=5) as server:
        client = await server.connect()
        stream_id = await client.open()
        await client.send(data(stream_id, b"half"))
        began = trio.current_time()
        response = await client.response(stream_id)
        assert (response.status, response.ended) == (408, True)
        assert trio.current_time() - began == pytest.approx(5, abs=2)
        assert (await client.request("/other")).status == 200  # the connection goes on
        assert told == ["http.disconnect"]


async def test_a_body_that_comes_in_time_however_slowly_is_taken(in_memory: Serving) -> None:
    async with in_memory(text_app, body_timeout=5) as server:
        client = await server.connect()
        stream_id = await client.open()
        for _ in range(10):
            await client.send(data(stream_id, bytes(1000)))
            await trio.sleep(2)
        await client.send(data(stream_id, end_stream=True))
        assert (await client.response(stream_id)).status == 200


@pytest.mark.parametrize("says_so", [True, False])
async def test_a_body_that_is_too_large_is_a_413(serving: Serving, says_so: bool) -> None:
    fields = [("content-length", "101")] if says_so else []
    async with serving(text_app, max_body_size=100) as server:
        client = await server.connect()
        stream_id = await client.open("/", *fields)
        await client.send(data(stream_id, bytes(60)), data(stream_id, bytes(41)))
        await client.until_frame(frames.RST_STREAM)
        response = client.streams[stream_id]
        assert (response.status, response.ended) == (413, True)
        assert response.reset in (0, 5)  # h2 says STREAM_CLOSED of what was still under way
        good = await client.request(method="POST", body=bytes(100))
        assert good.status == 200


async def test_a_body_that_is_too_large_for_a_response_under_way_resets_its_stream(
    in_memory: Serving,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await read_body(receive)

    async with in_memory(app, max_body_size=10) as server:
        client = await server.connect()
        stream_id = await client.open()
        await client.until_frame(frames.DATA)
        await client.send(data(stream_id, bytes(11)))
        response = await client.response(stream_id)
        assert (response.ended, response.reset) == (False, ErrorCode.CANCEL)


# -- downloads ------------------------------------------------------------------------------------


async def test_a_large_download_arrives_whole(serving: Serving) -> None:
    async with serving(large) as server:
        client = await server.connect()
        ids = [await client.ask() for _ in range(3)]
        for stream_id in ids:
            assert (await client.response(stream_id)).body == LARGE


@pytest.mark.parametrize("window", [1, 100, 16_384, 2**31 - 1])
async def test_a_download_gets_through_windows_of_any_size(in_memory: Serving, window: int) -> None:
    size = min(200 * window, 200_000)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, LARGE[:size])

    async with in_memory(app) as server:
        client = await server.connect((4, window))
        assert (await client.request()).body == LARGE[:size]


async def test_nothing_is_sent_beyond_a_streams_window(serving: Serving) -> None:
    async with serving(large) as server:
        client = await server.connect((4, 1000), auto=False)
        stream_id = await client.ask()
        await client.until_body(1000)
        await client.sync()
        assert len(client.streams[stream_id].body) == 1000
        await client.send(window_update(stream_id, 234))
        await client.until_body(1234)
        await client.sync()
        assert len(client.streams[stream_id].body) == 1234


async def test_nothing_is_sent_beyond_the_connections_window(serving: Serving) -> None:
    async with serving(large) as server:
        client = await server.connect((4, 1_000_000), auto=False)
        for _ in range(3):
            await client.ask()
        await client.until_body(65_535)
        await client.sync()
        assert client.body_size == 65_535
        await client.send(window_update(0, 1000))
        await client.until_body(66_535)
        await client.sync()
        assert client.body_size == 66_535


async def test_headers_and_ends_need_no_window(in_memory: Serving) -> None:
    """Section 6.9: only DATA counts, and only its bytes."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with in_memory(app) as server:
        client = await server.connect((4, 0), auto=False)
        response = await client.request()
        assert (response.status, response.body, response.ended) == (200, b"", True)


async def test_an_error_page_is_left_out_where_the_client_takes_none(in_memory: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError

    async with in_memory(app) as server:
        client = await server.connect((4, 0), auto=False)
        response = await client.request()
        assert (response.status, response.body, response.ended) == (500, b"", True)
        assert b"content-length" not in response.headers


async def test_an_application_waits_while_its_client_takes_nothing(in_memory: Serving) -> None:
    """64 KiB of a response are held, no more."""
    sent: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(100):
            await send({"type": "http.response.body", "body": bytes(10_000), "more_body": True})
            sent.append(number)
        await send({"type": "http.response.body"})

    async with in_memory(app) as server:
        client = await server.connect((4, 0), auto=False)
        stream_id = await client.ask()
        await client.sync()
        await client.sync()
        assert len(sent) == 6  # the seventh waits
        client.auto = True
        await client.send(settings((4, 100_000)), window_update(0, 1_000_000))
        response = await client.response(stream_id)
        assert len(response.body) == 1_000_000
        assert len(sent) == 100


# -- deadlines of downloads -----------------------------------------------------------------------


async def test_a_stalled_stream_is_reset_and_others_go_on(serving: Serving) -> None:
    raised: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await reply(send, LARGE[:50_000])
        except OSError as exc:
            raised.append(exc)
            raise

    async with serving(app, write_timeout=10) as server:
        client = await server.connect((4, 1000), auto=False)
        stalled = await client.ask()
        await client.sync()
        began = trio.current_time()
        for _ in range(4):
            await trio.sleep(2)
            other = await client.ask()
            await client.send(window_update(other, 60_000), window_update(0, 60_000))
            assert (await client.response(other)).body == LARGE[:50_000]
        assert (await client.response(stalled)).reset == ErrorCode.CANCEL
        assert trio.current_time() - began == pytest.approx(10, abs=2)
        assert len(raised) == 1
        other = await client.ask()
        await client.send(window_update(other, 60_000), window_update(0, 60_000))
        assert (await client.response(other)).body == LARGE[:50_000]


async def test_a_stream_that_gets_a_little_now_and_then_is_not_stalled(in_memory: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, bytes(5000))

    async with in_memory(app, write_timeout=10) as server:
        client = await server.connect((4, 1000), auto=False)
        stream_id = await client.ask()
        for _ in range(4):
            await trio.sleep(7)
            await client.send(window_update(stream_id, 1000))
        response = await client.response(stream_id)
        assert (len(response.body), response.ended) == (5000, True)


async def test_a_stream_that_waits_for_others_is_not_stalled(in_memory: Serving) -> None:
    """One response goes first for longer than write_timeout: the client takes what is sent."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, LARGE[: 400_000 if scope["path"] == "/first" else 100])

    async with in_memory(app, write_timeout=10) as server:
        client = await server.connect((4, 1_000_000), auto=False)
        first, second = await client.ask("/first"), await client.ask("/second")
        for _ in range(8):
            await trio.sleep(6)
            await client.send(window_update(0, 50_000))
            await client.sync()
        assert (await client.response(first)).body == LARGE[:400_000]
        assert (await client.response(second)).body == LARGE[:100]


@pytest.mark.parametrize(
    "noise", [window_update(0, 1), settings((4, 0)), frames.ping(), frames.priority_update(1, b"i")]
)
async def test_noise_does_not_keep_a_stalled_stream(in_memory: Serving, noise: bytes) -> None:
    async with in_memory(large, write_timeout=10) as server:
        client = await server.connect((4, 0), auto=False)
        stream_id = await client.ask()
        for _ in range(8):
            await trio.sleep(2)
            await client.send(noise)
        await client.sync()
        assert client.streams[stream_id].reset == ErrorCode.CANCEL


async def test_a_connection_whose_window_is_closed_loses_its_streams_one_by_one(
    in_memory: Serving,
) -> None:
    async with in_memory(large, write_timeout=10) as server:
        client = await server.connect((4, 1_000_000), auto=False)
        ids = [await client.ask() for _ in range(3)]
        began = trio.current_time()
        for stream_id in ids:
            assert (await client.response(stream_id)).reset == ErrorCode.CANCEL
        assert trio.current_time() - began == pytest.approx(10, abs=2)
        assert await client.sync()


async def test_a_client_that_reads_nothing_is_lost_and_its_applications_hear_it(
    over_tcp: Serving,
) -> None:
    """The socket takes no more: then the whole connection ends, by write_timeout."""
    ended: list[type[BaseException]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await reply(send, LARGE)
        except OSError as exc:
            ended.append(type(exc))
            raise

    async with over_tcp(app, write_timeout=5) as server:
        client = await server.connect((4, 2**31 - 1), auto=False, buffer_size=8192)
        await client.send(window_update(0, 2**31 - 1 - 65_535))
        for _ in range(5):
            await client.ask()
        began = trio.current_time()
        await server.service.all_closed()
        assert trio.current_time() - began == pytest.approx(5, abs=3)
        assert len(ended) == 5


async def test_a_slow_reader_bounds_what_is_held_for_it(over_tcp: Serving) -> None:
    """Applications with 10 MB each: a flush and 64 KiB a stream are held, not more."""
    produced = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal produced
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            produced += 10_000
            await send({"type": "http.response.body", "body": bytes(10_000), "more_body": True})

    async with over_tcp(app, write_timeout=5, asgi_disconnect_grace_period=0) as server:
        client = await server.connect((4, 2**31 - 1), auto=False, buffer_size=8192)
        await client.send(window_update(0, 2**31 - 1 - 65_535))
        for _ in range(10):
            await client.ask()
        await trio.sleep(2)
        assert produced < 10 * (64 * 1024 + 20_000) + 400_000


async def test_responses_with_large_heads_do_not_pile_up_for_a_client_that_reads_nothing(
    over_tcp: Serving,
) -> None:
    served = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal served
        served += 1
        headers = [(b"x-%d" % number, b"\x80" * 1000) for number in range(16)]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body"})

    async with over_tcp(app, write_timeout=5) as server:
        client = await server.connect(auto=False, buffer_size=8192)
        with trio.move_on_after(3):
            for _ in range(2000):
                await client.ask()
        assert served * 16_000 < 3_000_000


async def count(sizes: list[int], receive: Receive) -> None:
    """Notes the size of each message."""
    more = True
    while more:
        message: Any = await receive()
        sizes.append(len(message.get("body", b"")))
        more = message.get("more_body", False)


async def test_no_message_is_larger_than_what_a_window_allows(in_memory: Serving) -> None:
    sizes: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(1)
        await count(sizes, receive)
        await reply(send)

    async with in_memory(app, http2_initial_window_size=2**20) as server:
        client = await server.connect()
        await client.sync()
        stream_id = await client.open()
        await upload(client, stream_id, LARGE)
        await client.response(stream_id)
    assert sum(sizes) == len(LARGE)
    assert max(sizes) <= 128 * 1024 + 16_384


async def test_what_a_complete_response_left_unread_is_credited_at_once(serving: Serving) -> None:
    answer = trio.Event()
    finish = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer.wait()
        await reply(send, b"early")
        await finish.wait()  # as work after a response does

    async with serving(app, http2_max_concurrent_streams=1) as server:
        client = await server.connect()
        stream_id = await client.open()
        await upload(client, stream_id, LARGE[: client.settings[4]])
        await client.sync()
        before = client.credit.get(0, 0)
        answer.set()
        assert (await client.response(stream_id)).body == b"early"
        await client.sync()
        assert client.credit.get(0, 0) - before >= client.settings[4] // 2
        finish.set()
