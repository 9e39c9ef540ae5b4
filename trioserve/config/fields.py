# SPDX-License-Identifier: MIT
"""How a setting is written down in its class: attrs fields with a kind and a line of help."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

if TYPE_CHECKING:
    from trioserve.config.kinds import Kind

__all__ = ["Hook", "about", "setting"]

#: A callable, or where it is imported from.
Hook: TypeAlias = str | Callable[..., object]


def about(group: str, kind: Kind, help: str) -> dict[str, Any]:
    """Return a field's metadata: its panel in the help, its unit, its kind and its line of help."""
    return {"group": group, "unit": kind.unit, "kind": kind, "help": help}


def setting(group: str, kind: Kind, default: Any, help: str) -> Any:
    """Return an attrs field.

    mypy sees Any here and believes the annotation; a field that takes more types than it holds
    is written out with ``attrs.field(converter=…)``, whose parameter mypy does read.
    """
    return attrs.field(
        default=default,
        converter=kind.convert,
        validator=kind,
        metadata=about(group, kind, help),
    )
