# SPDX-License-Identifier: MIT
"""What is HTTP/2's own: extended CONNECT (RFC 8441), and many WebSockets on one connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.clocked import Clocked
from tests.connection.service import open_service, reply
from tests.http2 import frames as http2
from tests.http2_engines import http2_engine

from .apps import Recorder, accept, echo
from .client import Http2WebSocket
from .frames import BINARY, TEXT, frame

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send

__all__ = ["http2_engine"]  # a fixture


class Options(dict[str, Any], Clocked):
    """Of a server, in virtual time."""

    def __init__(self, **options: Any) -> None:
        super().__init__(options)
        self.clock = trio.testing.MockClock(autojump_threshold=0)


@pytest.fixture(params=["websockets", "trio-websocket"])
def options(request: pytest.FixtureRequest, http2_engine: str) -> Options:
    """Each engine of WebSocket, over each of HTTP/2."""
    return Options(websocket_engine=request.param, http2_engine=http2_engine)


async def both(scope: Scope, receive: Receive, send: Send) -> None:
    """Echoes WebSocket, and tells HTTP what it is."""
    if scope["type"] == "websocket":
        await echo(scope, receive, send)
    else:
        await reply(send, scope["method"].encode())


async def test_extended_connect_is_announced(options: Options) -> None:
    async with open_service("memory", both, **options) as service:
        client = Http2WebSocket(service.connect())
        await client.open()
        assert client.http2.settings[8] == 1


async def test_many_websockets_and_requests_share_a_connection(options: Options) -> None:
    async with open_service("memory", both, **options) as service:
        first = Http2WebSocket(service.connect())
        await first.open()
        second = Http2WebSocket(first.raw)
        second.http2 = first.http2
        second.stream_id = -1  # the preface was sent
        await second.open()
        assert await first.echo("one") == "one"
        assert await second.echo("two") == "two"
        assert (await first.http2.request()).body == b"GET"
        assert (await first.close()).code == 1000
        assert await first.ended()
        assert await second.echo("still") == "still"
        assert (await second.close()).code == 1000
        assert service.connections == 1


async def test_a_busy_application_stops_no_other_websocket(options: Options) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/busy":
            await accept(receive, send)
            await trio.sleep_forever()
        await echo(scope, receive, send)

    async with open_service("memory", app, **options) as service:
        busy = Http2WebSocket(service.connect())
        await busy.open("/busy")
        await busy.send_bytes(frame(BINARY, b"x" * 60_000))
        await busy.send_bytes(frame(BINARY, b"x" * 60_000))
        other = Http2WebSocket(busy.raw)
        other.http2 = busy.http2
        other.stream_id = -1
        await other.open()
        for _ in range(20):
            assert await other.echo(b"y" * 50_000) == b"y" * 50_000


async def refusal(
    options: Options, *fields: tuple[str, str], end_stream: bool = False
) -> tuple[int, int | None]:
    """The status and the reset that a stream ends with."""
    async with open_service("memory", both, **options) as service:
        client = Http2WebSocket(service.connect())
        head = http2.headers(1, http2.block(*fields), end_stream=end_stream)
        await client.http2.send(http2.PREFACE, http2.settings(), head)
        got = await client.http2.response(1)
        return got.status if got.heads else 0, got.reset


CONNECT = (
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "https"),
    (":authority", "test"),
    (":path", "/"),
    ("sec-websocket-version", "13"),
)


def changed(**pseudo: str | None) -> list[tuple[str, str]]:
    """CONNECT with some pseudo-header fields changed, or left out."""
    found = []
    for name, value in CONNECT:
        new = pseudo.get(name[1:], value) if name.startswith(":") else value
        if new is not None:
            found.append((name, new))
    return found


async def test_another_protocol_is_a_501(options: Options) -> None:
    assert (await refusal(options, *changed(protocol="connect-udp")))[0] == 501


async def test_connect_without_a_protocol_is_a_501(options: Options) -> None:
    fields = changed(protocol=None, scheme=None, path=None)
    assert (await refusal(options, *fields))[0] == 501


async def test_a_stream_that_ends_with_its_head_is_a_400(options: Options) -> None:
    assert (await refusal(options, *CONNECT, end_stream=True))[0] == 400


async def test_a_content_length_is_a_400(options: Options) -> None:
    assert (await refusal(options, *CONNECT, ("content-length", "5")))[0] == 400


@pytest.mark.parametrize(
    "fields",
    [
        changed(method="GET"),
        changed(scheme=None),
        changed(path=None),
        changed(authority=None),
        [*changed(), ("connection", "Upgrade")],
        [*changed(), ("upgrade", "websocket")],
        [(":protocol", "websocket"), *changed()],
        changed(protocol=None),
    ],
    ids=str,
)
async def test_a_malformed_connect_is_a_reset(
    options: Options, fields: list[tuple[str, str]]
) -> None:
    assert await refusal(options, *fields) == (0, 1)


async def test_a_key_is_not_needed_and_none_is_answered(options: Options) -> None:
    async with open_service("memory", both, **options) as service:
        client = Http2WebSocket(service.connect())
        answer = await client.open("/", ("sec-websocket-key", "anything"))
        assert b"sec-websocket-accept" not in answer.headers
        assert b"content-length" not in answer.headers


async def test_credit_comes_as_the_application_takes(options: Options) -> None:
    go_on = trio.Event()
    got = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal got
        await accept(receive, send)
        await go_on.wait()
        while (message := await receive())["type"] == "websocket.receive":
            got += len(message["bytes"])

    options["http2_initial_window_size"] = 65_535
    async with open_service("memory", app, **options) as service:
        client = Http2WebSocket(service.connect())
        await client.open()
        for _ in range(6):
            await client.send_bytes(frame(BINARY, b"x" * 10_000))
        assert await client.http2.sync()
        sent = 6 * len(frame(BINARY, b"x" * 10_000))
        go_on.set()
        data = frame(BINARY, b"x" * 10_000)
        for _ in range(50):
            while 65_535 + client.http2.credit.get(client.stream_id, 0) - sent < len(data):
                assert await client.http2.pump()
            sent += len(data)
            await client.send_bytes(data)
        await client.close()
        assert got == 560_000


async def test_the_applications_messages_wait_for_credit(options: Options) -> None:
    sent = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await accept(receive, send)
        for _ in range(100):
            await send({"type": "websocket.send", "bytes": b"x" * 10_000})
            sent += 1

    async with open_service("memory", app, **options) as service:
        client = Http2WebSocket(service.connect())
        client.http2.auto = False
        await client.open()
        await trio.sleep(1)
        assert 6 <= sent <= 14
        size = 0
        while size < 100 * 10_000:
            size += len(await client.receive())
            await client.http2.send(
                http2.window_update(0, 10_000), http2.window_update(client.stream_id, 10_000)
            )
        await trio.sleep(0.1)
        assert sent == 100


async def test_the_end_of_a_stream_is_in_order(options: Options) -> None:
    async with open_service("memory", both, **options) as service:
        client = Http2WebSocket(service.connect())
        await client.open()
        await client.close()
        assert await client.ended()
        stream = client.http2.streams[client.stream_id]
        assert stream.ended
        assert stream.reset is None


async def test_a_goaway_of_the_client_lets_its_websockets_go_on(options: Options) -> None:
    async with open_service("memory", both, **options) as service:
        client = Http2WebSocket(service.connect())
        await client.open()
        await client.http2.send(http2.goaway())
        assert await client.echo("still") == "still"
        await client.close()
        assert await client.ended()
        await service.all_closed()


async def test_the_end_of_the_connection_is_1006(options: Options) -> None:
    app = Recorder()
    async with open_service("memory", app, **options) as service:
        client = Http2WebSocket(service.connect())
        await client.open()
        await client.raw.leave()
        await service.all_closed()
    assert app.code == 1006


async def test_trailers_end_a_stream_like_any_other_end(options: Options) -> None:
    app = Recorder()
    async with open_service("memory", app, **options) as service:
        client = Http2WebSocket(service.connect())
        await client.open()
        await client.send_bytes(frame(TEXT, b"x"))
        assert await client.message() == "x"
        await client.http2.send(http2.headers(client.stream_id, http2.block(("a", "b"))))
        assert await client.ended()
    assert app.code == 1006


async def test_a_stop_ends_each_websocket_and_then_the_connection(options: Options) -> None:
    app = Recorder()
    async with (
        trio.open_nursery() as nursery,
        open_service("memory", app, clients_leave=False, **options) as service,
    ):
        client = Http2WebSocket(service.connect())
        await client.open()

        async def watch() -> None:
            closing = await client.closing()
            assert closing.code == 1012
            await client.send_frame(8, closing.payload)
            assert await client.ended()
            await client.http2.rest()

        nursery.start_soon(watch)
    assert app.code == 1012
    assert [one.code for one in client.http2.of_type(http2.GOAWAY)][-1] == 0
