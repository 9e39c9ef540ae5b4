# SPDX-License-Identifier: MIT
"""Which of the paths that change matter: ``reload_include`` and ``reload_exclude``. Pure.

A pattern is compared part by part, as a shell does: ``*``, ``?`` and ``[…]`` stay within a part,
``**`` is any number of parts. Where it begins decides what it is compared with:

=========================  ====================================================================
``*.html``                 a name, at any depth
``templates/*.html``       the end of a path below the watched directory
``/srv/x``, ``./x``,       that very path, relative to the working directory
``../x``
=========================  ====================================================================

A file matters if an include matches it and no exclude matches it or a directory that it lies in,
up to the watched one. What is excluded by default gives way to a file's own name, written out as
an include (``.env``); what is excluded by a setting never gives way.
"""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trioserve.config.reload_options import ReloadOptions

__all__ = ["DEFAULT_EXCLUDES", "DEFAULT_INCLUDES", "Rules", "make_rules"]

DEFAULT_INCLUDES: Final = ("*.py",)
#: Hidden files and directories; what is installed, compiled, or an editor's own.
DEFAULT_EXCLUDES: Final = (
    ".*",
    "__pycache__",
    "site-packages",
    "node_modules",
    "*.py[cod]",
    "*~",
    "*.sw?",
    "#*#",
)

_ROOTED: Final = (".", "..", "")


@attrs.frozen
class _Pattern:
    """
    Attributes:
        parts: of the pattern.
        is_rooted: they are those of an absolute path.
    """

    parts: tuple[str, ...]
    is_rooted: bool

    def matches(self, root: Sequence[str], below: Sequence[str]) -> bool:
        """Whether it matches a path of the parts ``root`` and ``below``.

        Args:
            root: of the watched directory, absolute.
            below: of the path, relative to it.
        """
        if self.is_rooted:
            return _match(self.parts, (*root, *below))
        return _match(("**", *self.parts), below)


def _match(pattern: Sequence[str], path: Sequence[str]) -> bool:
    if not pattern:
        return not path
    first, rest = pattern[0], pattern[1:]
    if first == "**":
        return any(_match(rest, path[start:]) for start in range(len(path) + 1))
    return bool(path) and fnmatchcase(path[0], first) and _match(rest, path[1:])


def _parse(text: str) -> _Pattern:
    parts = text.rstrip("/").split("/")
    if len(parts) > 1 and parts[0] in _ROOTED:
        return _Pattern(tuple(os.path.abspath(text).split("/")), is_rooted=True)
    return _Pattern(tuple(parts), is_rooted=False)


@attrs.frozen
class Rules:
    """What matters; made by make_rules."""

    _includes: tuple[_Pattern, ...]
    _excludes: tuple[_Pattern, ...]
    _default_excludes: tuple[_Pattern, ...]
    _named: frozenset[str]

    def matters(self, root: str, path: str) -> bool:
        """Whether a change of this file is one to restart for.

        Args:
            root: the watched directory, absolute.
            path: in it, absolute.
        """
        above, below = root.split("/"), _below(root, path)
        if not any(pattern.matches(above, below) for pattern in self._includes):
            return False
        return not self._excluded(above, below)

    def may_hold_some(self, root: str, path: str) -> bool:
        """Whether files that matter may lie in this directory."""
        return not self._excluded(root.split("/"), _below(root, path))

    def _excluded(self, root: Sequence[str], below: Sequence[str]) -> bool:
        for end in range(1, len(below) + 1):
            part = below[:end]
            if any(pattern.matches(root, part) for pattern in self._excludes):
                return True
            is_named = end == len(below) and part[-1] in self._named
            if not is_named and any(
                pattern.matches(root, part) for pattern in self._default_excludes
            ):
                return True
        return False


def _below(root: str, path: str) -> list[str]:
    relative = os.path.relpath(path, root)
    return [] if relative == "." else relative.split("/")


def make_rules(options: ReloadOptions) -> Rules:
    """The rules that the settings ask for, in the working directory as it is now."""
    given = options.reload_include
    named = {text.rpartition("/")[2] for text in given}
    return Rules(
        tuple(map(_parse, (*DEFAULT_INCLUDES, *given))),
        tuple(map(_parse, options.reload_exclude)),
        tuple(map(_parse, DEFAULT_EXCLUDES)),
        frozenset(name for name in named if not set(name) & set("*?[")),
    )
