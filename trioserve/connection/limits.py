# SPDX-License-Identifier: MIT
"""The deadline that a connection sets on the cancel scope of an application."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import trio

__all__ = ["ScopeLimit"]


class ScopeLimit:
    """Our deadline on a scope that is the application's, too.

    Attributes:
        at: the deadline; inf where none is set.
    """

    __slots__ = ("_scope", "at")

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope
        self.at = math.inf

    def set(self, deadline: float) -> None:
        """Sets it, unless there is an earlier one: the application's own."""
        if deadline < self._scope.deadline:
            self._scope.deadline = self.at = deadline

    def lift(self) -> None:
        """Takes ours off; one that the application has set meanwhile stays."""
        if self._scope.deadline == self.at:
            self._scope.deadline = math.inf
        self.at = math.inf
