# SPDX-License-Identifier: MIT
"""What can be asked of a running server."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Controls"]


class Controls(Protocol):
    """The server, as the control socket sees it.

    What each returns can be written as JSON. Each raises TrioserveError for what can't be done;
    its text is for the operator. Whoever asks may have to wait for as long as it takes.
    """

    async def status(self) -> dict[str, Any]:
        """The server, its workers and its dirty pool; docs/control.md has the keys."""

    async def tasks(self) -> list[dict[str, Any]]:
        """Of each process ``pid``, ``name``, ``tree`` (see task_tree), ``error``: one is None."""

    async def add_workers(self, count: int) -> dict[str, Any]:
        """So many HTTP workers more."""

    async def remove_workers(self, count: int) -> dict[str, Any]:
        """So many fewer; each finishes its requests."""

    async def kill_worker(self, pid: int) -> dict[str, Any]:
        """Ends a worker at once; it is replaced."""

    async def add_dirty(self, count: int) -> dict[str, Any]:
        """So many dirty workers more; what ``DirtyClient.manage`` returns."""

    async def remove_dirty(self, count: int) -> dict[str, Any]:
        """So many fewer, likewise."""

    async def reload(self) -> dict[str, Any]:
        """New workers with new code and configuration; the old ones go when those are ready."""

    async def set_log_level(self, level: str) -> dict[str, Any]:
        """The least severe level that is logged, of all processes."""

    async def shutdown(self, now: bool) -> dict[str, Any]:
        """Begins to stop: gracefully, or at once. Returns before it has ended."""
