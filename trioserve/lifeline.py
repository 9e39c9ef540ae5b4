# SPDX-License-Identifier: MIT
"""The child's side of supervision: it ends when its parent does, and never by a Ctrl+C.

The lifeline is the read end of a pipe that nobody writes to and whose write end the parent alone
holds (see :mod:`trioserve.supervision`). However the parent ends, SIGKILL included, the kernel
closes that end, and the child reads an end of file.

Threads: one reads the lifeline for the process's whole life. On its end it starts another for
``on_eof``, so that one that blocks doesn't keep the process alive, and then waits out the grace.

Imports next to nothing: a child calls this before it imports what is slow to import.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ORPHANED", "ignore_interrupts", "watch_lifeline"]

#: The exit code of a child that outlived its parent by the grace.
ORPHANED: Final = 70

#: Seconds between looks at the parent's process id. The end of file alone would do, but for a
#: parent that forked without exec (multiprocessing): the fork holds the write end, too.
_PARENT_CHECK_INTERVAL: Final = 5.0


def ignore_interrupts() -> None:
    """Makes SIGINT do nothing in this process: whether a Ctrl+C ends it is the parent's decision.

    To be called in the main thread. The handler is a function, not SIG_IGN, which processes that
    this one starts would inherit.
    """
    signal.signal(signal.SIGINT, lambda _number, _frame: None)


def watch_lifeline(
    fd: int, *, grace: float, on_eof: Callable[[], object] | None = None
) -> threading.Thread:
    """Ends this process once its parent has ended, whatever its other threads do.

    Args:
        fd: The lifeline. It is this function's from now on, and not inherited by processes that
            this one starts.
        grace: Seconds from the parent's end to a hard end of this process (``os._exit``: no
            ``finally`` and no ``atexit`` runs).
        on_eof: Called once, in a thread of its own, when the parent has ended: to begin an orderly
            end (``token.run_sync_soon(scope.cancel)``). What it raises goes to
            ``threading.excepthook``.

    Returns:
        The thread, a daemon, which has been started.

    *Not guaranteed*: code in C that never lets go of the GIL can't be interrupted by a thread; then
    the process ends as soon as it does let go.
    """
    os.set_inheritable(fd, False)
    thread = threading.Thread(
        target=_watch, args=(fd, os.getppid(), grace, on_eof), name="lifeline", daemon=True
    )
    thread.start()
    return thread


def _watch(fd: int, parent: int, grace: float, on_eof: Callable[[], object] | None) -> None:
    try:
        _wait_for_orphanhood(fd, parent)
        if on_eof is not None:
            threading.Thread(target=on_eof, name="lifeline-eof", daemon=True).start()
        time.sleep(grace)
    finally:  # also where no thread can be started, or somebody has closed the lifeline
        os._exit(ORPHANED)


def _wait_for_orphanhood(fd: int, parent: int) -> None:
    """Returns once the lifeline has ended, or the parent is another process than at the start."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while os.getppid() == parent:
        # POLLHUP comes for a closed write end; a byte, which nobody has a reason to write, doesn't
        # count as an end.
        if poll.poll(_PARENT_CHECK_INTERVAL * 1000) and not os.read(fd, 4096):
            return
