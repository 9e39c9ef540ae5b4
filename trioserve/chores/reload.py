# SPDX-License-Identifier: MIT
"""``--reload``: when a file changes, what runs it starts anew."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Final

import trio

from trioserve.reloading.watching import open_watch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trioserve.nursery_arbiter import NurseryArbiter

__all__ = ["keep_watch"]

_log = logging.getLogger("trioserve.error")

#: So many paths are named in the log.
_SHOWN: Final = 3


async def keep_watch(
    arbiter: NurseryArbiter, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED
) -> None:
    """Starts the HTTP worker, and the dirty ones, anew whenever files have changed.

    The HTTP worker that runs takes no connection from then on: they wait in the socket's queue for
    the one with the new code. Nobody is refused, and nobody is answered by old code.
    """
    async with open_watch(arbiter.config) as changes:
        task_status.started()
        async for paths in changes:
            _log.info("reload: %s changed", _named(paths))
            arbiter.http.start_anew()
            if arbiter.pool is not None:
                arbiter.pool.reload()


def _named(paths: Iterable[str]) -> str:
    names = sorted(map(os.path.relpath, paths))
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
