# SPDX-License-Identifier: MIT
"""The way to the tables within the arbiter's own process: by a call, without a socket.

What goes in is encoded and what comes out is decoded here, as it would be on the wire: nobody
shares an object with the stash, and what can't be sent can't be stored.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trioserve.dirty import tlv
from trioserve.dirty.errors import StashError
from trioserve.dirty.frames import StashOp
from trioserve.dirty.stash_fields import OPERATIONS, arguments_from_values
from trioserve.dirty.stash_watch import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from trioserve.dirty.stash_fields import Operation
    from trioserve.dirty.stash_watch import Watcher
    from trioserve.dirty.tables import StashTables

__all__ = ["DirectTransport", "decoded", "open_watcher"]


class DirectTransport:
    """A :class:`~trioserve.dirty.stash_operations.BlockingTransport`; for any thread.

    Args:
        tables: the tables.
    """

    __slots__ = ("_methods", "_tables")

    def __init__(self, tables: StashTables) -> None:
        self._tables = tables
        self._methods: dict[int, tuple[Operation, Callable[..., Any]]] = {
            op: (operation, getattr(tables, operation.method))
            for op, operation in OPERATIONS.items()
        }

    def stash(self, op: int, fields: Mapping[str, Any]) -> Any:
        """Do it, here and now: blocks for as long as other threads are at it."""
        try:
            operation, method = self._methods[op]
        except KeyError:
            raise StashError(f"stash operation {op} is unknown") from None
        return decoded(method(**arguments_from_values(operation, fields)))

    @contextmanager
    def stash_stream(self, op: int, fields: Mapping[str, Any]) -> Iterator[Iterator[Any]]:
        """The changes of a watched table; each is waited for without end."""
        bell = threading.Event()
        watcher = open_watcher(self._tables, op, fields, bell.set)
        try:
            yield _changes(watcher, bell)
        finally:
            watcher.close()


def open_watcher(
    tables: StashTables, op: int, fields: Mapping[str, Any], wake: Callable[[], object]
) -> Watcher:
    """What a stream's operation asks for.

    Raises:
        StashError: it is no stream, or can't be had.
    """
    if op != StashOp.WATCH:
        raise StashError(f"stash operation {op} is no stream")
    return tables.watch(fields["table"], fields.get("pattern"), wake)


def decoded(result: Any) -> Any:
    """The result with stored values decoded; they stand at its top, or in a list or a Change."""
    kind = type(result)
    if kind is tlv.Encoded:
        return tlv.decode(result.data)
    if kind is list or kind is Change:
        return [tlv.decode(each.data) if type(each) is tlv.Encoded else each for each in result]
    return result


def _changes(watcher: Watcher, bell: threading.Event) -> Iterator[Any]:
    while True:
        # Cleared first: what comes after the taking rings again.
        bell.clear()
        closed = watcher.closed
        changes = watcher.take()
        for change in changes:
            yield decoded(change)
        if closed and not changes:
            return
        if not changes:
            bell.wait()
