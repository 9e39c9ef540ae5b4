# SPDX-License-Identifier: MIT
"""What a client makes the server undo, and what an honest one must not be taken for."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.connection.service import read_body, reply
from tests.http2 import frames
from tests.http2.frames import (
    data,
    get,
    goaway,
    headers,
    post,
    settings,
)
from trioserve.protocols.http2 import ErrorCode

if TYPE_CHECKING:
    from pathlib import Path

    from tests.http2.client import Http2Client
    from tests.http2.conftest import Serving
    from trioserve.types import Receive, Scope, Send

CALM = ErrorCode.ENHANCE_YOUR_CALM


@pytest.fixture
def in_real_time(in_memory: Serving) -> Serving:
    """For what uses threads: a virtual clock runs on while they work."""
    in_memory.clock.rate = 1.0
    in_memory.clock.autojump_threshold = math.inf
    return in_memory


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/wait":
        await trio.sleep_forever()
    await read_body(receive)
    await reply(send, b"ok")


async def ends_calm(client: Http2Client) -> bool:
    """Whether the connection was ended for too much."""
    await client.rest()
    return [frame.code for frame in client.of_type(frames.GOAWAY)][-1:] == [CALM]


# -- honest clients -------------------------------------------------------------------------------


async def test_what_an_app_does_after_its_response_keeps_no_client_waiting(
    in_memory: Serving,
) -> None:
    """RFC 9113 section 5.1.2 counts open streams; these are closed."""

    async def with_background(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"ok")
        await trio.sleep(60)

    async with in_memory(with_background, http2_max_concurrent_streams=5) as server:
        client = await server.connect()
        for _ in range(60):
            response = await client.request()
            assert (response.status, response.reset) == (200, None)


@pytest.mark.slow  # thousands of events
async def test_a_client_that_gives_credit_for_each_small_event_is_no_flood(
    in_memory: Serving,
) -> None:
    """RFC 9113 section 6.9: a receiver may give any credit, on the stream and on the connection."""

    async def events(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(2000):
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            await trio.sleep(0.002)
        await send({"type": "http.response.body"})

    async with in_memory(events) as server:
        client = await server.connect()
        stream_id = await client.open(end_stream=True)
        response = await client.response(stream_id)  # the client gives credit for each frame
        assert response.body == b"data: 1\n\n" * 2000
        assert len(client.of_type(frames.DATA)) >= 2000
        assert client.streams[stream_id].reset is None
        assert client.of_type(frames.GOAWAY) == []


async def test_a_client_that_knows_no_limit_yet_may_go_beyond_it(in_memory: Serving) -> None:
    """SETTINGS may be on their way: what is too much is refused, stream by stream."""
    async with in_memory(app, http2_max_concurrent_streams=10) as server:
        client = server.connect_raw()
        ids = [2 * number + 1 for number in range(300)]
        await client.send(frames.PREFACE, settings(), *[headers(one, get("/wait")) for one in ids])
        await client.sync()
        refused = [one for one in ids if client.streams.get(one) and client.streams[one].reset == 7]
        assert refused == ids[10:]
        assert client.of_type(frames.GOAWAY) == []


async def test_cookies_in_crumbs_count_as_the_one_field_that_they_are(in_memory: Serving) -> None:
    """RFC 9113 section 8.2.3."""
    crumbs = [("cookie", f"c{number}=1") for number in range(120)]
    large = [("cookie", "c" * 1000)] * 9
    async with in_memory(app) as server:
        client = await server.connect()
        assert (await client.request("/", *crumbs)).status == 200
        assert (await client.request("/", *large)).status == 431


async def test_a_clients_goaway_leaves_it_its_own_streams(in_memory: Serving) -> None:
    """RFC 9113 section 6.8: it is about streams that the other side would open."""
    async with in_memory(app) as server:
        client = await server.connect()
        await client.send(headers(1, get("/wait")), goaway())
        await client.send(headers(3, get()))
        assert (await client.response(3)).status == 200


# -- others ---------------------------------------------------------------------------------------


async def test_streams_that_we_are_made_to_reset_are_counted(in_memory: Serving) -> None:
    """CVE-2025-8671: a reset by the server frees the client's count, and not the server's work."""
    async with in_memory(app) as server:
        client = await server.connect()
        for number in range(400):
            stream_id = 2 * number + 1
            head = headers(stream_id, post("/", ("content-length", "1")), end_stream=False)
            await client.send(head, data(stream_id, b"xx"))
        assert await ends_calm(client)
        assert len(client.of_type(frames.RST_STREAM)) <= 260


async def test_requests_after_our_goaway_are_refused_so_often_and_no_more(
    in_memory: Serving,
) -> None:
    async with in_memory(app, max_requests_per_connection=1) as server:
        client = await server.connect()
        await client.send(headers(1, get("/wait")))
        for number in range(1, 1500):
            await client.send(headers(2 * number + 1, get()))
        assert await ends_calm(client)


async def test_frames_of_padding_only_are_counted(in_memory: Serving) -> None:
    """As empty ones are: CVE-2019-9518."""
    async with in_memory(app) as server:
        client = await server.connect()
        await client.send(headers(1, post("/wait"), end_stream=False))
        for _ in range(20):
            await client.send(*[data(1, b"", pad=1)] * 50)
        assert await ends_calm(client)


async def test_a_thousand_settings_in_a_frame_are_counted_as_what_they_are(
    in_memory: Serving,
) -> None:
    async with in_memory(app) as server:
        client = await server.connect()
        await client.send(settings(*[(4, 65_535), (4, 1)] * 5000))
        assert await ends_calm(client)


async def test_goaway_never_names_a_stream_that_was_refused(in_memory: Serving) -> None:
    """RFC 9113 section 6.8: the last stream's id must not increase."""
    release = trio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await release.wait()
        await reply(send, b"ok")

    async with in_memory(slow, max_requests_per_connection=1) as server:
        client = await server.connect()
        await client.send(headers(1, get()), headers(3, get()))
        assert (await client.response(3)).reset == ErrorCode.REFUSED_STREAM
        release.set()
        assert (await client.response(1)).status == 200
        await client.rest()
        assert {frame.last_stream_id for frame in client.of_type(frames.GOAWAY)} == {1}


