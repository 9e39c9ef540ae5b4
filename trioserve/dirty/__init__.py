# SPDX-License-Identifier: MIT
"""Stateful worker processes beside the web handlers, and a stash that all processes share.

>>> from trioserve.dirty import DirtyApp, get_client
>>> class Model(DirtyApp):
...     def init(self):
...         self.weights = load()
...     def predict(self, x):
...         return self.weights @ x

Importing this package is cheap: what it offers is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trioserve.dirty import stash
    from trioserve.dirty.app import DirtyApp, cancelled
    from trioserve.dirty.blocking import BlockingDirtyClient
    from trioserve.dirty.blocking import default_client as get_blocking_client
    from trioserve.dirty.client import DirtyClient, DirtyStream
    from trioserve.dirty.current import get_client
    from trioserve.dirty.errors import (
        DirtyAppError,
        DirtyAppNotFoundError,
        DirtyConnectionError,
        DirtyError,
        DirtyNoWorkersAvailableError,
        DirtyOverloadedError,
        DirtyProtocolError,
        DirtyTimeoutError,
        DirtyWorkerError,
        StashError,
        StashKeyNotFoundError,
        StashTableNotFoundError,
    )
    from trioserve.dirty.opening import open_dirty_client, open_dirty_pool
    from trioserve.dirty.stash import StashClient, StashTable

_HOMES = {
    "BlockingDirtyClient": "blocking",
    "DirtyApp": "app",
    "DirtyAppError": "errors",
    "DirtyAppNotFoundError": "errors",
    "DirtyClient": "client",
    "DirtyConnectionError": "errors",
    "DirtyError": "errors",
    "DirtyNoWorkersAvailableError": "errors",
    "DirtyOverloadedError": "errors",
    "DirtyProtocolError": "errors",
    "DirtyStream": "client",
    "DirtyTimeoutError": "errors",
    "DirtyWorkerError": "errors",
    "StashClient": "stash",
    "StashError": "errors",
    "StashKeyNotFoundError": "errors",
    "StashTable": "stash",
    "StashTableNotFoundError": "errors",
    "cancelled": "app",
    "get_client": "current",
    "open_dirty_client": "opening",
    "open_dirty_pool": "opening",
}

__all__ = [
    "BlockingDirtyClient",
    "DirtyApp",
    "DirtyAppError",
    "DirtyAppNotFoundError",
    "DirtyClient",
    "DirtyConnectionError",
    "DirtyError",
    "DirtyNoWorkersAvailableError",
    "DirtyOverloadedError",
    "DirtyProtocolError",
    "DirtyStream",
    "DirtyTimeoutError",
    "DirtyWorkerError",
    "StashClient",
    "StashError",
    "StashKeyNotFoundError",
    "StashTable",
    "StashTableNotFoundError",
    "cancelled",
    "get_blocking_client",
    "get_client",
    "open_dirty_client",
    "open_dirty_pool",
    "stash",
]


def __getattr__(name: str) -> Any:
    value: Any
    if name == "stash":
        value = importlib.import_module("trioserve.dirty.stash")
    elif name == "get_blocking_client":
        value = importlib.import_module("trioserve.dirty.blocking").default_client
    elif name in _HOMES:
        value = getattr(importlib.import_module(f"trioserve.dirty.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module 'trioserve.dirty' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
