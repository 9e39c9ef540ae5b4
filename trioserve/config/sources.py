# SPDX-License-Identifier: MIT
"""Where settings come from, other than Python: a TOML file, the environment, the command line.

Each source becomes a layer: setting name -> :class:`Given`, a value and a word on its origin.
:func:`resolve` puts layers on top of each other (defaults < TOML < environment < command line)
and builds the Config. Names are checked in every layer, values where they take effect: a file
may ask for something that this machine lacks and the command line overrules.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from trioserve.config.options import Config
from trioserve.config.settings import VARIABLE_PREFIX, all_settings
from trioserve.errors import ConfigError
from trioserve.suggestions import did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "CONFIG_VARIABLE",
    "RESERVED_VARIABLES",
    "Given",
    "Layer",
    "find_file",
    "read_environment",
    "read_file",
    "read_platform",
    "resolve",
]

#: Names the TOML file, as ``--config`` does.
CONFIG_VARIABLE = "TRIOSERVE_CONFIG"

#: Names the number of workers, as for gunicorn and uvicorn.
CONCURRENCY_VARIABLE = "WEB_CONCURRENCY"

#: Variables with our prefix that are no settings. (TRIOSERVE_DIRTY_SOCKET is one: where the server
#: listens. Its clients take the path from there, too, and so its children are given it.)
RESERVED_VARIABLES = frozenset({CONFIG_VARIABLE, "TRIOSERVE_UPGRADE"})

_OWN_FILE = "trioserve.toml"
_PROJECT_FILE = "pyproject.toml"


@attrs.frozen
class Given:
    """A value somebody gave, and where: ``trioserve.toml``, ``TRIOSERVE_BIND``, ``--bind``."""

    value: Any
    origin: str


Layer: TypeAlias = Mapping[str, Given]


def find_file(directory: Path) -> Path | None:
    """Return the directory's trioserve.toml, else its pyproject.toml if that has our table.

    Raises:
        ConfigError: A pyproject.toml is there and can't be read or is no TOML.
    """
    if (directory / _OWN_FILE).is_file():
        return directory / _OWN_FILE
    project = directory / _PROJECT_FILE
    if project.is_file() and _project_table(_load(project)) is not None:
        return project
    return None


def read_file(path: Path) -> Layer:
    """Read a TOML file: its top level, or ``[tool.trioserve]`` of a file named pyproject.toml.

    Raises:
        ConfigError: The file can't be read, is no TOML, or has an unknown key or no such table.
    """
    content: Any = _load(path)
    origin = str(path)
    if path.name == _PROJECT_FILE:
        content = _project_table(content)
        origin = f"{path} [tool.trioserve]"
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: expected a table [tool.trioserve], found none")
    known = all_settings()
    for key in content:
        if key not in known:
            raise ConfigError(f"{key}: no such setting{did_you_mean(key, known)} (in {origin})")
    return {key: Given(value, origin) for key, value in content.items()}


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise ConfigError(f"{path}: the settings file can't be read: {reason}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: not valid TOML: {exc}") from exc


def _project_table(content: dict[str, Any]) -> Any:
    tool = content.get("tool")
    return tool.get("trioserve") if isinstance(tool, dict) else None


def read_environment(environ: Mapping[str, str]) -> Layer:
    """Read the ``TRIOSERVE_*`` variables. A list is comma-separated.

    Raises:
        ConfigError: A variable has our prefix and is neither a setting nor reserved.
    """
    by_variable = {setting.variable: setting for setting in all_settings().values()}
    layer = {}
    for variable, text in environ.items():
        if not variable.startswith(VARIABLE_PREFIX) or variable in RESERVED_VARIABLES:
            continue
        if variable not in by_variable:
            hint = _nearest_variable(variable)
            raise ConfigError(f"{variable}: no such setting{hint} (in the environment)")
        setting = by_variable[variable]
        layer[setting.name] = Given(setting.from_text(text), variable)
    return layer


def read_platform(environ: Mapping[str, str]) -> Layer:
    """Read what platforms set for every server, whatever its make: ``WEB_CONCURRENCY``.

    It is no more than a default, as with gunicorn and uvicorn: the lowest layer.
    """
    text = environ.get(CONCURRENCY_VARIABLE)
    if not text:
        return {}
    return {"workers": Given(all_settings()["workers"].from_text(text), CONCURRENCY_VARIABLE)}


def _nearest_variable(variable: str) -> str:
    # Without the prefix, which would make any two variables look alike.
    known = [name.upper() for name in all_settings()]
    return did_you_mean(variable.removeprefix(VARIABLE_PREFIX), known, prefix=VARIABLE_PREFIX)


def resolve(*layers: Layer) -> tuple[Config, dict[str, str]]:
    """Build the Config from layers, a later one over an earlier one.

    Returns:
        The Config, and for each setting that somebody gave its origin.

    Raises:
        ConfigError: A value is wrong. Says what the class says, and where the value came from.
    """
    given = {name: one for layer in layers for name, one in layer.items()}
    values = {}
    for name, one in given.items():
        try:
            values[name] = all_settings()[name].check(one.value)
        except ConfigError as exc:
            raise ConfigError(f"{exc} (from {one.origin})") from exc
    return _build(values, given), {name: one.origin for name, one in given.items()}


def _build(values: Mapping[str, Any], given: Layer) -> Config:
    """The Config of values that are right each by itself, but maybe not together."""
    try:
        return Config(**values)
    except ConfigError as exc:
        one = given.get(str(exc).partition(" ")[0])  # the message begins with a setting
        if one is None:
            raise
        raise ConfigError(f"{exc} (from {one.origin})") from exc
