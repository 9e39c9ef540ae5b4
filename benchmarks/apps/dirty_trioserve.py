# SPDX-License-Identifier: MIT
"""The app in trioserve's dirty worker."""

from __future__ import annotations

from typing import Any

from benchmarks.apps.dirty_functions import Actions
from trioserve.dirty import DirtyApp


class Bench(Actions, DirtyApp):
    """See Actions."""

    async def _sleep(self, seconds: float) -> None:
        import trio

        await trio.sleep(seconds)

    def _stash(self) -> Any:
        from trioserve.dirty import stash

        return stash


APP = "benchmarks.apps.dirty_trioserve:Bench"
