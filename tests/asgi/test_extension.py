# SPDX-License-Identifier: MIT
"""``scope["extensions"]["trioserve"]["cancel_scope"]``, and what else cuts an application short."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from .harness import get, ok
from .versions import both_in_memory, both_versions

if TYPE_CHECKING:
    from trioserve.types import ASGIApp, Message, Receive, Scope, Send

    from .conftest import Errors, Serving

START: Message = {"type": "http.response.start", "status": 200}
PART: Message = {"type": "http.response.body", "body": b"part,", "more_body": True}


def own(scope: Scope) -> Any:
    return scope["extensions"]["trioserve"]


@both_in_memory
async def test_it_is_a_mapping_with_a_cancel_scope_and_a_nursery(in_memory: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert sorted(own(scope)) == ["cancel_scope", "nursery"]
        assert len(own(scope)) == 2
        assert "websocket" not in own(scope)
        assert isinstance(own(scope)["cancel_scope"], trio.CancelScope)
        assert own(scope)["cancel_scope"] is own(scope)["cancel_scope"]
        with pytest.raises(KeyError):
            own(scope)["other"]
        with pytest.raises(TypeError):
            own(scope)["cancel_scope"] = None
        await ok(send)

    async with in_memory(app) as server:
        assert (await server.request()).status == 200


def cancelling(*messages: Message, in_child: bool = False) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/ok":
            await ok(send)
            return
        for message in messages:
            await send(message)
        own(scope)["cancel_scope"].cancel()
        await trio.sleep_forever()

    return app


async def test_cancelling_it_before_the_start_is_a_503_and_closes(
    serving: Serving, errors: Errors, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(cancelling()) as server:
        client = await server.connect()
        response = await client.request("/path")
        assert await client.rest() == b""
        assert (await server.request("/ok")).body == b"ok"
    assert response.status == 503
    assert response.headers[b"connection"] == b"close"
    assert errors.records == []
    assert "GET /path was cancelled by the application" in caplog.text


async def test_cancelling_it_after_the_start_closes_and_never_fakes_an_end(
    serving: Serving,
) -> None:
    async with serving(cancelling(START, PART)) as server:
        client = await server.connect()
        await client.send(get())
        assert (await client.rest()).endswith(b"\r\n\r\n5\r\npart,\r\n")


@both_versions
async def test_cancelling_it_after_the_response_leaves_the_response_whole(
    serving: Serving, errors: Errors
) -> None:
    async with serving(cancelling(START, {"type": "http.response.body", "body": b"ok"})) as server:
        client = await server.connect()
        assert (await client.request()).body == b"ok"
    assert errors.records == []


@both_versions
async def test_another_task_may_cancel_it(serving: Serving) -> None:
    scopes: dict[str, trio.CancelScope] = {}
    started = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/stop":
            scopes["/job"].cancel()
            await ok(send)
            return
        scopes[scope["path"]] = own(scope)["cancel_scope"]
        started.set()
        await trio.sleep_forever()

    async with serving(app) as server:
        client = await server.connect()
        await client.send(get("/job"))
        await started.wait()
        assert (await server.request("/stop")).status == 200
        assert (await client.response()).status == 503


@both_versions
@pytest.mark.parametrize("what", ["cancel", "deadline", "shield"])
async def test_what_is_done_to_it_after_its_request_meets_no_later_request(
    what: str, serving: Serving, errors: Errors
) -> None:
    scopes: list[trio.CancelScope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/later":
            # The request before has handed its scope to somebody who uses it late.
            if what == "cancel":
                scopes[0].cancel()
            elif what == "deadline":
                scopes[0].deadline = trio.current_time() - 1
            else:
                assert not own(scope)["cancel_scope"].shield
            for _ in range(3):
                await trio.lowlevel.checkpoint()
        else:
            scopes.append(own(scope)["cancel_scope"])
            if what == "shield":
                scopes[0].shield = True
        await ok(send, scope["path"].encode())

    async with serving(app) as server:
        client = await server.connect()
        assert (await client.request("/first")).body == b"/first"
        assert (await client.request("/later")).body == b"/later"
        assert (await client.request("/later")).body == b"/later"
    assert errors.records == []


@both_versions
async def test_each_request_that_takes_it_gets_a_scope_of_its_own(serving: Serving) -> None:
    scopes: list[trio.CancelScope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(own(scope)["cancel_scope"])
        await ok(send)

    async with serving(app) as server:
        client = await server.connect()
        await client.send(get() * 10)
        for _ in range(10):
            await client.response()
    assert len(set(map(id, scopes))) == 10


@both_in_memory
async def test_a_deadline_set_by_the_application_is_its_timeout(in_memory: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            own(scope)["cancel_scope"].deadline = trio.current_time() + 7
            await trio.sleep_forever()
        own(scope)["cancel_scope"].deadline = trio.current_time() + 7
        await ok(send)

    async with in_memory(app) as server:
        client = await server.connect()
        assert (await client.request("/quick")).status == 200
        await trio.sleep(4)
        assert (await client.request("/quick")).status == 200
        await trio.sleep(4)  # the first one's deadline is over
        begun = trio.current_time()
        assert (await client.request("/slow")).status == 503
        assert trio.current_time() - begun == pytest.approx(7)


@both_in_memory
@pytest.mark.parametrize(("deadline", "ends"), [(1, 1), (50, 3)])
async def test_of_the_applications_deadline_and_the_grace_the_earlier_counts(
    deadline: float, ends: float, in_memory: Serving
) -> None:
    ended: list[float] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun = trio.current_time()
        own(scope)["cancel_scope"].deadline = begun + deadline
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time() - begun)

    async with in_memory(app) as server:
        client = await server.connect()
        await client.send(get())
        await client.leave()
        await trio.sleep(100)
    assert ended == [pytest.approx(ends)]
