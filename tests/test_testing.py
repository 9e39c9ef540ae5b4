# SPDX-License-Identifier: MIT
"""The test server that applications' authors get."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import h11
import pytest
import trio
import trio.testing

import trioserve
from trioserve.testing import TestClient, TestResponse, open_test_server

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers with what it got."""
    assert scope["type"] == "http"
    body = b""
    more = True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    if scope["path"] == "/fail":
        raise ValueError("as asked for")
    if scope["path"] == "/silent":
        await trio.sleep_forever()
    trailers = scope["path"] == "/trailers"
    if trailers:
        await send({"type": "http.response.early_hint", "links": [b"</a>"]})
    headers = [*scope["headers"], (b"x-method", scope["method"].encode())]
    headers = [(b"x-got-" + name, value) for name, value in headers]
    await send(
        {"type": "http.response.start", "status": 200, "headers": headers, "trailers": trailers}
    )
    await send({"type": "http.response.body", "body": body})
    if trailers:
        await send({"type": "http.response.trailers", "headers": [(b"X-Sum", b"1")]})


async def test_a_request_and_its_response(autojump_clock: trio.abc.Clock) -> None:
    async with open_test_server(echo) as server:
        response = await server.request("PUT", "/?a=1", headers=[("X-One", "1")], body=b"body")
    assert (response.status, response.body) == (200, b"body")
    assert response.header(b"x-got-x-one") == b"1"
    assert response.header(b"x-got-host") == b"testserver"
    assert response.header(b"x-got-content-length") == b"4"
    assert response.header(b"x-got-x-method") == b"PUT"
    assert response.header(b"x-none") is None
    assert (response.interim, response.trailers) == ([], [])


async def test_interim_responses_and_trailers_are_shown(autojump_clock: trio.abc.Clock) -> None:
    async with open_test_server(echo) as server:
        response = await server.request("GET", "/trailers")
    assert response.interim == [(103, [(b"link", b"</a>")])]
    assert response.trailers == [(b"x-sum", b"1")]


async def test_host_and_content_length_may_be_given(autojump_clock: trio.abc.Clock) -> None:
    async with open_test_server(echo) as server:
        response = await server.request(
            "POST", "/", headers=[("Host", "other:1"), ("Content-Length", "4")], body=b"body"
        )
        chunked = [("Transfer-Encoding", "chunked")]
        streamed = await server.request("POST", "/", headers=chunked, body=b"body")
    assert response.header(b"x-got-host") == b"other:1"
    assert response.body == streamed.body == b"body"


async def test_a_client_keeps_its_connection_between_requests(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with open_test_server(echo) as server:
        client = server.connect()
        for method in ("GET", "HEAD", "POST"):
            response = await client.request(method, "/", body=b"x" if method == "POST" else b"")
            assert response.header(b"x-got-x-method") == method.encode()
        assert len(server.server.connections) == 1
        await client.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert len(server.server.connections) == 0


async def test_the_scope_names_the_test_peers(autojump_clock: trio.abc.Clock) -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await echo(scope, receive, send)

    async with open_test_server(app) as server:
        await server.request("GET", "/")
    assert scopes[-1]["client"] == ("testclient", 50000)
    assert scopes[-1]["server"] == ("testserver", 80)
    assert scopes[-1]["scheme"] == "http"


async def test_options_are_the_servers(autojump_clock: trio.abc.Clock) -> None:
    config = trioserve.Config(max_body_size=3, access_log=False)
    async with open_test_server(echo, config) as by_config:
        assert (await by_config.request("POST", "/", body=b"1234")).status == 413
    async with open_test_server(echo, max_body_size=3) as by_keyword:
        assert (await by_keyword.request("POST", "/", body=b"1234")).status == 413
    with pytest.raises(TypeError, match="max_bodysize"):
        async with open_test_server(echo, max_bodysize=3):
            raise AssertionError("it is up")


async def test_a_wrong_option_is_a_config_error(autojump_clock: trio.abc.Clock) -> None:
    with pytest.raises(trioserve.ConfigError):
        async with open_test_server(echo, keep_alive_timeout=-1):
            raise AssertionError("it is up")


async def test_a_malformed_answer_or_none_at_all_is_a_protocol_error(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with open_test_server(echo, keep_alive_timeout=1) as server:
        client = server.connect()
        await trio.sleep(100)
        with pytest.raises(h11.RemoteProtocolError):
            await client.receive_response()


async def test_time_is_virtual(autojump_clock: trio.abc.Clock) -> None:
    begun = trio.current_time()
    async with open_test_server(echo, request_timeout=1000) as server:
        response = await server.request("GET", "/silent")
    assert response.status == 503
    assert trio.current_time() - begun == pytest.approx(1000, abs=6)


async def test_a_client_that_leaves_is_noticed(autojump_clock: trio.abc.Clock) -> None:
    cancelled_at: list[float] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        try:
            await trio.sleep_forever()
        finally:
            cancelled_at.append(trio.current_time())

    async with open_test_server(app) as server:
        client = server.connect()
        await client.send_request("GET", "/")
        await trio.sleep(10)
        left_at = trio.current_time()
        await client.aclose()
        await trio.sleep(10)
    assert cancelled_at == [pytest.approx(left_at + 3)]


async def test_leaving_the_block_drains(autojump_clock: trio.abc.Clock) -> None:
    responses: list[TestResponse] = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await trio.sleep(20)
        await echo(scope, receive, send)

    async def get(client: TestClient) -> None:
        responses.append(await client.request("GET", "/"))

    async with trio.open_nursery() as nursery:
        async with open_test_server(slow) as server:
            nursery.start_soon(get, server.connect())
            await trio.sleep(1)
        assert trio.current_time() >= 20
    assert [response.status for response in responses] == [200]


class Stop(BaseException):
    """As pytest's own outcomes: no Exception."""


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), AssertionError("x"), Stop("x"), ExceptionGroup("x", [ValueError()])],
    ids=repr,
)
async def test_an_error_of_the_block_comes_out_as_it_is(
    error: Any, autojump_clock: trio.abc.Clock
) -> None:
    begun = trio.current_time()
    with pytest.raises(type(error)) as info:  # noqa: PT012
        async with open_test_server(echo) as server:
            client = server.connect()
            await client.send_request("GET", "/silent")
            raise error
    assert info.value is error
    assert error.__context__ is None
    assert error.__cause__ is None
    assert trio.current_time() - begun < 5  # it doesn't wait for the request under way


async def test_a_timeout_around_the_block_works(autojump_clock: trio.abc.Clock) -> None:
    with pytest.raises(trio.TooSlowError), trio.fail_after(5):
        async with open_test_server(echo) as server:
            await server.request("GET", "/silent")


async def test_an_error_of_the_application_is_a_500_and_not_the_tests(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with open_test_server(echo) as server:
        assert (await server.request("GET", "/fail")).status == 500


async def test_a_failed_startup_is_raised_at_the_start(autojump_clock: trio.abc.Clock) -> None:
    with pytest.raises(trioserve.StartupError):
        async with open_test_server(echo, lifespan="on"):
            raise AssertionError("it is up")


async def test_two_servers_may_run_at_once_and_nothing_is_left_open(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with open_test_server(echo) as one, open_test_server(echo) as two:
        for server in (one, two):
            assert (await server.request("GET", "/")).status == 200
    gc.collect()  # an unclosed epoll or stream would warn, and warnings are errors
