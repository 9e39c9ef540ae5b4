# SPDX-License-Identifier: MIT
"""What the pools on Trio have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from benchmarks.dirty.async_pool import AsyncPool

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from benchmarks.dirty.conversation import Conversation


class TrioPool(AsyncPool):
    """See AsyncPool."""

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def together(self, jobs: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
        async with trio.open_nursery() as nursery:
            for job in jobs:
                nursery.start_soon(job)

    async def serve(self, conversation: Conversation) -> None:
        """Says that it is ready, and carries out commands until they end."""
        conversation.say({"ready": True})
        while True:
            # Not in a thread: the loop is the only one to want the interpreter.
            await trio.lowlevel.wait_readable(conversation.fileno())
            command = conversation.next()
            if command is None:
                return
            conversation.say(await self.answer(command))
