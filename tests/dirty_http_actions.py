# SPDX-License-Identifier: MIT
"""A dirty app for tests of whole servers. It tells on stdout what happens to it, and when."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import trio

from trioserve.dirty import DirtyApp, cancelled, get_client, stash

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["Actions", "tell"]


def tell(text: str) -> None:
    """One line, with the time on the clock that all processes of a machine share."""
    sys.stdout.write(f"{text} at {time.monotonic():.3f}\n")
    sys.stdout.flush()


async def _flag(name: str) -> None:
    flags = get_client().stash.table("flags")
    async with flags.watch(name) as changes:
        if not await flags.exists(name):
            await anext(changes)


class Actions(DirtyApp):
    """Each action tells that it started, and how it ended."""

    def echo(self, value: object) -> object:
        return value

    def pid(self) -> int:
        return os.getpid()

    # -- without an end -----------------------------------------------------------------------

    async def hang(self) -> None:
        tell("hang started")
        try:
            await trio.sleep_forever()
        finally:
            tell("hang cancelled")

    async def call_hang(self) -> None:
        """The caller's caller has to leave to end this one."""
        tell("call_hang started")
        try:
            await get_client().execute("tests.dirty_http_actions:Actions", "hang")
        finally:
            tell("call_hang cancelled")

    def spin(self) -> None:
        tell("spin started")
        while not cancelled():
            time.sleep(0.005)
        tell("spin cancelled")

    def block(self) -> None:
        """Can be ended by nothing but the end of its process."""
        tell("block started")
        while True:
            time.sleep(1)

    async def ticks(self) -> AsyncIterator[str]:
        """One item, and then a wait without end."""
        tell("ticks started")
        try:
            yield "tick"
            await trio.sleep_forever()
        finally:
            tell("ticks cancelled")

    def rows(self) -> Iterator[str]:
        tell("rows started")
        try:
            while True:
                yield "row"
                time.sleep(0.005)
        finally:
            tell("rows cancelled")

    # -- until a flag is set in the stash -----------------------------------------------------

    async def await_flag(self, name: str) -> str:
        tell("await_flag started")
        await _flag(name)
        tell("await_flag finished")
        return name

    def poll_flag(self, name: str) -> str:
        tell("poll_flag started")
        while not stash.exists("flags", name):
            time.sleep(0.005)
        tell("poll_flag finished")
        return name

    async def stream_until_flag(self, name: str) -> AsyncIterator[str]:
        tell("stream_until_flag started")
        yield "first "
        await _flag(name)
        yield "last"
        tell("stream_until_flag finished")
