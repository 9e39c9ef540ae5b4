# SPDX-License-Identifier: MIT
"""Raw ASGI, 13 bytes: what the server itself costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.apps.plaintext import BODY
from benchmarks.core.comparison import latency_verdict, load_table, raw, throughput_verdict
from benchmarks.core.report import Findings
from benchmarks.core.rounds import Workload, run_rounds
from benchmarks.core.suite import Suite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.core.options import Options
    from benchmarks.core.servers import Server

APP = "benchmarks.apps.plaintext:app"
PLAINTEXT = Workload("plaintext", "One path", "/", 64, lambda body: body == BODY)
CHANGING = Workload(
    "changing",
    "A path that changes with each request",
    "/items/1",
    64,
    lambda body: body == BODY,
    script=Path(__file__).parent.parent / "apps" / "paths.lua",
)


def run(options: Options, servers: Sequence[Server]) -> Findings:
    """Measures both workloads and judges them by the plain-text targets."""
    rounds = run_rounds(APP, servers, [PLAINTEXT, CHANGING], options)
    name = PLAINTEXT.name
    verdicts = [
        throughput_verdict(
            rounds, name, "≥ 1.1 x uvicorn, httptools, uvloop", ["uvicorn-uvloop"], 1.1
        ),
        throughput_verdict(
            rounds,
            CHANGING.name,
            "the same, each request with another path",
            ["uvicorn-uvloop"],
            1.1,
        ),
        throughput_verdict(rounds, name, "≥ 15 x hypercorn -k trio", ["hypercorn-trio"], 15),
        throughput_verdict(
            rounds,
            name,
            "--http h11 ≥ 0.9 x uvicorn, h11",
            ["uvicorn-h11"],
            0.9,
            ours="trioserve-h11",
        ),
        latency_verdict(
            rounds, name, "p99 ≤ that of uvicorn, httptools, uvloop", "uvicorn-uvloop", 1.0
        ),
    ]
    return Findings(
        options.loads(),
        [load_table(workload, servers, rounds) for workload in (PLAINTEXT, CHANGING)],
        verdicts,
        raw(rounds),
    )


SUITE = Suite(
    name="plaintext",
    title="HTTP/1.1, plain text",
    about="A raw ASGI app, a response of 13 bytes, keep-alive, `wrk -t1 -c64`.",
    servers=(
        "trioserve",
        "trioserve-h11",
        "uvicorn-uvloop",
        "uvicorn-asyncio",
        "uvicorn-h11",
        "hypercorn-trio",
        "anycorn-trio",
        "gunicorn-asgi",
        "granian",
    ),
    run=run,
)
