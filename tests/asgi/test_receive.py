# SPDX-License-Identifier: MIT
"""``receive()``: the body, the disconnect, and what polling and cancelling may not break."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from .harness import get, ok, read_body
from .versions import both_versions

if TYPE_CHECKING:
    from trioserve.types import Message, Receive, Scope, Send

    from .conftest import Errors, Serving

CHUNKED = get("/", "Transfer-Encoding: chunked", method="POST")


def post(body: bytes, *headers: str) -> bytes:
    return get("/", f"Content-Length: {len(body)}", *headers, method="POST") + body


async def poll(receive: Receive) -> Message | None:
    """What is known now, as Starlette asks for it."""
    message: Message | None = None
    with trio.CancelScope() as scope:
        scope.cancel()
        message = await receive()
    return message


@both_versions
async def test_a_request_without_a_body_is_one_empty_event_then_silence(serving: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        assert await poll(receive) is None
        await ok(send)

    async with serving(app) as server:
        assert (await server.request()).status == 200


@pytest.mark.parametrize("size", [1, 65_536, 1_000_000])
async def test_a_body_arrives_whole_and_in_order(size: int, serving: Serving) -> None:
    body = bytes(range(256)) * (size // 256 + 1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await ok(send, await read_body(receive))

    async with serving(app) as server:
        client = await server.connect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, post(body) + post(body[:7]))
            assert (await client.response()).body == body
            assert (await client.response()).body == body[:7]


async def test_a_streamed_body_arrives_part_by_part(serving: Serving) -> None:
    taken: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await channel.send(message["body"])
        await ok(send)

    channel, parts = trio.open_memory_channel[bytes](0)
    async with serving(app) as server:
        client = await server.connect()
        await client.send(CHUNKED)
        for part in (b"one", b"two", b"three"):
            await client.send(b"%x\r\n%b\r\n" % (len(part), part))
            taken.append(await parts.receive())
        await client.send(b"0\r\n\r\n")
        assert await parts.receive() == b""
        assert (await client.response()).status == 200
    assert taken == [b"one", b"two", b"three"]


@both_versions
async def test_after_the_body_there_is_http_disconnect_as_often_as_it_is_asked_for(
    serving: Serving,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await ok(send)
        seen.extend([await receive(), await receive(), await poll(receive) or {}])

    seen: list[Message] = []
    async with serving(app) as server:
        client = await server.connect()
        assert (await client.request()).status == 200
        assert (await client.request()).status == 200  # nobody has left
    assert seen == [{"type": "http.disconnect"}] * 6


@both_versions
async def test_a_body_that_is_unread_is_not_given_out_once_the_response_is_complete(
    serving: Serving,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await ok(send)
        seen.append(await receive())

    seen: list[Message] = []
    async with serving(app) as server:
        client = await server.connect()
        for _ in range(2):
            await client.send(post(b"body"))
            assert (await client.response()).status == 200
    assert seen == [{"type": "http.disconnect"}] * 2


@both_versions
async def test_a_task_that_waits_for_more_body_hears_of_the_responses_end(
    serving: Serving,
) -> None:
    async def listen(receive: Receive) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            seen.append(message["body"])
            started.set()
        ended.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, receive)
            await started.wait()
            await ok(send)

    started, ended = trio.Event(), trio.Event()
    seen: list[bytes] = []
    async with serving(app) as server:
        client = await server.connect()
        await client.send(post(b"1234567890")[:-5])
        assert (await client.response()).status == 200
        with trio.fail_after(5):
            await ended.wait()
        await client.send(b"67890" + get())  # the rest is dropped, and the connection goes on
        seen.clear()
        assert (await client.response()).status == 200


@both_versions
async def test_two_tasks_may_receive_at_once_and_each_event_comes_once(serving: Serving) -> None:
    async def listen(receive: Receive) -> None:
        while (message := await receive())["type"] == "http.request":
            seen.append(message["body"])
        ends.append(message["type"])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, receive)
            nursery.start_soon(listen, receive)
            await go_on.wait()
            await ok(send)

    go_on = trio.Event()
    seen: list[bytes] = []
    ends: list[str] = []
    async with serving(app) as server:
        client = await server.connect()
        await client.send(CHUNKED)
        for part in range(9):
            await client.send(b"1\r\n%d\r\n" % part)
            await trio.testing.wait_all_tasks_blocked(0.001)
        await client.send(b"0\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked(0.001)
        go_on.set()
        assert (await client.response()).status == 200
    assert b"".join(seen) == b"012345678"
    assert ends == ["http.disconnect"] * 2


@both_versions
async def test_cancelling_receive_loses_no_byte(serving: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            with trio.move_on_after(0.0001):
                message = await receive()
                body += message["body"]
                more = message["more_body"]
        await ok(send, body)

    body = bytes(range(256)) * 40
    async with serving(app) as server:
        client = await server.connect()
        await client.send(post(body)[: -len(body)])
        for start in range(0, len(body), 500):
            await client.send(body[start : start + 500])
            await trio.sleep(0.0002)
        assert (await client.response()).body == body


async def test_polling_in_a_cancelled_scope_gets_what_is_known_without_a_checkpoint(
    serving: Serving,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        first = await poll(receive)
        assert first is not None
        assert first["body"] == b"12345"
        assert await poll(receive) is None
        asked.set()
        await sent.wait()
        await trio.testing.wait_all_tasks_blocked(0.01)
        second = await poll(receive)
        assert second == {"type": "http.request", "body": b"67890", "more_body": False}
        assert await poll(receive) is None
        await ok(send)

    asked, sent = trio.Event(), trio.Event()
    async with serving(app) as server:
        client = await server.connect()
        await client.send(post(b"1234567890")[:-5])
        await asked.wait()
        await client.send(b"67890")
        sent.set()
        assert (await client.response()).status == 200


async def test_polling_before_the_body_does_not_ask_for_it_nor_harm_it(
    serving: Serving, errors: Errors
) -> None:
    # A poll is for the disconnect, so it is no reason for a 100 (RFC 9110 section 10.1.1).
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(3):
            assert await poll(receive) is None
        await ok(send, await read_body(receive) if scope["path"] == "/read" else b"unread")

    head = get("/read", "Expect: 100-continue", "Content-Length: 5", method="POST")
    async with serving(app) as server:
        client = await server.connect()
        await client.send(head)
        assert await client.receive_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"12345")
        response = await client.response()
        assert (response.body, len(response.interim)) == (b"12345", 1)

        await client.send(head.replace(b"/read", b"/skip"))
        response = await client.response()
        assert (response.body, len(response.interim)) == (b"unread", 0)
    assert errors.records == []
