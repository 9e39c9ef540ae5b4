# SPDX-License-Identifier: MIT
"""A client that leaves: what its application hears, and how long it may go on."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from trioserve.errors import ClientDisconnectedError

from .harness import PATIENCE, get
from .versions import both_in_memory, both_versions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trioserve.types import Message, Receive, Scope, Send

    from .conftest import Errors, Serving
    from .harness import RawClient

#: How a client can leave for good.
LEAVES: dict[str, Callable[[RawClient], Awaitable[None]]] = {
    "close": lambda client: client.leave(),
    "reset": lambda client: client.reset(),
}
leaves = pytest.mark.parametrize("leave", LEAVES.values(), ids=LEAVES)
PART: Message = {"type": "http.response.body", "body": b"part,", "more_body": True}
START: Message = {"type": "http.response.start", "status": 200}


class Stage:
    """Events of an application for its test."""

    def __init__(self) -> None:
        self.started = trio.Event()
        self.ended = trio.Event()
        self.cancelled = False
        self.took = math.nan
        self.messages: list[Message] = []

    async def left(self, client: RawClient, leave: Callable[[RawClient], Awaitable[None]]) -> None:
        """The client leaves once the application has begun, which then comes to its end."""
        with trio.fail_after(PATIENCE):
            await self.started.wait()
            await leave(client)
            await self.ended.wait()


@leaves
@both_versions
async def test_receive_yields_http_disconnect_and_a_clean_up_shorter_than_the_grace_is_undisturbed(
    leave: Any, serving: Serving, errors: Errors
) -> None:
    stage = Stage()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        stage.started.set()
        try:
            stage.messages.append(await receive())
        finally:
            await trio.sleep(0.1)
            await trio.lowlevel.checkpoint()
            stage.ended.set()

    async with serving(app, asgi_disconnect_grace_period=8) as server:
        client = await server.connect()
        await client.send(get())
        await stage.left(client, leave)
    assert stage.messages == [{"type": "http.disconnect"}]
    assert errors.records == []


@leaves
@both_versions
async def test_after_the_grace_everything_that_the_request_started_is_cancelled(
    leave: Any, serving: Serving, errors: Errors, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage()
    cancelled: list[str] = []

    async def work(name: str) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.append(name)
            raise

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with trio.open_nursery() as outer, trio.open_nursery() as inner:
                outer.start_soon(work, "outer")
                inner.start_soon(work, "inner")
                stage.started.set()
                await work("app")
        finally:
            stage.took = trio.current_time() - begun
            stage.ended.set()

    async with serving(app) as server:
        client = await server.connect()
        await client.send(get("/path"))
        begun = trio.current_time()
        await stage.left(client, leave)
    assert sorted(cancelled) == ["app", "inner", "outer"]
    assert server.grace <= stage.took + 0.01 < server.grace + PATIENCE
    assert errors.records == []
    assert "client left GET /path, cancelled after the grace period" in caplog.text


@both_in_memory
async def test_the_default_grace_is_three_seconds_to_the_dot(in_memory: Serving) -> None:
    stage = Stage()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        stage.started.set()
        try:
            await trio.sleep_forever()
        finally:
            stage.took = trio.current_time() - begun
            stage.ended.set()

    async with in_memory(app) as server:
        client = await server.connect()
        await client.send(get())
        await stage.started.wait()
        begun = trio.current_time()
        await stage.left(client, LEAVES["close"])
    assert stage.took == pytest.approx(3)


@leaves
@both_versions
async def test_a_grace_of_zero_cancels_at_once(leave: Any, serving: Serving) -> None:
    stage = Stage()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        stage.started.set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                stage.messages.append(await receive())
            stage.ended.set()

    async with serving(app, asgi_disconnect_grace_period=0) as server:
        client = await server.connect()
        await client.send(get())
        begun = trio.current_time()
        await stage.left(client, leave)
        assert server.kind != "memory" or trio.current_time() == begun
    assert stage.messages == [{"type": "http.disconnect"}]


@pytest.mark.parametrize("started", [False, True])
@leaves
@both_versions
async def test_send_raises_an_os_error_once_the_client_cannot_be_reached(
    leave: Any, started: bool, serving: Serving, errors: Errors
) -> None:
    stage = Stage()
    raised: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if started:
            await send(START)
            await send(PART)
        stage.started.set()
        await receive()
        try:
            if not started:
                await send(START)
            while True:  # the first writes may still be taken by the kernel
                await send(PART)
                await trio.lowlevel.checkpoint()
        except OSError as exc:
            raised.append(exc)
            with pytest.raises(ClientDisconnectedError):
                await send(PART)
            raise
        finally:
            stage.ended.set()

    async with serving(app) as server:
        client = await server.connect()
        await client.send(get())
        await stage.left(client, leave)
    assert isinstance(raised[0], ClientDisconnectedError)
    assert errors.records == []


@both_versions
@pytest.mark.parametrize("how", ["returns", "raises"])
async def test_an_application_that_ends_within_the_grace_is_no_error(
    how: str, serving: Serving, errors: Errors, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        stage.started.set()
        stage.messages.append(await receive())
        stage.ended.set()
        if how == "raises":
            raise ConnectionError("I was told that the client is gone")

    async with serving(app, access_log=True) as server:
        client = await server.connect()
        await client.send(get())
        await stage.left(client, LEAVES["close"])
    assert errors.records == []
    lines = [record for record in caplog.records if record.name == "trioserve.access"]
    assert len(lines) == 1
    assert " 499 " in lines[0].getMessage()
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert sum("client left" in message for message in told) == (how == "raises")


@both_versions
async def test_an_error_of_an_application_that_was_not_told_is_an_error(
    serving: Serving, errors: Errors
) -> None:
    stage = Stage()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        stage.started.set()
        try:
            await trio.sleep(server.grace / 4)
            raise ValueError("a bug, not a leave")
        finally:
            stage.ended.set()

    async with serving(app) as server:
        client = await server.connect()
        await client.send(get())
        await stage.left(client, LEAVES["close"])
        await trio.testing.wait_all_tasks_blocked()
    assert len(errors.exceptions) == 1
