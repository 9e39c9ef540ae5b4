# SPDX-License-Identifier: MIT
"""Our clients with gunicorn's own arbiter and workers.

What its arbiter can't do is said, not hidden: it answers an unknown app by NoWorkersAvailable, has
no operations of ours, and lets an action run on whose caller has gone.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.dirty.interop.requirements import need_gunicorn
from trioserve.dirty import BlockingDirtyClient, blocking_connection, open_dirty_client
from trioserve.dirty.errors import (
    DirtyAppError,
    DirtyError,
    DirtyNoWorkersAvailableError,
    DirtyTimeoutError,
    StashTableNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from trioserve.dirty import DirtyClient

need_gunicorn()

#: The arbiter's process and its workers take a second to start, once for all tests.
pytestmark = pytest.mark.slow

ECHO = "tests.dirty.interop.gunicorn_apps:Echo"
VALUE: Any = {"a": [None, True, -(1 << 63), 1.5, "grüße", b"\x00\xff" * 50_000, {"b": []}]}


@pytest.fixture
async def client(gunicorn_socket: str) -> AsyncIterator[DirtyClient]:
    async with open_dirty_client(gunicorn_socket, timeout=20) as client:
        yield client


@pytest.fixture
def blocking(gunicorn_socket: str) -> Iterator[BlockingDirtyClient]:
    with BlockingDirtyClient(gunicorn_socket, timeout=20) as client:
        yield client


# -- DirtyClient --------------------------------------------------------------------------------


async def test_execute(client: DirtyClient) -> None:
    assert await client.execute(ECHO, "echo", VALUE, k=VALUE) == [[VALUE], {"k": VALUE}]
    data = os.urandom(1 << 20) * 8
    assert await client.execute(ECHO, "echo", data) == [[data], {}]


async def test_errors(client: DirtyClient) -> None:
    with pytest.raises(DirtyAppError, match="as asked") as caught:
        await client.execute(ECHO, "fail")
    assert (caught.value.app_path, caught.value.action) == (ECHO, "fail")
    assert "gunicorn_apps.py" in caught.value.traceback
    assert "gunicorn_apps.py" in caught.value.__notes__[0]
    with pytest.raises(DirtyNoWorkersAvailableError):
        await client.execute("no:App", "run")


async def test_stream(client: DirtyClient) -> None:
    async with client.stream(ECHO, "count", 500) as items:
        assert [item async for item in items] == list(range(500))
    async with client.stream(ECHO, "blocks", 100, 50_000) as items:
        assert len([item async for item in items]) == 100
    async with client.stream(ECHO, "echo", 1) as items:
        assert [item async for item in items] == [[[1], {}]]
    async with client.stream(ECHO, "fail_after", 2) as items:
        assert [await anext(items), await anext(items)] == [0, 1]
        with pytest.raises(DirtyAppError, match="as asked"):
            await anext(items)
    with pytest.raises(DirtyAppError, match="is a generator"):
        await client.execute(ECHO, "count", 1)


async def test_a_stream_left_and_a_call_cancelled_leave_the_next_call_its_own_reply(
    client: DirtyClient,
) -> None:
    async with client.stream(ECHO, "count", 20) as items:
        assert await anext(items) == 0
    with trio.move_on_after(0.05):
        await client.execute(ECHO, "nap", 0.1)
    with pytest.raises(DirtyTimeoutError):
        await client.execute(ECHO, "nap", 0.2, timeout=0.05)
    for number in range(10):
        assert await client.execute(ECHO, "echo", number) == [[number], {}]


async def test_concurrent_calls(client: DirtyClient) -> None:
    async def call(number: int) -> None:
        assert await client.execute(ECHO, "echo", number) == [[number], {}]
        async with client.stream(ECHO, "count", number) as items:
            assert [item async for item in items] == list(range(number))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(call, number)


async def test_status(client: DirtyClient) -> None:
    status = await client.status()
    assert status["apps"] == [ECHO]
    assert status["worker_count"] == len(status["workers"])


async def test_the_stash(client: DirtyClient) -> None:
    stash = client.stash
    await stash.delete_table("theirs")
    assert await stash.get("theirs", "k", 5) == 5
    with pytest.raises(StashTableNotFoundError):
        await stash.info("theirs")
    await stash.ensure("theirs")
    await stash.put("theirs", "k", VALUE)
    await stash.put("theirs", "none", None)
    assert await stash.get("theirs", "k") == VALUE
    assert await stash.get("theirs", "none", 5) is None
    assert await stash.get("theirs", "missing", 5) == 5
    assert await stash.exists("theirs", "k")
    assert not await stash.exists("theirs", "missing")
    assert await stash.keys("theirs", "n*") == ["none"]
    assert await stash.delete("theirs", "k")
    assert not await stash.delete("theirs", "k")
    assert "theirs" in await stash.tables()
    await stash.clear("theirs")
    assert await stash.info("theirs") == {"size": 0, "table": "theirs"}
    assert await stash.delete_table("theirs")


async def test_operations_that_only_our_stash_has_are_errors(client: DirtyClient) -> None:
    with pytest.raises(DirtyError, match="Unknown stash operation: 32"):
        await client.stash.incr("theirs", "n")
    with pytest.raises(DirtyError, match="Unknown stash operation: 39"):
        async with client.stash.watch("theirs"):
            pass


# -- BlockingDirtyClient ------------------------------------------------------------------------


def test_blocking_execute(blocking: BlockingDirtyClient) -> None:
    assert blocking.execute(ECHO, "echo", VALUE, k=VALUE) == [[VALUE], {"k": VALUE}]
    with pytest.raises(DirtyAppError, match="as asked"):
        blocking.execute(ECHO, "fail")
    with pytest.raises(DirtyNoWorkersAvailableError):
        blocking.execute("no:App", "run")
    assert len(blocking._idle) == 1  # one connection for all of them


def test_blocking_stream(blocking: BlockingDirtyClient) -> None:
    with blocking.stream(ECHO, "count", 500) as items:
        assert list(items) == list(range(500))
    with blocking.stream(ECHO, "blocks", 100, 50_000) as items:
        assert len(list(items)) == 100
    with blocking.stream(ECHO, "count", 20) as items:
        assert next(items) == 0
    assert blocking.execute(ECHO, "echo", 1) == [[1], {}]


def test_blocking_timeout(blocking: BlockingDirtyClient, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its arbiter knows no timeout of a call: nothing is gained by the time for its own word.
    monkeypatch.setattr(blocking_connection, "_TIMEOUT_MARGIN", 0)
    with pytest.raises(DirtyTimeoutError, match=r"within 0\.05 s"):
        blocking.execute(ECHO, "nap", 1.0, timeout=0.05)
    assert blocking.execute(ECHO, "echo", 1) == [[1], {}]


def test_blocking_threads(blocking: BlockingDirtyClient) -> None:
    def work(number: int) -> Any:
        return blocking.execute(ECHO, "echo", number)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, range(40))) == [[[number], {}] for number in range(40)]


def test_blocking_status_manage_and_stash(blocking: BlockingDirtyClient) -> None:
    before = blocking.status()["worker_count"]
    added = blocking.manage("add")
    assert (added["success"], added["spawned"], added["total_workers"]) == (True, 1, before + 1)
    table = blocking.stash.table("theirs-blocking")
    table["k"] = VALUE
    assert table["k"] == VALUE
    assert "k" in table
    assert len(table) == 1
    with pytest.raises(KeyError):
        table["missing"]
    del table["k"]
    assert len(table) == 0
