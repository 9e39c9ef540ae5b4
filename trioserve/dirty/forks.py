# SPDX-License-Identifier: MIT
"""A process that an action has forked: it ends where the action does, and says nothing before.

After os.fork() the child is a copy of the worker, with its socket, in the middle of the action. If
the child returned from it, it would go on as a second worker on the same socket. What it does until
then is the action's business; what comes after ends it. That is met in three places, all in the
child: where a job has its result or its exception, where something is sent, and, in Trio's thread,
where the step that forked gives the loop its turn back.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from trio.lowlevel import Task

__all__ = ["end_if_forked", "watch_forks"]


def end_if_forked(home: int | None, exc: BaseException | None = None) -> None:
    """Ends this process, and doesn't return, if it is not the process ``home``.

    Args:
        home: the worker's process id; None where it does not matter.
        exc: what the action has raised. A SystemExit has the exit code, as it has elsewhere.
    """
    if home is None or os.getpid() == home:
        return
    # Not sys.exit(): exit handlers, buffers and finally clauses are the worker's own.
    if exc is None:
        os._exit(0)
    code = exc.code if isinstance(exc, SystemExit) else 1
    os._exit(code if isinstance(code, int) else int(code is not None))


def watch_forks() -> None:
    """In children of this process from now on, Trio's loop, if it was it that forked, is left."""
    os.register_at_fork(after_in_child=_leave_loop)


def _leave_loop() -> None:
    if trio.lowlevel.in_trio_run():
        trio.lowlevel.add_instrument(_LastStep())


class _LastStep(trio.abc.Instrument):
    """Ends the process after the step that is under way: the loop has its turn for the last time.

    It shares its descriptors with the parent's, and could take what has come for that.
    """

    def after_task_step(self, task: Task) -> None:
        os._exit(0)
