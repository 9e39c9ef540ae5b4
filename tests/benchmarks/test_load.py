# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from benchmarks.core.load import LoadError, LoadResult, parse_h2load, parse_wrk

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


H2LOAD = """\
starting benchmark...
spawning thread #0: 8 total client(s). 4000 total requests
Application protocol: h2c
progress: 100% done

finished in 664.25ms, 6021.79 req/s, 212.92KB/s
requests: 4000 total, 4000 started, 4000 done, 4000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 4000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 141.44KB (144832) total, 7.94KB (8128) headers (space savings 98.46%), 50.78KB data
                     min         max         mean         sd        +/- sd
time for request:      973us      1.25s     20.78ms      7.59ms    76.40%
time for connect:      120us       410us       235us        90us    75.00%
time to 1st byte:     8.88ms     45.03ms     30.72ms     13.20ms    50.00%
req/s           :     753.09      769.32      760.73        6.96    62.50%
"""
COUNTS = "4000 started, 4000 done, 4000 succeeded, 0 failed, 0 errored, 0 timeout"


def test_h2loads_totals_and_latencies_are_read() -> None:
    assert parse_h2load(H2LOAD) == LoadResult(4000, 6021.79, None, None, 0, 20.78, 1250.0)


@pytest.mark.parametrize(
    ("counts", "done", "errors"),
    [
        # a connection closed too early
        (
            "3000 started, 2900 done, 2890 succeeded, 1110 failed, 1100 errored, 0 timeout",
            2900,
            1110,
        ),
        # other statuses
        ("4000 started, 4000 done, 3990 succeeded, 10 failed, 0 errored, 0 timeout", 4000, 10),
        # silence
        ("4000 started, 3872 done, 3872 succeeded, 128 failed, 0 errored, 128 timeout", 3872, 128),
    ],
)
def test_all_that_did_not_succeed_over_http2_is_an_error(
    counts: str, done: int, errors: int
) -> None:
    result = parse_h2load(H2LOAD.replace(COUNTS, counts))
    assert (result.requests, result.errors) == (done, errors)


def test_a_server_that_is_not_there_answers_nothing() -> None:
    counts = "0 started, 0 done, 0 succeeded, 4000 failed, 4000 errored, 0 timeout"
    output = H2LOAD.replace("Application protocol: h2c\n", "").replace(COUNTS, counts)
    with pytest.raises(LoadError, match="did not speak HTTP/2 but nothing"):
        parse_h2load(output)


@pytest.mark.parametrize(
    ("said", "instead", "words"),
    [
        ("protocol: h2c", "protocol: http/1.1", "did not speak HTTP/2 but http/1.1"),
        ("finished in", "gave up in", "no totals"),
        ("requests: 4000", "requests: some", "no totals"),
        ("time for request", "time of request", "no totals"),
        ("4000 succeeded", "4001 succeeded", "contradict"),
        ("4000 started", "3999 started", "contradict"),
        ("0 errored", "7 errored", "contradict"),
    ],
)
def test_h2loads_words_are_taken_strictly(said: str, instead: str, words: str) -> None:
    assert said in H2LOAD
    with pytest.raises(LoadError, match=words):
        parse_h2load(H2LOAD.replace(said, instead))
