# SPDX-License-Identifier: MIT
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.core.measure import Failure, Measurement
from benchmarks.core.statistics import Spread
from benchmarks.dirty.contenders import GUNICORN, OURS, POOLS, US
from benchmarks.dirty.rounds import Workload, echo
from benchmarks.dirty.tables import THROUGHPUT, at_least, at_most, inverse, pool_table
from benchmarks.suites.dirty_codec import verdict

if TYPE_CHECKING:
    from benchmarks.core.rounds import Round

THEIRS, OTHERS = GUNICORN
ASYNC = OURS[1]
ECHO = Workload(**echo("echo", "Echo", "20 B"), contenders=[US, ASYNC, *GUNICORN])


def measured(per_second: float, cpu_us: float = 10.0) -> Measurement:
    """One caller's: the p50 is what the rate makes it."""
    return Measurement(100, per_second, cpu_us, 1000 / per_second, 2.0, 0)


def round_of(**outcomes: Measurement | Failure) -> Round:
    names = {"us": US, "us_async": ASYNC, "theirs": THEIRS, "others": OTHERS}
    return {"echo": {names[name]: outcome for name, outcome in outcomes.items()}}


def test_a_row_has_each_figure_with_its_ratio() -> None:
    rounds = [round_of(us=measured(2000, 10), theirs=measured(500, 40))]
    table = pool_table(ECHO, [POOLS[US], POOLS[THEIRS]], rounds)
    assert list(table.columns) == [
        *("pool", "p50 µs", "x p50", "p99 µs", "calls/s", "x calls/s", "CPU µs", "x CPU"),
        "failures",
    ]
    ours = ["500", "1.00", "2,000", "2,000", "1.00", "10.0", "1.00", "0"]
    theirs = ["2,000", "0.25", "2,000", "500", "4.00", "40.0", "0.25", "0"]
    assert [list(row[1:]) for row in table.rows] == [ours, theirs]


def test_a_pool_that_failed_has_its_reason_and_one_that_cannot_has_no_row() -> None:
    rounds = [round_of(us=measured(2000), theirs=Failure("the caller ended"))]
    servers = [POOLS[US], POOLS[THEIRS], POOLS["process-pool"]]
    table = pool_table(ECHO, servers, rounds, THROUGHPUT, things="ops")
    assert list(table.columns[1:3]) == ["ops/s", "x ops/s"]
    assert list(table.rows[1][1:]) == ["—"] * 6 + ["the caller ended"]
    assert len(table.rows) == 2


def test_all_of_ours_have_to_be_as_fast_and_the_cpu_stands_beside() -> None:
    rounds = [
        round_of(us=measured(400, 10), us_async=measured(200, 20), theirs=measured(100, 40))
    ] * 3
    verdict = at_least(rounds, "echo", "≥ 2 x", OURS, [THEIRS], 2)
    assert verdict.met is True
    assert verdict.measured == (
        "trioserve, def: 4.00 x, by CPU 4.00 x; trioserve, async def: 2.00 x, by CPU 2.00 x"
    )
    assert at_least(rounds, "echo", "≥ 3 x", OURS, [THEIRS], 3).met is False
    assert at_least(rounds, "echo", "≥ 3 x", [US], [THEIRS], 3).measured.startswith("4.00 x")


def test_the_peer_to_beat_is_the_best_of_each_round() -> None:
    rounds = [
        round_of(us=measured(400), theirs=measured(100), others=measured(200)),
        round_of(us=measured(400), theirs=measured(200), others=measured(100)),
    ]
    assert at_least(rounds, "echo", "", [US], GUNICORN, 2).measured.startswith("2.00 x")
    faster = at_least(rounds, "echo", "", [US], GUNICORN, 2, attribute="p50_ms")
    assert faster.met is True
    assert at_most(rounds, "echo", "", [US], GUNICORN, 0.5).met is True
    assert at_most(rounds, "echo", "", [US], GUNICORN, 0.4).met is False


def test_a_latency_can_be_compared_with_ones_own_at_other_work() -> None:
    rounds = [round_of(us=measured(100)) | {"small": {US: measured(200)}}]
    verdict = at_most(rounds, "echo", "", [US], [], 1.5, of="small")
    assert verdict.measured == "2.00 x"
    assert verdict.met is False


def test_a_failed_round_of_ours_forbids_the_word_met() -> None:
    rounds = [
        round_of(us=measured(400), theirs=measured(100)),
        round_of(us=Failure("ended"), theirs=measured(100)),
    ]
    verdict = at_least(rounds, "echo", "", [US], [THEIRS], 2)
    assert verdict.met is False
    assert verdict.measured.endswith("; ended")


def test_without_figures_there_is_no_verdict() -> None:
    rounds = [round_of(us=measured(400), theirs=Failure("ended"))]
    assert at_least(rounds, "echo", "", [US], [THEIRS], 2).met is None
    assert at_least(rounds, "echo", "", [US], ["process-pool"], 2).met is None


def test_an_inverse_keeps_the_order_of_its_range() -> None:
    assert inverse(Spread(0.5, 0.25, 1.0)) == Spread(2.0, 1.0, 4.0)
    assert inverse(None) is None


def test_a_codec_is_judged_by_its_worst_case() -> None:
    pytest.importorskip("gunicorn")
    from benchmarks.dirty_codec import Result

    results = [
        Result("a", "encode", [1.0], [5.0]),
        Result("b", "encode", [2.0], [3.0]),
        Result("c", "encode", [1.0], [4.0]),
    ]
    found = verdict("encode", results)
    assert found.met is False
    assert found.measured == "1.50 x at the least (b), 4.0 x in the middle"
