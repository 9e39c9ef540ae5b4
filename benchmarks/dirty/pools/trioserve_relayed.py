# SPDX-License-Identifier: MIT
"""trioserve as an HTTP worker process has it: the arbiter is another process, behind a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from benchmarks.dirty.arbiters import arbiter
from benchmarks.dirty.pools.trioserve_pool import TrioservePool
from trioserve.dirty import open_dirty_client

if TYPE_CHECKING:
    from benchmarks.dirty.conversation import Conversation


def run(conversation: Conversation) -> None:
    """See benchmarks.dirty.pools."""

    async def main(path: str) -> None:
        async with open_dirty_client(path) as client:
            await TrioservePool(client).serve(conversation)

    with arbiter("trioserve") as path:
        trio.run(main, path)
