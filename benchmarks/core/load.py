# SPDX-License-Identifier: MIT
"""What any load generator reports; wrk and h2load: how each is run and how its words are read."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1_000.0, "m": 60_000.0, "h": 3_600_000.0}
# A generator prints its figures after the load it was given; what takes longer hangs.
GRACE = 20.0
# Seconds without a byte, after which h2load gives a connection and its requests up.
H2LOAD_SILENCE = 8

_LATENCY = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s|m|h)\s*$", re.MULTILINE)
_TOTAL = re.compile(r"^\s*(\d+) requests in ", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s+([\d.]+)", re.MULTILINE)
_SOCKET_ERRORS = re.compile(
    r"^\s+Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", re.MULTILINE
)
_STATUS_ERRORS = re.compile(r"^\s+Non-2xx or 3xx responses: (\d+)", re.MULTILINE)

_H2_PROTOCOL = re.compile(r"^Application protocol: (\S+)$", re.MULTILINE)
_H2_FINISHED = re.compile(r"^finished in [\d.]+\w+, ([\d.]+) req/s, ", re.MULTILINE)
_H2_REQUESTS = re.compile(
    r"^requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed,"
    r" (\d+) errored, (\d+) timeout$",
    re.MULTILINE,
)
_H2_LATENCY = re.compile(
    r"^time for request: +[\d.]+(?:us|ms|s) +([\d.]+)(us|ms|s) +([\d.]+)(us|ms|s) ", re.MULTILINE
)


class LoadError(Exception):
    """The load generator failed, or said something that is no result."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """One run of a load generator; latencies in milliseconds, None where it reports none.

    Attributes:
        load_percent: the generator's own CPU time, in percent of a core; at 100 it is what is slow.
    """

    requests: int
    per_second: float
    p50_ms: float | None
    p99_ms: float | None
    errors: int
    mean_ms: float | None = None
    max_ms: float | None = None
    load_percent: float | None = None


def run_wrk(url: str, *, connections: int, seconds: int, script: Path | None = None) -> LoadResult:
    """Loads `url` from one thread over keep-alive connections.

    Raises:
        LoadError: wrk failed, hung, or printed no figures.
    """
    # --latency: without it wrk prints no percentiles.
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
    if script is not None:
        command += ["-s", str(script)]
    return parse_wrk(_run([*command, url], seconds + GRACE))


def _run(command: list[str], timeout: float) -> str:
    """Returns what a load generator printed."""
    name = command[0]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as exc:
        raise LoadError(f"{name} did not end within {timeout:.0f} s") from exc
    if done.returncode != 0:
        raise LoadError(f"{name} failed (exit code {done.returncode})")
    return done.stdout


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


def run_h2load(
    url: str,
    *,
    connections: int,
    streams: int,
    requests: int | None = None,
    seconds: float = 0,
    body: Path | None = None,
) -> LoadResult:
    """Loads `url` from one thread, `streams` requests at a time on each of the connections.

    Args:
        url: https is HTTP/2 by ALPN, http is HTTP/2 by prior knowledge.
        requests: how many; h2load then closes after the last response. None is as many as go in
            `seconds`, and a close in the middle of whatever is under way then.
        seconds: how long it is expected to take.
        body: makes the requests POSTs with this file.

    Raises:
        LoadError: h2load failed, hung, printed no figures, or did not speak HTTP/2.
    """
    command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-N{H2LOAD_SILENCE}"]
    command += ["-D", f"{seconds:g}"] if requests is None else ["-n", str(requests)]
    if body is not None:
        command += ["-d", str(body)]
    return parse_h2load(_run([*command, url], 3 * seconds + GRACE))


def parse_h2load(output: str) -> LoadResult:
    """Reads what h2load 1.x prints. It has no percentiles, but a mean and a maximum.

    Every request that did not succeed is an error: "failed" are those with another status than 2xx
    and 3xx, the errored and the timed out, and those that were not begun because their connection
    had gone, which are missing from "done" but not from the total.

    Raises:
        LoadError: the totals are missing or contradict each other, or the protocol was not HTTP/2.
    """
    rate = _H2_FINISHED.search(output)
    counts = _H2_REQUESTS.search(output)
    latency = _H2_LATENCY.search(output)
    if rate is None or counts is None or latency is None:
        raise LoadError("h2load printed no totals")
    total, started, done, succeeded, failed, errored, timeout = map(int, counts.groups())
    protocol = _H2_PROTOCOL.search(output)
    if total and (protocol is None or protocol[1] not in ("h2", "h2c")):
        raise LoadError(f"h2load did not speak HTTP/2 but {protocol[1] if protocol else 'nothing'}")
    if succeeded + failed > total or done > started or errored + timeout > failed:
        raise LoadError(f"h2load's counts contradict each other: {counts[0]}")
    largest, largest_unit, mean, mean_unit = latency.groups()
    return LoadResult(
        done,
        float(rate[1]),
        None,
        None,
        total - succeeded,
        float(mean) * UNITS_MS[mean_unit],
        float(largest) * UNITS_MS[largest_unit],
    )
