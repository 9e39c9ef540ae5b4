# SPDX-License-Identifier: MIT
"""The loads of calling processes, on pools that run what they are asked at once."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from benchmarks.apps.dirty_functions import Actions
from benchmarks.dirty.blocking_pool import BlockingPool
from benchmarks.dirty.pools.trio_pool import TrioPool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

TABLE: dict[str, Any] = {}
ECHO = {"kind": "repeat", "operation": "echo", "action": "echo", "value": "20 B", "seconds": 0.01}


class App(Actions):
    def wrong(self, value: bytes) -> bytes:
        return value[:-1]

    def few(self, count: int, size: int) -> Iterator[bytes]:
        yield bytes(size)

    async def _sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    def _stash(self) -> Any:
        return Stash()


class Stash:
    def get(self, table: str, key: str) -> Any:
        return TABLE[key]

    def put(self, table: str, key: str, value: Any) -> None:
        TABLE[key] = value


def operation(command: dict[str, Any], sent: Any) -> Callable[[], Any]:
    if command["operation"] == "get":
        return partial(Stash().get, "bench", "key")
    if command["operation"] == "put":
        return partial(Stash().put, "bench", "key", sent)
    return partial(getattr(App(), command["action"]), sent)


class Threads(BlockingPool):
    def operation(self, command: dict[str, Any], sent: Any, index: int) -> Callable[[], Any]:
        return operation(command, sent)

    def call(self, action: str, *args: Any) -> Any:
        return getattr(App(), action)(*args)

    @contextlib.contextmanager
    def stream(self, action: str, *args: Any) -> Iterator[Iterator[Any]]:
        yield self.call(action, *args)


class Tasks(TrioPool):
    def operation(self, command: dict[str, Any], sent: Any, index: int) -> Callable[[], Any]:
        call = operation(command, sent)

        async def awaited() -> Any:
            await trio.lowlevel.checkpoint()
            return call()

        return awaited

    async def call(self, action: str, *args: Any) -> Any:
        return getattr(App(), action)(*args)

    @contextlib.asynccontextmanager
    async def stream(self, action: str, *args: Any) -> AsyncIterator[AsyncIterator[Any]]:
        items = getattr(App(), action)(*args)
        if hasattr(items, "__aiter__"):
            yield items
        else:
            yield _as_async(items)


async def _as_async(items: Iterator[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


async def ask(pool: Threads | Tasks, command: dict[str, Any]) -> dict[str, Any]:
    answer = pool.answer(command)
    return answer if isinstance(answer, dict) else await answer


pools = pytest.mark.parametrize("pool", [Threads(), Tasks()], ids=["threads", "tasks"])


@pools
@pytest.mark.parametrize("callers", [1, 3])
async def test_callers_repeat_their_call(pool: Threads | Tasks, callers: int) -> None:
    found = await ask(pool, ECHO | {"callers": callers})
    assert found["requests"] >= callers
    assert found["per_second"] > 0


@pools
@pytest.mark.parametrize("name", ["get", "put"])
async def test_the_stash_is_filled_and_looked_at_before_it_is_measured(
    pool: Threads | Tasks, name: str
) -> None:
    TABLE.clear()
    found = await ask(pool, ECHO | {"callers": 1, "operation": name})
    assert found["requests"] > 0
    assert len(TABLE["key"]) == 20


@pools
async def test_an_action_uses_the_stash_itself(pool: Threads | Tasks) -> None:
    found = await ask(pool, ECHO | {"kind": "inside", "operation": "get"})
    assert found["requests"] > 0


@pools
async def test_a_wrong_echo_is_a_failure(pool: Threads | Tasks) -> None:
    found = await ask(pool, ECHO | {"callers": 1, "action": "wrong"})
    assert found == {"failure": "WrongAnswerError: it is not what was sent"}


@pools
async def test_chunks_are_counted(pool: Threads | Tasks) -> None:
    command = {"kind": "stream", "action": "chunks", "size": 20, "seconds": 0.01}
    assert (await ask(pool, command))["requests"] > 64
    found = await ask(pool, command | {"action": "few"})
    assert found == {"failure": "WrongAnswerError: 1 chunks of 64, 20 bytes of 20"}


@pools
async def test_only_the_first_chunk_is_timed(pool: Threads | Tasks) -> None:
    found = await ask(pool, {"kind": "first", "action": "late", "size": 20, "seconds": 0.01})
    assert found["p50_ms"] < 5  # the pause before the second


@pools
async def test_an_echo_is_made_at_the_pace_of_those_streams(pool: Threads | Tasks) -> None:
    found = await ask(pool, ECHO | {"kind": "paused"})
    assert 1 <= found["requests"] <= 3


async def test_async_generators_are_streams_too() -> None:
    command = {"kind": "first", "action": "alate", "size": 20, "seconds": 0.01}
    assert (await Tasks().answer(command))["requests"] >= 1


@pools
async def test_what_a_pool_cannot_do_is_a_failure(pool: Threads | Tasks) -> None:
    found = await ask(pool, {"kind": "stream", "action": "no", "size": 1, "seconds": 0.01})
    assert found["failure"].startswith("AttributeError")
