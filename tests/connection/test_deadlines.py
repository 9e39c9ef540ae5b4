# SPDX-License-Identifier: MIT
"""What a client may take its time for, and how it is told that its time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioserve.connection import Http1Connection

from .service import Client, Kind, chunk, get, open_service, post, read_body, reply, text_app

if TYPE_CHECKING:
    from trioserve.types import Message, Receive, Scope, Send

#: The reaper looks every second, or four times in the smallest timeout.
LATE = 1.2


async def trickle(client: Client, data: bytes, pause: float) -> None:
    """A byte, a pause, a byte … until the server has closed."""
    try:
        for byte in data:
            await client.send(bytes([byte]))
            await trio.sleep(pause)
    except trio.BrokenResourceError:
        return


@pytest.mark.parametrize(
    "beginning",
    [b"G", b"GET / HT", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHo", get()[:-2], get()[:-1]],
)
async def test_half_a_head_gets_a_408_at_header_timeout(
    kind: Kind, beginning: bytes, clock: trio.abc.Clock
) -> None:
    async with open_service(kind, text_app, header_timeout=8) as service:
        client = service.connect()
        began = trio.current_time()
        response = await client.request(beginning)
        assert response.status == 408
        assert b"408 Request Timeout" in response.body
        assert response.closes
        assert 8 <= trio.current_time() - began <= 8 + LATE
        assert await client.rest() == b""


async def test_a_byte_a_second_does_not_move_the_deadline_of_a_head(
    kind: Kind, clock: trio.abc.Clock
) -> None:
    async with open_service(kind, text_app, header_timeout=8) as service:
        client = service.connect()
        await trio.sleep(3)  # it begins at the first byte
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle, client, get("/" + "a" * 1000), 1)
            assert (await client.response()).status == 408
            assert 8 <= trio.current_time() - began <= 8 + LATE
            nursery.cancel_scope.cancel()


async def test_a_slow_head_that_is_in_time_is_served(kind: Kind, clock: trio.abc.Clock) -> None:
    async with open_service(kind, text_app, header_timeout=8) as service:
        client = service.connect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle, client, get(), 7 / len(get()))
            assert (await client.response()).status == 200


async def test_a_client_that_says_nothing_is_closed_without_a_word(
    kind: Kind, clock: trio.abc.Clock
) -> None:
    async with open_service(kind, text_app, header_timeout=8) as service:
        client = service.connect()
        assert await client.rest() == b""
        assert 8 <= trio.current_time() <= 8 + LATE


@pytest.mark.parametrize("requests", [1, 3])
async def test_an_idle_connection_is_closed_without_a_word_at_keep_alive_timeout(
    kind: Kind, requests: int, clock: trio.abc.Clock
) -> None:
    async with open_service(kind, text_app, keep_alive_timeout=4) as service:
        client = service.connect()
        for _ in range(requests):
            assert (await client.request(get())).status == 200
            began = trio.current_time()
            await trio.sleep(3)
        assert await client.rest() == b""
        assert 4 <= trio.current_time() - began <= 4 + LATE


async def test_an_empty_line_after_a_body_does_not_turn_that_into_a_408(
    kind: Kind, clock: trio.abc.Clock
) -> None:
    async with open_service(kind, text_app, keep_alive_timeout=4) as service:
        client = service.connect()
        assert (await client.request(post(b"body") + b"\r\n")).body == b"/ body"
        assert await client.rest() == b""
        assert trio.current_time() <= 4 + LATE


async def test_half_a_further_head_gets_a_408_at_header_timeout(
    kind: Kind, clock: trio.abc.Clock
) -> None:
    async with open_service(kind, text_app, keep_alive_timeout=4, header_timeout=8) as service:
        client = service.connect()
        assert (await client.request(get() + get()[:20])).status == 200
        assert (await client.response()).status == 408
        assert 8 <= trio.current_time() <= 8 + LATE


@pytest.mark.parametrize("late", [-0.01, 0, 0.01, 0.5, 0.99, 1.0])
async def test_a_request_that_races_with_keep_alive_is_answered_or_not_but_never_refused(
    kind: Kind, late: float, clock: trio.abc.Clock
) -> None:
    async with open_service(kind, text_app, keep_alive_timeout=4) as service:
        client = service.connect()
        assert (await client.request(get())).status == 200
        await trio.sleep(4 + late)
        try:
            await client.send(get("/again"))
        except trio.BrokenResourceError:
            return
        answer = await client.rest()
        assert not answer or answer.startswith(b"HTTP/1.1 200 OK")
        assert not answer or answer.endswith(b"/again ")


async def test_a_request_that_is_in_the_kernel_when_its_time_is_over_is_answered(
    clock: trio.abc.Clock,
) -> None:
    async with open_service("socket", text_app) as service:
        client = service.connect()
        assert (await client.request(get())).status == 200
        await wait_all_tasks_blocked()
        (connection,) = service.server.connections
        assert client.sock is not None
        client.sock.send(get("/late"))
        connection.expire()  # no task has run since
        assert (await client.response()).body == b"/late "


async def test_half_a_body_gets_a_408_at_body_timeout_and_the_application_a_disconnect(
    kind: Kind, clock: trio.abc.Clock
) -> None:
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "http.request":
            seen.append(message)
        seen.append(message)

    async with open_service(kind, app, body_timeout=10) as service:
        client = service.connect()
        response = await client.request(post(b"half", length=8))
        assert (response.status, response.closes) == (408, True)
        assert 10 <= trio.current_time() <= 10 + LATE
        assert await client.rest() == b""
    assert seen == [
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    ]


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_byte_a_second_of_a_body_is_too_slow(
    kind: Kind, framing: str, clock: trio.abc.Clock
) -> None:
    head = post(b"", length=1000)
    if framing == "chunked":
        head = head.replace(b"Content-Length: 1000", b"Transfer-Encoding: chunked")
    async with open_service(kind, text_app, body_timeout=10) as service:
        client = service.connect()
        await client.send(head)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle, client, chunk(b"a") * 200, 1)
            assert (await client.response()).status == 408
            assert 9 <= trio.current_time() <= 10 + LATE
            nursery.cancel_scope.cancel()


async def test_a_body_may_take_long_if_it_brings_500_bytes_a_second(
    kind: Kind, clock: trio.abc.Clock
) -> None:
    async with open_service(kind, text_app, body_timeout=4) as service:
        client = service.connect()
        await client.send(post(b"", length=600 * 60))
        for _ in range(60):
            await trio.sleep(1)
            await client.send(b"x" * 600)
        assert len((await client.response()).body) == 2 + 600 * 60


async def test_only_waiting_for_the_client_counts(kind: Kind, clock: trio.abc.Clock) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await trio.sleep(20)
        await reply(send, await read_body(receive))

    async with open_service(kind, app, body_timeout=4) as service:
        client = service.connect()
        await client.send(post(b"a", length=2))
        await trio.sleep(22)
        await client.send(b"b")
        assert (await client.response()).body == b"b"


async def test_a_body_that_comes_too_late_after_the_response_began_is_cut_off(
    kind: Kind, clock: trio.abc.Clock
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        with pytest.raises(OSError, match="disconnected"):
            await send({"type": "http.response.body", "body": b"more"})

    async with open_service(kind, app, body_timeout=4) as service:
        client = service.connect()
        await client.send(post(b"a", length=2))
        answer = await client.rest()
        assert answer.endswith(b"5\r\nbegun\r\n")  # no last chunk: nobody takes it for whole


@pytest.mark.parametrize(
    "option", ["header_timeout", "keep_alive_timeout", "body_timeout", "first byte"]
)
async def test_zero_turns_a_deadline_off(kind: Kind, option: str, clock: trio.abc.Clock) -> None:
    options: dict[str, Any] = {"header_timeout" if option == "first byte" else option: 0}
    async with open_service(kind, text_app, **options) as service:
        client = service.connect()
        halves = {
            "header_timeout": (get()[:10], get()[10:]),
            "keep_alive_timeout": (get(), get()),
            "body_timeout": (post(b"a", length=2), b"b"),
            "first byte": (b"", get()),
        }
        first, second = halves[option]
        await client.send(first)
        if option == "keep_alive_timeout":
            assert (await client.response()).status == 200
        await trio.sleep(50)
        await client.send(second)
        assert (await client.response()).status == 200


async def test_an_expiry_that_came_to_nothing_is_forgotten(
    kind: Kind, clock: trio.abc.Clock
) -> None:
    # What it may leave behind must not turn a later end of the client into a 408.
    async with open_service(kind, text_app, header_timeout=8) as service:
        client = service.connect()
        await client.send(get()[:10])
        await wait_all_tasks_blocked()
        (connection,) = service.server.connections
        assert isinstance(connection, Http1Connection)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, get()[10:])
            for _ in range(3):
                await trio.lowlevel.checkpoint()
                if not connection.wire.transport.has_arrived():
                    continue
                connection.expire()
        response = await client.response()
        if response.status == 200:
            await client.send(get()[:10])
            await client.send_eof()
            assert await client.rest() == b""
