# SPDX-License-Identifier: MIT
"""Ways to a DirtyClient outside a server's handlers."""

from __future__ import annotations

import contextlib
import math
import os
from typing import TYPE_CHECKING, Any, Final

import trio

from trioserve.dirty.arguments import checked_timeout
from trioserve.dirty.client import DirtyClient
from trioserve.dirty.errors import DirtyConnectionError
from trioserve.dirty.remote import open_remote

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from trioserve.config import Config
    from trioserve.dirty.arbiter import DirtyArbiter

__all__ = ["open_arbiter", "open_dirty_client", "open_dirty_pool"]

_VARIABLE: Final = "TRIOSERVE_DIRTY_SOCKET"


@contextlib.asynccontextmanager
async def open_dirty_client(
    path: str | None = None, *, timeout: float = math.inf
) -> AsyncIterator[DirtyClient]:
    """A client of a running arbiter, around the block::

        async with open_dirty_client() as client:
            await client.execute("models:Chat", "answer", question)

    Args:
        path: the arbiter's socket; None = that of ``TRIOSERVE_DIRTY_SOCKET``.
        timeout: seconds for calls that don't say it themselves; 0 or inf = none.

    Raises:
        TypeError, ValueError: the timeout can't be.
        DirtyConnectionError: no path is given and the environment names none. Whether somebody is
            there is found out by the first call.
    """
    path = path or os.environ.get(_VARIABLE)
    if not path:
        raise DirtyConnectionError(
            "which arbiter? Give the path of its socket, or set TRIOSERVE_DIRTY_SOCKET"
        )
    timeout = checked_timeout(timeout)
    async with open_remote(path) as remote:
        yield DirtyClient(remote, timeout)


@contextlib.asynccontextmanager
async def open_dirty_pool(*apps: str, **settings: Any) -> AsyncIterator[DirtyClient]:
    """A pool of workers without a server, around the block, and the client for it::

        async with open_dirty_pool("models:Chat", dirty_workers=2) as client:
            await client.execute("models:Chat", "answer", question)

    Args:
        *apps: as ``dirty_app``.
        **settings: of the configuration: ``dirty_threads``, ``dirty_timeout``, …

    Raises:
        ConfigError: a setting can't be.
        DirtyError: the socket can't be made.

    *Cancellation*: the workers are ended at once; without it they finish what they have.
    """
    from trioserve.config import Config

    async with open_arbiter(Config(dirty_app=apps, **settings)) as arbiter:
        yield arbiter.client


@contextlib.asynccontextmanager
async def open_arbiter(
    config: Config, predecessor: int | None = None
) -> AsyncIterator[DirtyArbiter]:
    """The pool that ``config`` describes, around the block; see open_dirty_pool.

    Args:
        predecessor: the process that this one replaces, in a hot upgrade.
    """
    from trioserve.dirty.arbiter import DirtyArbiter

    arbiter = DirtyArbiter(config, predecessor)
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            await nursery.start(arbiter.run)
            with _named_in_environment(arbiter.socket_path):
                yield arbiter
        except Exception as exc:  # carried past the nursery, which would wrap it in a group
            failure = exc
            nursery.cancel_scope.cancel()
        arbiter.stop()
    if failure is not None:
        raise failure


@contextlib.contextmanager
def _named_in_environment(path: str) -> Iterator[None]:
    """Blocking clients in this process's threads, and programs that it starts, find the socket."""
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = path
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE, None)
        if before is not None:
            os.environ[_VARIABLE] = before
