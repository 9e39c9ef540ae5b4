# SPDX-License-Identifier: MIT
"""The kinds of value that only the process's settings have: users, groups, paths of files."""

from __future__ import annotations

import grp
import os
import pwd
from typing import Any

import attrs

from trioserve.config.kinds import MODE, Kind, as_mode, as_path_text, is_int
from trioserve.errors import ConfigError

__all__ = [
    "FILE",
    "GROUP",
    "LOG_FILE",
    "OPTIONAL_DIRECTORY",
    "OPTIONAL_MODE",
    "USER",
    "as_id_text",
    "as_optional_mode",
    "number_of",
]

#: The number that setuid(2) and its kin take for "leave it as it is".
_NO_ID = 2**32 - 1


def number_of(text: str) -> int | None:
    """The number of a user or group that is given by number, else None."""
    return int(text) if text.isascii() and text.isdigit() else None


def as_id_text(value: int | str | None) -> Any:
    """Lenient: a number as its text, so that both are one kind."""
    return str(value) if is_int(value, 0) else value


def _is_id(name: str, value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, str) or not value:
        return False
    number = number_of(value)
    if number is not None:
        return number < _NO_ID
    try:
        if name == "user":
            pwd.getpwnam(value)
        else:
            grp.getgrnam(value)
    except (KeyError, ValueError):  # ValueError: a NUL in it
        raise ConfigError(
            f"{name} {value!r}: there is no such {name} on this machine; "
            "create it, or give a number"
        ) from None
    return True


USER = Kind(
    unit="name or number",
    expected="the name or the number of a user",
    accepts=lambda value: _is_id("user", value),
    convert=as_id_text,
)
GROUP = Kind(
    unit="name or number",
    expected="the name or the number of a group",
    accepts=lambda value: _is_id("group", value),
    convert=as_id_text,
)


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


FILE = Kind(
    unit="path",
    expected="the path of a file",
    accepts=lambda value: value is None or (_is_path(value) and not value.endswith(os.sep)),
    convert=as_path_text,
)
LOG_FILE = Kind(
    unit="path",
    expected='the path of a file, or "-" for the standard stream',
    accepts=lambda value: _is_path(value) and not value.endswith(os.sep),
    convert=as_path_text,
)
OPTIONAL_DIRECTORY = Kind(
    unit="directory",
    expected="the path of a directory",
    accepts=lambda value: value is None or _is_path(value),
    convert=as_path_text,
)


def as_optional_mode(value: int | str | None) -> Any:
    """Lenient: octal text as a number."""
    return None if value is None else as_mode(value)


OPTIONAL_MODE = attrs.evolve(
    MODE,
    convert=as_optional_mode,
    expected="the bits that new files don't get, as octal text, 0000 to 0777, as in 0027",
    accepts=lambda value: value is None or is_int(value, 0, 0o777),
)
