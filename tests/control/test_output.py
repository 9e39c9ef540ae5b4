# SPDX-License-Identifier: MIT
"""The status as text, and the screen of ``top``."""

from __future__ import annotations

import io
from typing import Any

import pytest
import trio
from rich.console import Console

from tests.control.fake_server import FakeControls, worker
from trioserve.control.output import done_text, latency_text, printable, status_text
from trioserve.control.rates import Quantile, compare
from trioserve.control.screen import make_lost_screen, make_screen


def statuses(count: int = 1) -> list[dict[str, Any]]:
    """What a fake server says, one look after the other."""
    controls = FakeControls()

    async def look() -> list[dict[str, Any]]:
        return [{**await controls.status(), "pid": 4000} for _ in range(count)]

    return trio.run(look)


def test_a_status_is_facts_and_tables() -> None:
    [status] = statuses()
    status["dirty"]["arbiter_pid"] = 4000
    assert (
        status_text(status)
        == """\
trioserve 9.9, process 4000 (shop): serving, up 1h01m

app       shop:app
serving   http://127.0.0.1:8000
workers   1 of 2
requests  1,050
open      10 connections, 3 requests in flight, 1 WebSocket
latency   p50 2.5 ms, p95 4.8 ms, p99 5.0 ms

WORKER   PID  STATE     UPTIME  HEARD  REQUESTS  CONNECTIONS  IN FLIGHT    MEMORY  RESTARTS  LAST END
     1  4001  serving    1h00m   0.5s       650            7          1  40.0 MiB         0  -
     2  4002  draining   1h00m   0.5s       400            3          1  40.0 MiB         0  -

dirty arbiter 4000: 1 worker

 PID  AGE  STATE  UPTIME  HEARD  RUNNING  CALLS  ERRORS    MEMORY  APPS
5001    1  ready   1h00m   0.2s        1     77       0  30.0 MiB  shop:Model

APP         WORKERS  QUEUED  RUNNING  CALLS  ERRORS  TIMEOUTS
shop:Model        1       6        1     77       0         0"""  # noqa: E501
    )


def test_a_server_that_is_one_process_says_so() -> None:
    [status] = statuses()
    status |= {"workers": [worker(0, 4000, heard=None)], "stats": None, "dirty": None, "name": None}
    lines = status_text(status).splitlines()
    assert lines[0] == "trioserve 9.9, process 4000: serving, up 1h01m"
    assert "workers  none: the server is one process" in lines
    assert lines[-1].split()[:5] == ["0", "4000", "serving", "1h00m", "-"]


def test_what_a_status_lacks_is_a_dash() -> None:
    assert status_text({}).startswith("trioserve -, process -: -, up -\n")


@pytest.mark.parametrize(
    ("latency", "expected"),
    [
        (None, "-"),
        (Quantile(0.00042), "0.4 ms"),
        (Quantile(0.25), "250 ms"),
        (Quantile(9.9), "9900 ms"),
        (Quantile(12.0), "12 s"),
        (Quantile(10.0, is_beyond=True), "> 10 s"),
    ],
)
def test_latencies_have_units(latency: Quantile | None, expected: str) -> None:
    assert latency_text(latency) == expected


def test_what_was_done_is_a_sentence() -> None:
    assert done_text("reload", {}) == "the reload has begun"
    assert done_text("add_workers", {"target_workers": 1}) == "workers are added; 1 is wanted now"
    assert (
        done_text("remove_workers", {"target_workers": 2, "reason": "one is left"})
        == "workers are removed; 2 are wanted now (one is left)"
    )
    assert done_text("reload", {"message": "reloaded 2 workers"}) == "reloaded 2 workers"


def test_nothing_is_printed_that_a_terminal_obeys() -> None:
    assert printable("a\x1b]0;b\x07\nc\u202ed") == "a�]0;b�\nc�d"


# -- the screen -------------------------------------------------------------------------------


def drawn(screen: Any, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(screen)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_the_screen_shows_rates_and_tables() -> None:
    before, now = statuses(2)
    lines = drawn(make_screen(now, compare(before, now, 2.0)), 120)
    assert lines[0] == "trioserve 9.9  pid 4000  serving 1h01m  shop:app  q quits"
    assert lines[1] == "http://127.0.0.1:8000"
    assert lines[3:7] == [
        "requests/s  25.0",
        "latency     p50 2.5 ms   p95 4.8 ms   p99 4.9 ms",
        "open        connections 10   in flight 3   WebSockets 1",
        "workers     1 of 2",
    ]
    assert lines[8].split()[:4] == ["WORKER", "PID", "STATE", "REQ/S"]
    assert lines[9].split()[:5] == ["1", "4001", "serving", "25.0", "700"]
    assert lines[10].split()[:5] == ["2", "4002", "draining", "0.0", "400"]
    assert lines[-1].split() == ["shop:Model", "6", "1", "77", "0", "0"]


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_narrow_screen_has_no_wider_and_no_more_lines(width: int) -> None:
    before, now = statuses(2)
    screen = make_screen(now, compare(before, now, 2.0))
    lines = drawn(screen, width)
    assert max(map(len, lines)) <= width
    assert len(lines) == len(drawn(screen, 120))


def test_all_columns_fit_into_80() -> None:
    before, now = statuses(2)
    lines = drawn(make_screen(now, compare(before, now, 2.0)), 80)
    assert not any("…" in line for line in lines)


def test_a_server_that_has_gone_is_said() -> None:
    lines = drawn(make_lost_screen("no server can be reached at /x", 65.0), 80)
    assert lines[:2] == ["The server does not answer for 1m05s", "no server can be reached at /x"]
