# SPDX-License-Identifier: MIT
"""The operator's own functions, called at certain points of the server's life.

A hook is foreign code, so calling one is a border: what it raises is logged with its traceback,
and the server goes on. Only ``on_starting`` may stop something: the start.

Hooks are plain functions. They run in the main thread, within Trio's loop but for ``on_starting``
and ``on_exit``: while one runs, nothing else does.
"""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

import attrs

from trioserve.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trioserve.config import Config

__all__ = ["HookArbiter", "HookWorker", "call_hook", "call_on_starting"]

_log = logging.getLogger("trioserve.error")


@attrs.frozen(kw_only=True)
class HookWorker:
    """What a hook is told of a worker process.

    Attributes:
        number: Which worker it is; the one that replaces it has the same number. 0: there are no
            workers, the server's own process serves.
        pid: Its process; None before it is started.
        config: The settings it serves with.
        exit_status: How it ended: its exit code, or minus the number of the signal that killed it;
            None while it lives.
        end: The same in words: ``exit code 1``, ``killed by SIGKILL (9)``.
    """

    number: int
    pid: int | None
    config: Config
    exit_status: int | None = None
    end: str | None = None


@attrs.frozen(kw_only=True)
class HookArbiter:
    """What a hook is told of the server.

    Attributes:
        pid: The process that the hook runs in, which is the one to send signals to.
        config: The settings in effect; at ``on_reload``, the new ones.
        addresses: Where it listens, as texts; empty before it does.
        workers: Those that are alive, by number.
    """

    pid: int
    config: Config
    addresses: tuple[str, ...] = ()
    workers: tuple[HookWorker, ...] = ()


def call_hook(name: str, hook: Callable[..., object] | str | None, *args: Any) -> None:
    """Calls a hook, if there is one.

    Args:
        name: The setting, for the log.
        hook: As ``trioserve.loading.load_hooks`` leaves it: a callable or None.

    *Errors handled here*: whatever it raises but KeyboardInterrupt is logged with its traceback,
    and so is a hook that turns out to be async. A SystemExit ends the hook only.
    """
    if hook is None:
        return
    try:
        _call(hook, args)
    except KeyboardInterrupt:
        raise
    except BaseException:  # a hook's border
        _log.exception("the hook %s failed; the server goes on", name)


def call_on_starting(hook: Callable[..., object] | str | None, arbiter: HookArbiter) -> None:
    """Calls the hook ``on_starting``, if there is one.

    Raises:
        StartupError: It raised an exception, which is the cause.
        SystemExit: It asked for the end, with that exit code.
    """
    if hook is None:
        return
    try:
        _call(hook, (arbiter,))
    except Exception as exc:  # a hook's border
        _log.exception("the hook on_starting failed; the server doesn't start")
        text = str(exc).partition("\n")[0]
        reason = f"{type(exc).__name__}: {text}" if text else type(exc).__name__
        raise StartupError(f"the hook on_starting failed: {reason}") from exc


def _call(hook: Callable[..., object] | str, args: tuple[Any, ...]) -> None:
    if isinstance(hook, str):
        raise TypeError(f'"{hook}" has not been imported; load_hooks() does that')
    result = hook(*args)
    if inspect.iscoroutine(result):
        result.close()  # or Python warns that it was never awaited
        raise TypeError("the hook is async; it must be a plain function (def)")
