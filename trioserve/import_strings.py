# SPDX-License-Identifier: MIT
"""Texts that name something to import, as values: their syntax only, nothing is imported here.

====================  ======================================  ================================
text                  parsed                                  meaning
====================  ======================================  ================================
``pkg.mod:attr``      ``("pkg.mod", "attr")``                 an attribute, which may be dotted
``pkg.mod:Class``     ``DirtyAppSpec("pkg.mod:Class", None)``  an app, on every dirty worker
``pkg.mod:Class:2``   ``DirtyAppSpec("pkg.mod:Class", 2)``    an app, on two of them
====================  ======================================  ================================
"""

from __future__ import annotations

from typing import Final, NamedTuple, NoReturn

from trioserve.errors import ConfigError

__all__ = ["DirtyAppSpec", "parse_dirty_app", "split_import_string"]

#: More workers than any machine has, and few enough to be no surprise to a loop over them.
_MAX_WORKERS: Final = 65535


class DirtyAppSpec(NamedTuple):
    """One ``--dirty-app``.

    Attributes:
        path: ``module:Class``, by which callers name the app.
        workers: How many workers load it. None: what its class says, else all of them.
    """

    path: str
    workers: int | None

    def __str__(self) -> str:
        return self.path if self.workers is None else f"{self.path}:{self.workers}"


def split_import_string(text: str) -> tuple[str, str] | None:
    """Return the module and the attribute of ``module:attr``, or None if that isn't its form."""
    module, colon, attribute = text.partition(":")
    names = [*module.split("."), *attribute.split(".")]
    if not colon or module.endswith(".py") or not all(name.isidentifier() for name in names):
        return None
    return module, attribute


def parse_dirty_app(text: str) -> DirtyAppSpec:
    """Parse ``module:Class`` or ``module:Class:N``; ``str()`` of the result is the text again.

    Raises:
        ConfigError: It is neither. The message quotes it and says what was expected.
    """
    path, count = text, None
    if text.count(":") == 2:
        path, _, digits = text.rpartition(":")
        count = _parse_count(text, digits)
    if split_import_string(path) is None:
        _refuse(text, _what_is_wrong(text))
    return DirtyAppSpec(path, count)


def _parse_count(text: str, digits: str) -> int:
    if digits.isascii() and digits.isdigit() and len(digits) < 6:
        count = int(digits)
        if 1 <= count <= _MAX_WORKERS:
            return count
    _refuse(text, f'the number of workers is 1 to {_MAX_WORKERS}, not "{digits}"')


def _what_is_wrong(text: str) -> str:
    module = text.partition(":")[0]
    if module.endswith(".py") or "/" in module:
        return "expected module:Class, got the path of a file"
    return 'expected "module:Class" or "module:Class:N"'


def _refuse(text: str, reason: str) -> NoReturn:
    raise ConfigError(f"dirty_app {text!r}: {reason}")
