# SPDX-License-Identifier: MIT
"""trioserve with `workers = 0`: the calling process is the arbiter."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from benchmarks.apps.dirty_trioserve import APP
from benchmarks.dirty.blocking_pool import BlockingPool
from benchmarks.dirty.pools.trio_pool import TrioPool
from trioserve.dirty import open_dirty_pool, stash

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from benchmarks.dirty.conversation import Conversation
    from trioserve.dirty import DirtyClient


class TrioservePool(TrioPool):
    """Calls by a DirtyClient, one for all callers."""

    def __init__(self, client: DirtyClient) -> None:
        self._client = client

    def operation(self, command: dict[str, Any], sent: Any, index: int) -> Callable[[], Any]:
        if command["operation"] == "get":
            return partial(self._client.stash.get, "bench", "key")
        if command["operation"] == "put":
            return partial(self._client.stash.put, "bench", "key", sent)
        return partial(self._client.execute, APP, command["action"], sent)

    async def call(self, action: str, *args: Any) -> Any:
        return await self._client.execute(APP, action, *args)

    def stream(self, action: str, *args: Any) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        return self._client.stream(APP, action, *args)

    async def _functions(self, command: dict[str, Any]) -> dict[str, Any]:
        """The stash's functions, which in this process block for no trip."""
        return _StashFunctions().answer(command | {"kind": "repeat"})


class _StashFunctions(BlockingPool):
    def operation(self, command: dict[str, Any], sent: Any, index: int) -> Callable[[], Any]:
        if command["operation"] == "get":
            return partial(stash.get, "bench", "key")
        return partial(stash.put, "bench", "key", sent)

    def call(self, action: str, *args: Any) -> Any:
        raise NotImplementedError("the stash only")


def run(conversation: Conversation) -> None:
    """See benchmarks.dirty.pools."""

    async def main() -> None:
        async with open_dirty_pool(APP, dirty_workers=1) as client:
            pool = TrioservePool(client)
            await pool.call("pid")
            await pool.serve(conversation)

    trio.run(main)
