# SPDX-License-Identifier: MIT
from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families

from tests.metrics.statuses import busy_recorder, make_status
from trioserve.config import Config
from trioserve.listeners import open_listeners
from trioserve.metrics.prometheus import CONTENT_TYPE, render
from trioserve.scraping import make_metrics_app, serve_metrics
from trioserve.testing import TestClient, open_test_server

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 30


async def collect() -> bytes:
    return render(make_status(busy_recorder(), with_dirty=True))


@pytest.fixture
def logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[str]]:
    monkeypatch.setattr(logging.getLogger("trioserve.error"), "propagate", True)
    caplog.set_level(logging.INFO, "trioserve.error")
    return lambda: [record.getMessage() for record in caplog.records]


async def test_metrics_are_served_on_addresses_of_their_own() -> None:
    config = Config(metrics_bind="127.0.0.1:0")
    options = config.with_changes(bind=config.metrics_bind)
    async with open_listeners(options) as listeners, trio.open_nursery() as nursery:
        (address,) = await nursery.start(serve_metrics, config, listeners, collect)
        assert address.port
        with trio.fail_after(PATIENCE):
            stream = await trio.open_tcp_stream("127.0.0.1", address.port)
            client = TestClient(stream)  # type: ignore[arg-type]
            for _ in range(2):  # the connection is kept
                response = await client.request("GET", "/metrics")
                assert response.status == 200
                assert response.header(b"content-type") == CONTENT_TYPE.encode()
                families = list(text_string_to_metric_families(response.body.decode()))
                assert len(families) > 20
            await client.aclose()
        nursery.cancel_scope.cancel()


async def test_a_head_has_the_length_and_no_body() -> None:
    async with open_test_server(make_metrics_app(collect), lifespan="off") as server:
        got = await server.request("GET", "/metrics?name=x")
        client = server.connect()
        await client.stream.send_all(
            b"HEAD /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        )
        data = b""
        while part := await client.stream.receive_some():
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-length: %d" % len(got.body) in head
    assert body == b""


async def test_another_path_is_a_404_and_another_method_a_405() -> None:
    async def never() -> bytes:
        raise AssertionError("not to be called")

    async with open_test_server(make_metrics_app(never), lifespan="off") as server:
        for path in ("/", "/metrics/", "/metricsx"):
            response = await server.request("GET", path)
            assert (response.status, response.body) == (
                404,
                b"404 Not Found: the figures are at /metrics\n",
            )
        response = await server.request("POST", "/metrics", body=b"x")
        assert response.status == 405
        assert response.header(b"allow") == b"GET, HEAD"


async def test_a_collection_that_fails_is_a_503_and_logged_and_the_next_one_is_tried(
    logged: Callable[[], list[str]],
) -> None:
    calls = 0

    async def failing() -> bytes:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyError("a secret")
        return b"fine\n"

    async with open_test_server(make_metrics_app(failing), lifespan="off") as server:
        response = await server.request("GET", "/metrics")
        assert response.status == 503
        assert response.body == b"503 Service Unavailable: the metrics can't be collected\n"
        assert (await server.request("GET", "/metrics")).body == b"fine\n"
    assert logged() == ["the metrics can't be collected"]


async def test_a_collection_that_hangs_is_a_503(
    logged: Callable[[], list[str]], autojump_clock: trio.testing.MockClock
) -> None:
    async def hanging() -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async with open_test_server(make_metrics_app(hanging), lifespan="off") as server:
        began = trio.current_time()
        assert (await server.request("GET", "/metrics")).status == 503
        assert trio.current_time() - began == pytest.approx(5)
    assert logged() == ["the metrics can't be collected"]


async def test_a_scrape_under_way_does_not_keep_the_server_from_ending() -> None:
    begun = trio.Event()

    async def hanging() -> bytes:
        begun.set()
        await trio.sleep_forever()
        raise AssertionError

    config = Config(metrics_bind="127.0.0.1:0")
    options = config.with_changes(bind=config.metrics_bind)
    with trio.fail_after(PATIENCE):
        async with open_listeners(options) as listeners, trio.open_nursery() as nursery:
            (address,) = await nursery.start(serve_metrics, config, listeners, hanging)
            stream = await trio.open_tcp_stream("127.0.0.1", address.port)
            client = TestClient(stream)  # type: ignore[arg-type]
            await client.send_request("GET", "/metrics")
            await begun.wait()
            nursery.cancel_scope.cancel()
        await client.aclose()
