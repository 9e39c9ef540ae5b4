# SPDX-License-Identifier: MIT
"""gunicorn's dirty pool by its blocking clients: one a thread, as it hands them out."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from gunicorn.dirty.client import DirtyClient
from gunicorn.dirty.stash import StashClient

from benchmarks.apps.dirty_gunicorn import APP
from benchmarks.dirty.arbiters import arbiter
from benchmarks.dirty.blocking_pool import BlockingPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.dirty.conversation import Conversation


class GunicornBlocking(BlockingPool):
    """See BlockingPool."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._clients: list[tuple[DirtyClient, StashClient]] = []

    def operation(self, command: dict[str, Any], sent: Any, index: int) -> Callable[[], Any]:
        client, stash = self._pair(index)
        if command["operation"] == "get":
            return partial(stash.get, "bench", "key")
        if command["operation"] == "put":
            return partial(stash.put, "bench", "key", sent)
        return partial(client.execute, APP, command["action"], sent)

    def call(self, action: str, *args: Any) -> Any:
        return self._pair(0)[0].execute(APP, action, *args)

    @contextmanager
    def stream(self, action: str, *args: Any) -> Iterator[Iterator[Any]]:
        yield self._pair(0)[0].stream(APP, action, *args)

    def _pair(self, index: int) -> tuple[DirtyClient, StashClient]:
        while len(self._clients) <= index:
            client = DirtyClient(self._path)
            # Its listener's queue is shorter than the callers may be many: one after the other,
            # each until it is answered.
            client.execute(APP, "pid")
            self._clients.append((client, StashClient(self._path)))
        return self._clients[index]


def run(conversation: Conversation) -> None:
    """See benchmarks.dirty.pools."""
    with arbiter("gunicorn") as path:
        GunicornBlocking(path).serve(conversation)
