# SPDX-License-Identifier: MIT
"""gunicorn's own DirtyClient and stash, unchanged, with our arbiter."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.dirty.interop.requirements import need_gunicorn
from tests.dirty.test_blocking_client import wait_for_event
from trioserve.dirty import BlockingDirtyClient

need_gunicorn()

from gunicorn.dirty import (  # noqa: E402 (skipped without it)
    DirtyAppError,
    DirtyClient,
    DirtyError,
    DirtyTimeoutError,
    StashClient,
    StashError,
    StashTableNotFoundError,
    errors,
    stash,
)
from gunicorn.dirty.protocol import DirtyProtocol, make_manage_message  # noqa: E402
from gunicorn.dirty.stash import set_stash_socket_path  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The arbiter's process and its workers take a second to start, once for all tests.
pytestmark = pytest.mark.slow

ECHO = "tests.dirty.socket_apps:Echo"

VALUES = [
    None,
    True,
    0,
    -(1 << 63),
    (1 << 63) - 1,
    1.5,
    "",
    "grüße",
    b"",
    b"\x00\xff" * 50_000,
    [],
    [1, [2, [3]]],
    {},
    {"a": {"b": [None, b"c"]}},
]


@pytest.fixture
def client(arbiter_socket: str) -> Iterator[Any]:
    with DirtyClient(arbiter_socket) as client:
        yield client


# -- calls, blocking --------------------------------------------------------------------------


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{value!r:.20}")
def test_each_kind_of_value_goes_there_and_back(client: Any, value: Any) -> None:
    assert client.execute(ECHO, "echo", value, key=value) == [[value], {"key": value}]
    assert client.execute(ECHO, "aecho", value) == value


def test_large_values_go_there_and_back(client: Any) -> None:
    data = os.urandom(1 << 20) * 10
    assert client.execute(ECHO, "aecho", data) == data
    assert len(client.execute(ECHO, "make", 20 << 20)) == 20 << 20


def test_an_error_has_its_class_and_its_details(client: Any) -> None:
    with pytest.raises(DirtyAppError, match="as asked") as app_error:
        client.execute(ECHO, "fail")
    assert (app_error.value.app_path, app_error.value.action) == (ECHO, "fail")
    assert "socket_apps.py" in app_error.value.traceback
    with pytest.raises(errors.DirtyAppNotFoundError) as not_found:
        client.execute("no:App", "run")
    assert not_found.value.app_path == "no:App"
    with pytest.raises(DirtyAppError, match="has no action 'nope'"):
        client.execute(ECHO, "nope")
    with pytest.raises(DirtyAppError, match="has no action"):
        client.execute(ECHO, "_private")
    assert client.execute(ECHO, "aecho", 1) == 1


def test_a_killed_worker_is_an_error_at_once(client: Any) -> None:
    with pytest.raises(errors.DirtyWorkerError) as caught:
        client.execute(ECHO, "die")
    assert isinstance(caught.value.worker_id, int)
    assert client.execute(ECHO, "aecho", 1) == 1


def test_a_stream_gives_the_items(client: Any) -> None:
    for action in ("count", "acount"):
        assert list(client.stream(ECHO, action, 1000)) == list(range(1000))
    blocks = client.stream(ECHO, "blocks", 200, 50_000)  # far more than is under way
    assert [block[:4] for block in blocks] == [number.to_bytes(4, "big") for number in range(200)]
    received = []
    with pytest.raises(DirtyAppError, match="as asked"):  # noqa: PT012
        for item in client.stream(ECHO, "fail_after", 3):
            received.append(item)  # noqa: PERF402
    assert received == [0, 1, 2]
    assert client.execute(ECHO, "aecho", 1) == 1


def test_a_client_that_is_closed_ends_its_stream(client: Any, arbiter_socket: str) -> None:
    stream = client.stream(ECHO, "rows_until_left", "gunicorn-left")
    assert [next(stream) for _ in range(5)] == list(range(5))
    client.close()
    with BlockingDirtyClient(arbiter_socket) as ours:
        wait_for_event(ours, "gunicorn-left", "closed")


def test_its_timeout_cancels_the_action(arbiter_socket: str) -> None:
    with DirtyClient(arbiter_socket, timeout=0.3) as client, pytest.raises(DirtyTimeoutError):
        client.execute(ECHO, "hang", "gunicorn-timeout")
    with BlockingDirtyClient(arbiter_socket) as ours:
        wait_for_event(ours, "gunicorn-timeout", "cancelled")


def test_threads_call_at_the_same_time(arbiter_socket: str) -> None:
    def work(number: int) -> None:
        with DirtyClient(arbiter_socket) as client:
            for index in range(30):
                assert client.execute(ECHO, "echo", number, index) == [[number, index], {}]
                assert list(client.stream(ECHO, "count", index)) == list(range(index))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))


# -- calls, asyncio ---------------------------------------------------------------------------


def test_the_asyncio_client_calls_and_streams(arbiter_socket: str) -> None:
    async def main() -> None:
        async with DirtyClient(arbiter_socket) as client:
            assert await client.execute_async(ECHO, "echo", 1, k=2) == [[1], {"k": 2}]
            with pytest.raises(DirtyAppError, match="as asked"):
                await client.execute_async(ECHO, "fail")
            for action in ("count", "acount"):
                items = [item async for item in client.stream_async(ECHO, action, 1000)]
                assert items == list(range(1000))
            blocks = client.stream_async(ECHO, "blocks", 200, 50_000)
            assert len([block async for block in blocks]) == 200

    asyncio.run(main())


def test_asyncio_clients_call_at_the_same_time(arbiter_socket: str) -> None:
    async def work(number: int) -> None:
        async with DirtyClient(arbiter_socket) as client:
            for index in range(20):
                result = await client.execute_async(ECHO, "aecho", [number, index])
                assert result == [number, index]

    async def main() -> None:
        await asyncio.gather(*map(work, range(20)))

    asyncio.run(main())


def test_the_asyncio_clients_timeout_cancels_the_action(arbiter_socket: str) -> None:
    async def main() -> None:
        async with DirtyClient(arbiter_socket, timeout=0.3) as client:
            with pytest.raises(DirtyTimeoutError):
                await client.execute_async(ECHO, "hang", "gunicorn-async-timeout")

    asyncio.run(main())
    with BlockingDirtyClient(arbiter_socket) as ours:
        wait_for_event(ours, "gunicorn-async-timeout", "cancelled")


def test_an_asyncio_stream_that_is_left_ends_its_generator(arbiter_socket: str) -> None:
    async def main() -> None:
        async with DirtyClient(arbiter_socket) as client:
            async for item in client.stream_async(ECHO, "rows_until_left", "gunicorn-async-left"):
                if item == 3:
                    break

    asyncio.run(main())
    with BlockingDirtyClient(arbiter_socket) as ours:
        wait_for_event(ours, "gunicorn-async-left", "closed")


# -- status, manage -----------------------------------------------------------------------------


def ask(client: Any, message: dict[str, Any]) -> Any:
    """A request for which its client has no method; its control server sends them."""
    DirtyProtocol.write_message(client._sock, message)
    return client._handle_response(DirtyProtocol.read_message(client._sock))


def test_status_has_what_its_own_has_and_more(client: Any) -> None:
    status = ask(client, {"type": DirtyProtocol.MSG_TYPE_STATUS, "id": 1})
    assert isinstance(status["arbiter_pid"], int)
    assert status["worker_count"] == len(status["workers"]) == 2
    for worker in status["workers"]:
        assert {"pid", "age", "apps", "booted", "last_heartbeat"} <= worker.keys()
    assert ECHO in status["apps"]


def test_an_operation_of_manage_that_is_unknown_is_an_error(client: Any) -> None:
    with pytest.raises(DirtyError, match=r"1 \(add\) or 2 \(remove\)"):
        ask(client, make_manage_message(1, 7))


# -- the stash ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [*VALUES, {"error": "key_not_found"}], ids=lambda v: f"{v!r:.20}")
def test_each_kind_of_value_can_be_stored(arbiter_socket: str, value: Any) -> None:
    with StashClient(arbiter_socket) as client:
        client.put("gunicorn-values", "k", value)
        assert client.get("gunicorn-values", "k", "default") == value


def test_each_operation_of_the_stash_client(arbiter_socket: str) -> None:
    table = "gunicorn-operations"
    with StashClient(arbiter_socket) as client:
        client.delete_table(table)
        assert client.get(table, "k", 5) == 5
        assert client.keys(table) == []
        assert not client.exists(table)
        with pytest.raises(StashTableNotFoundError):
            client.info(table)
        client.ensure(table)
        client.ensure(table)
        assert client.exists(table)
        assert client.info(table)["size"] == 0
        client.put(table, "user:1", {"name": "Alice"})
        client.put(table, "user:2", None)
        client.put(table, "other", 3)
        assert client.get(table, "user:1") == {"name": "Alice"}
        assert client.get(table, "user:2", "default") is None
        assert client.get(table, "user:3") is None
        assert client.exists(table, "user:2")
        assert not client.exists(table, "user:3")
        assert client.keys(table, "user:*") == ["user:1", "user:2"]
        info = client.info(table)
        assert (info["size"], info["table"]) == (3, table)
        assert client.delete(table, "other") is True
        assert client.delete(table, "other") is False
        assert table in client.tables()
        client.clear(table)
        assert client.keys(table) == []
        client.delete_table(table)
        assert table not in client.tables()


def test_its_table_is_dict_like(arbiter_socket: str) -> None:
    with StashClient(arbiter_socket) as client:
        table = client.table("gunicorn-table")
        table.clear()
        table["a"] = 1
        table["b"] = None
        assert (table["a"], table["b"], table.get("c", 3)) == (1, None, 3)
        with pytest.raises(KeyError):
            table["c"]
        with pytest.raises(KeyError):
            del table["c"]
        assert "a" in table
        assert "c" not in table
        assert len(table) == 2
        assert list(table) == table.keys() == ["a", "b"]
        assert dict(table.items()) == {"a": 1, "b": None}
        assert list(table.values()) == [1, None]
        del table["a"]
        assert list(table) == ["b"]


def test_its_functions_and_ours_mean_the_same_tables(arbiter_socket: str) -> None:
    set_stash_socket_path(arbiter_socket)
    try:
        stash.put("gunicorn-functions", "k", [1])
        with BlockingDirtyClient(arbiter_socket) as ours:
            assert ours.stash.get("gunicorn-functions", "k") == [1]
            ours.stash.put("gunicorn-functions", "n", 2, ttl=1000)
        assert stash.get("gunicorn-functions", "n") == 2
        assert stash.table("gunicorn-functions").keys("[kn]") == ["k", "n"]
        assert "declared" in stash.tables()
        stash.delete_table("gunicorn-functions")
    finally:
        stash._get_client().close()
        del stash._thread_local.stash_client
        set_stash_socket_path(None)


def test_an_operation_that_is_refused_is_its_stash_error(arbiter_socket: str) -> None:
    with StashClient(arbiter_socket) as client:
        with pytest.raises(StashError, match="a key is a str"):
            client.put("gunicorn-refused", [1], 2)
        with pytest.raises(StashError, match="operation 99 is unknown"):
            client._execute(99, "t")
