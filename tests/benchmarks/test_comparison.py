# SPDX-License-Identifier: MIT
from __future__ import annotations

from benchmarks.core.comparison import latency_verdict, limit_verdict, load_table
from benchmarks.core.comparison import throughput_verdict as judge
from benchmarks.core.measure import Failure, Measurement
from benchmarks.core.rounds import Round, Workload
from benchmarks.core.servers import SERVERS
from benchmarks.core.statistics import Spread

WORKLOAD = Workload("plaintext", "Plain", "/", 64, bool)
PEER = "uvicorn-uvloop"


def measured(per_second: float, cpu_us: float = 20.0, errors: int = 0) -> Measurement:
    return Measurement(1000, per_second, cpu_us, 1.0, 2.0 * cpu_us, errors)


def rounds(*pairs: tuple[Measurement | Failure, Measurement | Failure]) -> list[Round]:
    return [{"plaintext": {"trioserve": ours, PEER: theirs}} for ours, theirs in pairs]


def test_a_verdict_is_of_the_median_ratio_and_says_the_cpu_beside_it() -> None:
    found = rounds(
        (measured(110, 10), measured(100, 20)),
        (measured(60, 10), measured(50, 20)),
        (measured(90, 10), measured(100, 20)),
    )
    verdict = judge(found, "plaintext", "≥ 1.1", [PEER], 1.1)
    assert verdict.met is True
    assert verdict.measured == "1.10 (0.90 - 1.20) x; by CPU 2.00 x"
    assert judge(found, "plaintext", "≥ 1.2", [PEER], 1.2).met is False


def test_failed_requests_of_ours_forbid_the_word_met() -> None:
    found = rounds((measured(200, errors=3), measured(100)))
    verdict = judge(found, "plaintext", "≥ 1", [PEER], 1.0)
    assert verdict.met is False
    assert verdict.measured.endswith("errors: 3")
    assert latency_verdict(found, "plaintext", "p99", PEER, 1.0).met is False


def test_a_round_of_ours_that_failed_forbids_it_too() -> None:
    found = rounds((measured(200), measured(100)), (Failure("did not start"), measured(100)))
    assert judge(found, "plaintext", "≥ 1", [PEER], 1.0).met is False


def test_without_the_peer_there_is_no_verdict() -> None:
    found = rounds((measured(200), Failure("did not start")))
    assert judge(found, "plaintext", "≥ 1", [PEER], 1.0).met is None
    assert judge(found, "plaintext", "≥ 1", ["granian"], 1.0).met is None


def test_the_rival_is_the_best_of_those_named() -> None:
    found: list[Round] = [
        {"plaintext": {"trioserve": measured(100), "a": measured(50), "b": measured(200)}}
    ]
    assert judge(found, "plaintext", "≥ 1", ["a", "b"], 1.0).measured.startswith("0.50 x")


def test_latency_is_judged_from_above() -> None:
    found = rounds((measured(1, cpu_us=10), measured(1, cpu_us=20)))
    assert latency_verdict(found, "plaintext", "p99", PEER, 1.0).met is True
    assert latency_verdict(found, "plaintext", "p99", PEER, 0.4).met is False


def test_a_limit_is_judged_by_the_median() -> None:
    assert limit_verdict("", Spread(10, 9, 12), 10, "KiB").met is True
    assert limit_verdict("", Spread(10.1, 9, 12), 10, "KiB").met is False
    assert limit_verdict("", None, 10, "KiB").met is None


def test_a_failing_server_has_its_row_and_its_reason() -> None:
    found = rounds((measured(100), Failure("did not start (exit code 1)")))
    servers = [SERVERS["trioserve"], SERVERS[PEER]]
    ours, theirs = load_table(WORKLOAD, servers, found).rows
    assert list(ours) == ["trioserve", "100", "1.00", "20.0", "1.00", "1.00", "40.00", "0"]
    assert list(theirs[1:7]) == ["—"] * 6
    assert theirs[7] == "did not start (exit code 1)"
