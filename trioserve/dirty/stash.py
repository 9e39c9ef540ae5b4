# SPDX-License-Identifier: MIT
"""The stash: tables that all processes of a server share, kept in its arbiter's memory.

The functions here are those of gunicorn.dirty.stash, and more. They block for a trip to the
arbiter:

>>> from trioserve.dirty import stash
>>> stash.put("sessions", "user:1", {"name": "Alice"}, ttl=3600)
>>> stash.get("sessions", "user:1")
{'name': 'Alice'}

In Trio tasks use the ``stash`` of a DirtyClient, which has the same methods to be awaited.

Which stash the functions mean: the one that :func:`set_default_transport` was given, as it is in an
arbiter's own process and in its workers; else that of the arbiter whose socket
``TRIOSERVE_DIRTY_SOCKET`` names.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from trioserve.dirty.errors import (
    DirtyError,
    StashError,
    StashKeyNotFoundError,
    StashTableNotFoundError,
)
from trioserve.dirty.stash_blocking import StashClient, StashTable
from trioserve.dirty.stash_operations import MISSING
from trioserve.dirty.stash_trio import AsyncStash, AsyncStashTable
from trioserve.dirty.stash_watch import Change

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from trioserve.dirty.stash_operations import BlockingTransport

__all__ = [
    "MISSING",
    "AsyncStash",
    "AsyncStashTable",
    "Change",
    "StashClient",
    "StashError",
    "StashKeyNotFoundError",
    "StashTable",
    "StashTableNotFoundError",
    "clear",
    "compare_and_swap",
    "delete",
    "delete_table",
    "ensure",
    "exists",
    "expire",
    "get",
    "incr",
    "info",
    "items",
    "keys",
    "pop",
    "put",
    "set_default_transport",
    "setdefault",
    "table",
    "tables",
    "ttl",
    "update",
    "watch",
]

_transport: BlockingTransport | None = None


def set_default_transport(transport: BlockingTransport | None) -> None:
    """Say which stash this module's functions mean, for the whole process.

    Args:
        transport: the way there; None for that of ``TRIOSERVE_DIRTY_SOCKET``.
    """
    global _transport
    _transport = transport


def _resolve() -> BlockingTransport:
    """The way to the arbiter that the environment names.

    Raises:
        DirtyError: it names none.
    """
    if not os.environ.get("TRIOSERVE_DIRTY_SOCKET"):
        raise DirtyError(
            "there is no stash here: run this under trioserve with a --dirty-app, or name the "
            "socket of a running arbiter in TRIOSERVE_DIRTY_SOCKET"
        )
    # By name: it imports this module, and sockets that a process with a transport never needs.
    blocking = importlib.import_module("trioserve.dirty.blocking")
    client: StashClient = blocking.default_client().stash
    return client.transport


class _DefaultTransport:
    """Whichever is the default when it is used."""

    __slots__ = ()

    def stash(self, op: int, fields: Mapping[str, Any]) -> Any:
        return (_transport or _resolve()).stash(op, fields)

    def stash_stream(self, op: int, fields: Mapping[str, Any]) -> AbstractContextManager[Any]:
        return (_transport or _resolve()).stash_stream(op, fields)


_client = StashClient(_DefaultTransport())

put = _client.put
get = _client.get
delete = _client.delete
keys = _client.keys
clear = _client.clear
info = _client.info
ensure = _client.ensure
exists = _client.exists
delete_table = _client.delete_table
tables = _client.tables
table = _client.table
incr = _client.incr
compare_and_swap = _client.compare_and_swap
setdefault = _client.setdefault
pop = _client.pop
update = _client.update
items = _client.items
expire = _client.expire
ttl = _client.ttl
watch = _client.watch
