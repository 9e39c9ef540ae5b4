# SPDX-License-Identifier: MIT
"""WebSocket: an echo of small and of large messages, and a broadcast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.core.comparison import (
    LOAD_SHARE,
    PERCENTILES,
    load_table,
    raw,
    throughput_verdict,
)
from benchmarks.core.report import Findings
from benchmarks.core.rounds import run_rounds
from benchmarks.core.suite import Suite
from benchmarks.core.websocket import WebSocketWorkload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.core.options import Options
    from benchmarks.core.servers import Server

APP = "benchmarks.apps.websocket_app:app"
SMALL, LARGE = 125, 65_000
CONNECTIONS = (1, 64, 1_000)
SUBSCRIBERS = 100
# The publisher's messages that have not come to all: with one only, the server would wait for the
# load generator after each.
PUBLISHED = 4


def _echo(size: int, connections: int) -> WebSocketWorkload:
    plural = "s" if connections > 1 else ""
    return WebSocketWorkload(
        f"echo-{size}-c{connections}",
        f"Echo of {size:,} B, {connections:,} connection{plural}",
        connections,
        size,
    )


ECHOES = {(size, count): _echo(size, count) for size in (SMALL, LARGE) for count in CONNECTIONS}
PIPELINED = WebSocketWorkload(
    "pipelined", "Echo of 125 B, 64 connections, 16 messages in flight on each", 64, SMALL, 16
)
BROADCAST = WebSocketWorkload(
    "broadcast",
    f"Broadcast of 125 B to {SUBSCRIBERS} subscribers: messages delivered",
    SUBSCRIBERS,
    SMALL,
    PUBLISHED,
    "broadcast",
)
WORKLOADS = (*ECHOES.values(), PIPELINED, BROADCAST)


def run(options: Options, servers: Sequence[Server]) -> Findings:
    """Measures what the module says, and judges the echoes over 64 connections by their targets."""
    rounds = run_rounds(APP, servers, WORKLOADS, options)
    verdicts = [
        throughput_verdict(rounds, ECHOES[size, 64].name, f"{size:,} B: {target}", [peer], bound)
        for size in (SMALL, LARGE)
        for target, peer, bound in (
            ("≥ 1.0 x uvicorn, websockets sans-IO, uvloop", "uvicorn-websockets", 1.0),
            ("≥ 4 x hypercorn -k trio", "hypercorn-trio", 4),
        )
    ]
    columns = PERCENTILES | LOAD_SHARE
    tables = [load_table(work, servers, rounds, columns, "message") for work in WORKLOADS]
    return Findings(options.loads(), tables, verdicts, raw(rounds))


SUITE = Suite(
    name="websocket",
    title="WebSocket",
    about=(
        "A raw ASGI app, binary messages, no compression. An echo has one message in flight on each"
        f" connection, unless the table says otherwise; a broadcast has {PUBLISHED} that have not"
        " yet come to all, is counted by deliveries, and its latencies are from the publisher's"
        " sending to each delivery. The load generator is one thread of Python on a core of its"
        " own; `load CPU %` is how busy that was: well below 100, and the server is what is"
        " measured. Errors are connections that were lost."
    ),
    servers=(
        "trioserve",
        "trioserve-trio-websocket",
        "uvicorn-websockets",
        "uvicorn-wsproto",
        "hypercorn-trio",
        "anycorn-trio",
        "gunicorn-asgi",
        "granian-websocket",
    ),
    run=run,
    tools=(),
)
