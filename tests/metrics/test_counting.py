# SPDX-License-Identifier: MIT
"""A recorder beside a real server: each exchange is counted once, whatever becomes of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.asgi.harness import get, ok, open_harness, read_body, until
from tests.connection.service import open_service
from tests.websocket.client import make_client
from trioserve.metrics import SETTLE_COUNT, Recorder
from trioserve.testing import open_test_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager

    from tests.asgi.harness import Harness, Version
    from trioserve.types import ASGIApp, Receive, Scope, Send


@pytest.fixture(params=["1.1", "2"])
def version(request: pytest.FixtureRequest) -> Version:
    got: Version = request.param
    return got


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def clock() -> trio.abc.Clock:
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The failures here are meant."""
    logger = logging.getLogger("trioserve.error")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(before)


def serving(
    recorder: Recorder, app: ASGIApp, version: Version, **options: Any
) -> AbstractAsyncContextManager[Harness]:
    return open_harness("memory", app, version, recorder=recorder, **options)


def requests(recorder: Recorder) -> dict[str, dict[str, int]]:
    """By method and status, with the gauges checked to agree."""
    snapshot = recorder.snapshot()
    found: dict[str, dict[str, int]] = snapshot["requests"]
    assert snapshot["requests_total"] == sum(sum(row.values()) for row in found.values())
    assert snapshot["latency"]["count"] == snapshot["requests_total"]
    return found


def assert_nothing_is_open(recorder: Recorder) -> None:
    snapshot = recorder.snapshot()
    gauges = ("connections", "in_flight", "websockets")
    assert {name: snapshot[name] for name in gauges} == dict.fromkeys(gauges, 0)


async def test_whole_exchanges_are_counted_by_method_and_status(
    recorder: Recorder, version: Version, clock: trio.abc.Clock
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(2)
        status = int(scope["path"][1:])
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"" if status == 204 else b"x"})

    async with serving(recorder, app, version) as server:
        client = await server.connect()
        for method, status in [("GET", 200), ("GET", 204), ("HEAD", 404), ("BREW", 500)]:
            response = await client.request(f"/{status}", method=method)
            assert response.status == status
        snapshot = recorder.snapshot()
        assert (snapshot["connections"], snapshot["connections_total"]) == (1, 1)
        await client.leave()
        await until(lambda: not recorder.connections)
        assert requests(recorder) == {
            "GET": {"200": 1, "204": 1},
            "HEAD": {"404": 1},
            "OTHER": {"500": 1},
        }
        latency = recorder.snapshot()["latency"]
        assert latency["sum"] == pytest.approx(8.0)
        assert latency["counts"][latency["bounds"].index(2.5)] == 4
        assert recorder.snapshot()["disconnects_total"] == 0
        assert_nothing_is_open(recorder)


async def test_an_exchange_is_in_flight_until_its_response_is_complete(
    recorder: Recorder, version: Version
) -> None:
    go_on, completed, end = trio.Event(), trio.Event(), trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"b"})
        completed.set()
        await end.wait()  # what an application does after its response is no exchange

    async with serving(recorder, app, version) as server:
        client = await server.connect()
        await client.send(get())
        await client.receive_until(b"a")
        assert (recorder.in_flight, recorder.requests_total) == (1, 0)
        go_on.set()
        await client.response()
        await completed.wait()
        assert (recorder.in_flight, recorder.requests_total) == (0, 1)
        end.set()
    assert requests(recorder) == {"GET": {"200": 1}}
    assert_nothing_is_open(recorder)


