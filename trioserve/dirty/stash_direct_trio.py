# SPDX-License-Identifier: MIT
"""The way to the tables within the arbiter's own process, for Trio tasks.

No task is started here. Changes of a watched table may be made by other threads: what crosses from
them is a knock, by the Trio token; the changes themselves wait in the watcher's queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import trio

from trioserve.dirty.stash_direct import DirectTransport, decoded, open_watcher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioserve.dirty.stash_watch import Watcher
    from trioserve.dirty.tables import StashTables

__all__ = ["AsyncDirectTransport"]

# Every so many operations, other tasks get a turn. A checkpoint costs more than an operation does.
_PATIENCE = 16


class AsyncDirectTransport:
    """An :class:`~trioserve.dirty.stash_operations.AsyncTransport`.

    Args:
        tables: the tables.

    Cancellation: before each operation, never within: what was begun is done. Every 16th lets
    other tasks run first.
    """

    __slots__ = ("_direct", "_left", "_tables")

    def __init__(self, tables: StashTables) -> None:
        self._tables = tables
        self._direct = DirectTransport(tables)
        self._left = _PATIENCE

    async def stash(self, op: int, fields: Mapping[str, Any]) -> Any:
        """Do it; while another thread is at it, for microseconds, all tasks wait."""
        self._left -= 1
        if self._left:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            self._left = _PATIENCE
            await trio.lowlevel.checkpoint()
        return self._direct.stash(op, fields)

    @asynccontextmanager
    async def stash_stream(
        self, op: int, fields: Mapping[str, Any]
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """The changes of a watched table, whichever thread makes them."""
        await trio.lowlevel.checkpoint()
        changes = _Changes()
        changes.watcher = open_watcher(self._tables, op, fields, changes.knock)
        try:
            yield changes
        finally:
            changes.watcher.close()


class _Changes(AsyncIterator[Any]):
    """A watcher's changes, in the order in which they came."""

    watcher: Watcher

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._bell = trio.Event()
        self._taken: deque[Any] = deque()

    def knock(self) -> None:
        """There is something to take. Any thread may call it."""
        # A Trio run that is over has nobody who waits.
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._ring, idempotent=True)

    def _ring(self) -> None:
        self._bell.set()

    async def __anext__(self) -> Any:
        await trio.lowlevel.checkpoint()
        while not self._taken:
            self._bell = trio.Event()
            # Asked first: a change that came before the end is among those taken.
            closed = self.watcher.closed
            self._taken.extend(self.watcher.take())
            if self._taken:
                break
            if closed:
                raise StopAsyncIteration
            # A change that comes now rings through this thread's loop: after we have begun to wait.
            await self._bell.wait()
        return decoded(self._taken.popleft())
