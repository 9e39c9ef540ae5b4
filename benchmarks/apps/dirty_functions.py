# SPDX-License-Identifier: MIT
"""What workers run: the functions of pools that have no apps, and the actions of those that do.

Imports next to nothing: a worker's memory is measured with it.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def echo(value: Any) -> Any:
    """Gives back what it is given."""
    return value


def pid() -> int:
    """The worker's."""
    return os.getpid()


class Actions:
    """What an app does, on either server; a subclass names the server's own part of it."""

    def echo(self, value: Any) -> Any:
        return value

    async def aecho(self, value: Any) -> Any:
        return value

    def pid(self) -> int:
        return os.getpid()

    def chunks(self, count: int, size: int) -> Iterator[bytes]:
        chunk = bytes(size)
        for _ in range(count):
            yield chunk

    async def achunks(self, count: int, size: int) -> AsyncIterator[bytes]:
        chunk = bytes(size)
        for _ in range(count):
            yield chunk

    def late(self, size: int, pause: float) -> Iterator[bytes]:
        """The second chunk comes later."""
        yield bytes(size)
        time.sleep(pause)
        yield bytes(size)

    async def alate(self, size: int, pause: float) -> AsyncIterator[bytes]:
        """As late."""
        yield bytes(size)
        await self._sleep(pause)
        yield bytes(size)

    def stash_repeat(self, operation: str, seconds: float) -> list[Any]:
        """Uses the stash for so long.

        Returns:
            Seconds of each operation, and of all.
        """
        stash = self._stash()
        latencies = []
        began = now = time.perf_counter()
        while now < began + seconds:
            if operation == "get":
                stash.get("bench", "key")
            else:
                stash.put("bench", "key", b"twenty bytes of them")
            then = time.perf_counter()
            latencies.append(then - now)
            now = then
        return [latencies, now - began]

    async def _sleep(self, seconds: float) -> None:
        raise NotImplementedError

    def _stash(self) -> Any:
        raise NotImplementedError
