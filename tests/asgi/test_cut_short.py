# SPDX-License-Identifier: MIT
"""``request_timeout``, and cancellation that isn't ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from .harness import get, ok
from .test_extension import PART, START, own
from .test_lifespan_failures import stray_cancelled
from .versions import both_in_memory, both_versions

if TYPE_CHECKING:
    from trioserve.types import ASGIApp, Message, Receive, Scope, Send

    from .conftest import Errors, Serving


def slow(*messages: Message) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/quick":
            await ok(send)
            return
        for message in messages:
            await send(message)
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            if scope["path"] == "/swallow":
                raise ValueError("instead of Cancelled") from None
            raise

    return app


@pytest.mark.parametrize(("path", "status"), [("/slow", 503), ("/swallow", 500)])
async def test_request_timeout_before_the_start_is_answered(
    path: str, status: int, serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    timeout = 5 if serving.kind == "memory" else 0.05
    async with serving(slow(), request_timeout=timeout, access_log=True) as server:
        client = await server.connect()
        assert (await client.request("/quick")).status == 200
        response = await client.request(path)
        assert await client.rest() == b""
    assert response.status == status
    assert ("was cancelled by request_timeout" in caplog.text) == (status == 503)
    assert len([r for r in caplog.records if r.name == "trioserve.access"]) == 2


async def test_request_timeout_after_the_start_closes(serving: Serving) -> None:
    async with serving(slow(START, PART), request_timeout=0.05) as server:
        client = await server.connect()
        await client.send(get())
        assert (await client.rest()).endswith(b"\r\n\r\n5\r\npart,\r\n")


@both_in_memory
async def test_request_timeout_counts_anew_for_each_request(in_memory: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(4)
        await ok(send)

    async with in_memory(app, request_timeout=5) as server:
        client = await server.connect()
        for _ in range(4):
            assert (await client.request()).status == 200
            await trio.sleep(4)


# -- cancellation that isn't ours -------------------------------------------------------------


@both_versions
@pytest.mark.parametrize("grouped", [False, True])
async def test_a_cancelled_from_a_scope_left_long_ago_is_an_error_of_its_request_only(
    grouped: bool, serving: Serving, errors: Errors
) -> None:
    other_is_done = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/stray":
            stray = await stray_cancelled()
            raise BaseExceptionGroup("", [stray, ValueError()]) if grouped else stray
        await other_is_done.wait()
        await ok(send)

    async with serving(app) as server:
        other = await server.connect()
        await other.send(get("/other"))
        assert (await server.request("/stray")).status == 500
        other_is_done.set()
        assert (await other.response()).body == b"ok"
        assert (await server.request("/other")).body == b"ok"
    assert len(errors.exceptions) == 1


@both_versions
async def test_an_error_beside_a_cancellation_is_logged_and_the_cancellation_holds(
    serving: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def fail() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("while being cancelled")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            await trio.lowlevel.checkpoint()
            own(scope)["cancel_scope"].cancel()
            await trio.sleep_forever()

    async with serving(app) as server:
        assert (await server.request()).status == 503
    (logged,) = errors.exceptions
    assert isinstance(logged, ExceptionGroup)
    assert str(logged.exceptions[0]) == "while being cancelled"
