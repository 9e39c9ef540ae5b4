# SPDX-License-Identifier: MIT
"""One Starlette app on every server: what its users get."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import apps
from benchmarks.core.comparison import load_table, raw, throughput_verdict
from benchmarks.core.options import MEBIBYTE
from benchmarks.core.report import Findings
from benchmarks.core.rounds import Workload, run_rounds
from benchmarks.core.suite import Suite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.core.options import Options
    from benchmarks.core.servers import Server

APP = "benchmarks.apps.starlette_app:app"
UPLOAD_SCRIPT = Path(apps.__file__).with_name("upload.lua")
RIVALS = ("uvicorn-uvloop", "uvicorn-asyncio", "gunicorn-asgi")


def is_mebibyte(body: bytes) -> bool:
    return len(body) == MEBIBYTE


WORKLOADS = (
    Workload("index", "`/`", "/", 64, lambda body: body == b"Hello, world!"),
    Workload("json", "10 KiB JSON", "/json", 64, lambda body: len(body) > 10_000),
    Workload("large", "1 MiB response", "/large", 8, is_mebibyte),
    Workload("stream", "1 MiB streamed in 64 chunks", "/stream", 8, is_mebibyte),
    Workload(
        "upload",
        "1 MiB upload, read as a stream",
        "/upload",
        8,
        lambda body: body == b"%d" % MEBIBYTE,
        post=bytes(MEBIBYTE),
        script=UPLOAD_SCRIPT,
    ),
)


def run(options: Options, servers: Sequence[Server]) -> Findings:
    """Measures the five routes, and judges each against the best rival of each round."""
    rounds = run_rounds(APP, servers, WORKLOADS, options)
    verdicts = [
        throughput_verdict(
            rounds,
            workload.name,
            f"{workload.title}: ≥ the best of uvicorn and gunicorn",
            RIVALS,
            1.0,
        )
        for workload in WORKLOADS
    ]
    tables = [load_table(workload, servers, rounds) for workload in WORKLOADS]
    return Findings(options.loads(), tables, verdicts, raw(rounds))


SUITE = Suite(
    name="starlette",
    title="HTTP/1.1, Starlette",
    about=(
        "The same Starlette app everywhere; on trioserve and hypercorn it runs on Trio. 64"
        " connections for `/` and JSON, 8 for the bodies."
    ),
    servers=("trioserve", *RIVALS, "hypercorn-trio", "granian"),
    run=run,
)
