# SPDX-License-Identifier: MIT
"""A program with a pool, to be killed: says where its socket is and what its workers are.

``python -m tests.dirty.killed_arbiter GATE ACTION``: the action, of Work, is called with the gate.
"""

from __future__ import annotations

import json
import sys

import trio

from tests.dirty.real_pool import APPS, open_pool
from trioserve.dirty import arbiter


async def main(gate: str, action: str) -> None:
    async with open_pool(workers=2) as pool, trio.open_nursery() as nursery:
        if action != "nothing":
            nursery.start_soon(pool.client.execute, f"{APPS}:Work", action, gate)
        print(json.dumps({"path": pool.path, "pids": pool.ready_pids}), flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    # Workers that hang end so soon; the rest of their end is the same.
    vars(arbiter)["_ORPHAN_GRACE"] = 0.5
    trio.run(main, sys.argv[1], sys.argv[2])