@pytest.mark.parametrize("how", ["cancelled", "unreadable"])
async def test_a_file_that_ends_in_the_middle_ends_its_stream_and_fakes_nothing(
    in_real_time: Serving, tmp_path: Path, how: str
) -> None:
    """One final header section, and no end that looks like one (RFC 9113 section 8.1)."""
    path = tmp_path / "large"
    path.write_bytes(bytes(3_000_000))
    caught: list[BaseException] = []

    async def sending(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            if how == "cancelled":
                with trio.move_on_after(0.2):
                    await send({"type": "http.response.pathsend", "path": str(path)})
            else:
                with path.open("ab") as file:
                    await send({"type": "http.response.zerocopysend", "file": file, "offset": 0})
        except Exception as exc:
            caught.append(exc)
        await send({"type": "http.response.body", "body": b"the end?"})

    async with in_real_time(sending) as server:
        client = await server.connect()
        client.auto = False  # it takes no more than its window
        response = await client.response(await client.open(end_stream=True))
        assert response.reset == ErrorCode.INTERNAL_ERROR
        assert len(response.heads) == 1
        assert not response.ended
        assert not any(isinstance(exc, OSError) for exc in caught)


async def test_a_whole_answer_of_the_servers_is_in_the_access_log(
    in_memory: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("no")

    options: dict[str, Any] = {"access_log": True, "access_log_format": "%(s)s %(b)s"}
    async with in_memory(fails, **options) as server:
        client = await server.connect()
        response = await client.request()
        assert response.status == 500
    lines = [r.getMessage() for r in caplog.records if r.name == "trioserve.access"]
    assert lines == [f"500 {len(response.body)}"]


@pytest.mark.slow  # twelve hundred requests
async def test_many_resets_are_remembered_as_long_as_streams_may_be_under_way(
    in_memory: Serving,
) -> None:
    """RFC 9113 section 5.1: frames are tolerated for a while after our own RST_STREAM."""
    async with in_memory(app, http2_max_concurrent_streams=1000) as server:
        client = await server.connect()
        first = await client.open("/", ("te", "gzip"))
        assert (await client.response(first)).reset == ErrorCode.PROTOCOL_ERROR
        for _ in range(1200):
            assert (await client.request()).status == 200
        await client.send(data(first, b"late"))
        assert await client.sync()
        assert client.of_type(frames.GOAWAY) == []
