# SPDX-License-Identifier: MIT
"""The nursery that an application gets for work that outlives a request.

Tasks: what applications start here. ``open_background`` owns them: leaving it waits for them until
the deadline it was given, then cancels them. An error ends its own task and is logged.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["BackgroundNursery", "contain", "open_background"]

_log = logging.getLogger("trioserve.error")

#: What passes every border of containment: it is not about the task that it comes from.
PASSING = (trio.Cancelled, KeyboardInterrupt, SystemExit, GeneratorExit)


def contain(exc: BaseException) -> BaseException | None:
    """What a border may handle of ``exc``; re-raises what it may not.

    Cancelled, KeyboardInterrupt and SystemExit pass, alone or out of a group; anything else, other
    event loops' cancellation included, is handled where it happened.

    Returns:
        The exception to log, or None where all of it passed.

    Raises:
        BaseException: the passing part.
    """
    if isinstance(exc, PASSING):
        raise exc
    if not isinstance(exc, BaseExceptionGroup):
        return exc
    passing, rest = exc.split(PASSING)
    if passing is None:
        return exc
    if rest is not None:
        _log.error("an error beside a cancellation", exc_info=rest)
    raise passing


class BackgroundNursery:
    """``scope["extensions"]["trioserve"]["nursery"]``: as a trio.Nursery, but errors stay within.

    Work started here goes on after the response and after the client has left. At shutdown it has
    until the end of ``graceful_timeout``, then it is cancelled.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    @property
    def cancel_scope(self) -> trio.CancelScope:
        """Cancelling it ends all background work of the server."""
        return self._nursery.cancel_scope

    def start_soon(
        self,
        async_fn: Callable[..., Awaitable[object]],
        *args: Any,
        name: object = None,
    ) -> None:
        """As trio.Nursery.start_soon; an exception is logged and ends nothing else."""
        self._nursery.start_soon(
            _run_contained, functools.partial(async_fn, *args), name=name or async_fn
        )

    async def start(
        self,
        async_fn: Callable[..., Awaitable[object]],
        *args: Any,
        name: object = None,
    ) -> Any:
        """As trio.Nursery.start; an error before started() is raised here, a later one logged."""

        async def run(task_status: trio.TaskStatus[Any]) -> None:
            status = _Started(task_status)
            try:
                await async_fn(*args, task_status=status)
            except BaseException as exc:
                if not status.called:
                    raise
                _log_failure(async_fn, exc)

        return await self._nursery.start(run, name=name or async_fn)


class _Started:
    """A task status that knows whether it was used."""

    def __init__(self, inner: trio.TaskStatus[Any]) -> None:
        self._inner = inner
        self.called = False

    def started(self, value: Any = None) -> None:
        self._inner.started(value)
        self.called = True


async def _run_contained(run: functools.partial[Awaitable[object]]) -> None:
    try:
        await run()
    except BaseException as exc:
        _log_failure(run.func, exc)


def _log_failure(async_fn: object, exc: BaseException) -> None:
    failure = contain(exc)
    if failure is not None:
        _log.error("Exception in background task %r", async_fn, exc_info=failure)


@contextlib.asynccontextmanager
async def open_background() -> AsyncIterator[BackgroundNursery]:
    """Opens the nursery; leaving waits for its tasks until its scope's deadline."""
    async with trio.open_nursery() as nursery:
        yield BackgroundNursery(nursery)
        left = len(nursery.child_tasks)
        if left and nursery.cancel_scope.deadline != math.inf:
            _log.info("waiting for %d background tasks", left)
