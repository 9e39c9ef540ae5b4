# SPDX-License-Identifier: MIT
"""Variables from a file, for a process whose environment they are missing from; and again.

The syntax is python-dotenv's. Where it would log a warning for a line that it can't read and go
on, here the start fails: a server without half of its settings is worse than none.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from trioserve.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

__all__ = ["EnvironmentFile", "parse_environment_file"]


def parse_environment_file(path: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that a file adds to an environment. Those that it has win, also in ``${NAME}``.

    Raises:
        ConfigError: The file can't be read, or one of its lines. Names the line.
    """
    from dotenv.parser import parse_stream
    from dotenv.variables import parse_variables

    added: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8-sig") as file:
            bindings = list(parse_stream(file))
    except OSError as exc:
        raise ConfigError(f"env_file {path!r}: can't be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"env_file {path!r}: not valid UTF-8: {exc}") from exc
    for binding in bindings:
        name, value, line = binding.key, binding.value, binding.original.line
        if binding.error or "\0" in (name or "") + (value or ""):
            raise ConfigError(f"env_file {path!r}, line {line}: expected NAME=value")
        if not name or value is None or name in environ:  # a blank, a comment, a name alone
            continue
        known = {**added, **environ}
        added[name] = "".join(atom.resolve(known) for atom in parse_variables(value))
    return added


class EnvironmentFile:
    """What a file has added to an environment, so that another reading can replace it."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._added: dict[str, str] = {}

    @property
    def original(self) -> dict[str, str]:
        """The environment without what the file has added. What the program changed since stays."""
        added = self._added
        return {name: text for name, text in self._environ.items() if added.get(name) != text}

    def read(self, path: str | None) -> dict[str, str]:
        """What ``path`` adds to the original environment; nothing is changed yet.

        Raises:
            ConfigError: as ``parse_environment_file``.
        """
        return parse_environment_file(path, self.original) if path is not None else {}

    def replace(self, added: Mapping[str, str]) -> None:
        """Puts what ``read`` has returned in the place of what was added before."""
        original = self.original
        for name in self._added:
            if name not in original and name not in added:
                self._environ.pop(name, None)
        self._environ.update(added)
        self._added = dict(added)
