# SPDX-License-Identifier: MIT
"""gunicorn's dirty pool by its async client: a connection a caller, since one does one call."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from gunicorn.dirty.client import DirtyClient

from benchmarks.apps.dirty_gunicorn import APP
from benchmarks.dirty.arbiters import arbiter
from benchmarks.dirty.async_pool import AsyncPool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from benchmarks.dirty.conversation import Conversation


class GunicornAsync(AsyncPool):
    """See AsyncPool."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._clients: list[DirtyClient] = []

    def operation(self, command: dict[str, Any], sent: Any, index: int) -> Callable[[], Any]:
        return partial(self._client(index).execute_async, APP, command["action"], sent)

    async def prepare(self, callers: int) -> None:
        # One after the other, each until it is answered: its listener's queue is shorter than the
        # callers may be many, and a connection that finds it full is lost.
        for index in range(len(self._clients), callers):
            await self._client(index).execute_async(APP, "pid")

    async def call(self, action: str, *args: Any) -> Any:
        return await self._client(0).execute_async(APP, action, *args)

    @asynccontextmanager
    async def stream(self, action: str, *args: Any) -> AsyncIterator[AsyncIterator[Any]]:
        yield self._client(0).stream_async(APP, action, *args)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def together(self, jobs: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job())

    def _client(self, index: int) -> DirtyClient:
        while len(self._clients) <= index:
            self._clients.append(DirtyClient(self._path))
        return self._clients[index]

    async def serve(self, conversation: Conversation) -> None:
        """Says that it is ready, and carries out commands until they end."""
        conversation.say({"ready": True})
        while (command := await asyncio.to_thread(conversation.next)) is not None:
            conversation.say(await self.answer(command))
        for client in self._clients:
            await client.close_async()


def run(conversation: Conversation) -> None:
    """See benchmarks.dirty.pools."""
    with arbiter("gunicorn") as path:
        asyncio.run(GunicornAsync(path).serve(conversation))
