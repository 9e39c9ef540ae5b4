# SPDX-License-Identifier: MIT
"""What any load generator reports, and wrk: how it is run and how its words are read."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1_000.0, "m": 60_000.0, "h": 3_600_000.0}
# wrk prints its figures after the duration it was given; what takes longer hangs.
GRACE = 20.0

_LATENCY = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s|m|h)\s*$", re.MULTILINE)
_TOTAL = re.compile(r"^\s*(\d+) requests in ", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s+([\d.]+)", re.MULTILINE)
_SOCKET_ERRORS = re.compile(
    r"^\s+Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", re.MULTILINE
)
_STATUS_ERRORS = re.compile(r"^\s+Non-2xx or 3xx responses: (\d+)", re.MULTILINE)


class LoadError(Exception):
    """The load generator failed, or said something that is no result."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """One run of a load generator; latencies in milliseconds, None where it reports none."""

    requests: int
    per_second: float
    p50_ms: float | None
    p99_ms: float | None
    errors: int


def run_wrk(url: str, *, connections: int, seconds: int, script: Path | None = None) -> LoadResult:
    """Loads `url` from one thread over keep-alive connections.

    Raises:
        LoadError: wrk failed, hung, or printed no figures.
    """
    # --latency: without it wrk prints no percentiles.
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
    if script is not None:
        command += ["-s", str(script)]
    try:
        done = subprocess.run(
            [*command, url], capture_output=True, text=True, timeout=seconds + GRACE, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise LoadError(f"wrk did not end within {seconds + GRACE:.0f} s") from exc
    if done.returncode != 0:
        raise LoadError(f"wrk failed (exit code {done.returncode})")
    return parse_wrk(done.stdout)


def parse_wrk(output: str) -> LoadResult:
    """Reads what wrk 4 prints with --latency.

    Socket errors (connect, read, write, timeout) and responses other than 2xx and 3xx count as
    errors alike; wrk leaves the lines out when there are none.

    Raises:
        LoadError: the totals are missing.
    """
    total = _TOTAL.search(output)
    rate = _RATE.search(output)
    if total is None or rate is None:
        raise LoadError("wrk printed no totals")
    latency = {
        percent: float(value) * UNITS_MS[unit] for percent, value, unit in _LATENCY.findall(output)
    }
    errors = 0
    for pattern in (_SOCKET_ERRORS, _STATUS_ERRORS):
        found = pattern.search(output)
        errors += sum(map(int, found.groups())) if found else 0
    return LoadResult(int(total[1]), float(rate[1]), latency.get("50"), latency.get("99"), errors)
