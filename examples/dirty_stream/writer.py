# SPDX-License-Identifier: MIT
"""What runs in the workers: a small model of language, made when its worker starts."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from trioserve.dirty import DirtyApp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Writer(DirtyApp):
    """Writes as the book does that it has read: which word follows which two, by chance."""

    def init(self) -> None:
        """The slow part of a real one: reading its weights."""
        words = (Path(__file__).parent / "book.txt").read_text("utf-8").split()
        self.followers: dict[tuple[str, str], list[str]] = defaultdict(list)
        for first, second, third in zip(words, words[1:], words[2:], strict=False):
            self.followers[first, second].append(third)
        self.beginnings = [pair for pair in self.followers if pair[0][0].isupper()]

    async def write(self, count: int, pause: float = 0.1) -> AsyncIterator[str]:
        """``count`` words, one after the other.

        A plain generator (``def``) would do for work that blocks: it runs in a thread, and is
        closed at its next item. This one is cancelled where it waits.
        """
        written = 0
        first, second = random.choice(self.beginnings)
        try:
            while written < count:
                yield first
                written += 1
                followers = self.followers.get((first, second))
                if followers is None:  # the book's last words
                    first, second = random.choice(self.beginnings)
                else:
                    first, second = second, random.choice(followers)
                await trio.sleep(pause)
        finally:
            print(f"the writer stops after {written} of {count} words", flush=True)
