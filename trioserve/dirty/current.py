# SPDX-License-Identifier: MIT
"""The client of this process, for code that nobody handed one.

The only global of the dirty wing. A server's process and a worker's set it while they run.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trioserve.dirty.client import DirtyClient

__all__ = ["get_client", "installed", "set_client"]

_client: DirtyClient | None = None


def get_client() -> DirtyClient:
    """The DirtyClient of this process, for its Trio tasks.

    Raises:
        RuntimeError: there is none: no pool runs here, or this is a plain script.
    """
    if _client is None:
        raise RuntimeError(
            "there is no dirty pool in this process: start the server with --dirty-app, or use "
            "open_dirty_client(path) (Trio) or BlockingDirtyClient(path) (threads, scripts)"
        )
    return _client


def set_client(client: DirtyClient | None) -> None:
    """What get_client() gives from now on."""
    global _client
    _client = client


@contextlib.contextmanager
def installed(arbiter: Any) -> Iterator[None]:
    """Around the run of an arbiter: its client and its stash are this process's."""
    from trioserve.dirty import stash
    from trioserve.dirty.stash_direct import DirectTransport

    before = _client
    set_client(arbiter.client)
    stash.set_default_transport(DirectTransport(arbiter.tables))
    try:
        yield
    finally:
        set_client(before)
        stash.set_default_transport(None)
