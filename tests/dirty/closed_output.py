# SPDX-License-Identifier: MIT
"""A program with a pool whose standard streams are closed: ``… closed_output REPORT <&- >&- 2>&-``.

It writes to a file what came of its calls, and how its workers ended.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from tests.dirty.real_pool import APPS
from trioserve.dirty import open_dirty_pool

if TYPE_CHECKING:
    from trioserve.dirty.arbiter import DirtyArbiter
    from trioserve.dirty.processes import WorkerHandle


async def main() -> str:
    exits: list[int | None] = []

    def note(arbiter: DirtyArbiter, worker: WorkerHandle) -> None:
        exits.append(worker._child.exit_status)

    async with open_dirty_pool(f"{APPS}:Work", dirty_worker_exit=note) as client:
        results: list[Any] = [
            await client.execute(f"{APPS}:Work", "say", "into the void"),
            await client.execute(f"{APPS}:Work", "add", 1, 2),
        ]
    return json.dumps({"results": results, "exits": exits})


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(trio.run(main))
