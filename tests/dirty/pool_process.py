# SPDX-License-Identifier: MIT
"""A pool of socket_apps in a process of its own: ``python -m tests.dirty.pool_process SOCKET``.

It says ``ready`` once all workers are, and ends by SIGTERM, or when stdin does.
"""

from __future__ import annotations

import logging
import signal
import sys

import trio

from trioserve.dirty import open_dirty_pool

APPS = ("tests.dirty.socket_apps:Echo", "tests.dirty.socket_apps:Lone")


async def main(path: str, workers: int) -> None:
    logging.basicConfig(level="INFO", stream=sys.stderr)
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with open_dirty_pool(
            *APPS,
            dirty_socket=path,
            dirty_workers=workers,
            dirty_threads=4,
            dirty_graceful_timeout=5.0,
        ) as client:
            await client.execute(APPS[1], "thread")
            while not all(  # noqa: ASYNC110 (nobody tells)
                worker["booted"] for worker in (await client.status())["workers"]
            ):
                await trio.sleep(0.01)
            print("ready", flush=True)
            await anext(aiter(signals))


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))
