# SPDX-License-Identifier: MIT
"""Virtual time for tests whose fixtures bring a clock along."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest
import trio

if TYPE_CHECKING:
    import functools
    from pathlib import Path

__all__ = ["Clocked", "use_their_clocks"]


class Clocked:
    """A fixture's value with a clock for its test; None = real time."""

    clock: trio.abc.Clock | None


def use_their_clocks(items: list[pytest.Item], folder: Path) -> None:
    """Runs the folder's tests by the clocks of their fixtures; for pytest_collection_modifyitems.

    pytest-trio only finds clocks among a test's own arguments; this is its hook for the rest.
    """
    for item in items:
        if (
            folder in item.path.parents
            and isinstance(item, pytest.Function)
            and inspect.iscoroutinefunction(item.function)
        ):
            item.add_marker(pytest.mark.trio(run=_run), append=False)


def _run(test: functools.partial[Any], *, clock: trio.abc.Clock | None, instruments: Any) -> Any:
    clocks = [value.clock for value in test.keywords.values() if isinstance(value, Clocked)]
    return trio.run(test, clock=clock or next(iter(clocks), None), instruments=instruments)
