# SPDX-License-Identifier: MIT
from __future__ import annotations

import itertools
import logging
import re
import socket
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from gunicorn.config import Config as GunicornConfig
from gunicorn.instrument.statsd import Statsd
from hypothesis import given
from hypothesis import strategies as st

from trioserve.config import Config
from trioserve.metrics import Recorder
from trioserve.metrics.statsd import MAX_DATAGRAM, Difference, datagrams, run_statsd

from .statuses import busy_recorder, make_status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 30


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


def address_of(sock: socket.socket) -> str:
    host, port = sock.getsockname()
    return f"{host}:{port}"


async def receive(sock: socket.socket) -> list[str]:
    """The lines of the next datagram."""
    with trio.fail_after(PATIENCE):
        await trio.lowlevel.wait_readable(sock)
    return sock.recv(65536).decode().split("\n")


def run(recorder: Recorder, method: str, status: int, seconds: float) -> None:
    recorder.begin_exchange()
    recorder.end_exchange((method, status, seconds))


# -- differences ----------------------------------------------------------------------------


def test_figures_are_gunicorns() -> None:
    assert list(Difference().to(make_status(busy_recorder()))) == [
        "gunicorn.workers:3|g",
        "gunicorn.requests:4|c|@1.0",
        "gunicorn.request.duration:0.400|ms",
        "gunicorn.request.duration:1.000|ms",
        "gunicorn.request.duration:300.000|ms",
        "gunicorn.request.duration:70000.000|ms",
        "gunicorn.request.status.200:2|c|@1.0",
        "gunicorn.request.status.404:1|c|@1.0",
        "gunicorn.request.status.700:1|c|@1.0",
        "gunicorn.log.error:2|c|@1.0",
        "gunicorn.log.exception:1|c|@1.0",
    ]


def test_only_what_is_new_is_sent() -> None:
    recorder = busy_recorder()
    difference = Difference()
    list(difference.to(make_status(recorder)))
    assert list(difference.to(make_status(recorder))) == []
    run(recorder, "GET", 200, 0.002)
    run(recorder, "PUT", 200, 0.001)
    run(recorder, "GET", 201, 0.0025)
    recorder.logs["warning"] += 1
    assert list(difference.to(make_status(recorder))) == [
        "gunicorn.requests:3|c|@1.0",
        "gunicorn.request.duration:1.000|ms",
        "gunicorn.request.duration:2.250|ms|@0.5",
        "gunicorn.request.status.200:2|c|@1.0",
        "gunicorn.request.status.201:1|c|@1.0",
        "gunicorn.log.warning:1|c|@1.0",
    ]


def test_without_stats_only_the_workers_are_sent() -> None:
    assert list(Difference().to(make_status())) == ["gunicorn.workers:3|g"]


def test_what_was_counted_anew_is_sent_whole() -> None:
    difference = Difference()
    list(difference.to(make_status(busy_recorder())))
    anew = Recorder()
    run(anew, "GET", 200, 0.3)
    assert list(difference.to(make_status(anew))) == [
        "gunicorn.requests:1|c|@1.0",
        "gunicorn.request.duration:300.000|ms",
        "gunicorn.request.status.200:1|c|@1.0",
    ]


@given(st.lists(st.floats(0, 100), max_size=300))
def test_a_receiver_gets_the_count_and_the_sum_of_all_durations(durations: list[float]) -> None:
    recorder = Recorder()
    for seconds in durations:
        run(recorder, "GET", 200, seconds)
    count, total = 0, 0.0
    for figure in Difference().to(make_status(recorder)):
        match = re.fullmatch(r"gunicorn\.request\.duration:([\d.]+)\|ms(?:\|@(\S+))?", figure)
        if match:
            times = int(1 / float(match[2] or 1))  # as receivers do that cut it off
            count += times
            total += times * float(match[1]) / 1000
    assert count == len(durations)
    assert total == pytest.approx(sum(durations), abs=0.001 * len(durations))


@pytest.mark.parametrize("count", [*range(1, 200), 999, 12_345, 10**7 + 1])
def test_a_sample_rate_stands_for_exactly_as_many(count: int) -> None:
    recorder = Recorder()
    latency: dict[str, Any] = recorder.snapshot()
    latency["latency"]["counts"][0] = count
    status = {**make_status(), "stats": latency}
    (figure,) = [figure for figure in Difference().to(status) if "duration" in figure]
    rate = float(figure.partition("@")[2] or 1)
    assert int(1 / rate) == count
    assert 1 / rate == pytest.approx(count)


@given(st.lists(st.integers(1, 3000).map(lambda size: "x" * size)))
def test_datagrams_are_as_full_as_they_may_be(lines: list[str]) -> None:
    sent = list(datagrams(lines))
    assert [line for data in sent for line in data.decode().split("\n")] == lines
    for data in sent:
        assert len(data) <= MAX_DATAGRAM or b"\n" not in data
    for one, other in itertools.pairwise(sent):
        first = other.partition(b"\n")[0]
        assert len(one) + 1 + len(first) > MAX_DATAGRAM


# -- as gunicorn itself ---------------------------------------------------------------------


