# SPDX-License-Identifier: MIT
"""A Config as JSON, for a worker process: hooks by their names, tuples as lists. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trioserve.config import Config
from trioserve.config.settings import all_settings
from trioserve.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["from_json", "to_json"]


def to_json(config: Config) -> dict[str, Any]:
    """The settings that are not at their defaults, as JSON values.

    Raises:
        ConfigError: a hook is a callable. Only a name can be handed to another process.
    """
    values = {}
    for name, setting in all_settings().items():
        value = getattr(config, name)
        if value == setting.default:
            continue
        if callable(value):
            raise ConfigError(
                f"{name} {value!r}: with workers it must be the name of a callable, "
                'as in "module:attr", since worker processes import it'
            )
        values[name] = list(value) if isinstance(value, tuple) else value
    return values


def from_json(values: Mapping[str, Any]) -> Config:
    """The same Config again.

    Raises:
        ConfigError: a setting can't be used here.
    """
    return Config(**values)
