# SPDX-License-Identifier: MIT
"""The three values of --http2-profile: its speed, and the memory it lets clients take."""

from __future__ import annotations

import subprocess
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.clients import http2_streams
from benchmarks.clients.idle_connections import ClientError, holding
from benchmarks.core import procfs
from benchmarks.core.comparison import MEAN_AND_MAX, load_table, raw
from benchmarks.core.http2 import running_http2
from benchmarks.core.measure import Failure
from benchmarks.core.options import MEBIBYTE
from benchmarks.core.processes import StartError
from benchmarks.core.report import Findings, Table, show
from benchmarks.core.rounds import progress, run_rounds
from benchmarks.core.statistics import rotate, spread
from benchmarks.core.suite import Suite
from benchmarks.suites.http2 import BODIES, BODIES_APP, PLAIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.core.options import Options
    from benchmarks.core.processes import RunningServer
    from benchmarks.core.servers import Server

APP = "benchmarks.apps.holding:app"
# Idle connections must last while they are weighed; what they leave is not to be waited for.
OPTIONS = ("--keep-alive-timeout", "600", "--asgi-disconnect-grace-period", "0")
IDLE_CONNECTIONS = 200
# Open streams: as many connections, and so many on each, which every profile allows.
OPEN_STREAMS = 30
# A connection whose every stream's window is full, of an application that takes nothing.
FULL_CONNECTIONS = 2
ALL = 100_000
SETTLE = 0.5

UPLOAD = BODIES[-1]
WORKLOADS = (
    PLAIN,
    replace(
        PLAIN,
        name="one-connection",
        title="Plain text, one connection, as many of 500 streams as it allows",
        connections=1,
        streams=500,
    ),
    UPLOAD,
    replace(
        UPLOAD,
        name="upload-m8",
        title="1 MiB upload, one connection, 8 streams",
        connections=1,
        streams=8,
    ),
)


@dataclass(frozen=True, slots=True)
class Memory:
    """Growth of the process tree's resident memory.

    Attributes:
        connection_kib: for a connection that made a request and says nothing.
        stream_kib: for a request under way, of which the connection's own part is taken off.
        full_mib: for a connection whose windows are full.
    """

    connection_kib: float
    stream_kib: float
    full_mib: float


def run(options: Options, servers: Sequence[Server]) -> Findings:
    """Measures speed and memory of each profile."""
    rounds = run_rounds(BODIES_APP, servers, WORKLOADS, options, running_http2)
    weights: dict[str, list[Memory | Failure]] = {server.name: [] for server in servers}
    for number in range(options.rounds):
        for server in rotate(servers, number):
            outcome = _weigh(server)
            weights[server.name].append(outcome)
            progress(f"round {number + 1}/{options.rounds}, memory, {server.name}: {outcome}")
    columns = ("server", "KiB/connection", "KiB/open stream", "MiB/full connection", "failures")
    memory = Table(
        "Memory of connections",
        columns,
        [_row(server, weights[server.name]) for server in servers],
    )
    return Findings(
        f"{options.loads()}; memory: {IDLE_CONNECTIONS} connections, {OPEN_STREAMS} streams on"
        f" each; {FULL_CONNECTIONS} full ones",
        [*(load_table(work, servers, rounds, MEAN_AND_MAX) for work in WORKLOADS), memory],
        [],
        {
            "loads": raw(rounds),
            "memory": {name: [asdict(o) for o in found] for name, found in weights.items()},
        },
    )


def _weigh(server: Server) -> Memory | Failure:
    """Each figure of a fresh process: memory that was given back hides what comes next."""
    try:
        connection = _growth(server, IDLE_CONNECTIONS, 0) / IDLE_CONNECTIONS
        with_streams = _growth(server, IDLE_CONNECTIONS, OPEN_STREAMS) / IDLE_CONNECTIONS
        full = _growth(server, FULL_CONNECTIONS, ALL, fill=True) / FULL_CONNECTIONS
    except (StartError, OSError, ClientError, subprocess.SubprocessError) as exc:
        return Failure(f"{type(exc).__name__}: {exc}")
    stream = (with_streams - connection) / OPEN_STREAMS
    return Memory(connection / 1024, stream / 1024, full / MEBIBYTE)


def _growth(server: Server, connections: int, streams: int, *, fill: bool = False) -> int:
    """Bytes, from a server that has served a few connections to one that holds all these."""
    with running_http2(server, APP, None, *OPTIONS) as target:
        _hold(target, 10, 1, fill=False)
        before = procfs.resident_bytes(target.pid)
        return _hold(target, connections, streams, fill=fill) - before


def _hold(target: RunningServer, connections: int, streams: int, *, fill: bool) -> int:
    """Returns the resident memory while they are held."""
    arguments = (str(streams), "fill" if fill else "open")
    module = http2_streams.__name__
    with holding(target.port, connections, *arguments, module=module) as holder:
        time.sleep(SETTLE)
        resident = procfs.resident_bytes(target.pid)
        if holder.count_open() != connections:
            raise ClientError("the server closed connections")
    return resident


def _row(server: Server, outcomes: Sequence[Memory | Failure]) -> list[str]:
    good = [outcome for outcome in outcomes if isinstance(outcome, Memory)]
    failures = {outcome.failure for outcome in outcomes if isinstance(outcome, Failure)}
    return [
        server.label,
        show(spread(memory.connection_kib for memory in good), 1),
        show(spread(memory.stream_kib for memory in good), 1),
        show(spread(memory.full_mib for memory in good), 1),
        "; ".join(sorted(failures)) or "0",
    ]


SUITE = Suite(
    name="http2_profiles",
    title="HTTP/2: tuning profiles",
    about=(
        "`trioserve` alone is `--http2-profile balanced`. The loads are those of the HTTP/2 suite."
        " Memory is what the resident set grows by: for a connection that made a request and says"
        " nothing; for a request whose app waits; for a connection that has as many streams as it"
        " may, each with as much of a body as its window takes, of an app that takes none of it."
        " h2load opens 100 streams before it has read how many it may have: those beyond are"
        " refused (REFUSED_STREAM, to be tried again, which h2load doesn't), and are the errors"
        " of a profile that allows fewer."
    ),
    servers=("trioserve", "trioserve-conservative", "trioserve-high-concurrency"),
    run=run,
    tools=("h2load",),
)