async def test_names_and_types_are_those_that_gunicorn_sends(receiver: socket.socket) -> None:
    settings = GunicornConfig()
    settings.set("statsd_host", address_of(receiver))
    settings.set("statsd_prefix", "my.app")
    settings.set("dogstatsd_tags", "env:test")
    theirs = Statsd(settings)
    theirs.access(
        SimpleNamespace(status="200 OK", headers=[], sent=1, response_length=1),
        SimpleNamespace(headers=[]),
        {},
        timedelta(seconds=0.25),
    )
    theirs.sock.close()
    expected = set()
    for _ in range(3):
        expected.update(await receive(receiver))
    recorder = Recorder()
    run(recorder, "GET", 200, 0.25)

    async def collect() -> dict[str, Any]:
        return make_status(recorder)

    config = Config(
        statsd_host=address_of(receiver), statsd_prefix="my.app", dogstatsd_tags="env:test"
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(run_statsd, config, collect)
        ours = await receive(receiver)
        nursery.cancel_scope.cancel()

    def normal(lines: set[str]) -> set[str]:
        return {re.sub(r":[\d.]+\|", ":N|", line) for line in lines}

    assert normal(expected) == {
        "my.app.gunicorn.requests:N|c|@1.0|#env:test",
        "my.app.gunicorn.request.duration:N|ms|#env:test",
        "my.app.gunicorn.request.status.200:N|c|@1.0|#env:test",
    }
    assert normal(expected) | {"my.app.gunicorn.workers:N|g|#env:test"} == normal(set(ours))


# -- the task -------------------------------------------------------------------------------


async def test_what_was_counted_is_sent_each_interval_and_at_the_end(
    receiver: socket.socket,
) -> None:
    recorder = Recorder()

    async def collect() -> dict[str, Any]:
        return make_status(recorder)

    config = Config(statsd_host=address_of(receiver))
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda **kw: run_statsd(config, collect, interval=0.05, **kw))
        assert await receive(receiver) == ["gunicorn.workers:3|g"]
        run(recorder, "GET", 200, 0.1)
        assert (await receive(receiver))[0] == "gunicorn.requests:1|c|@1.0"
        run(recorder, "GET", 500, 0.1)
        nursery.cancel_scope.cancel()
    lines = await receive(receiver)
    assert "gunicorn.request.status.500:1|c|@1.0" in lines


async def test_a_unix_socket_can_be_the_receiver(tmp_path: Path) -> None:
    path = str(tmp_path / "statsd.sock")

    async def collect() -> dict[str, Any]:
        return make_status(busy_recorder())

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.setblocking(False)
        async with trio.open_nursery() as nursery:
            await nursery.start(run_statsd, Config(statsd_host=f"unix:{path}"), collect)
            assert "gunicorn.requests:4|c|@1.0" in await receive(sock)
            nursery.cancel_scope.cancel()


async def test_figures_that_can_not_be_made_are_logged_once_and_tried_again(
    receiver: socket.socket, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("trioserve.error"), "propagate", True)
    caplog.set_level(logging.INFO, "trioserve.error")
    calls = 0

    async def collect() -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls < 4:
            raise KeyError("meant")
        return make_status()

    config = Config(statsd_host=address_of(receiver))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: run_statsd(config, collect, interval=0.01))
        assert await receive(receiver) == ["gunicorn.workers:3|g"]
        nursery.cancel_scope.cancel()
    assert [record.getMessage() for record in caplog.records] == [
        "there are no figures for statsd (KeyError: 'meant'); it is tried again",
        f"figures are sent to statsd at {address_of(receiver)} again",
    ]


@pytest.mark.parametrize("host", ["unix:/nowhere/at/all", "name.invalid:8125", "127.0.0.1:9"])
async def test_a_receiver_that_is_not_there_harms_nobody(
    host: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("trioserve.error"), "propagate", True)
    caplog.set_level(logging.INFO, "trioserve.error")
    collected = trio.Event()
    calls = 0
    recorder = Recorder()

    async def collect() -> dict[str, Any]:
        nonlocal calls
        calls += 1
        run(recorder, "GET", 200, 0.1)  # so that there is something to be sent
        if calls == 5:
            collected.set()
        return make_status(recorder)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            config = Config(statsd_host=host)
            nursery.start_soon(lambda: run_statsd(config, collect, interval=0.01))
            await collected.wait()
            nursery.cancel_scope.cancel()
    complaints = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert all("statsd at " + host in record.getMessage() for record in complaints)
    assert complaints or host == "127.0.0.1:9"
    if host.startswith("unix:"):
        assert len(complaints) == 1
    assert len(caplog.records) <= 1  # every other datagram seems to be sent where nobody listens


async def test_a_collection_that_hangs_ends_with_the_task(
    receiver: socket.socket, autojump_clock: trio.testing.MockClock
) -> None:
    async def collect() -> dict[str, Any]:
        await trio.sleep_forever()
        raise AssertionError

    began = trio.current_time()
    with trio.move_on_after(3):
        await run_statsd(Config(statsd_host=address_of(receiver)), collect)
    assert trio.current_time() - began == pytest.approx(4)
