# SPDX-License-Identifier: MIT
"""``scope["extensions"]["trioserve"]["nursery"]``: work that outlives its request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from trioserve.asgi.background import BackgroundNursery, contain

from .harness import get, ok, until
from .test_lifespan_failures import stray_cancelled
from .versions import both_in_memory, both_versions

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send

    from .conftest import Errors, Serving


def nursery_of(scope: Scope) -> BackgroundNursery:
    nursery: BackgroundNursery = scope["extensions"]["trioserve"]["nursery"]
    return nursery


@both_versions
async def test_work_goes_on_after_the_response_and_after_the_client_has_left(
    serving: Serving,
) -> None:
    done: list[int] = []
    go_on = trio.Event()

    async def work(number: int) -> None:
        await go_on.wait()
        await trio.sleep(server.grace * 1.5)
        done.append(number)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nursery_of(scope).start_soon(work, 1)
        nursery_of(scope).start_soon(work, 2, name="the second")
        await ok(send)

    async with serving(app) as server:
        client = await server.connect()
        await client.request()
        await client.leave()
        go_on.set()
        await trio.sleep(server.grace * 2)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(done) == [1, 2]


@both_versions
@pytest.mark.parametrize("kind", ["error", "group", "base", "cancelled"])
async def test_an_error_is_logged_and_ends_nothing_else(
    kind: str, serving: Serving, errors: Errors
) -> None:
    fail, done = trio.Event(), trio.Event()

    async def failing() -> None:
        await fail.wait()
        if kind == "error":
            raise ValueError("broken")
        if kind == "group":
            raise ExceptionGroup("", [ValueError(), KeyError()])
        if kind == "base":
            raise asyncio.CancelledError
        raise await stray_cancelled()

    async def working() -> None:
        await fail.wait()
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        done.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/start":
            nursery_of(scope).start_soon(failing)
            nursery_of(scope).start_soon(working)
        await ok(send)

    async with serving(app) as server:
        await server.request("/start")
        fail.set()
        with trio.fail_after(5):
            await done.wait()
        assert (await server.request("/other")).body == b"ok"
    assert len(errors.exceptions) == 1
    assert "failing" in errors.messages[0]


@both_versions
async def test_start_waits_for_started_and_returns_its_value(
    serving: Serving, errors: Errors
) -> None:
    fail = trio.Event()

    async def service(value: int, *, task_status: trio.TaskStatus[int]) -> None:
        await trio.lowlevel.checkpoint()
        task_status.started(value * 2)
        await fail.wait()
        raise ValueError("a late error")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        value = await nursery_of(scope).start(service, 21)
        await ok(send, str(value).encode())

    async with serving(app) as server:
        assert (await server.request()).body == b"42"
        fail.set()
        await until(lambda: errors.records)
        assert (await server.request()).body == b"42"
        await until(lambda: len(errors.records) == 2)
    assert {str(error) for error in errors.exceptions} == {"a late error"}


@both_versions
async def test_an_error_before_started_is_raised_at_start(serving: Serving, errors: Errors) -> None:
    async def service(*, task_status: trio.TaskStatus[None]) -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("an early error")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(ValueError, match="an early error"):
            await nursery_of(scope).start(service)
        await ok(send)

    async with serving(app) as server:
        assert (await server.request()).body == b"ok"
    assert errors.records == []


@both_in_memory
async def test_one_that_ends_without_started_is_an_error_at_start(in_memory: Serving) -> None:
    async def service(*, task_status: trio.TaskStatus[None]) -> None:
        await trio.lowlevel.checkpoint()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(RuntimeError, match="started"):
            await nursery_of(scope).start(service)
        await ok(send)

    async with in_memory(app) as server:
        assert (await server.request()).body == b"ok"


@both_in_memory
async def test_a_start_that_is_cut_short_by_its_request_is_cancelled_with_it(
    in_memory: Serving, errors: Errors
) -> None:
    cancelled = trio.Event()

    async def service(*, task_status: trio.TaskStatus[None]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await nursery_of(scope).start(service)

    async with in_memory(app) as server:
        client = await server.connect()
        await client.send(get())
        await client.leave()
        with trio.fail_after(4):
            await cancelled.wait()
    assert errors.records == []


@both_in_memory
async def test_it_has_no_scope_that_one_request_could_cancel_for_all(in_memory: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert not hasattr(nursery_of(scope), "cancel_scope")
        await ok(send)

    async with in_memory(app) as server:
        assert (await server.request()).body == b"ok"


@both_in_memory
@pytest.mark.parametrize(("needs", "finished", "took"), [(5, True, 5), (50, False, 7)])
async def test_a_stop_waits_for_the_work_up_to_the_graceful_timeout(
    needs: float, finished: bool, took: float, in_memory: Serving, errors: Errors
) -> None:
    ends: list[bool] = []

    async def work() -> None:
        try:
            await trio.sleep(needs)
            ends.append(True)
        except trio.Cancelled:
            ends.append(False)
            raise

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nursery_of(scope).start_soon(work)
        await ok(send)

    async with in_memory(app, graceful_timeout=7) as server:
        await server.request()
        begun = trio.current_time()
    assert ends == [finished]
    assert trio.current_time() - begun == pytest.approx(took)
    assert errors.records == []


@both_in_memory
async def test_the_work_ends_before_the_lifespan_does(in_memory: Serving) -> None:
    log: list[str] = []

    async def work() -> None:
        await trio.sleep(5)
        log.append("work")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            log.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        nursery_of(scope).start_soon(work)
        await ok(send)

    async with in_memory(app, lifespan="on") as server:
        await server.request()
    assert log == ["work", "shutdown"]


@both_in_memory
async def test_work_may_start_more_work_while_the_server_drains(in_memory: Serving) -> None:
    log: list[int] = []

    async def work(nursery: BackgroundNursery, left: int) -> None:
        await trio.sleep(1)
        log.append(left)
        if left:
            nursery.start_soon(work, nursery, left - 1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nursery_of(scope).start_soon(work, nursery_of(scope), 3)
        await ok(send)

    async with in_memory(app) as server:
        await server.request()
    assert log == [3, 2, 1, 0]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit()], ids=repr)
def test_contain_lets_the_ends_of_the_program_pass(error: BaseException) -> None:
    with pytest.raises(type(error)):
        contain(error)
    with pytest.raises(BaseExceptionGroup) as info:
        contain(BaseExceptionGroup("", [error, ValueError()]))
    assert info.value.exceptions == (error,)


@pytest.mark.parametrize(
    "error",
    [ValueError(), asyncio.CancelledError(), ExceptionGroup("", [ValueError()])],
    ids=repr,
)
def test_contain_keeps_the_rest(error: Any) -> None:
    assert contain(error) is error
