# SPDX-License-Identifier: MIT
"""The list of settings as data, for what is generated from it: sources, help, reference."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import attrs

from trioserve.config.options import Config

if TYPE_CHECKING:
    from trioserve.config.kinds import Kind

__all__ = ["GROUPS", "VARIABLE_PREFIX", "Setting", "all_settings"]

#: The groups in the order people read them (attrs' own order follows the MRO, backwards).
GROUPS: tuple[type, ...] = Config.__bases__

VARIABLE_PREFIX = "TRIOSERVE_"


@attrs.frozen(kw_only=True)
class Setting:
    """One setting: a field of a group, with the names it has in each source."""

    name: str
    default: Any
    help: str
    unit: str
    group: str
    kind: Kind

    @property
    def option(self) -> str:
        """The name on the command line; the application alone is positional."""
        return "APP" if self.name == "app" else "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The name in the environment."""
        return VARIABLE_PREFIX + self.name.upper()

    def from_text(self, text: str) -> Any:
        """Read the text of a variable or an option, leniently: ``check`` decides."""
        return self.kind.from_text(text)

    def check(self, value: Any) -> Any:
        """Return the value converted, or raise ConfigError as the class itself does."""
        return self.kind.check(self.name, value)

    def default_text(self) -> str:
        """The default as TOML text; "" where it is nothing or empty."""
        return self.kind.to_toml(self.default) if self.default not in (None, "", ()) else ""


@cache
def all_settings() -> dict[str, Setting]:
    """Return every setting by name, in the order of the groups."""
    return {
        field.name: Setting(name=field.name, default=field.default, **field.metadata)
        for group in GROUPS
        for field in attrs.fields(group)
    }
