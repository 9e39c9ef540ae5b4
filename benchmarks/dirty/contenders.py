# SPDX-License-Identifier: MIT
"""The pools that are compared, each with one worker process that runs one `def` at a time.

They are Servers to the command line, which picks among them by name. Two that differ in the action
only are asked of the same processes.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.core.servers import Server


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to have a function called in another process.

    Attributes:
        name: how --servers and results.json call it.
        label: how the tables call it.
        pool: module of benchmarks.dirty.pools, run by a calling process.
        action: what it calls for an echo.
    """

    name: str
    label: str
    pool: str
    action: str = "echo"


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("trioserve-pool", "trioserve, def", "trioserve_pool"),
        Contender("trioserve-pool-async", "trioserve, async def", "trioserve_pool", "aecho"),
        Contender("trioserve-relayed", "trioserve relayed, def", "trioserve_relayed"),
        Contender(
            "trioserve-relayed-async", "trioserve relayed, async def", "trioserve_relayed", "aecho"
        ),
        Contender("trioserve-blocking", "trioserve, blocking client", "trioserve_blocking"),
        Contender("gunicorn-dirty", "gunicorn, async client", "gunicorn_async"),
        Contender("gunicorn-dirty-blocking", "gunicorn, blocking client", "gunicorn_blocking"),
        Contender("process-pool", "ProcessPoolExecutor", "executor"),
        Contender("trio-parallel", "trio-parallel", "parallel"),
        Contender("anyio-process", "anyio.to_process on Trio", "anyio_process"),
    )
}

US = "trioserve-pool"
OURS = (US, "trioserve-pool-async")
RELAYED = ("trioserve-relayed", "trioserve-relayed-async")
GUNICORN = ("gunicorn-dirty", "gunicorn-dirty-blocking")

POOLS = {
    contender.name: Server(
        contender.name, contender.label, "benchmarks.dirty.caller", contender.pool
    )
    for contender in CONTENDERS.values()
}
