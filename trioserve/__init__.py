# SPDX-License-Identifier: MIT
"""trioserve: a structured-concurrency ASGI server on Trio.

>>> import trio, trioserve
>>> async def main(app):
...     async with trio.open_nursery() as nursery:
...         addresses = await nursery.start(trioserve.serve, app, trioserve.Config())

Importing this package alone is cheap: what it offers is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trioserve.addresses import BoundAddress
    from trioserve.config import Config
    from trioserve.errors import (
        AppImportError,
        AppProtocolError,
        BindError,
        ClientDisconnectedError,
        ConfigError,
        StartupError,
        TrioserveError,
    )
    from trioserve.serving import serve

__version__ = "0.1.0"

_HOMES = {
    "AppImportError": "errors",
    "AppProtocolError": "errors",
    "BindError": "errors",
    "BoundAddress": "addresses",
    "ClientDisconnectedError": "errors",
    "Config": "config",
    "ConfigError": "errors",
    "StartupError": "errors",
    "TrioserveError": "errors",
    "serve": "serving",
}

__all__ = [
    "AppImportError",
    "AppProtocolError",
    "BindError",
    "BoundAddress",
    "ClientDisconnectedError",
    "Config",
    "ConfigError",
    "StartupError",
    "TrioserveError",
    "__version__",
    "serve",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'trioserve' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"trioserve.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
