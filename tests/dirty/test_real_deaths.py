# SPDX-License-Identifier: MIT
"""Workers that die, hang or can't start, as real processes: who is told what, and what goes on."""

from __future__ import annotations

import collections
import contextlib
import os
import random
import re
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.dirty.real_pool import APPS, PATIENCE, Gate, RealPool, exists, open_pool, until
from trioserve.dirty import (
    DirtyNoWorkersAvailableError,
    DirtyTimeoutError,
    DirtyWorkerError,
    open_dirty_client,
)
from trioserve.supervision import RespawnPolicy

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from trioserve.dirty import DirtyStream

pytestmark = pytest.mark.slow  # each pool starts real processes: a Python with Trio each

WORK = f"{APPS}:Work"


@pytest.fixture
def tireless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are started again at once, however often they die."""
    policy = partial(RespawnPolicy, initial_delay=0.001, factor=1, max_restarts=10**6)
    monkeypatch.setattr("trioserve.dirty.arbiter.RespawnPolicy", policy)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that can't start is tried twice, then every minute."""
    policy = partial(RespawnPolicy, initial_delay=0.01, max_delay=60, max_restarts=1)
    monkeypatch.setattr("trioserve.dirty.arbiter.RespawnPolicy", policy)


class Outcome:
    """What becomes of a call that runs in the background."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.value: Any = None
        self.ended = trio.Event()

    async def run(self, call: Callable[..., Awaitable[Any]], *args: Any) -> None:
        try:
            self.value = await call(*args)
        except Exception as exc:
            self.error = exc
        self.ended.set()

    async def wait(self) -> Any:
        """The result, or the error."""
        with trio.fail_after(PATIENCE):
            await self.ended.wait()
        return self.value if self.error is None else self.error


def begin(nursery: trio.Nursery, call: Callable[..., Awaitable[Any]], *args: Any) -> Outcome:
    """Starts a call in the background."""
    outcome = Outcome()
    nursery.start_soon(outcome.run, call, *args)
    return outcome


# -- death in the middle of a call ----------------------------------------------------------


@pytest.mark.usefixtures("tireless")
async def test_a_call_whose_worker_dies_fails_at_once_and_names_the_exit_code_or_signal() -> None:
    async with open_pool(workers=1) as pool, open_dirty_client(pool.path) as remote:
        for client, action, how in [
            (pool.client, ("exit", 7), "exit code 7"),
            (remote, ("exit", 7), "exit code 7"),
            (pool.client, ("aexit", 0), "exit code 0"),
            (remote, ("kill", signal.SIGKILL), "killed by SIGKILL (9)"),
            (pool.client, ("kill", signal.SIGSEGV), "killed by SIGSEGV (11)"),
        ]:
            (pid,) = await pool.until_ready()
            with trio.fail_after(PATIENCE), pytest.raises(DirtyWorkerError) as caught:
                await client.execute(WORK, *action)
            what = f"worker {pid} ended ({how}) while it ran '{action[0]}' of '{WORK}'"
            assert (str(caught.value), caught.value.worker_id) == (what, pid)
        assert await remote.execute(WORK, "add", 1, 2) == 3  # by the respawn


@pytest.mark.usefixtures("tireless")
async def test_a_worker_killed_from_outside_fails_what_it_runs_and_others_serve_what_waits(
    gate: Gate,
) -> None:
    async with open_pool(workers=2) as pool, trio.open_nursery() as nursery:
        pids = set(pool.ready_pids)
        visit = partial(pool.client.execute, WORK, "visit", gate.path)
        running = {number: begin(nursery, visit, number) for number in range(2)}
        visits = await gate.visits(2)
        assert {met.pid for met in visits} == pids
        waiting = [begin(nursery, visit, number) for number in range(2, 8)]
        await pool.until_queued(6)
        visits[0].kill()
        error = await running.pop(visits[0].words[0]).wait()
        assert isinstance(error, DirtyWorkerError)
        assert "killed by SIGKILL (9)" in str(error)
        await visits[1].release("the other")
        (other,) = running.values()
        assert await other.wait() == "the other"
        served_by = set()
        for _ in waiting:
            met = await gate.visit()
            served_by.add(met.pid)
            await met.release(f"{met.words[0]}")
        assert [await outcome.wait() for outcome in waiting] == ["2", "3", "4", "5", "6", "7"]
        assert visits[1].pid in served_by
        assert visits[0].pid not in served_by


@pytest.mark.usefixtures("tireless")
async def test_what_waits_for_the_only_worker_is_served_by_its_respawn(gate: Gate) -> None:
    async with open_pool(workers=1) as pool, trio.open_nursery() as nursery:
        running = begin(nursery, pool.client.execute, WORK, "visit", gate.path)
        met = await gate.visit()
        waiting = [begin(nursery, pool.client.execute, WORK, "add", n, 1) for n in range(10)]
        await pool.until_queued(10)
        met.kill()
        assert isinstance(await running.wait(), DirtyWorkerError)
        assert [await outcome.wait() for outcome in waiting] == list(range(1, 11))


@pytest.mark.usefixtures("tireless")
async def test_a_stream_whose_worker_dies_gives_what_had_come_and_then_the_error(
    gate: Gate,
) -> None:
    async with open_pool(workers=1) as pool, open_dirty_client(pool.path) as remote:
        for client in (pool.client, remote):
            for action in ("numbers", "anumbers"):
                await pool.until_ready()
                async with client.stream(WORK, action, gate.path) as items:
                    met = await gate.visit()
                    numbers = [await anext(items) for _ in range(100)]
                    met.kill()
                    with (
                        trio.fail_after(PATIENCE),
                        pytest.raises(DirtyWorkerError, match="SIGKILL"),
                    ):
                        await read_all(items, numbers)
                assert numbers == list(range(len(numbers)))


@pytest.mark.usefixtures("tireless")
@pytest.mark.parametrize("app", ["Work", "SyncWork"])
async def test_the_death_of_a_worker_is_seen_though_a_process_that_it_forked_lives_on(
    app: str, gate: Gate
) -> None:
    path = f"{APPS}:{app}"
    async with open_pool(app, workers=1, threads=2) as pool, trio.open_nursery() as nursery:
        await pool.client.execute(path, "fork", gate.path)
        fork = await gate.visit()
        running = begin(nursery, pool.client.execute, path, "visit", gate.path)
        met = await gate.visit()
        assert met.pid != fork.pid
        met.kill()
        assert isinstance(await running.wait(), DirtyWorkerError)
        assert await pool.client.execute(path, "pid") not in (met.pid, fork.pid)
        await fork.release()
        await fork.gone()


async def read_all(items: DirtyStream, into: list[Any]) -> None:
    async for item in items:
        into.append(item)  # noqa: PERF401  those before an error count


@pytest.mark.usefixtures("tireless")
async def test_all_calls_of_a_dead_worker_fail_and_those_of_others_go_on(gate: Gate) -> None:
    async with open_pool("Work", "Threads", workers=2) as pool, trio.open_nursery() as nursery:
        calls = {}
        for number in range(6):
            app = f"{APPS}:Threads"
            calls[number] = begin(nursery, pool.client.execute, app, "visit", gate.path, number)
        for number in range(6, 10):
            calls[number] = begin(nursery, pool.client.execute, WORK, "avisit", gate.path, number)
        visits = await gate.visits(10)
        dead = visits[0].pid
        visits[0].kill()
        for met in visits:
            if met.pid == dead:
                assert isinstance(await calls[met.words[0]].wait(), DirtyWorkerError)
            else:
                await met.release("well")
                assert await calls[met.words[0]].wait() == "well"
        assert {met.pid for met in visits} == {dead, *visits_of_others(visits, dead)}


def visits_of_others(visits: list[Any], dead: int) -> set[int]:
    others = {met.pid for met in visits if met.pid != dead}
    assert len(others) == 1
    return others


@pytest.mark.usefixtures("tireless")
async def test_a_worker_killed_while_it_starts_is_started_again_and_the_call_waits(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_GATE", gate.path)
    async with trio.open_nursery() as nursery, open_pool("Slow", workers=1, ready=False) as pool:
        call = begin(nursery, pool.client.execute, f"{APPS}:Slow", "pid")
        first = await gate.visit()
        assert first.words == ["init"]
        first.kill()
        second = await gate.visit()
        await second.release()
        assert await call.wait() == second.pid != first.pid
        nursery.start_soon(release_next, gate)  # when the pool ends, it is let close


async def release_next(gate: Gate) -> None:
    met = await gate.visit()
    assert met.words == ["close"]
    await met.release()


# -- hanging --------------------------------------------------------------------------------


async def test_a_hung_sync_action_is_killed_after_dirty_timeout_and_its_worker_respawned(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trioserve.dirty.pool._CANCEL_TIME", 0.5)
    async with (
        open_pool(workers=1, timeout=0.5) as pool,
        open_dirty_client(pool.path) as remote,
        trio.open_nursery() as nursery,
    ):
        for client in (pool.client, remote):
            (pid,) = await pool.until_ready()
            call = begin(nursery, client.execute, WORK, "visit", gate.path)
            met = await gate.visit()
            error = await call.wait()
            assert type(error) is DirtyTimeoutError
            assert error.timeout == 0.5
            await met.gone()  # the process, that is: nobody has let the action go on
            await pool.until_replaced(pid)
            assert [await client.execute(WORK, "pid")] == pool.ready_pids
        assert pool.arbiter._slots[0].supervisor.restarts == 0  # its own doing is no failure


async def test_a_generator_past_dirty_timeout_ends_at_its_next_item_and_kills_no_innocent(
    gate: Gate,
) -> None:
    async with open_pool(workers=1, threads=2, timeout=1) as pool, trio.open_nursery() as nursery:
        (pid,) = pool.ready_pids

        async def read() -> None:
            async with pool.client.stream(WORK, "numbers", gate.path, 0.01) as numbers:
                async for _ in numbers:
                    pass

        reading = begin(nursery, read)
        generator = await gate.visit()
        await trio.sleep(0.5)
        innocent = begin(nursery, pool.client.execute, WORK, "sleep", 0.8)
        words = await generator.hear()
        assert words is not None
        assert words[0] == "closed"
        assert type(await reading.wait()) is DirtyTimeoutError
        assert await innocent.wait() == 0.8
        # An action that asks is not killed, either.
        with pytest.raises(DirtyTimeoutError):
            await pool.client.execute(WORK, "watch", gate.path)
        assert await (await gate.visit()).hear() == ["cancelled"]
        await pool.until_idle()
        assert pool.ready_pids == [pid]


async def test_a_caller_may_be_less_patient_than_dirty_timeout_and_kills_nothing(
    gate: Gate,
) -> None:
    async with open_pool(workers=1) as pool, trio.open_nursery() as nursery:
        with pytest.raises(DirtyTimeoutError, match=r"did not end within 0\.2 s"):
            await pool.client.execute(WORK, "visit", gate.path, timeout=0.2)
        met = await gate.visit()
        waiting = begin(nursery, partial(pool.client.execute, timeout=0.2), WORK, "pid")
        error = await waiting.wait()
        assert "waited 0.2 s for a worker" in str(error)  # its thread is still taken
        await met.release()
        assert await pool.client.execute(WORK, "pid") == met.pid


async def test_an_async_action_is_cancelled_at_dirty_timeout_and_killed_if_it_ignores_that(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trioserve.dirty.pool._CANCEL_TIME", 0.3)
    async with open_pool(workers=1, timeout=0.5) as pool:
        (pid,) = pool.ready_pids
        with pytest.raises(DirtyTimeoutError):
            await pool.client.execute(WORK, "avisit", gate.path)
        met = await gate.visit()
        assert await met.hear() == ["cancelled"]
        await pool.until_idle()
        assert await pool.client.execute(WORK, "pid") == pid
        with pytest.raises(DirtyTimeoutError):
            await pool.client.execute(WORK, "stubborn", gate.path)
        met = await gate.visit()
        await met.gone()
        await pool.until_replaced(pid)
        assert not exists(pid)


async def test_an_apps_own_timeout_goes_before_dirty_timeout_shorter_or_longer(gate: Gate) -> None:
    async with open_pool("Short", "Patient", workers=1, threads=2, timeout=1) as pool:
        with trio.fail_after(PATIENCE), pytest.raises(DirtyTimeoutError) as caught:
            await pool.client.execute(f"{APPS}:Short", "asleep", 60)
        assert caught.value.timeout == 0.5
        (pid,) = pool.ready_pids
        async with open_dirty_client(pool.path) as remote, trio.open_nursery() as nursery:
            for client in (pool.client, remote):
                for action in ("sleep", "asleep"):
                    nursery.start_soon(client.execute, f"{APPS}:Patient", action, 1.3)
        assert pool.ready_pids == [pid]


async def test_a_dirty_timeout_of_0_is_off(gate: Gate) -> None:
    async with (
        open_pool(workers=1, timeout=0) as pool,
        open_dirty_client(pool.path) as remote,
        trio.open_nursery() as nursery,
    ):
        for client in (pool.client, remote):
            for timeout in (None, 0):
                call = partial(client.execute, timeout=timeout)
                outcome = begin(nursery, call, WORK, "visit", gate.path)
                met = await gate.visit()
                await trio.sleep(0.05)
                assert not outcome.ended.is_set()
                await met.release("well")
                assert await outcome.wait() == "well"
        assert pool.arbiter.pool.next_sweep == float("inf")


# -- failing to start -----------------------------------------------------------------------

BROKEN = {
    "NoStart": ["could not be initialised", "RuntimeError: the model file is missing"],
    "ExitsAtStart": ["could not be initialised", "SystemExit: no licence"],
    "LeavesSilently": ["could not be initialised", "LeavingError: its message can't be had"],
    "OddAtStart": ["could not be initialised", r"OddError: bad \udc80 text"],
    "Nowhere": ['has no attribute "Nowhere"'],
    "tests.dirty.nowhere:App": ['there is no module "tests.dirty.nowhere"'],
    "DiesAtStart": ["exit code 9"],
}


@pytest.mark.parametrize("app", BROKEN)
@pytest.mark.usefixtures("impatient")
async def test_a_worker_that_cannot_start_is_tried_ever_later_then_degraded_with_its_reason(
    app: str, records: list[logging.LogRecord]
) -> None:
    path = app if ":" in app else f"{APPS}:{app}"
    async with open_pool(app, workers=1, ready=False) as pool, trio.open_nursery() as nursery:
        waiting = begin(nursery, pool.client.execute, path, "echo")
        error = await waiting.wait()
        assert type(error) is DirtyNoWorkersAvailableError
        with pytest.raises(DirtyNoWorkersAvailableError, match="its last ones failed"):
            await pool.client.execute(path, "echo")
        status = await pool.client.status()
        (degraded,) = status["degraded"]
        assert degraded["slot"] == 1
        for words in BROKEN[app]:
            assert words in degraded["last_end"]
        assert (status["restarts"], status["workers"]) == (2, [])
    said = [record.getMessage() for record in records]
    delays = [float(m[1]) for line in said if (m := re.search(r"again in ([\d.]+) s", line))]
    assert delays == [0.01, 60]
    assert any("is degraded" in line for line in said)
    if app == "NoStart":  # the traceback is in the log
        assert any("in init\n    raise RuntimeError(" in line for line in said)


@pytest.mark.usefixtures("impatient")
async def test_a_module_that_does_not_compile_is_reported_with_the_place(
    records: list[logging.LogRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "misspelt.py").write_text("class App:\n    def init(self) return\n")
    monkeypatch.syspath_prepend(tmp_path)
    async with open_pool("misspelt:App", workers=1, ready=False) as pool:
        with pytest.raises(DirtyNoWorkersAvailableError):
            await pool.client.execute("misspelt:App", "echo")
        (degraded,) = (await pool.client.status())["degraded"]
        assert "SyntaxError" in degraded["last_end"]
    assert any('misspelt.py", line 2' in record.getMessage() for record in records)


@pytest.mark.usefixtures("impatient")
async def test_a_degraded_pool_recovers_by_a_reload_when_what_it_lacked_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = tmp_path / "version"
    version.write_text("broken")
    monkeypatch.setenv("TEST_VERSION", str(version))
    path = f"{APPS}:Versioned"
    async with open_pool("Versioned", workers=1, ready=False) as pool:
        with pytest.raises(DirtyNoWorkersAvailableError):
            await pool.client.execute(path, "get")
        version.write_text("1")
        pool.arbiter.reload()
        await pool.until_ready()
        assert await pool.client.execute(path, "get") == "1"
        assert (await pool.client.status())["degraded"] == []


async def test_a_worker_that_takes_too_long_to_start_is_killed(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, records: list[logging.LogRecord]
) -> None:
    monkeypatch.setenv("TEST_GATE", gate.path)
    async with open_pool("Slow", workers=1, startup_timeout=1.0, ready=False) as pool:
        met = await gate.visit()
        await met.gone()
        reason = "it was not ready within 1 s (dirty_startup_timeout)"
        await until(lambda: any(reason in record.getMessage() for record in records))
        (supervisor,) = [slot.supervisor for slot in pool.arbiter._slots]
        assert reason in str(supervisor.last_end)


# -- many calls and many deaths -------------------------------------------------------------

CALLS, CALLERS, KILLS = 1000, 24, 8


@pytest.mark.usefixtures("tireless")
@pytest.mark.parametrize(
    ("client_is", "app"), [("beside the pool", "SyncJournal"), ("behind the socket", "Journal")]
)
async def test_1000_calls_with_random_kills_each_end_in_their_result_or_the_right_error(
    client_is: str, app: str, tmp_path: Path
) -> None:
    """… and none runs twice."""
    chance = random.Random(17)
    journal = str(tmp_path / "journal")
    outcomes: collections.Counter[str] = collections.Counter()
    numbers = iter(range(CALLS))
    kills = 0

    async with contextlib.AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(app, workers=2, threads=2))
        client = pool.client
        if client_is == "behind the socket":
            client = await stack.enter_async_context(open_dirty_client(pool.path))
        path = f"{APPS}:{app}"

        async def call(number: int) -> None:
            action = ("write", "awrite", "items")[number % 3]
            if app == "SyncJournal":
                action = action.removeprefix("a")
            duration = chance.choice([0, 0, 0, 0.001, 0.01])
            try:
                if action == "items":
                    async with client.stream(path, action, journal, number, duration) as items:
                        result = [item async for item in items]
                else:
                    result = [await client.execute(path, action, journal, number, duration)] * 3
            except DirtyWorkerError as exc:
                outcomes[str(exc).partition("(")[2].partition(" while")[0]] += 1
            else:
                assert result == [number] * 3
                outcomes["result"] += 1

        async def go_on_calling() -> None:
            nonlocal kills
            for number in numbers:
                if number % (CALLS // KILLS) == 50:
                    kills += 1
                    await kill_one(pool, chance)
                await call(number)

        with trio.fail_after(4 * PATIENCE):
            async with trio.open_nursery() as nursery:
                for _ in range(CALLERS):
                    nursery.start_soon(go_on_calling)
        assert outcomes.total() == CALLS
        assert outcomes.keys() == {"result", "killed by SIGKILL (9))"}
        assert kills == KILLS
        assert outcomes["result"] >= CALLS - kills * CALLERS
        await pool.until_idle()
        ran = (await trio.Path(journal).read_text()).split()
        assert len(ran) == len(set(ran))
        assert len(ran) >= outcomes["result"]


async def kill_one(pool: RealPool, chance: random.Random) -> None:
    await pool.until_ready()
    with contextlib.suppress(ProcessLookupError):
        os.kill(chance.choice(pool.ready_pids), signal.SIGKILL)
