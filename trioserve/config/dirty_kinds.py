# SPDX-License-Identifier: MIT
"""The kinds of value that only the dirty pool's settings have."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from trioserve.addresses import parse_bind
from trioserve.config.kinds import (
    Kind,
    are_texts,
    as_path_text,
    as_texts,
    int_from_text,
    is_hook,
    is_int,
    texts_from_text,
)
from trioserve.errors import ConfigError
from trioserve.import_strings import parse_dirty_app

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DIRTY_APPS",
    "FRAME_SIZE",
    "SOCKET_PATH",
    "WORKER_HOOK",
    "as_import_string",
]

# What the length field of a frame's header holds; below 64 KiB an error's traceback might not fit.
FRAME_SIZE = Kind(
    unit="bytes",
    expected="bytes, a whole number, 65536 to 4294967295",
    accepts=lambda value: is_int(value, 1 << 16, (1 << 32) - 1),
    from_text=int_from_text,
)


def _are_dirty_apps(value: Any) -> bool:
    if not are_texts(value):
        return False
    paths = [parse_dirty_app(text).path for text in value]  # its ConfigError says what is wrong
    for path in paths:
        if paths.count(path) > 1:
            raise ConfigError(f"dirty_app {value!r}: {path} is there more than once")
    return True


DIRTY_APPS = Kind(
    unit="module:Class",
    expected='texts, each "module:Class" or "module:Class:N"',
    accepts=_are_dirty_apps,
    convert=as_texts,
    from_text=texts_from_text,
    is_list=True,
)


def _is_socket_path(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, str) or value.startswith(("unix:", "fd:", "@")):
        return False
    try:
        parse_bind(f"unix:{value}")
    except ConfigError:  # which would speak of "bind"
        return False
    return True


SOCKET_PATH = Kind(
    unit="path",
    expected='the path of a Unix socket, some 100 bytes at most, as in "/run/trioserve/dirty.sock"',
    accepts=_is_socket_path,
    convert=as_path_text,
)


def as_import_string(value: str | Callable[..., object] | None) -> Any:
    """Lenient: a callable of a module's top level as ``module:name``, by which it is imported."""
    module = getattr(value, "__module__", None)
    path = getattr(value, "__qualname__", None)
    if not (callable(value) and isinstance(module, str) and isinstance(path, str)):
        return value
    found: object = sys.modules.get(module)
    for name in path.split("."):
        found = getattr(found, name, None)
    # __main__ is another module in another process.
    return f"{module}:{path}" if found is value and module != "__main__" else value


WORKER_HOOK = Kind(
    unit="module:attr",
    expected='"module:attr" as text, or a callable that another process can import from its module '
    "(no lambda, no inner function, nothing of __main__)",
    accepts=lambda value: value is None or (isinstance(value, str) and is_hook(value)),
    convert=as_import_string,
)
