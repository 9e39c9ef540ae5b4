# SPDX-License-Identifier: MIT
"""Applications that raise or return early: what the client sees, and what the error log gets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import h11
import pytest
import trio

from trioserve.errors import AppProtocolError

from .harness import get, ok
from .versions import both_in_memory, both_versions

if TYPE_CHECKING:
    from trioserve.types import ASGIApp, Message, Receive, Scope, Send

    from .conftest import Errors, Serving

START: Message = {"type": "http.response.start", "status": 200, "headers": []}
PART: Message = {"type": "http.response.body", "body": b"part,", "more_body": True}
END: Message = {"type": "http.response.body", "body": b"end"}


class OtherLoopCancelledError(BaseException):
    """As asyncio's or curio's: no Exception, but nothing that Trio knows."""


def raising(error: BaseException, *messages: Message) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/ok":
            await ok(send)
            return
        for message in messages:
            await send(message)
        raise error

    return app


ERRORS = [
    ValueError("the secret reason"),
    OSError("the secret reason"),
    asyncio.CancelledError("the secret reason"),
    OtherLoopCancelledError("the secret reason"),
    ExceptionGroup("the secret reason", [ValueError("1"), ExceptionGroup("", [KeyError("2")])]),
    BaseExceptionGroup("the secret reason", [asyncio.CancelledError(), ValueError("2")]),
    trio.TooSlowError("the secret reason"),
    AssertionError("the secret reason"),
    StopAsyncIteration("the secret reason"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_an_error_before_the_start_is_a_500_that_tells_nothing_and_is_logged_once(
    error: BaseException, serving: Serving, errors: Errors
) -> None:
    async with serving(raising(error)) as server:
        client = await server.connect()
        response = await client.request()
        assert await client.rest() == b""
        assert (await server.request("/ok")).body == b"ok"

    assert response.status == 500
    assert response.body == b"500 Internal Server Error\n"
    assert response.headers[b"connection"] == b"close"
    assert response.headers[b"content-type"] == b"text/plain; charset=utf-8"
    assert errors.exceptions == [error]
    assert len(errors.records) == 1
    assert "(GET /" in errors.messages[0]


@both_in_memory
async def test_an_exception_group_is_logged_whole(
    in_memory: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(word: str) -> None:
        raise ValueError(word)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, "first")
            nursery.start_soon(fail, "second")

    async with in_memory(app) as server:
        assert (await server.request()).status == 500
    for word in ("ExceptionGroup", "ValueError: first", "ValueError: second", "in fail\n"):
        assert word in caplog.text
    assert "trioserve/connection.py" not in caplog.text  # the application's own frames only


@both_versions
async def test_an_error_after_http_response_start_alone_is_still_a_500(
    serving: Serving, errors: Errors
) -> None:
    # The head waits for the first body message, so nothing has been sent yet.
    async with serving(raising(ValueError(), START)) as server:
        assert (await server.request()).status == 500
    assert len(errors.records) == 1


async def test_an_error_within_a_chunked_body_ends_the_connection_without_the_last_chunk(
    serving: Serving, errors: Errors
) -> None:
    async with serving(raising(ValueError("late"), START, PART)) as server:
        client = await server.connect()
        await client.send(get())
        data = await client.rest()
        assert (await server.request("/ok")).body == b"ok"
    assert b"transfer-encoding: chunked\r\n" in data
    assert data.endswith(b"\r\n\r\n5\r\npart,\r\n")
    assert len(errors.records) == 1


async def test_an_error_within_a_sized_body_ends_the_connection_short_of_its_length(
    serving: Serving, errors: Errors
) -> None:
    start = {**START, "headers": [(b"content-length", b"10")]}
    async with serving(raising(ValueError("late"), start, PART)) as server:
        client = await server.connect()
        with pytest.raises(h11.RemoteProtocolError, match="received 5 bytes, expected 10"):
            await client.request()
    assert len(errors.records) == 1


@pytest.mark.parametrize("end", ["raises", "returns", "cancels"])
async def test_a_body_that_only_the_connection_ends_is_reset_when_the_application_fails(
    end: str, serving: Serving
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(PART)
        await go_on.wait()
        if end == "raises":
            raise ValueError("late")
        if end == "cancels":
            scope["extensions"]["trioserve"]["cancel_scope"].cancel()
            await trio.sleep_forever()

    go_on = trio.Event()
    async with serving(app) as server:
        client = await server.connect()
        await client.send(get(version="1.0"))
        await client.receive_until(b"part,")
        go_on.set()
        await client.rest()
    # An orderly end would say that the body was complete. A memory stream has no reset.
    assert client.was_reset or server.kind == "memory"


@both_versions
async def test_returning_without_a_response_is_a_500(serving: Serving, errors: Errors) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    async with serving(app) as server:
        response = await server.request("/nothing")
    assert response.status == 500
    assert errors.messages == ["the application returned without a response for GET /nothing"]


@both_versions
async def test_returning_after_start_alone_is_a_500(serving: Serving, errors: Errors) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)

    async with serving(app) as server:
        assert (await server.request()).status == 500
    assert len(errors.records) == 1


async def test_returning_within_the_body_closes_and_is_logged(
    serving: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(PART)

    async with serving(app) as server:
        client = await server.connect()
        await client.send(get() + get("/never"))
        data = await client.rest()
    assert data.endswith(b"5\r\npart,\r\n")
    assert data.count(b"HTTP/1.1") == 1
    assert errors.messages == [
        "the application returned before its response was complete for GET /"
    ]


@pytest.mark.parametrize(
    "messages",
    [
        [(b"x" * 11, False)],
        [(b"x" * 9, False)],
        [(b"x" * 5, True), (b"x" * 6, True)],
        [(b"x" * 5, True), (b"x" * 4, False)],
        [(b"x" * 11, True), (b"", False)],
        [(b"", False)],
    ],
    ids=str,
)
@pytest.mark.parametrize("caught", [False, True])
async def test_a_body_that_is_not_as_long_as_its_content_length_never_looks_whole(
    messages: list[tuple[bytes, bool]], caught: bool, serving: Serving, errors: Errors
) -> None:
    raised: list[AppProtocolError] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "headers": [(b"content-length", b"10")]})
        try:
            for body, more in messages:
                await send({"type": "http.response.body", "body": body, "more_body": more})
        except AppProtocolError as exc:
            raised.append(exc)
            if not caught:
                raise

    async with serving(app) as server:
        client = await server.connect()
        await client.send(get())
        data = await client.rest()
    head, _, body = data.partition(b"\r\n\r\n")
    assert raised
    assert "content-length" in str(raised[0])
    first, more = messages[0]
    if len(first) > 10 or not more:  # nothing was out yet
        assert head.startswith(b"HTTP/1.1 500 ")
        assert body == b"500 Internal Server Error\n"
    else:
        assert head.startswith(b"HTTP/1.1 200 ")
        assert body == first
    assert len(errors.records) == 1


@both_versions
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
@pytest.mark.parametrize("more", [False, True])
async def test_a_response_that_has_no_body_sends_none_and_the_connection_goes_on(
    method: str, status: int, more: bool, serving: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "status": status})
        if more:
            await send({"type": "http.response.body", "body": b"GET /evil", "more_body": True})
        await send({"type": "http.response.body", "body": b"GET /evil"})

    async with serving(app) as server:
        client = await server.connect()
        for _ in range(2):
            response = await client.request(method=method)
            assert (response.status, response.body) == (status, b"")
            assert client.pending == b""
    assert errors.records == []


@both_in_memory
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("grouped", [False, True])
async def test_keyboard_interrupt_and_system_exit_end_the_server(
    error: type[BaseException], grouped: bool, in_memory: Serving
) -> None:
    def make() -> BaseException:
        return BaseExceptionGroup("", [error(), ValueError()]) if grouped else error()

    with pytest.raises(BaseExceptionGroup) as info:
        async with in_memory(raising(make())) as server:
            await server.request()
    leaves: list[BaseException] = [info.value]
    while any(isinstance(leaf, BaseExceptionGroup) for leaf in leaves):
        leaves = [
            inner
            for leaf in leaves
            for inner in (leaf.exceptions if isinstance(leaf, BaseExceptionGroup) else [leaf])
        ]
    assert error in map(type, leaves)
