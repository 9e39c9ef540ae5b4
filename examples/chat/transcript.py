# SPDX-License-Identifier: MIT
"""What runs in the worker: it reads what was said, from the same stash.

trioserve-dirty call transcript:Transcript lines lobby --stream
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from trioserve.dirty import DirtyApp, stash

if TYPE_CHECKING:
    from collections.abc import Iterator


class Transcript(DirtyApp):
    stashes = ("chat", "chat-numbers")  # there from the start, even while empty

    def lines(self, room: str) -> Iterator[str]:
        """What a room remembers, a line each."""
        for message in stash.table("chat").values(f"{room}/message/*"):
            at = time.strftime("%H:%M", time.localtime(message["at"]))
            yield f"{at} {message['name']}: {message['text']}"
