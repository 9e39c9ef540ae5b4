# SPDX-License-Identifier: MIT
"""Is memory flat: over many requests, and while a huge body passes through?"""

from __future__ import annotations

import http.client
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.clients.bodies import TransferError, download, upload
from benchmarks.core import procfs
from benchmarks.core.comparison import limit_verdict
from benchmarks.core.load import LoadError, run_wrk
from benchmarks.core.options import MEBIBYTE
from benchmarks.core.processes import RunningServer, StartError, running
from benchmarks.core.report import Findings, Table, Verdict
from benchmarks.core.rounds import progress
from benchmarks.core.statistics import spread
from benchmarks.core.suite import Suite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.core.options import Options
    from benchmarks.core.servers import Server

APP = "benchmarks.apps.transfers:app"
# A leak of one small object a request (about 100 bytes) is 17 MiB over the 180,000 counted ones.
FLAT_REQUESTS_MIB = 2.0
# Some buffers deep at most, whatever the body's size.
FLAT_BODY_MIB = 8.0
LOAD_SECONDS = 2
LOADS_MAX = 200


@dataclass(slots=True)
class Growth:
    """Growth of one server's resident memory, in MiB, by what was done; see `_exercise`."""

    mib: dict[str, float] = field(default_factory=dict)
    failure: str | None = None


def run(options: Options, servers: Sequence[Server]) -> Findings:
    """Measures once a server: memory, unlike time, does not drift with the machine."""
    results = {server.name: _attempt(server, options) for server in servers}
    labels = _labels(options)
    rows = [_row(label, [results[server.name] for server in servers]) for label in labels]
    rows.append(["failures", *(results[server.name].failure or "0" for server in servers)])
    columns = ("RSS growth, MiB", *(server.label for server in servers))
    raw: dict[str, Any] = {name: asdict(growth) for name, growth in results.items()}
    return Findings(
        "once", [Table("", columns, rows)], _verdicts(labels, results.get("trioserve")), raw
    )


def _labels(options: Options) -> list[str]:
    requests = f"request {options.warm_up_requests:,} to {options.total_requests:,}"
    bodies = [
        f"{direction} of {size // MEBIBYTE:,} MiB, peak"
        for size in options.body_sizes
        for direction in ("download", "upload")
    ]
    return [requests, *bodies]


def _row(label: str, growths: Sequence[Growth]) -> list[str]:
    figures = (growth.mib.get(label) for growth in growths)
    return [label, *("—" if figure is None else f"{figure:.1f}" for figure in figures)]


def _verdicts(labels: Sequence[str], ours: Growth | None) -> list[Verdict]:
    mib = ours.mib if ours is not None else {}
    bounds = [FLAT_REQUESTS_MIB] + [FLAT_BODY_MIB] * (len(labels) - 1)
    return [
        limit_verdict(f"{label}: ≤ {bound:g} MiB", spread([mib.get(label)]), bound, "MiB")
        for label, bound in zip(labels, bounds, strict=True)
    ]


def _attempt(server: Server, options: Options) -> Growth:
    growth = Growth()
    try:
        with running(server, APP) as target:
            _exercise(target, options, growth)
    except StartError as exc:
        progress(f"{server.name}: {exc}: {exc.log}")
        growth.failure = str(exc)
    except (OSError, http.client.HTTPException, TransferError, LoadError) as exc:
        growth.failure = f"{type(exc).__name__}: {exc}"
    progress(f"memory, {server.name}: {growth}")
    return growth


def _exercise(target: RunningServer, options: Options, growth: Growth) -> None:
    """Fills in growth.mib as it goes, so that a failure leaves what came before it."""
    labels = iter(_labels(options))
    done = _make_requests(target, options.warm_up_requests)
    before = procfs.resident_bytes(target.pid)
    _make_requests(target, options.total_requests - done)
    growth.mib[next(labels)] = (procfs.resident_bytes(target.pid) - before) / MEBIBYTE
    for size in options.body_sizes:
        for transfer, path in ((download, f"/download/{size}"), (upload, "/upload")):
            procfs.reset_peak(target.pid)
            before = procfs.resident_bytes(target.pid)
            transfer(target.port, path, size)
            peak = procfs.peak_resident_bytes(target.pid)
            growth.mib[next(labels)] = (peak - before) / MEBIBYTE


def _make_requests(target: RunningServer, count: int) -> int:
    """Has wrk make at least `count` requests (it counts in seconds); returns how many it made.

    Raises:
        LoadError: they were not made in LOADS_MAX loads, or some failed.
    """
    done = 0
    for _ in range(LOADS_MAX):
        if done >= count:
            return done
        url = f"http://127.0.0.1:{target.port}/"
        result = run_wrk(url, connections=64, seconds=LOAD_SECONDS)
        if result.errors:
            raise LoadError(f"{result.errors} of {result.requests} requests failed")
        done += result.requests
    raise LoadError(f"{done:,} of {count:,} requests in {LOADS_MAX * LOAD_SECONDS} s")


SUITE = Suite(
    name="memory",
    title="Memory",
    about=(
        "Growth of the server's resident memory between two moments of a long load, and its peak"
        " above the level before while one streamed body passes through a raw ASGI app."
    ),
    servers=("trioserve",),
    run=run,
)
