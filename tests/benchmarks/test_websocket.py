# SPDX-License-Identifier: MIT
"""The WebSocket suite without a server: its turns, its servers' commands, its section."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.core import procfs, websocket
from benchmarks.core.load import LoadError, LoadResult
from benchmarks.core.measure import Failure, Measurement
from benchmarks.core.options import Options
from benchmarks.core.report import render
from benchmarks.core.servers import SERVERS
from benchmarks.core.websocket import WebSocketWorkload
from benchmarks.suites import websocket as suite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.core.rounds import Round

WORKLOAD = WebSocketWorkload("echo", "Echo", 64, 125, 16)


class Target:
    """A server that is there, or gone."""

    port = 8123
    pid = 1

    def __init__(self, *, gone: bool = False) -> None:
        self.died = lambda: gone


class Generator:
    """Notes what it is told."""

    def __init__(self, results: list[LoadResult]) -> None:
        self._results = iter(results)
        self.told: list[Any] = []

    @contextlib.contextmanager
    def __call__(self, port: int, kind: str, **numbers: int) -> Iterator[Generator]:
        self.told.append((port, kind, numbers))
        yield self

    def load(self, seconds: float) -> LoadResult:
        self.told.append(seconds)
        return next(self._results)


def result(requests: int, errors: int = 0) -> LoadResult:
    return LoadResult(requests, requests / 4, 1.0, 2.0, errors, load_percent=40.0)


@pytest.fixture(autouse=True)
def _spending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks at it, any server has used an eighth of a second."""
    looks = iter(range(100))
    monkeypatch.setattr(procfs, "cpu_seconds", lambda _pid: next(looks) / 8)


def turn(target: Any, generator: Any, monkeypatch: pytest.MonkeyPatch) -> Measurement | Failure:
    monkeypatch.setattr(websocket, "generating", generator)
    return WORKLOAD.turn(target, Options())


# -- a turn --------------------------------------------------------------------------------------


def test_warm_up_and_measurement_go_over_the_same_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = Generator([result(10), result(1000, errors=1)])
    outcome = turn(Target(), generator, monkeypatch)
    assert generator.told == [
        (8123, "echo", {"connections": 64, "size": 125, "in_flight": 16}),
        Options().warm_up_seconds,
        Options().seconds,
    ]
    assert outcome == Measurement(1000, 250.0, 125.0, 1.0, 2.0, 1, load_percent=40.0)


def test_nothing_is_measured_after_a_warm_up_without_a_reply(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = Generator([result(0, errors=64)])
    assert turn(Target(), generator, monkeypatch) == Failure("no response, 64 errors")


@pytest.mark.parametrize(
    ("gone", "words"),
    [(False, "connection 1 of 64: no WebSocket"), (True, "the server ended")],
)
def test_connections_that_do_not_open_are_a_finding(
    gone: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise LoadError("connection 1 of 64: no WebSocket")

    assert turn(Target(gone=gone), fail, monkeypatch) == Failure(words)


# -- servers -------------------------------------------------------------------------------------


def command(name: str) -> str:
    return " ".join(SERVERS[name].command("python", "m:app", 8123))


def test_uvicorn_has_the_library_of_its_name() -> None:
    assert " --ws websockets-sansio " in command("uvicorn-websockets")
    assert " --ws wsproto " in command("uvicorn-wsproto")
    assert all(" --loop uvloop " in command(name) for name in suite.SUITE.servers if "uv" in name)


def test_granian_has_websocket_in_this_suite_only() -> None:
    assert " --ws " in command("granian-websocket")
    assert " --no-ws " in command("granian")
    assert " --no-ws " in command("granian-http2")


def test_trioserve_runs_with_its_default_engine_and_with_the_other() -> None:
    assert "--websocket-engine" not in command("trioserve")
    assert " --websocket-engine trio-websocket " in command("trioserve-trio-websocket")


# -- the section ---------------------------------------------------------------------------------


def section(ours: Measurement | Failure, monkeypatch: pytest.MonkeyPatch) -> str:
    theirs = Measurement(1000, 100.0, 20.0, 1.0, 2.0, 0, load_percent=33.0)
    round_: Round = {
        workload.name: {**dict.fromkeys(suite.SUITE.servers, theirs), "trioserve": ours}
        for workload in suite.WORKLOADS
    }
    monkeypatch.setattr(suite, "run_rounds", lambda *_: [round_])
    servers = [SERVERS[name] for name in suite.SUITE.servers]
    return render(suite.SUITE.title, suite.SUITE.about, suite.run(Options(), servers))


def test_messages_are_counted_and_the_load_generators_share_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = section(Measurement(1000, 401.0, 5.0, 1.0, 2.0, 0, load_percent=90.0), monkeypatch)
    assert text.count("x messages/s | CPU µs/message") == len(suite.WORKLOADS) == 8
    row = next(line for line in text.splitlines() if line.startswith("| trioserve "))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells == ["trioserve", "401", "1.00", "5.0", "1.00", "1.00", "2.00", "90.00", "0"]
    assert text.count("4.01 x; by CPU 4.00 x |     met") == 4


def test_a_server_without_websocket_has_its_row_and_no_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = section(Failure("no WebSocket: status 200, expected 101"), monkeypatch)
    assert text.count("no WebSocket: status 200, expected 101 |") == len(suite.WORKLOADS)
    assert text.count("not measured") == 4


def test_the_workloads_have_names_of_their_own() -> None:
    assert len({workload.name for workload in suite.WORKLOADS}) == len(suite.WORKLOADS)
    assert len({workload.title for workload in suite.WORKLOADS}) == len(suite.WORKLOADS)
