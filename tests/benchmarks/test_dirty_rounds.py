# SPDX-License-Identifier: MIT
from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from benchmarks.core.measure import Failure, Measurement
from benchmarks.core.options import Options
from benchmarks.dirty import rounds
from benchmarks.dirty.contenders import CONTENDERS, GUNICORN, OURS, POOLS, RELAYED, US
from benchmarks.dirty.rounds import Caller, CallerError
from benchmarks.suites import GROUPS, SUITES, dirty_payloads, dirty_streams

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.core.rounds import Round
    from benchmarks.dirty.rounds import Workload

# Answers each line with itself, until one says "end".
MIRROR = """
import sys
for line in sys.stdin:
    if "end" in line:
        break
    print(line, end="", flush=True)
"""


@pytest.fixture
def mirror() -> Iterator[Caller]:
    command = [sys.executable, "-S", "-c", MIRROR]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        yield Caller(process, log)
        process.kill()


def test_a_caller_answers_until_it_ends_and_its_end_is_remembered(mirror: Caller) -> None:
    assert mirror.ask({"kind": "a"}) == {"kind": "a"}
    for command in ("end", "after"):
        with pytest.raises(CallerError, match="the caller ended"):
            mirror.ask({"kind": command})


def test_a_caller_that_takes_too_long_is_given_up(mirror: Caller) -> None:
    with pytest.raises(CallerError, match="no answer in 0 s"):
        mirror.answer(0.0)


def test_raw_figures_are_lists_of_four_digits() -> None:
    found: list[Round] = [
        {"echo": {"a": Measurement(10, 123456.7, 1.23456, 0.5, None, 0), "b": Failure("no")}},
        {"echo": {"a": Failure("ended"), "b": Failure("no")}},
    ]
    assert rounds.raw(found) == {
        "echo": {
            "a": {
                "per_second": [123500.0],
                "cpu_us": [1.235],
                "p50_ms": [0.5],
                "failure": ["ended"],
            },
            "b": {"failure": ["no", "no"]},
        }
    }


def test_an_outcome_is_said_in_a_line() -> None:
    assert rounds.describe(Measurement(10, 5000, 12.34, 0.1, 0.2, 0)) == (
        "p50 100.0 µs, 5,000/s, 12.3 µs CPU each"
    )
    assert rounds.describe(Failure("no")) == "no"
    assert rounds.extent(Options(rounds=2, seconds=4)) == (
        "rounds: 2, 3 turns of 0.10 s a workload in each"
    )


@pytest.mark.parametrize("name", CONTENDERS)
def test_a_contender_is_run_by_its_own_module(name: str) -> None:
    command = POOLS[name].command("python", "", 0)
    assert command == ["python", "-m", "benchmarks.dirty.caller", CONTENDERS[name].pool]


def test_names_stand_for_contenders_that_there_are() -> None:
    assert {US, *OURS, *RELAYED, *GUNICORN} <= set(CONTENDERS)
    assert GROUPS["dirty"] == [name for name in SUITES if name.startswith("dirty")]


@pytest.mark.parametrize(
    "workload",
    [*dirty_streams.STREAMS, *dirty_streams.FIRST, dirty_payloads.ARRAY, dirty_payloads.FLOATS],
    ids=lambda workload: workload.name,
)
def test_a_workload_is_done_by_contenders_that_there_are(workload: Workload) -> None:
    assert set(workload.contenders) <= set(CONTENDERS)
    assert US in workload.contenders


def test_gunicorn_is_asked_for_no_arrays() -> None:
    assert not set(GUNICORN) & set(dirty_payloads.ARRAY.contenders)
