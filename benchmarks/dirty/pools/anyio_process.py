# SPDX-License-Identifier: MIT
"""anyio.to_process on Trio with one worker."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_process
import trio

from benchmarks.apps import dirty_functions
from benchmarks.dirty.pools.trio_pool import TrioPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.dirty.conversation import Conversation


class AnyioProcess(TrioPool):
    """See AsyncPool."""

    def __init__(self) -> None:
        self._run_sync = partial(anyio.to_process.run_sync, limiter=anyio.CapacityLimiter(1))

    def operation(self, command: dict[str, Any], sent: Any, index: int) -> Callable[[], Any]:
        return partial(self._run_sync, getattr(dirty_functions, command["action"]), sent)

    async def call(self, action: str, *args: Any) -> Any:
        return await self._run_sync(getattr(dirty_functions, action), *args)


def run(conversation: Conversation) -> None:
    """See benchmarks.dirty.pools."""

    async def main() -> None:
        pool = AnyioProcess()
        await pool.call("pid")
        await pool.serve(conversation)

    trio.run(main)
