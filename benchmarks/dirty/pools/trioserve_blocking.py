# SPDX-License-Identifier: MIT
"""trioserve from threads: a BlockingDirtyClient for all of them, the arbiter behind a socket."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.apps.dirty_trioserve import APP
from benchmarks.dirty.arbiters import arbiter
from benchmarks.dirty.blocking_pool import BlockingPool
from trioserve.dirty import BlockingDirtyClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from benchmarks.dirty.conversation import Conversation


class TrioserveBlocking(BlockingPool):
    """See BlockingPool."""

    def __init__(self, client: BlockingDirtyClient) -> None:
        self._client = client

    def operation(self, command: dict[str, Any], sent: Any, index: int) -> Callable[[], Any]:
        if command["operation"] == "get":
            return partial(self._client.stash.get, "bench", "key")
        if command["operation"] == "put":
            return partial(self._client.stash.put, "bench", "key", sent)
        return partial(self._client.execute, APP, command["action"], sent)

    def call(self, action: str, *args: Any) -> Any:
        return self._client.execute(APP, action, *args)

    def stream(self, action: str, *args: Any) -> AbstractContextManager[Iterator[Any]]:
        return self._client.stream(APP, action, *args)


def run(conversation: Conversation) -> None:
    """See benchmarks.dirty.pools."""
    with arbiter("trioserve") as path, BlockingDirtyClient(path) as client:
        TrioserveBlocking(client).serve(conversation)
