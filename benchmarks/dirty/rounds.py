# SPDX-License-Identifier: MIT
"""Pools that take turns: every workload on every pool, round after round.

As core/rounds.py has it for servers: all pools of a round are up, fresh, and idle but for the one
whose turn it is. The load is the calling process's own (caller.py).
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from typing import IO, TYPE_CHECKING, Any

from benchmarks.core import cores
from benchmarks.core.measure import Failure, Measurement
from benchmarks.core.processes import last_line, stop
from benchmarks.core.rounds import progress
from benchmarks.core.statistics import rotate
from benchmarks.dirty.contenders import CONTENDERS, POOLS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.core.measure import Outcome
    from benchmarks.core.options import Options
    from benchmarks.core.rounds import Round
    from benchmarks.core.servers import Server

READY_TIMEOUT = 40.0
# Beyond the seconds that a command takes: its warm-up, and the last call of each caller.
ANSWER_TIMEOUT = 60.0
EXIT_TIMEOUT = 5.0
# A pool's figures need no seconds to settle, but its neighbours' have to be close, since the
# machine drifts: so each has several short turns a workload and round, of this part of the seconds
# of an HTTP server's load.
TURNS = 3
SHARE = 1 / 40


@dataclass(frozen=True, slots=True)
class Workload:
    """One thing that a calling process does.

    Attributes:
        name: key in results.json.
        title: heading in the tables.
        command: what the caller is told: "kind" is "repeat" (with "operation": "echo", "get" or
            "put"; "value"; "callers"), "stream" or "first" ("action", "size"), "paused" ("value"),
            "functions" or "inside" ("operation", "value"), or "memory"; see async_pool.py.
        contenders: names of those that can do it.
    """

    name: str
    title: str
    command: dict[str, Any]
    contenders: Sequence[str] = field(default_factory=lambda: list(CONTENDERS))


def echo(name: str, title: str, value: str, callers: int = 1) -> dict[str, Any]:
    """The fields of an echo's workload, but for who takes part."""
    command = {"kind": "repeat", "operation": "echo", "value": value, "callers": callers}
    return {"name": name, "title": title, "command": command}


class CallerError(Exception):
    """A calling process did not start, ended, or took too long. Its message names no paths."""


class Caller:
    """The driver's side of a calling process."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self._process = process
        self._log = log
        self._failure: str | None = None

    def answer(self, timeout: float) -> dict[str, Any]:
        """Waits for a line.

        Raises:
            CallerError: none came. None will come later.
        """
        if self._failure is not None:
            raise CallerError(self._failure)
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout
        # Its death alone is no end of the pipe where a worker of its own holds it, too.
        while not select.select([self._process.stdout], [], [], min(0.5, timeout))[0]:
            if time.monotonic() > deadline:
                raise self._lost(f"no answer in {timeout:.0f} s")
            if self._process.poll() is not None:
                break
        line = self._process.stdout.readline()
        if not line:
            raise self._lost("the caller ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """Has a command carried out.

        Raises:
            CallerError: see answer.
        """
        if self._failure is None:
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(command).encode() + b"\n")
                self._process.stdin.flush()
        return self.answer(command.get("seconds", 0) + ANSWER_TIMEOUT)

    def _lost(self, reason: str) -> CallerError:
        self._failure = reason
        progress(f"{reason}: {last_line(self._log)}")
        self._process.kill()
        return CallerError(reason)


@contextlib.contextmanager
def calling(server: Server) -> Iterator[Caller]:
    """Runs a calling process for the length of the block, on all cores; not ready yet."""
    with tempfile.TemporaryFile() as log:
        with cores.everywhere():
            # A session of its own: one killpg reaches arbiters and workers, too.
            process = subprocess.Popen(
                server.command(sys.executable, "", 0),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield Caller(process, log)
        finally:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            # The end of its input is its own: pools then put their folders away.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(EXIT_TIMEOUT)
            stop(process)


@contextlib.contextmanager
def fleet(servers: Sequence[Server]) -> Iterator[dict[str, Caller]]:
    """Starts a calling process for each pool, all at once; by module, since two may share one."""
    with contextlib.ExitStack() as stack:
        callers: dict[str, Caller] = {}
        for server in servers:
            pool = CONTENDERS[server.name].pool
            if pool not in callers:
                callers[pool] = stack.enter_context(calling(POOLS[server.name]))
        for pool, caller in callers.items():
            try:
                caller.answer(READY_TIMEOUT)
            except CallerError as exc:
                progress(f"{pool}: {exc}")
        yield callers


def run_rounds(
    servers: Sequence[Server], workloads: Sequence[Workload], options: Options
) -> list[Round]:
    """Measures all workloads on the pools that can do them, options.rounds times.

    Errors handled here: a pool that fails is a Failure in its place, and the others go on.

    Returns:
        TURNS rounds for each of options.rounds: a round is what is compared within itself.
    """
    rounds: list[Round] = []
    for number in range(options.rounds):
        turns: list[Round] = [{workload.name: {} for workload in workloads} for _ in range(TURNS)]
        with fleet(rotate(servers, number)) as callers:
            for workload in workloads:
                for turn, outcomes in enumerate(turns):
                    where = f"round {number + 1}/{options.rounds}, {workload.name}"
                    for server in rotate(servers, number + turn):
                        if server.name in workload.contenders:
                            outcome = _turn(callers, server.name, workload, options)
                            outcomes[workload.name][server.name] = outcome
                            progress(f"{where}, {server.name}: {describe(outcome)}")
        rounds += turns
    return rounds


def extent(options: Options) -> str:
    """Says how much was measured."""
    seconds = options.seconds * SHARE
    return f"rounds: {options.rounds}, {TURNS} turns of {seconds:.2f} s a workload in each"


def raw(rounds: Sequence[Round]) -> Any:
    """Makes rounds JSON-ready: workload → pool → a list for each figure, four digits of each."""
    return {
        workload: {name: _lists([round_[workload][name] for round_ in rounds]) for name in pools}
        for workload, pools in (rounds[0] if rounds else {}).items()
    }


def _lists(outcomes: Sequence[Outcome]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for outcome in outcomes:
        for name, figure in asdict(outcome).items():
            if isinstance(figure, float):
                figure = float(f"{figure:.4g}")
            if figure is not None and name not in ("requests", "errors"):
                found.setdefault(name, []).append(figure)
    return found


def _turn(callers: dict[str, Caller], name: str, workload: Workload, options: Options) -> Outcome:
    contender = CONTENDERS[name]
    caller = callers[contender.pool]
    seconds = options.seconds * SHARE
    command = {"action": contender.action, "seconds": seconds} | workload.command
    try:
        answer = caller.ask(command)
    except CallerError as exc:
        return Failure(str(exc))
    return Failure(answer["failure"]) if "failure" in answer else Measurement(**answer)


def describe(outcome: Outcome) -> str:
    """Says an outcome in a line."""
    if isinstance(outcome, Failure):
        return outcome.failure
    middle = "" if outcome.p50_ms is None else f"p50 {outcome.p50_ms * 1e3:,.1f} µs, "
    return f"{middle}{outcome.per_second:,.0f}/s, {outcome.cpu_us:,.1f} µs CPU each"
