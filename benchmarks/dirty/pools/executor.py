# SPDX-License-Identifier: MIT
"""concurrent.futures.ProcessPoolExecutor, as cheaply as it can be called.

Many callers are as many futures under way, made and waited for by one thread: threads would take
the interpreter from one another, and an event loop would add its own cost.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from benchmarks.apps import dirty_functions
from benchmarks.dirty.blocking_pool import BlockingPool
from benchmarks.dirty.samples import Sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from benchmarks.dirty.conversation import Conversation


class Executor(BlockingPool):
    """See BlockingPool."""

    def __init__(self, executor: ProcessPoolExecutor) -> None:
        self._executor = executor

    def operation(self, command: dict[str, Any], sent: Any, index: int) -> Callable[[], Any]:
        return partial(self.call, command["action"], sent)

    def call(self, action: str, *args: Any) -> Any:
        function: Callable[..., Any] = getattr(dirty_functions, action)
        return self._executor.submit(function, *args).result()

    def load(self, command: dict[str, Any], sent: Any, seconds: float) -> Sample:
        if command["callers"] == 1:
            return super().load(command, sent, seconds)
        function: Callable[..., Any] = getattr(dirty_functions, command["action"])
        submit = partial(self._executor.submit, function, sent)
        latencies: list[float] = []
        under_way: deque[tuple[float, Future[Any]]] = deque()
        began = now = perf_counter()
        for _ in range(command["callers"]):
            under_way.append((now, submit()))
        # The one worker answers in order, so the oldest is the next to be done.
        while under_way:
            then, future = under_way.popleft()
            future.result()
            now = perf_counter()
            latencies.append(now - then)
            if now < began + seconds:
                under_way.append((now, submit()))
        return Sample(latencies, perf_counter() - began)


def run(conversation: Conversation) -> None:
    """See benchmarks.dirty.pools."""
    with ProcessPoolExecutor(1) as executor:
        pool = Executor(executor)
        pool.call("pid")
        pool.serve(conversation)
