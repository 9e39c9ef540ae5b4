# SPDX-License-Identifier: MIT
"""Loads that threads make, one thread a caller; see async_pool.py."""

from __future__ import annotations

import abc
import threading
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

from benchmarks.dirty import samples
from benchmarks.dirty.samples import CpuMeter, Sample, WrongAnswerError
from benchmarks.dirty.values import is_same, value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from benchmarks.dirty.conversation import Conversation


class BlockingPool(abc.ABC):
    """One contender. A subclass says how its calls are made."""

    @abc.abstractmethod
    def operation(self, command: dict[str, Any], sent: Any, index: int) -> Callable[[], Any]:
        """What caller number `index` calls again and again; see AsyncPool."""

    @abc.abstractmethod
    def call(self, action: str, *args: Any) -> Any:
        """One call."""

    def stream(self, action: str, *args: Any) -> AbstractContextManager[Iterator[Any]]:
        """One stream, read to its end within the block."""
        raise NotImplementedError("it has no streams")

    def serve(self, conversation: Conversation) -> None:
        """Says that it is ready, and carries out commands until they end."""
        conversation.say({"ready": True})
        while (command := conversation.next()) is not None:
            conversation.say(self.answer(command))

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carries a command out; a failure is an answer, too."""
        try:
            return getattr(self, "_" + command["kind"])(command)  # type: ignore[no-any-return]
        except Exception as exc:  # the border of one load
            return samples.of_failure(exc)

    def _repeat(self, command: dict[str, Any]) -> dict[str, Any]:
        sent = value(command["value"])
        self._check(command, sent)
        self.load(command, sent, command["seconds"] * samples.WARM_UP)
        cpu = CpuMeter()
        sample = self.load(command, sent, command["seconds"])
        return samples.of_calls(sample, cpu.spent())

    def _check(self, command: dict[str, Any], sent: Any) -> None:
        if command["operation"] != "echo":
            self.operation(command | {"operation": "put"}, sent, 0)()
        read = command | {"operation": "get"} if command["operation"] == "put" else command
        if not is_same(sent, self.operation(read, sent, 0)()):
            raise WrongAnswerError("it is not what was sent")

    def load(self, command: dict[str, Any], sent: Any, seconds: float) -> Sample:
        """Has command["callers"] callers call for so long."""
        operations = [self.operation(command, sent, n) for n in range(command["callers"])]
        latencies: list[float] = []
        failures: list[Exception] = []
        began = perf_counter()
        until = began + seconds

        def job(operation: Callable[[], Any]) -> None:
            try:
                repeat(operation, until, latencies)
            except Exception as exc:  # carried to the thread that waits
                failures.append(exc)

        if len(operations) == 1:
            job(operations[0])
        else:
            threads = [threading.Thread(target=job, args=[op], daemon=True) for op in operations]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        elapsed = perf_counter() - began
        if failures:
            raise failures[0]
        return Sample(latencies, elapsed)

    def _stream(self, command: dict[str, Any]) -> dict[str, Any]:
        action, size, seconds = command["action"], command["size"], command["seconds"]
        count, elapsed = samples.CALIBRATION, 0.0
        while elapsed < seconds * samples.WARM_UP:
            elapsed = self._read(action, count, size)
            count = samples.next_count(count, elapsed, seconds)
        cpu = CpuMeter()
        elapsed = self._read(action, count, size)
        return samples.of_chunks(count, elapsed, cpu.spent())

    def _read(self, action: str, count: int, size: int) -> float:
        began = perf_counter()
        came = 0
        chunk = b""
        with self.stream(action, count, size) as chunks:
            for chunk in chunks:  # noqa: B007 - the last one is looked at
                came += 1
        elapsed = perf_counter() - began
        if came != count or len(chunk) != size:
            raise WrongAnswerError(f"{came} chunks of {count}, {len(chunk)} bytes of {size}")
        return elapsed

    def _first(self, command: dict[str, Any]) -> dict[str, Any]:
        self._first_load(command, samples.WARM_UP)
        cpu = CpuMeter()
        began = perf_counter()
        latencies = self._first_load(command, 1)
        return samples.of_calls(Sample(latencies, perf_counter() - began), cpu.spent())

    def _first_load(self, command: dict[str, Any], share: float) -> list[float]:
        latencies: list[float] = []
        until = perf_counter() + command["seconds"] * share
        while not latencies or perf_counter() < until:
            began = perf_counter()
            arrived = 0.0
            with self.stream(command["action"], command["size"], samples.PAUSE) as chunks:
                for _ in chunks:
                    arrived = arrived or perf_counter()
            latencies.append(arrived - began)
        return latencies

    def _paused(self, command: dict[str, Any]) -> dict[str, Any]:
        echo = self.operation(command | {"operation": "echo"}, value(command["value"]), 0)
        latencies: list[float] = []
        cpu = CpuMeter()
        began = perf_counter()
        while perf_counter() < began + command["seconds"]:
            sleep(samples.PAUSE)
            echo()
            repeat(echo, 0.0, latencies)
        return samples.of_calls(Sample(latencies, perf_counter() - began), cpu.spent())

    def _inside(self, command: dict[str, Any]) -> dict[str, Any]:
        self.operation(command | {"operation": "put"}, value(command["value"]), 0)()
        self.call("stash_repeat", command["operation"], command["seconds"] * samples.WARM_UP)
        cpu = CpuMeter()
        latencies, elapsed = self.call("stash_repeat", command["operation"], command["seconds"])
        return samples.of_calls(Sample(latencies, elapsed), cpu.spent())

    def _memory(self, _command: dict[str, Any]) -> dict[str, Any]:
        return samples.of_memory(self.call("pid"))


def repeat(operation: Callable[[], Any], until: float, latencies: list[float]) -> None:
    """Calls until the clock says so, at least once; notes how long each call took."""
    now = perf_counter()
    while True:
        operation()
        then = perf_counter()
        latencies.append(then - now)
        if then >= until:
            return
        now = then
