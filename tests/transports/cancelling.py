# SPDX-License-Identifier: MIT
"""Cancels an operation at each of its awaits in turn."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

__all__ = ["cancelled_at", "cancelled_at_each_await"]


@types.coroutine
def _counted(
    operation: Coroutine[Any, Any, object], scope: trio.CancelScope, number: int
) -> Generator[Any, Any, None]:
    """Runs ``operation``; cancels ``scope`` just before its ``number``-th wait begins."""
    resume: Callable[[], Any] = lambda: operation.send(None)  # noqa: E731
    waits = 0
    while True:
        try:
            trap = resume()
        except StopIteration:
            return
        waits += 1
        if waits == number:
            scope.cancel()
        try:
            value = yield trap
        except BaseException as exc:
            resume = lambda exc=exc: operation.throw(exc)  # type: ignore[misc]  # noqa: E731
        else:
            resume = lambda value=value: operation.send(value)  # type: ignore[misc]  # noqa: E731


async def cancelled_at(
    number: int, async_fn: Callable[..., Coroutine[Any, Any, object]], *args: object
) -> bool:
    """Runs ``async_fn`` and cancels it at its ``number``-th wait; False if it has less of them."""
    with trio.CancelScope() as scope:
        await _counted(async_fn(*args), scope, number)
    return scope.cancel_called


async def cancelled_at_each_await(once: Callable[[int], Awaitable[bool]]) -> int:
    """Calls ``once`` with 1, 2, 3 … until it says that nothing was cancelled; returns how often."""
    number = 1
    while await once(number):
        number += 1
        assert number < 1000
    return number - 1
