# SPDX-License-Identifier: MIT
"""What a worker weighs and imports, and that memory stays flat over many calls and long streams.

The suite runs a part of it; all of it runs with

    export TRIOSERVE_TEST_CALLS=100000 TRIOSERVE_TEST_STREAM_MIB=10240
    pytest tests/dirty/test_real_memory.py
"""

from __future__ import annotations

import contextlib
import os
import tomllib
from typing import TYPE_CHECKING, Final

import pytest
import trio

from tests.dirty.real_pool import APPS, PATIENCE, RealPool, open_pool
from tests.server_process import REPOSITORY
from trioserve.dirty import open_dirty_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from trioserve.dirty import DirtyClient

pytestmark = pytest.mark.slow  # each pool starts real processes; many calls, long streams

MIB: Final = 1 << 20
CALLS: Final = int(os.environ.get("TRIOSERVE_TEST_CALLS", 6_000))
STREAM_SIZE: Final = int(os.environ.get("TRIOSERVE_TEST_STREAM_MIB", 256)) * MIB

#: An app that imports nothing.
LIGHT_APP = """
class App:
    def init(self): pass
    def close(self): pass
    def __call__(self, action):
        import sys
        return sorted(sys.modules)
"""


def forbidden_modules() -> list[str]:
    """Of the HTTP wing, as pyproject.toml lists them for the dirty wing."""
    with open(REPOSITORY / "pyproject.toml", "rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    (contract,) = [
        contract
        for contract in contracts
        if "trioserve.dirty" in contract.get("source_modules", ())
    ]
    forbidden: list[str] = contract["forbidden_modules"]
    return forbidden


async def test_a_worker_imports_nothing_of_the_http_wing_and_weighs_at_most_30_mib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "light_app.py").write_text(LIGHT_APP)
    monkeypatch.syspath_prepend(tmp_path)
    async with open_pool("light_app:App", workers=1) as pool:
        (handle,) = pool.handles
        rss = handle.rss
        modules = await pool.client.execute("light_app:App", "modules")
    forbidden = forbidden_modules()
    assert "trioserve.server" in forbidden
    wing = [*forbidden, "trioserve.config", "trioserve.supervision", "h11", "h2", "httptools"]
    wing += [
        "cyclopts",
        "trio_websocket",
        "numpy",
        "trioserve.dirty.arbiter",
        "trioserve.dirty.pool",
    ]
    found = [name for name in modules if any(f"{name}.".startswith(f"{bad}.") for bad in wing)]
    assert found == []
    assert rss is not None
    if "coverage" not in modules:
        assert rss <= 30 * MIB


class Scale:
    """Weighs this process and a pool's workers, all the time.

    Attributes:
        heaviest: bytes that each has had at most since ``reset``, by process id.
    """

    def __init__(self, pool: RealPool) -> None:
        self._pids = [os.getpid(), *pool.ready_pids]
        self.heaviest: dict[int, int] = {}

    def reset(self) -> dict[int, int]:
        """Starts anew; what there is now."""
        self.heaviest = {pid: rss_of(pid) for pid in self._pids}
        return dict(self.heaviest)

    def weigh(self) -> None:
        for pid in self._pids:
            self.heaviest[pid] = max(self.heaviest[pid], rss_of(pid))

    async def run(self) -> None:
        while True:
            self.weigh()
            await trio.sleep(0.02)


def rss_of(pid: int) -> int:
    with open(f"/proc/{pid}/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.asynccontextmanager
async def weighing(pool: RealPool) -> AsyncIterator[Scale]:
    """A scale, around the block."""
    scale = Scale(pool)
    scale.reset()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scale.run)
        yield scale
        nursery.cancel_scope.cancel()


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")


@needs_proc
@pytest.mark.parametrize(("app", "actions"), [("Work", ("same", "asame")), ("SyncWork", ("same",))])
async def test_memory_is_flat_over_many_calls(app: str, actions: tuple[str, ...]) -> None:
    path = f"{APPS}:{app}"

    async def call(client: DirtyClient, count: int, action: str) -> None:
        for number in range(count):
            assert await client.execute(path, action, [number, "x" * 100]) == [number, "x" * 100]

    async def call_many(clients: list[DirtyClient], count: int) -> None:
        tasks = 32
        async with trio.open_nursery() as nursery:
            for number in range(tasks):
                action = actions[number // 2 % len(actions)]
                nursery.start_soon(call, clients[number % 2], count // tasks, action)

    async with (
        open_pool(app, workers=1) as pool,
        open_dirty_client(pool.path) as remote,
        weighing(pool) as scale,
    ):
        clients = [pool.client, remote]
        await call_many(clients, 2000)
        before = scale.reset()
        with trio.fail_after(PATIENCE + CALLS / 500):
            await call_many(clients, CALLS)
        scale.weigh()
        assert not pool.arbiter.pool._calls
    for pid, size in scale.heaviest.items():
        assert size - before[pid] < 4 * MIB


@needs_proc
@pytest.mark.parametrize(
    ("client_is", "app", "action"), [("beside", "SyncWork", "items"), ("behind", "Work", "aitems")]
)
async def test_memory_is_flat_over_a_long_stream_with_a_slow_reader(
    client_is: str, app: str, action: str
) -> None:
    chunk = 64 * 1024

    async def read(client: DirtyClient, count: int) -> None:
        async with client.stream(f"{APPS}:{app}", action, count, chunk, timeout=0) as items:
            number = 0
            async for item in items:
                assert len(item) == chunk
                number += 1
                if number % 256 == 0:  # while it sleeps the worker could send far more
                    await trio.sleep(0.01)
        assert number == count

    async with contextlib.AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(app, workers=1))
        client = pool.client
        if client_is == "behind":
            client = await stack.enter_async_context(open_dirty_client(pool.path))
        scale = await stack.enter_async_context(weighing(pool))
        await read(client, 200)
        before = scale.reset()
        with trio.fail_after(PATIENCE + STREAM_SIZE / (5 * MIB)):
            await read(client, STREAM_SIZE // 2 // chunk)
    for pid, size in scale.heaviest.items():
        assert size - before[pid] < 8 * MIB
