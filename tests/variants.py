# SPDX-License-Identifier: MIT
"""Tests over several transports, parsers or engines: which of them `make test-fast` runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from _pytest.mark import ParameterSet

__all__ = ["variants"]

T = TypeVar("T")


def variants(values: Iterable[T], *, fast: Collection[T]) -> list[ParameterSet]:
    """Parameters of all the values, of which only the fast ones are not marked slow.

    For a variant that shares nearly all of its code with another one: all of them take minutes.
    """
    return [
        pytest.param(value, marks=() if value in fast else pytest.mark.slow) for value in values
    ]
