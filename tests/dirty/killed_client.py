# SPDX-License-Identifier: MIT
"""A program that calls an action and is to be killed while it waits.

``python -m tests.dirty.killed_client SOCKET GATE ACTION…``: each action, of Work, is called once.
"""

from __future__ import annotations

import sys

import trio

from tests.dirty.real_pool import APPS
from trioserve.dirty import open_dirty_client


async def main(path: str, gate: str, actions: list[str]) -> None:
    async with open_dirty_client(path) as client, trio.open_nursery() as nursery:
        for action in actions:
            nursery.start_soon(client.execute, f"{APPS}:Work", action, gate)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3:])
