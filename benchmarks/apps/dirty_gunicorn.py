# SPDX-License-Identifier: MIT
"""The app in gunicorn's dirty worker. It runs no `async def` actions, but async generators."""

from __future__ import annotations

import asyncio
from typing import Any

from gunicorn.dirty import DirtyApp

from benchmarks.apps.dirty_functions import Actions


class Bench(Actions, DirtyApp):  # type: ignore[misc]
    """See Actions."""

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _stash(self) -> Any:
        from gunicorn.dirty import stash

        return stash


APP = "benchmarks.apps.dirty_gunicorn:Bench"
