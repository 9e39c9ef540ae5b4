# SPDX-License-Identifier: MIT
"""HTTP/1.1's part of the handshake: which requests are upgrades, and which of those are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio.testing

from tests.connection.service import Client, get, open_service, reply

from .apps import echo
from .client import KEY, make_client

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send

PLAIN = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    f"Sec-WebSocket-Key: {KEY}",
    "Sec-WebSocket-Version: 13",
)


async def both(scope: Scope, receive: Receive, send: Send) -> None:
    """Tells HTTP what it is, and echoes WebSocket."""
    if scope["type"] == "websocket":
        await echo(scope, receive, send)
    else:
        await reply(send, scope["method"].encode() + b" by HTTP")


@pytest.fixture(params=["httptools", "h11"])
def http(request: pytest.FixtureRequest) -> str:
    """Each parser."""
    name: str = request.param
    return name


async def status_of(http: str, request: bytes) -> int:
    """What a request is answered with; 101 is one answer."""
    async with open_service("memory", both, http=http) as service:
        client = service.connect()
        await client.send(request)
        return await status(client)


async def status(client: Client) -> int:
    while b"\r\n\r\n" not in client.pending:
        data = await client.receive()
        assert data
        client.pending += data
    return int(client.pending.split(b" ")[1])


def without(name: str) -> tuple[str, ...]:
    return tuple(field for field in PLAIN if not field.startswith(name + ":"))


async def test_the_example_of_the_rfc(http: str, autojump_clock: trio.testing.MockClock) -> None:
    """RFC 6455 section 1.3."""
    async with open_service("memory", both, http=http) as service:
        client = service.connect()
        await client.send(
            b"GET /chat HTTP/1.1\r\n"
            b"Host: server.example.com\r\n"
            b"Upgrade: websocket\r\n"
            b"Connection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Origin: http://example.com\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n"
        )
        assert await status(client) == 101
        head = client.pending.lower()
        assert b"\r\nupgrade: websocket\r\n" in head
        assert b"\r\nconnection: upgrade\r\n" in head
        assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n".lower() in head


@pytest.mark.parametrize(
    "fields",
    [
        ("UPGRADE: WebSocket", "CONNECTION: keep-alive,  UPGRADE", *PLAIN[2:]),
        ("Upgrade: h2c, websocket", *PLAIN[1:]),
        ("Upgrade: h2c", *PLAIN),
        (*PLAIN, "Connection: keep-alive"),
        (*PLAIN, "Content-Length: 0"),
        (*PLAIN, "Expect: 100-continue"),
    ],
    ids=str,
)
async def test_upgrades(
    http: str, fields: tuple[str, ...], autojump_clock: trio.testing.MockClock
) -> None:
    assert await status_of(http, get("/", *fields)) == 101


@pytest.mark.parametrize(
    "fields",
    [
        without("Upgrade"),
        without("Connection"),
        ("Upgrade: h2c", *PLAIN[1:]),
        ("Upgrade: websocketx", *PLAIN[1:]),
        ("Connection: close", *PLAIN[:1], *PLAIN[2:]),
    ],
    ids=str,
)
async def test_what_is_no_upgrade_to_websocket_is_served_as_it_is(
    http: str, fields: tuple[str, ...], autojump_clock: trio.testing.MockClock
) -> None:
    assert await status_of(http, get("/", *fields)) == 200


async def test_http_1_0_knows_no_upgrade(http: str, autojump_clock: trio.testing.MockClock) -> None:
    request = get("/", *PLAIN).replace(b"HTTP/1.1", b"HTTP/1.0")
    assert await status_of(http, request) == 200


@pytest.mark.parametrize(
    "request_",
    [
        get("/", *without("Sec-WebSocket-Key")),
        get("/", *PLAIN, f"Sec-WebSocket-Key: {KEY}"),
        get("/", *without("Sec-WebSocket-Key"), "Sec-WebSocket-Key: c2hvcnQ="),
        get("/", *without("Sec-WebSocket-Key"), "Sec-WebSocket-Key: not base64 at all!!!"),
        get("/", *without("Sec-WebSocket-Key"), "Sec-WebSocket-Key:"),
        get("/", *PLAIN, "Content-Length: 5") + b"hello",
        get("/", *PLAIN, "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        get("/", *PLAIN).replace(b"GET", b"POST"),
        get("/", *PLAIN, "Sec-WebSocket-Protocol: a b"),
    ],
)
async def test_handshakes_that_are_refused(
    http: str, request_: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_service("memory", both, http=http) as service:
        client = service.connect()
        await client.send(request_)
        response = await client.response()
        assert response.status == 400
        assert response.closes
        assert b"RFC 6455" in response.body
        assert await client.rest() == b""


async def test_an_upgrade_may_follow_other_requests(
    http: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_service("memory", both, http=http) as service:
        client = service.connect()
        assert (await client.request(get("/"))).body == b"GET by HTTP"
        await client.send(get("/") + get("/", *PLAIN))
        assert (await client.response()).body == b"GET by HTTP"
        websocket = make_client("1.1", client)
        assert (await websocket.answer()).status == 101
        assert await websocket.echo("text") == "text"
        assert (await websocket.close()).code == 1000
        assert await websocket.ended()


@pytest.mark.parametrize("half", [b"GET / HTTP/1.1\r\nUpgrade: webs", get("/", *PLAIN)[:-2]])
async def test_half_a_handshake_has_a_deadline(
    http: str, half: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_service("memory", both, http=http, header_timeout=5) as service:
        client = service.connect()
        await client.send(half)
        began = trio.current_time()
        assert (await client.response()).status == 408
        assert trio.current_time() - began < 8
