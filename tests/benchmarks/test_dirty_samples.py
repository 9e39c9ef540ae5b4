# SPDX-License-Identifier: MIT
from __future__ import annotations

import sys
import time

import pytest

from benchmarks.dirty import samples, values
from benchmarks.dirty.samples import CpuMeter, Sample


def test_a_load_of_calls_is_summed_up_in_the_fields_of_a_measurement() -> None:
    found = samples.of_calls(Sample([0.003, 0.001, 0.002], 0.5), cpu=0.03)
    assert found["requests"] == 3
    assert found["per_second"] == 6
    assert found["cpu_us"] == pytest.approx(10_000)
    assert found["p50_ms"] == pytest.approx(2)
    assert found["p99_ms"] == pytest.approx(3)


@pytest.mark.parametrize(
    ("count", "elapsed", "expected"),
    [(64, 0.01, 640), (64, 0.0001, 1024), (64, 0.0, 1024), (64, 100.0, 1)],
)
def test_the_next_stream_has_as_many_chunks_as_take_the_time(
    count: int, elapsed: float, expected: int
) -> None:
    assert samples.next_count(count, elapsed, seconds=0.1) == expected


def test_the_rollup_of_a_process_is_read() -> None:
    text = "7ffe00000000-7fff00000000 ---p 00000000 00:00 0 [rollup]\nRss:   1234 kB\nPss: 5 kB\n"
    assert samples.parse_rollup(text) == {"Rss": 1234, "Pss": 5}


def test_a_failure_is_said_without_paths_and_without_its_group() -> None:
    group = ExceptionGroup("some", [OSError("no /tmp/bench-1/socket here\nsecond line")])
    assert samples.of_failure(group) == {"failure": "OSError: no … here"}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_meter_counts_the_cpu_time_of_this_process() -> None:
    meter = CpuMeter()
    began = time.process_time()
    while time.process_time() - began < 0.02:
        pass
    assert 0.02 <= meter.spent() < 1


@pytest.mark.parametrize("name", ["0 B", "20 B", "1 MiB", "10 MiB", "floats", "array"])
def test_a_value_is_the_same_each_time_it_is_made(name: str) -> None:
    if name == "array":
        pytest.importorskip("numpy")
    assert values.is_same(values.value(name), values.value(name))


def test_a_value_of_another_type_is_not_the_same() -> None:
    sent = values.value("20 B")
    assert not values.is_same(sent, bytearray(sent))
    assert not values.is_same(sent, sent[:-1])
    with pytest.raises(KeyError):
        values.value("2 GiB")
