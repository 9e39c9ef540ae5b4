# SPDX-License-Identifier: MIT
"""Servers that take turns: every workload on every server, round after round.

In a round all servers are up, and each workload goes through them one after the other, so that
figures to be compared are taken seconds apart. An idle server costs its neighbours next to nothing;
the one that is loaded has its core to itself. Rounds begin with fresh processes, at another server.
"""

from __future__ import annotations

import contextlib
import http.client
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from benchmarks.core.load import LoadResult, run_wrk
from benchmarks.core.measure import Failure, Measurement, Outcome, measure
from benchmarks.core.processes import RunningServer, StartError, get, running
from benchmarks.core.statistics import rotate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from benchmarks.core.options import Options
    from benchmarks.core.servers import Server

# workload's name → server's name → what came of it
Round = dict[str, dict[str, Outcome]]


class Job(Protocol):
    """One thing that clients do, over whatever protocol.

    Attributes:
        name: key in results.json.
        title: heading in the tables.
    """

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    def turn(self, target: RunningServer, options: Options) -> Outcome:
        """One server's turn: what it answers is checked, a warm-up, the measurement."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One request of HTTP that clients make again and again; a Job.

    Attributes:
        name: key in results.json.
        title: heading in the tables.
        is_right: tells whether a response's body is what the app sends; asked before measuring,
            since a load generator counts responses and does not read them.
        post: body of that one request; None makes it a GET.
        script: Lua for wrk, for requests other than GET.
    """

    name: str
    title: str
    path: str
    connections: int
    is_right: Callable[[bytes], bool]
    post: bytes | None = None
    script: Path | None = None

    def fetch(self, port: int) -> bytes:
        """Makes the request once; returns the response's body. Raises what get() does."""
        return get(port, self.path, "GET" if self.post is None else "POST", self.post)

    def load(self, port: int, seconds: int, per_second: float | None) -> LoadResult:
        """Makes the request for so long.

        Args:
            per_second: what the warm-up found; None during the warm-up.

        Raises:
            LoadError: the load generator failed.
        """
        url = f"http://127.0.0.1:{port}{self.path}"
        return run_wrk(url, connections=self.connections, seconds=seconds, script=self.script)

    def turn(self, target: RunningServer, options: Options) -> Outcome:
        """See Job."""
        try:
            body = self.fetch(target.port)
        except (OSError, http.client.HTTPException) as exc:
            return Failure(f"no right response ({exc})")
        if not self.is_right(body):
            return Failure(f"wrong response ({len(body)} bytes)")

        def load(seconds: int, per_second: float | None = None) -> Outcome:
            return measure(target, lambda: self.load(target.port, seconds, per_second))

        warm = load(options.warm_up_seconds)
        return warm if isinstance(warm, Failure) else load(options.seconds, warm.per_second)


def run_rounds(
    app: str,
    servers: Sequence[Server],
    workloads: Sequence[Job],
    options: Options,
    start: Callable[[Server, str], AbstractContextManager[RunningServer]] = running,
) -> list[Round]:
    """Measures all workloads on all servers, options.rounds times.

    Args:
        start: serves an app for the length of a block, or raises StartError.

    Errors handled here: a server that does not start, answers wrongly, or fails under load is a
    Failure in its place, and the others go on.
    """
    rounds = []
    for number in range(options.rounds):
        order = rotate(servers, number)
        outcomes: Round = {workload.name: {} for workload in workloads}
        with contextlib.ExitStack() as stack:
            fleet = {server.name: _start(stack, server, start(server, app)) for server in order}
            for workload in workloads:
                for server in order:
                    target = fleet[server.name]
                    outcome = (
                        target if isinstance(target, Failure) else workload.turn(target, options)
                    )
                    outcomes[workload.name][server.name] = outcome
                    where = f"round {number + 1}/{options.rounds}, {workload.name}"
                    progress(f"{where}, {server.name}: {describe(outcome)}")
        rounds.append(outcomes)
    return rounds


def figures(
    rounds: Sequence[Round], workload: str, server: str, attribute: str
) -> list[float | None]:
    """Picks one attribute of a server's measurements, a value a round, None where it failed."""
    outcomes = [round_[workload].get(server) for round_ in rounds]
    return [getattr(o, attribute) if isinstance(o, Measurement) else None for o in outcomes]


def describe(outcome: Outcome) -> str:
    """Says an outcome in a line."""
    if isinstance(outcome, Failure):
        return outcome.failure
    errors = f", {outcome.errors} errors" if outcome.errors else ""
    return f"{outcome.per_second:,.0f}/s, {outcome.cpu_us:.1f} µs CPU each{errors}"


def progress(line: str) -> None:
    """Tells the terminal, at once, what has just been done."""
    print(line, file=sys.stderr, flush=True)


def _start(
    stack: contextlib.ExitStack, server: Server, starting: AbstractContextManager[RunningServer]
) -> RunningServer | Failure:
    try:
        return stack.enter_context(starting)
    except StartError as exc:
        progress(f"{server.name}: {exc}: {exc.log}")
        return Failure(str(exc))
