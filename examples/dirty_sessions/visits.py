# SPDX-License-Identifier: MIT
"""What runs in the workers: here it only reads what the handlers have stored."""

from __future__ import annotations

from typing import Any

from trioserve.dirty import DirtyApp, stash


class Report(DirtyApp):
    stashes = ("sessions", "visits", "requests")  # there from the start, even while empty

    def busiest(self, count: int = 3) -> list[Any]:
        """The pages with the most visits. Actions see the same tables as the server."""
        visits = stash.table("visits")
        return sorted(visits.items(), key=lambda pair: -pair[1])[:count]

    def carts(self) -> dict[str, int]:
        """How often each item lies in a cart."""
        counts: dict[str, int] = {}
        for session in stash.table("sessions").values():
            for item in session["cart"]:
                counts[item] = counts.get(item, 0) + 1
        return counts
