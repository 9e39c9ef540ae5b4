# SPDX-License-Identifier: MIT
"""A caller that has gone: what becomes of its actions in their workers, and of their slots."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.dirty.real_pool import APPS, PATIENCE, Gate, RealPool, open_pool
from tests.server_process import REPOSITORY
from trioserve.dirty import BlockingDirtyClient, DirtyTimeoutError, frames, open_dirty_client
from trioserve.dirty.frames import STREAM_WINDOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trioserve.dirty import DirtyClient

pytestmark = pytest.mark.slow  # each pool starts real processes: a Python with Trio each

WORK = f"{APPS}:Work"


@pytest.fixture
async def pool() -> AsyncIterator[RealPool]:
    async with open_pool(workers=1) as pool:
        yield pool
        await pool.until_idle()


@contextlib.asynccontextmanager
async def both_clients(pool: RealPool) -> AsyncIterator[list[DirtyClient]]:
    async with open_dirty_client(pool.path) as remote:
        yield [pool.client, remote]


async def test_a_cancelled_call_cancels_its_async_action_at_once(
    pool: RealPool, gate: Gate
) -> None:
    async with both_clients(pool) as clients:
        for client in clients:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.execute, WORK, "avisit", gate.path)
                met = await gate.visit()
                nursery.cancel_scope.cancel()
            assert await met.hear() == ["cancelled"]
            await met.gone()


async def test_a_timeout_cancels_an_async_action_too(pool: RealPool, gate: Gate) -> None:
    async with both_clients(pool) as clients:
        for client in clients:
            with pytest.raises(DirtyTimeoutError):
                await client.execute(WORK, "avisit", gate.path, timeout=0.2)
            assert await (await gate.visit()).hear() == ["cancelled"]


async def test_a_sync_action_is_told_by_cancelled_and_holds_its_slot_until_it_returns(
    pool: RealPool, gate: Gate
) -> None:
    async with both_clients(pool) as clients:
        for client in clients:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.execute, WORK, "watch", gate.path)
                met = await gate.visit()
                nursery.cancel_scope.cancel()
            assert await met.hear() == ["cancelled"]
            assert await client.execute(WORK, "pid") == met.pid  # its slot is free again
        # One that doesn't look goes on, and what comes next waits for it.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.client.execute, WORK, "visit", gate.path)
            met = await gate.visit()
            nursery.cancel_scope.cancel()
        with pytest.raises(DirtyTimeoutError, match="for a worker"):
            await pool.client.execute(WORK, "pid", timeout=0.1)
        await met.release()
        assert await pool.client.execute(WORK, "pid") == met.pid


@pytest.mark.parametrize("action", ["numbers", "anumbers"])
async def test_leaving_a_streams_block_ends_its_generator(
    action: str, pool: RealPool, gate: Gate
) -> None:
    async with both_clients(pool) as clients:
        for client in clients:
            async with client.stream(WORK, action, gate.path) as items:
                met = await gate.visit()
                async for number in items:
                    if number == 10:
                        break
            words = await met.hear()
            assert words is not None
            assert words[0] == "closed"
            assert words[1] >= 10
            # One that nobody reads is not far ahead, and is ended, too, while it waits for credit.
            async with client.stream(WORK, action, gate.path) as items:
                met = await gate.visit()
                await anext(items)
                with trio.move_on_after(0.1):
                    await met.hear()
            words = await met.hear()
            assert words is not None
            assert words[0] == "closed"
            assert words[1] < STREAM_WINDOW / len(b"".join(frames.chunk(1, 1))) * 2


def start_client(*words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.dirty.killed_client"]
    return subprocess.Popen([*command, *words], cwd=REPOSITORY)


async def test_a_client_process_that_is_killed_takes_its_actions_along(
    pool: RealPool, gate: Gate
) -> None:
    with start_client(pool.path, gate.path, "avisit", "watch", "avisit") as process:
        try:
            visits = await gate.visits(3)
        finally:
            process.kill()
    for met in visits:
        assert await met.hear() == ["cancelled"]


async def test_the_close_of_a_plain_connection_is_its_cancellation(
    pool: RealPool, gate: Gate
) -> None:
    for action in ("avisit", "watch"):
        stream = await trio.open_unix_socket(pool.path)
        await stream.send_all(b"".join(frames.request(1, WORK, action, [gate.path])))
        met = await gate.visit()
        await stream.aclose()
        assert await met.hear() == ["cancelled"]


async def test_a_blocking_client_that_gives_up_cancels_its_action(
    pool: RealPool, gate: Gate
) -> None:
    with BlockingDirtyClient(pool.path) as client:
        call = partial(client.execute, WORK, "avisit", gate.path, timeout=0.2)
        with pytest.raises(DirtyTimeoutError):
            await trio.to_thread.run_sync(call)
        assert await (await gate.visit()).hear() == ["cancelled"]


async def test_cancellation_reaches_through_nested_calls(gate: Gate) -> None:
    async with open_pool("Work", "Other", workers=2) as pool:
        other = f"{APPS}:Other"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                pool.client.execute, WORK, "call", other, "call", WORK, "avisit", gate.path
            )
            met = await gate.visit()
            nursery.cancel_scope.cancel()
        assert await met.hear() == ["cancelled"]
        await pool.until_idle()


async def test_calls_cancelled_at_random_moments_leave_no_trace(pool: RealPool) -> None:
    """Cancelled before they are sent, under way, and as their reply comes."""
    ended = [0, 0]

    async def call(client: DirtyClient, number: int) -> None:
        action = ("same", "asame", "items", "aitems")[number % 4]
        with trio.move_on_after(number % 17 * 0.0005):
            if number % 4 < 2:
                assert await client.execute(WORK, action, number) == number
            else:
                async with client.stream(WORK, action, 50) as items:
                    assert [item async for item in items] == list(range(50))
            ended[0] += 1
            return
        ended[1] += 1

    async with both_clients(pool) as clients:
        for client in clients:
            for _ in range(10):
                async with trio.open_nursery() as nursery:
                    for number in range(40):
                        nursery.start_soon(call, client, number)
            await pool.until_idle()
            results: list[Any] = [await client.execute(WORK, "same", n) for n in range(10)]
            assert results == list(range(10))
    assert min(ended) > 0
    with trio.fail_after(PATIENCE):
        assert (await pool.client.status())["workers"][0]["running"] == 0
