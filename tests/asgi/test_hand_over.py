# SPDX-License-Identifier: MIT
"""An application that goes on after its response: the connection goes on, too, in another task."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from .harness import get, ok, read_body, until

if TYPE_CHECKING:
    from trioserve.types import Message, Receive, Scope, Send

    from .conftest import Errors, Serving

MANY = 40


class Lingering:
    """It answers with its path, then holds on until it is let go. /quick returns at once."""

    def __init__(self) -> None:
        self.let_go = trio.Event()
        self.holding = 0
        self.cancelled = 0
        self.ended = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await ok(send, scope["path"].encode())
        if scope["path"] == "/quick":
            return
        self.holding += 1
        try:
            await self.let_go.wait()
            self.ended += 1
        except trio.Cancelled:
            self.cancelled += 1
            raise
        finally:
            self.holding -= 1


async def test_a_background_task_does_not_block_the_next_request(serving: Serving) -> None:
    app = Lingering()
    async with serving(app) as server:
        client = await server.connect()
        for number in range(MANY):
            assert (await client.request(f"/{number}")).body == b"/%d" % number
        await until(lambda: app.holding == MANY)
        app.let_go.set()
        await until(lambda: app.ended == MANY)
        assert (await client.request("/quick")).body == b"/quick"


async def test_pipelined_requests_are_answered_in_order_past_background_tasks(
    serving: Serving,
) -> None:
    app = Lingering()
    async with serving(app) as server:
        client = await server.connect()
        await client.send(b"".join(get(f"/{number}") for number in range(MANY)))
        bodies = [(await client.response()).body for _ in range(MANY)]
        assert bodies == [b"/%d" % number for number in range(MANY)]
        await until(lambda: app.holding == MANY)
        app.let_go.set()


async def test_background_tasks_that_end_in_any_order_leave_the_connection_alone(
    serving: Serving, errors: Errors
) -> None:
    events = [trio.Event() for _ in range(6)]
    ended = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal ended
        number = int(scope["path"][1:])
        await ok(send, scope["path"].encode())
        await events[number].wait()
        ended += 1
        if number % 2:
            raise ValueError("after the response")

    async with serving(app) as server:
        client = await server.connect()
        for number in range(5):
            assert (await client.request(f"/{number}")).body == b"/%d" % number
        for count, number in enumerate((3, 0, 4, 1, 2), 1):
            events[number].set()
            await until(lambda count=count: ended == count)  # type: ignore[misc]
        assert (await client.request("/5")).body == b"/5"
        events[5].set()
        assert (await client.request("/0")).body == b"/0"
    assert len(errors.exceptions) == 3


async def test_a_request_that_is_being_answered_is_not_hurt_by_an_older_one_that_fails_or_cancels(
    serving: Serving, errors: Errors
) -> None:
    begun, go_on, over = trio.Event(), trio.Event(), trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/new":
            await read_body(receive)
            begun.set()
            await over.wait()
            await ok(send, b"new")
            return
        await ok(send, b"old")
        await go_on.wait()
        try:
            if scope["path"] == "/cancel":
                scope["extensions"]["trioserve"]["cancel_scope"].cancel()
                await trio.sleep_forever()
            raise ValueError("after the response")
        finally:
            over.set()

    async with serving(app) as server:
        for path in ("/cancel", "/fail"):
            begun, go_on, over = trio.Event(), trio.Event(), trio.Event()
            client = await server.connect()
            assert (await client.request(path)).body == b"old"
            await client.send(get("/new"))
            await begun.wait()
            go_on.set()
            assert (await client.response()).body == b"new"
            over = trio.Event()
            over.set()
            assert (await client.request("/new")).body == b"new"
    assert len(errors.records) == 1


async def test_the_rest_of_an_upload_is_dropped_for_the_next_request_under_a_background_task(
    serving: Serving,
) -> None:
    app = Lingering()
    async with serving(app) as server:
        client = await server.connect()
        await client.send(get("/1", "Content-Length: 10", method="POST") + b"12345")
        assert (await client.response()).body == b"/1"
        await client.send(b"67890" + get("/2"))
        assert (await client.response()).body == b"/2"
        await until(lambda: app.holding == 2)
        app.let_go.set()


async def test_a_background_task_that_calls_receive_takes_nothing_of_the_next_request(
    serving: Serving,
) -> None:
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/next":
            await ok(send, await read_body(receive))
            return
        await ok(send)
        for _ in range(20):
            seen.append(await receive())
            await trio.lowlevel.checkpoint()

    async with serving(app) as server:
        client = await server.connect()
        await client.send(get() + get("/next", "Content-Length: 4", method="POST") + b"body")
        assert (await client.response()).body == b"ok"
        assert (await client.response()).body == b"body"
    assert {message["type"] for message in seen} <= {"http.disconnect"}


async def test_stopping_cancels_background_tasks_only_after_the_graceful_timeout(
    in_memory: Serving, errors: Errors
) -> None:
    app = Lingering()
    begun = 0.0
    async with in_memory(app, graceful_timeout=7) as server:
        client = await server.connect()
        for number in range(5):
            assert (await client.request(f"/{number}")).body == b"/%d" % number
        begun = trio.current_time()
    assert trio.current_time() - begun == pytest.approx(7)
    assert (app.cancelled, app.holding) == (5, 0)
    assert errors.records == []


async def test_a_cancelled_server_ends_with_its_background_tasks(serving: Serving) -> None:
    app = Lingering()
    with trio.CancelScope() as scope:
        async with serving(app) as server:
            client = await server.connect()
            for number in range(5):
                assert (await client.request(f"/{number}")).body == b"/%d" % number
            await client.leave()
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert app.cancelled == 5


async def test_a_closing_connection_closes_although_its_application_goes_on(
    serving: Serving,
) -> None:
    app = Lingering()
    async with serving(app) as server:
        client = await server.connect()
        await client.send(get("/last", "Connection: close"))
        assert (await client.response()).body == b"/last"
        assert await client.rest() == b""
        await until(lambda: app.holding == 1)
        app.let_go.set()


# -- context variables ------------------------------------------------------------------------

user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


@pytest.mark.parametrize("lingers", [False, True])
@pytest.mark.parametrize("pipelined", [False, True])
async def test_what_a_request_puts_into_context_variables_is_not_seen_by_the_next(
    lingers: bool, pipelined: bool, serving: Serving
) -> None:
    let_go = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        before = user.get()
        user.set(scope["path"])
        await trio.lowlevel.checkpoint()
        await ok(send, before.encode())
        if lingers:
            await let_go.wait()
            assert user.get() == scope["path"]

    async with serving(app) as server:
        client = await server.connect()
        if pipelined:
            await client.send(get("/1") + get("/2") + get("/3"))
        bodies = [
            (await (client.response() if pipelined else client.request(f"/{number}"))).body
            for number in (1, 2, 3)
        ]
        let_go.set()
    assert bodies == [b"nobody"] * 3


class Uncomparable:
    """As an array of numpy: == gives no truth."""

    def __eq__(self, other: object) -> Any:
        raise ValueError("the truth value of an array is ambiguous")

    __hash__ = None  # type: ignore[assignment]


async def test_a_context_variable_may_hold_what_cannot_be_compared(
    in_memory: Serving, errors: Errors
) -> None:
    array: contextvars.ContextVar[Uncomparable] = contextvars.ContextVar("array")
    array.set(Uncomparable())

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        array.set(Uncomparable())
        await ok(send)

    async with in_memory(app) as server:
        client = await server.connect()
        for _ in range(3):
            assert (await client.request()).body == b"ok"
    assert errors.records == []
