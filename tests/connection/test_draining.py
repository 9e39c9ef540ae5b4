# SPDX-License-Identifier: MIT
"""A graceful stop, as each kind of connection lives through it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from .service import Kind, Service, get, open_service, post, reply, text_app

if TYPE_CHECKING:
    from trioserve.types import ASGIApp, Receive, Scope, Send

#: Idle connections stay open for a moment: trioserve.server.DRAIN_DELAY.
MOMENT = 0.2


class Serving:
    """A service in a task of its own, so that a test can look at its stop from outside."""

    def __init__(self, kind: Kind, app: ASGIApp, **options: float) -> None:
        self._arguments = kind, app, options
        self._stop = trio.Event()
        self.stopped_at = math.inf
        self.stopped = trio.Event()
        self.service: Service

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        kind, app, options = self._arguments
        async with open_service(kind, app, clients_leave=False, **options) as self.service:
            task_status.started()
            await self._stop.wait()
        self.stopped_at = trio.current_time()
        self.stopped.set()

    def stop_nowait(self) -> None:
        """The stop begins as soon as tasks run."""
        self._stop.set()

    async def stop(self) -> None:
        """Begins the stop, and lets it get to where it waits for somebody."""
        self._stop.set()
        await wait_all_tasks_blocked()


async def begin(nursery: trio.Nursery, kind: Kind, app: ASGIApp, **options: float) -> Serving:
    serving = Serving(kind, app, **options)
    await nursery.start(serving.run)
    return serving


class Slow:
    """An application that answers when it is told to."""

    def __init__(self) -> None:
        self.entered = trio.Event()
        self.go_on = trio.Event()
        self.cancelled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.entered.set()
        try:
            await self.go_on.wait()
        except trio.Cancelled:
            self.cancelled = True
            raise
        await reply(send, b"done")


async def test_idle_connections_end_at_once_and_without_a_word(
    kind: Kind, clock: trio.abc.Clock
) -> None:
    async with trio.open_nursery() as nursery:
        serving = await begin(nursery, kind, text_app)
        used, fresh = serving.service.connect(), serving.service.connect()
        assert (await used.request(get())).status == 200
        began = trio.current_time()
        await serving.stop()
        assert await used.rest() == b""
        assert await fresh.rest() == b""
    assert serving.stopped_at - began <= MOMENT


async def test_a_busy_connection_finishes_and_says_that_it_closes(
    kind: Kind, clock: trio.abc.Clock
) -> None:
    app = Slow()
    async with trio.open_nursery() as nursery:
        serving = await begin(nursery, kind, app)
        client = serving.service.connect()
        await client.send(get())
        await app.entered.wait()
        await serving.stop()
        await trio.sleep(5)
        assert not serving.stopped.is_set()
        app.go_on.set()
        response = await client.response()
        assert (response.body, response.closes) == (b"done", True)
        assert await client.rest() == b""
        await client.leave()
        began = trio.current_time()
    assert serving.stopped_at - began < 1


async def test_half_a_head_that_is_completed_after_the_stop_is_still_served(
    kind: Kind, clock: trio.abc.Clock
) -> None:
    async with trio.open_nursery() as nursery:
        serving = await begin(nursery, kind, text_app)
        client = serving.service.connect()
        await client.send(get()[:20])
        await wait_all_tasks_blocked(0.02)
        await serving.stop()
        await trio.sleep(2)
        await client.send(get()[20:])
        response = await client.response()
        assert (response.status, response.closes) == (200, True)
        await client.leave()


async def test_a_request_that_is_on_its_way_at_the_stop_is_served(
    kind: Kind, clock: trio.abc.Clock
) -> None:
    async with trio.open_nursery() as nursery:
        serving = await begin(nursery, kind, text_app)
        used, fresh = serving.service.connect(), serving.service.connect()
        assert (await used.request(get())).status == 200
        serving.stop_nowait()
        await used.send(get("/late"))
        await fresh.send(get("/first"))
        for client, body in ((used, b"/late "), (fresh, b"/first ")):
            assert (await client.response()).body == body
            assert await client.rest() == b""
            await client.leave()


async def test_a_body_under_way_is_read_to_its_end(kind: Kind, clock: trio.abc.Clock) -> None:
    async with trio.open_nursery() as nursery:
        serving = await begin(nursery, kind, text_app)
        client = serving.service.connect()
        await client.send(post(b"half", length=8))
        await wait_all_tasks_blocked(0.02)
        await serving.stop()
        await trio.sleep(2)
        response = await client.request(b"half")
        assert (response.body, response.closes) == (b"/ halfhalf", True)
        await client.leave()


@pytest.mark.parametrize("graceful_timeout", [0, 3])
async def test_what_is_not_done_at_graceful_timeout_is_cut(
    kind: Kind, clock: trio.abc.Clock, graceful_timeout: float
) -> None:
    app = Slow()
    async with trio.open_nursery() as nursery:
        serving = await begin(nursery, kind, app, graceful_timeout=graceful_timeout)
        client = serving.service.connect()
        await client.send(get())
        await app.entered.wait()
        began = trio.current_time()
        await serving.stop()
        assert await client.rest() == b""
    assert app.cancelled
    assert graceful_timeout <= serving.stopped_at - began <= graceful_timeout + 1


async def test_an_unread_body_does_not_hold_up_the_stop(kind: Kind, clock: trio.abc.Clock) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"no")

    async with trio.open_nursery() as nursery:
        serving = await begin(nursery, kind, app, graceful_timeout=20)
        client = serving.service.connect()
        assert (await client.request(post(b"a", length=100))).body == b"no"
        await wait_all_tasks_blocked(0.02)
        began = trio.current_time()
        await serving.stop()
        await serving.stopped.wait()
    assert serving.stopped_at - began <= 5.5  # it lingers, as after any response that closes


@pytest.mark.parametrize("graceful_timeout", [0, 3])
async def test_a_client_that_reads_nothing_does_not_hold_up_the_stop(
    tcp_kind: Kind, clock: trio.abc.Clock, graceful_timeout: float
) -> None:
    sent = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        sent.set()
        await reply(send, b"x" * 10_000_000)

    async with trio.open_nursery() as nursery:
        serving = await begin(
            nursery, tcp_kind, app, graceful_timeout=graceful_timeout, write_timeout=0
        )
        client = serving.service.connect(16384)
        await client.send(get())
        await sent.wait()
        began = trio.current_time()
        await serving.stop()
        await serving.stopped.wait()
    assert serving.stopped_at - began <= graceful_timeout + 1


async def test_a_client_that_never_closes_does_not_hold_up_the_stop(
    kind: Kind, clock: trio.abc.Clock
) -> None:
    # Our end is said, and we linger for the client's; that has its own, smaller limit.
    async with trio.open_nursery() as nursery:
        serving = await begin(nursery, kind, text_app)
        client = serving.service.connect()
        assert (await client.request(get("/", "Connection: close"))).closes
        await wait_all_tasks_blocked(0.02)
        began = trio.current_time()
        await serving.stop()
        await serving.stopped.wait()
    assert serving.stopped_at - began <= 5.5
