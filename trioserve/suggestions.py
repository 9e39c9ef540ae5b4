# SPDX-License-Identifier: MIT
"""The nearest known name, for messages about unknown ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["did_you_mean"]


def did_you_mean(word: str, known: Iterable[str], *, prefix: str = "") -> str:
    """Return ``; did you mean "x"?`` with the known name nearest to word, or "" if none is near.

    Args:
        word: What came.
        known: What could have come.
        prefix: Put before the name that is shown.
    """
    import difflib  # only errors need it: not a cost of every start

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f'; did you mean "{prefix}{near[0]}"?' if near else ""