async def test_failing_applications_are_counted_by_what_their_clients_got(
    recorder: Recorder, version: Version
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/late":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        if scope["path"] == "/mutate":
            scope["method"] = ["not", "hashable"]
            return
        if scope["path"] != "/silent":
            raise ValueError("meant")

    async with serving(recorder, app, version) as server:
        for path in ("/raise", "/silent", "/mutate"):
            assert (await server.request(path)).status == 500
        client = await server.connect()
        await client.send(get("/late"))
        await until(lambda: recorder.requests_total == 4)
        await client.leave()
        await until(lambda: not recorder.connections)
    assert requests(recorder) == {"GET": {"500": 3, "200": 1}}
    assert recorder.snapshot()["disconnects_total"] == 0  # no client has left by itself
    assert_nothing_is_open(recorder)


async def test_a_client_that_leaves_is_counted_once_and_its_exchange_too(
    recorder: Recorder, version: Version, clock: trio.abc.Clock
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if scope["path"] == "/long":
            await trio.sleep_forever()  # cancelled after its grace

    async with serving(recorder, app, version) as server:
        for path in ("/short", "/long"):
            client = await server.connect()
            await client.send(get(path))
            await until(lambda: recorder.in_flight)
            await client.leave()
            while recorder.connections:  # noqa: ASYNC110  time passes meanwhile
                await trio.sleep(0.1)
    assert sum(sum(row.values()) for row in requests(recorder).values()) == 2
    assert recorder.snapshot()["disconnects_total"] == 2
    assert_nothing_is_open(recorder)


async def test_requests_cancelled_by_their_timeout_are_503s(
    recorder: Recorder, version: Version, clock: trio.abc.Clock
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep_forever()

    async with serving(recorder, app, version, request_timeout=1) as server:
        assert (await server.request()).status == 503
    assert requests(recorder) == {"GET": {"503": 1}}
    assert recorder.snapshot()["disconnects_total"] == 0
    assert_nothing_is_open(recorder)


async def test_requests_cut_short_by_the_end_of_the_server_are_counted(
    recorder: Recorder, version: Version, clock: trio.abc.Clock
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/begun":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await trio.sleep_forever()

    async with serving(recorder, app, version, graceful_timeout=1) as server:
        for path in ("/begun", "/silent"):
            client = await server.connect()
            await client.send(get(path))
        await until(lambda: recorder.in_flight == 2)
        server._clients.clear()  # they stay to the end
    assert requests(recorder) == {"GET": {"200": 1, "503": 1}}
    assert_nothing_is_open(recorder)


async def test_bodies_beyond_the_limit_are_413s_and_no_client_left(
    recorder: Recorder, version: Version
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await ok(send)

    async with serving(recorder, app, version, max_body_size=10) as server:
        client = await server.connect()
        head = get("/", "Transfer-Encoding: chunked", method="POST")
        await client.send(head + b"14\r\n" + b"x" * 20 + b"\r\n0\r\n\r\n")
        assert (await client.response()).status == 413
        await client.leave()
        await until(lambda: not recorder.connections)
    assert requests(recorder) == {"POST": {"413": 1}}
    assert recorder.snapshot()["disconnects_total"] == 0
    assert_nothing_is_open(recorder)


async def test_requests_that_no_application_sees_are_refusals(
    recorder: Recorder, version: Version
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("not to be called")

    async with serving(recorder, app, version, max_body_size=10) as server:
        client = await server.connect()
        await client.send(get("/", "Content-Length: 20", method="POST"))
        assert (await client.response()).status == 413
        await client.leave()
        await until(lambda: not recorder.connections)
    assert requests(recorder) == {}
    assert recorder.snapshot()["refused"] == {"413": 1}
    assert_nothing_is_open(recorder)


async def test_a_malformed_request_is_a_refusal(recorder: Recorder) -> None:
    async with serving(recorder, _unreachable, "1.1") as server:
        client = await server.connect()
        await client.send(b"GET / HTTP/1.1\r\n\r\n")  # no Host
        assert (await client.response()).status == 400
    assert recorder.snapshot()["refused"] == {"400": 1}
    assert_nothing_is_open(recorder)


async def _unreachable(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("not to be called")


async def test_websockets_are_open_from_accept_to_their_end(
    recorder: Recorder, version: Version, clock: trio.abc.Clock
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if scope["path"] == "/refused":
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept"})
        if scope["path"] == "/failing":
            raise ValueError("meant")
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async with open_service("memory", app, recorder=recorder) as service:
        clients = {}
        for path in ("/open", "/failing", "/refused"):
            clients[path] = client = make_client(version, service.connect())
            await client.ask(path)
            await client.answer()
        assert recorder.in_flight == 0  # a WebSocket is no exchange
        await clients["/failing"].leave()
        while recorder.websockets > 1:  # noqa: ASYNC110  time passes meanwhile
            await trio.sleep(0.1)
        snapshot = recorder.snapshot()
        assert (snapshot["websockets"], snapshot["websockets_total"]) == (1, 2)
        assert snapshot["websockets_refused_total"] == 1
    assert requests(recorder) == {}
    assert_nothing_is_open(recorder)


async def test_many_requests_of_one_connection_are_all_counted(
    recorder: Recorder, version: Version
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await ok(send)

    async with serving(recorder, app, version) as server:
        client = await server.connect()
        for _ in range(SETTLE_COUNT + 10):
            await client.request()
        # Few wait to be sorted: see Recorder.settle.
        assert len(recorder._samples) < 3 * 20
    assert requests(recorder) == {"GET": {"200": SETTLE_COUNT + 10}}


async def test_without_a_recorder_nothing_is_counted_and_the_server_serves() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await ok(send)

    async with open_test_server(app, lifespan="off") as server:
        assert not server.server._shared.observed
        assert (await server.request("GET", "/")).status == 200
