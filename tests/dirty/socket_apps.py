# SPDX-License-Identifier: MIT
"""Apps for tests of what is said over sockets. What they did, they tell by the stash."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import trio

from trioserve.dirty import BlockingDirtyClient, DirtyApp, get_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["Echo", "Lone"]


async def _tell(event: str, what: str) -> None:
    """Says it, also where this task has been cancelled."""
    with trio.move_on_after(10, shield=True):
        await get_client().stash.put("events", event, what)


class Echo(DirtyApp):
    """Gives back what it is given, and more."""

    stashes = ("declared",)

    def echo(self, *args: Any, **kwargs: Any) -> list[Any]:
        return [list(args), kwargs]

    async def aecho(self, value: Any) -> Any:
        return value

    def size(self, data: bytes) -> int:
        return len(data)

    def make(self, size: int) -> bytes:
        return bytes(size)

    def pid(self) -> int:
        return os.getpid()

    def fail(self) -> None:
        raise ValueError("as asked")

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def count(self, stop: int) -> Iterator[int]:
        yield from range(stop)

    async def acount(self, stop: int) -> AsyncIterator[int]:
        for number in range(stop):
            yield number

    def blocks(self, count: int, size: int) -> Iterator[bytes]:
        for number in range(count):
            yield number.to_bytes(4, "big") + bytes(size - 4)

    def fail_after(self, count: int) -> Iterator[int]:
        yield from range(count)
        raise ValueError("as asked")

    def rows_until_left(self, event: str) -> Iterator[int]:
        """Yields until its caller wants no more, and tells that."""
        number = 0
        try:
            while True:
                yield number
                number += 1
        finally:
            with BlockingDirtyClient() as client:
                client.stash.put("events", event, "closed")

    async def hang(self, event: str) -> None:
        """Tells that it runs, and that it was cancelled."""
        await _tell(event, "started")
        try:
            await trio.sleep_forever()
        finally:
            await _tell(event, "cancelled")

    def nap(self, seconds: float) -> str:
        time.sleep(seconds)
        return "rested"

    def nested(self, action: str, *args: Any) -> Any:
        """Calls another action by a client of its own, from its thread."""
        with BlockingDirtyClient() as client:
            return client.execute("tests.dirty.socket_apps:Echo", action, *args)


class Lone(DirtyApp):
    """One thread in one worker: a call of its own would wait for itself."""

    workers = 1
    threads = 1

    def call_itself(self) -> Any:
        with BlockingDirtyClient() as client:
            return client.execute("tests.dirty.socket_apps:Lone", "thread", timeout=20)

    def thread(self) -> str:
        return threading.current_thread().name
