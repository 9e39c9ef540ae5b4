# SPDX-License-Identifier: MIT
"""Startups and shutdowns that fail, hang, or are cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

import trioserve
from trioserve.asgi.lifespan import open_lifespan
from trioserve.config import Config
from trioserve.testing import open_test_server

if TYPE_CHECKING:
    from trioserve.types import Message, Receive, Scope, Send

    from .conftest import Errors, Serving

COMPLETE: Message = {"type": "lifespan.startup.complete"}


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_a_failed_startup_is_one_startup_error_with_the_applications_words(
    mode: Any, in_memory: Serving
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(trioserve.StartupError) as info:
        async with open_test_server(app, lifespan=mode):
            raise AssertionError("it is up")
    assert str(info.value) == "the application's lifespan startup failed: no database"


async def test_a_failed_startup_without_a_message_says_so(in_memory: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed"})

    with pytest.raises(trioserve.StartupError, match="no message was given"):
        async with open_test_server(app):
            raise AssertionError("it is up")


async def test_nothing_is_accepted_where_the_startup_fails(in_memory: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    started = False
    with pytest.raises(BaseExceptionGroup) as info:  # noqa: PT012
        async with trio.open_nursery() as nursery:
            await nursery.start(trioserve.serve, app, Config(bind=["127.0.0.1:0"]))
            started = True
    assert not started
    assert isinstance(info.value.exceptions[0], trioserve.StartupError)


async def test_an_application_may_clean_up_after_its_failed_startup(in_memory: Serving) -> None:
    steps: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        await trio.sleep(5)
        steps.append("cleaned")

    with pytest.raises(trioserve.StartupError):
        async with open_test_server(app):
            raise AssertionError("it is up")
    assert steps == ["cleaned"]


async def test_an_exception_in_a_required_startup_is_logged_with_its_traceback(
    in_memory: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise ValueError("no database")

    with pytest.raises(trioserve.StartupError, match="no database"):
        async with open_test_server(app, lifespan="on"):
            raise AssertionError("it is up")
    assert [type(error) for error in errors.exceptions] == [ValueError]


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_a_startup_that_takes_too_long_is_a_startup_error(
    mode: Any, in_memory: Serving
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await trio.sleep_forever()

    begun = trio.current_time()
    with pytest.raises(trioserve.StartupError, match=r"longer than .*\(7 s\)"):
        async with open_test_server(app, lifespan=mode, lifespan_startup_timeout=7):
            raise AssertionError("it is up")
    assert trio.current_time() - begun == pytest.approx(7)


async def test_a_startup_timeout_of_zero_is_none(in_memory: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await trio.sleep(10_000)
        await send(COMPLETE)

    begun = trio.current_time()
    async with open_test_server(app, lifespan_startup_timeout=0):
        assert trio.current_time() - begun == pytest.approx(10_000)


async def test_the_startup_timeout_does_not_run_on_after_the_startup(in_memory: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(COMPLETE)
        await receive()
        ended.append(trio.current_time())

    ended: list[float] = []
    async with open_test_server(app, lifespan_startup_timeout=7):
        await trio.sleep(1000)
        assert ended == []
    assert len(ended) == 1


async def test_a_shutdown_that_takes_too_long_is_cancelled_and_logged(
    in_memory: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(COMPLETE)
        await receive()
        await trio.sleep_forever()

    async with open_test_server(app, lifespan_shutdown_timeout=7):
        begun = trio.current_time()
    assert trio.current_time() - begun == pytest.approx(7)
    assert len(errors.messages) == 1
    assert "longer than lifespan_shutdown_timeout (7 s)" in errors.messages[0]


async def test_a_lifespan_that_ignores_its_shutdown_is_cancelled_in_the_end(
    in_memory: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(COMPLETE)
        while True:
            await receive()

    async with open_test_server(app, lifespan_shutdown_timeout=7):
        begun = trio.current_time()
    assert trio.current_time() - begun == pytest.approx(7)
    assert len(errors.messages) == 1


@pytest.mark.parametrize("how", ["failed", "raises", "group"])
async def test_a_shutdown_that_fails_is_logged_and_the_server_ends_in_order(
    how: str, in_memory: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(COMPLETE)
        await receive()
        if how == "failed":
            await send({"type": "lifespan.shutdown.failed", "message": "the pool is stuck"})
        elif how == "raises":
            raise ValueError("the pool is stuck")
        else:
            raise ExceptionGroup("the pool is stuck", [ValueError(), OSError()])

    async with open_test_server(app):
        pass
    assert len(errors.records) == 1
    text = errors.messages[0] + "".join(map(str, errors.exceptions))
    assert "the pool is stuck" in text


@pytest.mark.parametrize("before", ["its first step", "its answer"])
async def test_a_startup_can_be_cancelled_and_the_application_cleans_up(
    before: str, in_memory: Serving, errors: Errors
) -> None:
    steps: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await receive()
            await trio.sleep(20)
            steps.append("up")
        finally:
            steps.append("cleaned")

    for _ in range(20):  # Trio runs the tasks of a batch in either order
        steps.clear()
        begun = trio.current_time()
        with trio.move_on_after(0 if before == "its first step" else 5) as scope:
            async with open_lifespan(app, Config()):
                raise AssertionError("it is up")
        assert scope.cancelled_caught
        assert steps in (["cleaned"], [])
        assert trio.current_time() - begun <= 5
    assert errors.records == []


async def test_a_stray_cancellation_of_the_lifespan_does_not_stop_the_server(
    in_memory: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send(COMPLETE)
            raise await stray_cancelled()
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async with open_test_server(app) as server:
        await trio.sleep(1)
        assert (await server.request("GET", "/")).status == 204
    assert [type(error) for error in errors.exceptions] == [trio.Cancelled]


async def stray_cancelled() -> BaseException:
    """A Cancelled that belongs to a scope which is left already."""
    caught: BaseException | None = None
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep_forever()
        except trio.Cancelled as exc:
            caught = exc
    assert caught is not None
    return caught
