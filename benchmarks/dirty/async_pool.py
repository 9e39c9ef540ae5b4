# SPDX-License-Identifier: MIT
"""Loads that tasks make, on Trio or asyncio: what they measure is the same."""

from __future__ import annotations

import abc
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from benchmarks.dirty import samples
from benchmarks.dirty.samples import CpuMeter, Sample, WrongAnswerError
from benchmarks.dirty.values import is_same, value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager


class AsyncPool(abc.ABC):
    """One contender. A subclass says how its calls are made."""

    @abc.abstractmethod
    def operation(self, command: dict[str, Any], sent: Any, index: int) -> Callable[[], Any]:
        """What caller number `index` awaits again and again.

        Args:
            command: "operation" is "echo", "get" or "put"; see benchmarks.dirty.rounds.
            sent: its value.
        """

    async def prepare(self, callers: int) -> None:
        """What comes before so many callers' first call, and is not measured."""
        await self.call("pid")

    @abc.abstractmethod
    async def call(self, action: str, *args: Any) -> Any:
        """One call."""

    def stream(self, action: str, *args: Any) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """One stream, read to its end within the block."""
        raise NotImplementedError("it has no streams")

    @abc.abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Lets that much time pass."""

    @abc.abstractmethod
    async def together(self, jobs: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
        """Runs all jobs as tasks; returns when they have ended."""

    async def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carries a command out; a failure is an answer, too."""
        try:
            return await getattr(self, "_" + command["kind"])(command)  # type: ignore[no-any-return]
        except Exception as exc:  # the border of one load
            return samples.of_failure(exc)

    async def _repeat(self, command: dict[str, Any]) -> dict[str, Any]:
        sent = value(command["value"])
        await self._check(command, sent)
        callers, seconds = command["callers"], command["seconds"]
        await self.prepare(callers)
        operations = [self.operation(command, sent, index) for index in range(callers)]
        await self._load(operations, seconds * samples.WARM_UP)
        cpu = CpuMeter()
        sample = await self._load(operations, seconds)
        return samples.of_calls(sample, cpu.spent())

    async def _check(self, command: dict[str, Any], sent: Any) -> None:
        if command["operation"] != "echo":
            await self.operation(command | {"operation": "put"}, sent, 0)()
        read = command | {"operation": "get"} if command["operation"] == "put" else command
        if not is_same(sent, await self.operation(read, sent, 0)()):
            raise WrongAnswerError("it is not what was sent")

    async def _load(self, operations: list[Callable[[], Any]], seconds: float) -> Sample:
        latencies: list[float] = []
        began = perf_counter()
        until = began + seconds
        jobs = [partial(_repeat, operation, until, latencies) for operation in operations]
        if len(jobs) == 1:
            await jobs[0]()
        else:
            await self.together(jobs)
        return Sample(latencies, perf_counter() - began)

    async def _stream(self, command: dict[str, Any]) -> dict[str, Any]:
        action, size, seconds = command["action"], command["size"], command["seconds"]
        count, elapsed = samples.CALIBRATION, 0.0
        while elapsed < seconds * samples.WARM_UP:
            elapsed = await self._read(action, count, size)
            count = samples.next_count(count, elapsed, seconds)
        cpu = CpuMeter()
        elapsed = await self._read(action, count, size)
        return samples.of_chunks(count, elapsed, cpu.spent())

    async def _read(self, action: str, count: int, size: int) -> float:
        began = perf_counter()
        came = 0
        chunk = b""
        async with self.stream(action, count, size) as chunks:
            async for chunk in chunks:  # noqa: B007 - the last one is looked at
                came += 1
        elapsed = perf_counter() - began
        if came != count or len(chunk) != size:
            raise WrongAnswerError(f"{came} chunks of {count}, {len(chunk)} bytes of {size}")
        return elapsed

    async def _first(self, command: dict[str, Any]) -> dict[str, Any]:
        """The time until the first chunk of streams whose second comes later."""
        await self._first_load(command, samples.WARM_UP)
        cpu = CpuMeter()
        began = perf_counter()
        latencies = await self._first_load(command, 1)
        return samples.of_calls(Sample(latencies, perf_counter() - began), cpu.spent())

    async def _first_load(self, command: dict[str, Any], share: float) -> list[float]:
        latencies: list[float] = []
        until = perf_counter() + command["seconds"] * share
        while not latencies or perf_counter() < until:
            began = perf_counter()
            arrived = 0.0
            async with self.stream(command["action"], command["size"], samples.PAUSE) as chunks:
                async for _ in chunks:
                    arrived = arrived or perf_counter()
            latencies.append(arrived - began)
        return latencies

    async def _paused(self, command: dict[str, Any]) -> dict[str, Any]:
        """An echo as it is in between the chunks of `_first`: the second one after a pause."""
        echo = self.operation(command | {"operation": "echo"}, value(command["value"]), 0)
        latencies: list[float] = []
        cpu = CpuMeter()
        began = perf_counter()
        while perf_counter() < began + command["seconds"]:
            await self.sleep(samples.PAUSE)
            await echo()
            await _repeat(echo, 0.0, latencies)
        return samples.of_calls(Sample(latencies, perf_counter() - began), cpu.spent())

    async def _inside(self, command: dict[str, Any]) -> dict[str, Any]:
        """An operation of the stash, again and again, by an action itself."""
        await self.operation(command | {"operation": "put"}, value(command["value"]), 0)()
        await self.call("stash_repeat", command["operation"], command["seconds"] * samples.WARM_UP)
        cpu = CpuMeter()
        latencies, elapsed = await self.call(
            "stash_repeat", command["operation"], command["seconds"]
        )
        return samples.of_calls(Sample(latencies, elapsed), cpu.spent())

    async def _memory(self, _command: dict[str, Any]) -> dict[str, Any]:
        return samples.of_memory(await self.call("pid"))


async def _repeat(
    operation: Callable[[], Awaitable[Any]], until: float, latencies: list[float]
) -> None:
    now = perf_counter()
    while True:
        await operation()
        then = perf_counter()
        latencies.append(then - now)
        if then >= until:
            return
        now = then
