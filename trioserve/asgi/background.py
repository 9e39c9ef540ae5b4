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

__all__ = ["Background", "BackgroundNursery", "contain", "open_background"]

_log = logging.getLogger("trioserve.error")

#: What passes every border of containment: it is not about the task that it comes from.
PASSING = (trio.Cancelled, KeyboardInterrupt, SystemExit, GeneratorExit)


def contain(exc: BaseException) -> BaseException | None:
    """What a border may handle of ``exc``; re-raises what it may not.

    Cancelled, KeyboardInterrupt and SystemExit pass, alone or out of a group; anything else, other
    event loops' cancellation included, is handled where it happened. So is a Cancelled where
    nothing is cancelled: an application has caught it elsewhere and raised it again here (a cached
    outcome does that). To a nursery above it would be a reason to cancel all of its tasks.

    Returns:
        The exception to log, or None where all of it passed.

    Raises:
        BaseException: the passing part.
    """
    if _passes(exc):
        raise exc
    if not isinstance(exc, BaseExceptionGroup):
        return exc
    passing, rest = exc.split(_passes)
    if passing is None:
        return exc
    if rest is not None:
        _log.error("an error beside a cancellation", exc_info=rest)
    raise passing


def _passes(exc: BaseException) -> bool:
    if isinstance(exc, GeneratorExit):
        return not _in_task()
    return isinstance(exc, PASSING) and not _is_stray(exc)


def _in_task() -> bool:
    """Whether Trio runs this: only outside is a GeneratorExit Python's own (garbage collection)."""
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


def _is_stray(exc: BaseException) -> bool:
    if not isinstance(exc, trio.Cancelled):
        return False
    return trio.current_effective_deadline() > trio.current_time()


class BackgroundNursery:
    """``scope["extensions"]["trioserve"]["nursery"]``: as a trio.Nursery, but errors stay within.

    Work started here goes on after the response and after the client has left. At shutdown it has
    until the end of ``graceful_timeout``, then it is cancelled. Unlike a trio.Nursery it has no
    cancel_scope: it is shared by all requests. A task can open a scope of its own.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

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


class Background:
    """The server's side of the nursery.

    Attributes:
        nursery: what applications get.
        cancel_scope: around the block of ``open_background`` and all background tasks.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = BackgroundNursery(nursery)
        self.cancel_scope = nursery.cancel_scope


@contextlib.asynccontextmanager
async def open_background() -> AsyncIterator[Background]:
    """Opens the nursery; leaving waits for its tasks until its scope's deadline."""
    async with trio.open_nursery() as nursery:
        yield Background(nursery)
        left = len(nursery.child_tasks)
        if left and nursery.cancel_scope.deadline != math.inf:
            _log.info("waiting for %d background tasks", left)
