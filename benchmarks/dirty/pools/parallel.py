# SPDX-License-Identifier: MIT
"""trio-parallel with one worker."""

from __future__ import annotations

import importlib
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from benchmarks.apps import dirty_functions
from benchmarks.dirty.pools.trio_pool import TrioPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.dirty.conversation import Conversation


class Parallel(TrioPool):
    """See AsyncPool.

    Args:
        run_sync: takes a function, its arguments, and a `limiter`.
    """

    def __init__(self, run_sync: Callable[..., Any]) -> None:
        self._run_sync = partial(run_sync, limiter=trio.CapacityLimiter(1))

    def operation(self, command: dict[str, Any], sent: Any, index: int) -> Callable[[], Any]:
        return partial(self._run_sync, getattr(dirty_functions, command["action"]), sent)

    async def call(self, action: str, *args: Any) -> Any:
        return await self._run_sync(getattr(dirty_functions, action), *args)


def run(conversation: Conversation) -> None:
    """See benchmarks.dirty.pools."""
    # By name: mypy runs where it is not installed.
    trio_parallel = importlib.import_module("trio_parallel")

    async def main() -> None:
        async with trio_parallel.open_worker_context() as context:
            pool = Parallel(context.run_sync)
            await pool.call("pid")
            await pool.serve(conversation)

    trio.run(main)
