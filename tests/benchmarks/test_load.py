# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from benchmarks.core.load import LoadError, LoadResult, parse_wrk

OUTPUT = """\
Running 4s test @ http://127.0.0.1:8000/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.26ms  204.01us   8.90ms   88.08%
    Req/Sec    51.02k     2.50k   54.03k    80.00%
  Latency Distribution
     50%  500.00us
     75%    1.30ms
     90%    1.41ms
     99%    1.98ms
  203214 requests in 4.00s, 26.55MB read
Requests/sec:  50776.33
Transfer/sec:      6.63MB
"""


def test_totals_and_percentiles_are_read() -> None:
    assert parse_wrk(OUTPUT) == LoadResult(203214, 50776.33, 0.5, 1.98, 0)


@pytest.mark.parametrize(
    ("printed", "milliseconds"),
    [("1.98us", 0.00198), ("1.98ms", 1.98), ("1.98s", 1980.0), ("1.50m", 90_000.0)],
)
def test_latencies_are_milliseconds_whatever_the_unit(printed: str, milliseconds: float) -> None:
    result = parse_wrk(OUTPUT.replace("1.98ms", printed))
    assert result.p99_ms == pytest.approx(milliseconds)


def test_socket_errors_and_bad_statuses_are_added_up() -> None:
    bad = (
        "  Socket errors: connect 1, read 20, write 300, timeout 4000\n"
        "  Non-2xx or 3xx responses: 50000\n"
        "Requests/sec:"
    )
    assert parse_wrk(OUTPUT.replace("Requests/sec:", bad)).errors == 54321


def test_a_load_that_got_no_response_has_no_percentiles_to_speak_of() -> None:
    output = "  0 requests in 1.00s, 0.00B read\n  Socket errors: connect 64, read 0, write 0, "
    output += "timeout 0\nRequests/sec:      0.00\n"
    assert parse_wrk(output) == LoadResult(0, 0.0, None, None, 64)


@pytest.mark.parametrize("output", ["", "unable to connect to 127.0.0.1:1 Connection refused\n"])
def test_output_without_totals_is_an_error(output: str) -> None:
    with pytest.raises(LoadError, match="no totals"):
        parse_wrk(output)
