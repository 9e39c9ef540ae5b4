# SPDX-License-Identifier: MIT
"""The faces of the stash over tables in this process: blocking and Trio, whole and of one table."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading
import types
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trioserve.dirty import frames, stash, stash_operations, tlv
from trioserve.dirty.errors import DirtyConnectionError, DirtyError, DirtyProtocolError, StashError
from trioserve.dirty.frames import StashOp
from trioserve.dirty.stash import (
    MISSING,
    AsyncStash,
    AsyncStashTable,
    Change,
    StashClient,
    StashKeyNotFoundError,
    StashTable,
    StashTableNotFoundError,
)
from trioserve.dirty.stash_direct import DirectTransport
from trioserve.dirty.stash_direct_trio import AsyncDirectTransport, _Changes
from trioserve.dirty.tables import StashTables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from trioserve.dirty.stash_watch import Watcher


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tables(clock: Clock) -> StashTables:
    return StashTables(clock=clock)


@pytest.fixture
def client(tables: StashTables) -> StashClient:
    return StashClient(DirectTransport(tables))


@pytest.fixture
def trio_client(tables: StashTables) -> AsyncStash:
    return AsyncStash(AsyncDirectTransport(tables))


class WireTransport:
    """To tables and back through frames, as between two processes."""

    def __init__(self, tables: StashTables) -> None:
        self.tables = tables

    def stash(self, op: int, fields: Mapping[str, Any]) -> Any:
        try:
            parts = frames.response(7, self.result(op, fields))
        except DirtyError as error:
            parts = frames.error(7, error)
        ((frame_type, _, payload),) = frames.FrameReader().feed(b"".join(parts))
        if frame_type == frames.FrameType.ERROR:
            raise frames.decode_error(payload)
        return frames.decode_result(payload)

    @contextmanager
    def stash_stream(self, op: int, fields: Mapping[str, Any]) -> Iterator[Iterator[Any]]:
        encoded: dict[str, Any] = tlv.split(self.received(op, fields))
        assert tlv.decode(encoded.pop("op")) == StashOp.WATCH
        table = tlv.decode(encoded.pop("table"))
        watcher = self.tables.apply_watch(table, encoded, lambda: None)
        yield self.changes(watcher)
        watcher.close()

    def changes(self, watcher: Watcher) -> Iterator[Any]:
        while changes := watcher.take():
            for change in changes:
                reader = frames.FrameReader()
                ((_, _, payload),) = reader.feed(b"".join(frames.chunk(7, change)))
                yield frames.decode_data(payload)

    def result(self, op: int, fields: Mapping[str, Any]) -> Any:
        payload = self.received(op, fields)
        if len(payload) < 4096:
            decoded = tlv.decode(payload)
            return self.tables.apply_values(decoded.pop("op"), decoded.pop("table"), decoded)
        encoded: dict[str, Any] = tlv.split(payload)
        code, table = tlv.decode(encoded.pop("op")), tlv.decode(encoded.pop("table"))
        return self.tables.apply(code, table, encoded)

    def received(self, op: int, fields: Mapping[str, Any]) -> frames.Payload:
        ((_, _, payload),) = frames.FrameReader().feed(b"".join(frames.stash(7, op, **fields)))
        return payload


class Face:
    """One of the faces, so that tests need not know which: all act on the table ``t``."""

    def __init__(self, face: Any, *first: str) -> None:
        self.face = face
        self.first = first

    async def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        result = getattr(self.face, name)(*self.first, *args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    async def items(self, *args: Any) -> list[Any]:
        result = self.face.items(*self.first, *args)
        return [each async for each in result] if hasattr(result, "__aiter__") else list(result)


@pytest.fixture(params=["blocking", "blocking table", "trio", "trio table", "wire", "wire table"])
def face(request: pytest.FixtureRequest, tables: StashTables) -> Face:
    whole: StashClient | AsyncStash = StashClient(DirectTransport(tables))
    if request.param.startswith("trio"):
        whole = AsyncStash(AsyncDirectTransport(tables))
    if request.param.startswith("wire"):
        whole = StashClient(WireTransport(tables))
    return Face(whole.table("t")) if request.param.endswith("table") else Face(whole, "t")


WHOLE = (StashClient, AsyncStash)


# -- each operation -------------------------------------------------------------------------


async def test_what_is_put_can_be_got_and_is_a_copy(face: Face) -> None:
    value = {"roles": ["admin"]}
    assert await face("put", "user:1", value) is None
    value["roles"].append("later")
    got = await face("get", "user:1")
    assert got == {"roles": ["admin"]}
    got["roles"].clear()
    assert await face("get", "user:1") == {"roles": ["admin"]}


async def test_a_get_of_what_is_missing_is_the_default(face: Face) -> None:
    assert await face("get", "k") is None
    assert await face("get", "k", 3) == 3
    await face("put", "other", 1)
    assert await face("get", "k", default=3) == 3
    assert await face("get", "k", MISSING) is MISSING
    assert await face("pop", "k", MISSING) is MISSING


@pytest.mark.parametrize("value", [{"error": 1}, {"error": "key_not_found"}, None, False, 0, ""])
async def test_any_value_reads_back(face: Face, value: object) -> None:
    await face("put", "k", value)
    assert await face("get", "k", "default") == value
    assert await face("pop", "k", "default") == value


async def test_what_can_not_be_sent_can_not_be_stored(face: Face) -> None:
    with pytest.raises(DirtyProtocolError, match="object"):
        await face("put", "k", object())
    assert await face("get", "k", "default") == "default"


async def test_delete_says_whether_it_was_there(face: Face) -> None:
    await face("put", "k", 1)
    assert await face("delete", "k") is True
    assert await face("delete", "k") is False


async def test_keys_and_items_take_a_glob(face: Face) -> None:
    await face("update", {"user:1": 1, "user:2": 2, "group:1": 3})
    assert list(await face("keys")) == ["user:1", "user:2", "group:1"]
    assert list(await face("keys", "user:*")) == ["user:1", "user:2"]
    assert await face.items("*:1") == [("user:1", 1), ("group:1", 3)]


async def test_items_are_all_items_however_many_pages_they_take(face: Face) -> None:
    assert await face.items() == []
    many = {f"k{number}": number for number in range(2500)}
    await face("update", many)
    assert await face.items() == list(many.items())


async def test_clear_removes_all_keys(face: Face) -> None:
    await face("update", {"a": 1, "b": 2})
    assert await face("clear") is None
    assert (await face("info"))["size"] == 0


async def test_info_of_a_missing_table_is_an_error(face: Face) -> None:
    with pytest.raises(StashTableNotFoundError):
        await face("info")
    await face("put", "k", 1)
    info = await face("info")
    assert (info["size"], info["table"]) == (1, "t")
    assert info["bytes"] > 0


async def test_incr_counts(face: Face) -> None:
    assert await face("incr", "n") == 1
    assert await face("incr", "n", -5) == -4
    assert await face("incr", "f", 0.5, initial=10.0) == 10.5
    assert await face("incr", "late", ttl=9) == 1
    assert await face("ttl", "late") == 9
    await face("put", "text", "1")
    with pytest.raises(StashError, match="is to be a number, and is str"):
        await face("incr", "text")


async def test_a_lock_of_compare_and_swap(face: Face) -> None:
    assert await face("compare_and_swap", "lock", MISSING, "me", ttl=30) is True
    assert await face("compare_and_swap", "lock", MISSING, "you") is False
    assert await face("ttl", "lock") == 30
    assert await face("compare_and_swap", "lock", "you", MISSING) is False
    assert await face("compare_and_swap", "lock", "me", MISSING) is True
    assert await face("get", "lock") is None


async def test_none_is_a_value_that_can_be_expected_and_swapped_in(face: Face) -> None:
    assert await face("compare_and_swap", "k", None, 1) is False
    await face("put", "k", None)
    assert await face("compare_and_swap", "k", None, 1) is True
    assert await face("compare_and_swap", "k", 1, None) is True
    assert await face("pop", "k") is None


async def test_setdefault_and_pop(face: Face) -> None:
    assert await face("setdefault", "k", 1) == 1
    assert await face("setdefault", "k", 2) == 1
    assert await face("pop", "k") == 1
    assert await face("pop", "k", None) is None
    with pytest.raises(StashKeyNotFoundError):
        await face("pop", "k")


async def test_a_ttl_is_set_read_and_taken_away(face: Face, clock: Clock) -> None:
    await face("put", "k", 1, ttl=5)
    assert await face("ttl", "k") == 5
    assert await face("expire", "k", 2) is True
    assert await face("ttl", "k") == 2
    assert await face("expire", "k", None) is True
    assert await face("ttl", "k") is None
    await face("expire", "k", 2)
    clock.now += 2
    assert await face("get", "k") is None
    assert await face("expire", "k", 2) is False
    with pytest.raises(KeyError):
        await face("ttl", "k")


async def test_update_is_all_or_nothing(face: Face, tables: StashTables) -> None:
    tables._storage._max_table_size = 2000
    with pytest.raises(StashError, match="dirty_stash_table_size allows 2,000"):
        await face("update", {"small": 1, "large": "x" * 2000})
    assert list(await face("keys")) == []


@pytest.mark.parametrize("key", [None, (1, 2), object(), float("nan")])
def test_what_cannot_be_a_key_of_an_update_is_refused_before_it_is_asked(key: object) -> None:
    with pytest.raises(StashError, match="a key "):
        stash_operations.update("t", {"k": 1, key: 1})


@pytest.mark.parametrize("kind", WHOLE)
async def test_tables_are_made_listed_and_removed(
    kind: type, client: StashClient, trio_client: AsyncStash
) -> None:
    face = Face(client if kind is StashClient else trio_client)
    await face("ensure", "a")
    await face("ensure", "a")
    await face("put", "b", "k", 1, ttl=60)
    await face("update", "c", {"k": 1}, ttl=60)
    await face("setdefault", "c", "d", 2, ttl=30)
    assert await face("ttl", "c", "k") == 60
    assert await face("ttl", "c", "d") == 30
    assert await face("tables") == ["a", "b", "c"]
    assert await face("exists", "a") is True
    assert await face("exists", "b", "k") is True
    assert await face("exists", "b", "other") is False
    assert await face("delete_table", "b") is True
    assert await face("delete_table", "b") is False
    assert await face("exists", "b") is False


async def test_a_trio_table_can_be_gone_through(trio_client: AsyncStash) -> None:
    table = trio_client.table("t")
    await table.update({"a": 1, "b": 2})
    assert [key async for key in table] == ["a", "b"]
    assert [value async for value in table.values()] == [1, 2]
    assert [value async for value in table.values("b*")] == [2]
    assert await table.size() == 2
    assert await table.exists("a") is True
    assert repr(table) == "<AsyncStashTable 't'>"
    assert await trio_client.table("nowhere").size() == 0


async def test_an_async_for_may_be_left_early(trio_client: AsyncStash) -> None:
    await trio_client.update("t", {"a": 1, "b": 2})
    async for key in trio_client.table("t"):
        assert key == "a"
        break


# -- the faces are one ----------------------------------------------------------------------


def operations_of(face: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in vars(face).items()
        if not name.startswith("_") and callable(member) and name not in ("run", "paged")
    }


def test_both_faces_have_the_same_operations_with_the_same_arguments() -> None:
    blocking, awaited = (operations_of(face) for face in WHOLE)
    assert blocking.keys() == awaited.keys()
    for name in blocking.keys() - {"table", "items", "watch"}:
        assert inspect.signature(blocking[name]) == inspect.signature(awaited[name])
        assert blocking[name].__doc__ == awaited[name].__doc__


def test_the_module_has_each_operation_and_all_names_of_gunicorns() -> None:
    gunicorns = {"put", "get", "delete", "keys", "clear", "info", "ensure", "exists"}
    names = operations_of(StashClient).keys()
    assert names >= gunicorns | {"delete_table", "tables", "table"}
    assert set(stash.__all__) >= names
    assert {"StashClient", "StashTable", "StashError"} <= set(stash.__all__)


def test_a_method_of_a_table_has_the_operations_arguments_but_the_table() -> None:
    whole, table = inspect.signature(StashClient.put), inspect.signature(StashTable.put)
    assert [*whole.parameters] == ["self", "table", "key", "value", "ttl"]
    assert [*table.parameters] == ["self", "key", "value", "ttl"]
    assert [*inspect.signature(stash.put).parameters] == ["table", "key", "value", "ttl"]
    assert str(inspect.signature(stash.pop).parameters["default"]) == "default: 'Any' = NO_DEFAULT"
    assert inspect.getdoc(AsyncStashTable.put) == inspect.getdoc(stash.put)


# -- watching -------------------------------------------------------------------------------


def test_a_blocking_watch_gives_what_changes_from_its_beginning_on(client: StashClient) -> None:
    client.put("t", "before", 1)
    with client.watch("t") as changes:
        client.put("t", "k", {"a": 1})
        client.delete("t", "k")
        assert next(changes) == Change("put", "k", {"a": 1})
        assert next(changes) == Change("delete", "k")


def test_a_blocking_watch_waits_for_other_threads(client: StashClient, tables: StashTables) -> None:
    writer = threading.Thread(target=lambda: [client.put("t", n, n) for n in range(100)])
    with client.table("t").watch() as changes:
        writer.start()
        assert [next(changes).key for _ in range(100)] == list(range(100))
    writer.join()
    assert tables.status()["watchers"] == 0


def test_a_blocking_watch_ends_with_the_stash(client: StashClient, tables: StashTables) -> None:
    with client.watch("t", "a*") as changes:
        client.update("t", {"a1": 1, "b1": 2})
        end = threading.Timer(0.01, tables.close_watchers)
        end.start()
        assert [change.key for change in changes] == ["a1"]
        end.join()


async def test_a_trio_watch_gives_what_changes_from_its_beginning_on(
    trio_client: AsyncStash, tables: StashTables
) -> None:
    await trio_client.put("t", "before", 1)
    async with trio_client.watch("t", "k*") as changes:
        await trio_client.put("t", "k1", {"a": 1})
        await trio_client.put("t", "other", 1)
        await trio_client.pop("t", "k1")
        assert await anext(changes) == Change("put", "k1", {"a": 1})
        assert await anext(changes) == Change("delete", "k1")
    assert tables.status()["watchers"] == 0


async def test_a_trio_watch_waits_for_tasks_and_threads(
    trio_client: AsyncStash, client: StashClient
) -> None:
    seen: list[Any] = []

    async def watch(task_status: trio.TaskStatus[None]) -> None:
        async with trio_client.table("t").watch() as changes:
            task_status.started()
            async for change in changes:
                seen.append(change.key)
                if change.key == "end":
                    break

    async with trio.open_nursery() as nursery:
        await nursery.start(watch)
        await wait_all_tasks_blocked()
        await trio_client.put("t", "task", 1)
        await wait_all_tasks_blocked()
        assert seen == ["task"]
        await trio.to_thread.run_sync(client.put, "t", "thread", 1)
        await trio.to_thread.run_sync(client.put, "t", "end", 1)
    assert seen == ["task", "thread", "end"]


async def test_a_trio_watch_ends_with_the_stash(
    trio_client: AsyncStash, tables: StashTables
) -> None:
    async with trio_client.watch("t") as changes, trio.open_nursery() as nursery:
        await trio_client.put("t", "k", 1)

        @nursery.start_soon
        async def _() -> None:
            await wait_all_tasks_blocked()
            tables.close_watchers()

        assert [change.key async for change in changes] == ["k"]


async def test_a_cancelled_watch_leaves_no_watcher(
    trio_client: AsyncStash, tables: StashTables
) -> None:
    with trio.CancelScope() as scope:
        async with trio_client.watch("t") as changes:
            await trio_client.put("t", "k", 1)
            scope.cancel()
            with pytest.raises(trio.Cancelled):
                await anext(changes)
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert tables.status()["watchers"] == 0


async def test_a_watcher_that_is_slow_is_told_so_in_both_faces() -> None:
    tables = StashTables(max_watch_events=2)
    trio_client = AsyncStash(AsyncDirectTransport(tables))
    client = StashClient(DirectTransport(tables))
    with client.watch("t") as changes:
        async with trio_client.watch("t") as async_changes:
            for number in range(5):
                client.put("t", number, number)
            expected = [Change("put", 0, 0), Change("put", 1, 1), Change("lost", None, 3)]
            assert [next(changes) for _ in range(3)] == expected
            assert [await anext(async_changes) for _ in range(3)] == expected


def test_a_change_after_the_trio_run_is_over_hurts_nobody(
    client: StashClient, tables: StashTables
) -> None:
    async def knock_in_vain() -> Callable[[], None]:
        return _Changes().knock

    tables.watch("t", None, trio.run(knock_in_vain)).take()
    client.put("t", "k", 1)
    assert client.get("t", "k") == 1


# -- the Trio transport ---------------------------------------------------------------------


async def test_an_operation_that_is_cancelled_before_it_began_is_not_done(
    trio_client: AsyncStash, tables: StashTables
) -> None:
    for _ in range(20):
        with trio.CancelScope() as scope:
            scope.cancel()
            await trio_client.put("t", "k", 1)
        assert scope.cancelled_caught
    assert tables.tables() == []


async def test_a_task_that_only_uses_the_stash_lets_others_run(trio_client: AsyncStash) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio_client.put, "t", "end", 1)
        for _ in range(100):
            if await trio_client.get("t", "end"):
                break
        else:
            pytest.fail("the other task never ran")


async def test_the_next_change_is_a_checkpoint_even_where_it_is_there(
    trio_client: AsyncStash,
) -> None:
    async with trio_client.watch("t") as changes:
        await trio_client.update("t", {"a": 1, "b": 2})
        for key in "ab":
            with assert_checkpoints():
                assert (await anext(changes)).key == key


@pytest.mark.parametrize("op", [99, StashOp.WATCH])
async def test_the_transports_refuse_what_is_no_operation(tables: StashTables, op: int) -> None:
    with pytest.raises(StashError, match="is unknown"):
        DirectTransport(tables).stash(op, {"table": "t"})
    with pytest.raises(StashError, match="is unknown"):
        await AsyncDirectTransport(tables).stash(op, {"table": "t"})


async def test_the_transports_stream_nothing_but_watches(tables: StashTables) -> None:
    with (
        pytest.raises(StashError, match="is no stream"),
        DirectTransport(tables).stash_stream(StashOp.GET, {"table": "t"}),
    ):
        pass
    with pytest.raises(StashError, match="is no stream"):
        async with AsyncDirectTransport(tables).stash_stream(StashOp.GET, {"table": "t"}):
            pass


def test_the_direct_transport_wants_items_in_pairs(tables: StashTables) -> None:
    for wrong in ({"a": 1}, ["a"]):
        with pytest.raises(StashError, match="items is a list of a key, its value"):
            DirectTransport(tables).stash(StashOp.UPDATE, {"table": "t", "items": wrong})


def test_changes_and_large_values_go_over_the_wire(tables: StashTables) -> None:
    client = StashClient(WireTransport(tables))
    with client.watch("t", "k*") as changes:
        client.put("t", "k", {"large": b"x" * 200_000})
        client.delete("t", "k")
        assert [change.op for change in changes] == ["put", "delete"]
    client.update("t", dict.fromkeys(range(8), b"x" * 200_000))
    assert [value for _, value in client.items("t")] == [b"x" * 200_000] * 8
    assert type(tables.get("t", 1).data) is bytes  # not a view that keeps a frame alive


# -- other arbiters, other transports -------------------------------------------------------


class Answering:
    """A blocking transport with one answer: an error to raise, or a result."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def stash(self, op: int, fields: Mapping[str, Any]) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    @contextmanager
    def stash_stream(self, op: int, fields: Mapping[str, Any]) -> Iterator[Iterator[Any]]:
        yield iter(self.answer)


def test_gunicorns_arbiter_says_not_found_in_its_own_way() -> None:
    no_key = StashClient(Answering(DirtyError("Key not found: k")))
    assert no_key.get("t", "k", 3) == 3
    with pytest.raises(StashKeyNotFoundError) as caught:
        no_key.table("t")["k"]
    assert caught.value.details == {"table": "t", "key": "k"}
    no_table = StashClient(Answering(DirtyError("Table not found: t")))
    with pytest.raises(StashTableNotFoundError):
        no_table.info("t")
    assert len(no_table.table("t")) == 0


@pytest.mark.parametrize(
    "error",
    [DirtyError("Key not found: other"), DirtyConnectionError("gone"), StashError("full")],
)
def test_any_other_error_is_no_reason_for_the_default(error: DirtyError) -> None:
    with pytest.raises(type(error)) as caught:
        StashClient(Answering(error)).get("t", "k", 3)
    assert caught.value is error


@pytest.mark.parametrize("answers", [[], [None], [["put", "k", 1]], [[]]])
def test_a_watch_that_is_not_confirmed_is_an_error(answers: list[Any]) -> None:
    with (
        pytest.raises(StashError, match="expected word from the arbiter"),
        StashClient(Answering(answers)).watch("t"),
    ):
        pass


# -- the module's functions -----------------------------------------------------------------


@pytest.fixture
def restore_default() -> Iterator[None]:
    yield
    stash.set_default_transport(None)


@pytest.mark.usefixtures("restore_default")
def test_the_modules_functions_mean_the_stash_that_was_set(tables: StashTables) -> None:
    stash.set_default_transport(DirectTransport(tables))
    stash.put("sessions", "user:1", {"name": "Alice"})
    sessions = stash.table("sessions")
    assert isinstance(sessions, StashTable)
    assert sessions["user:1"] == stash.get("sessions", "user:1") == {"name": "Alice"}
    with stash.watch("sessions") as changes:
        stash.clear("sessions")
        assert next(changes).op == "clear"
    assert tables.tables() == ["sessions"]


def test_without_a_stash_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIOSERVE_DIRTY_SOCKET", raising=False)
    with pytest.raises(DirtyError, match=r"--dirty-app, or name .* in TRIOSERVE_DIRTY_SOCKET"):
        stash.get("t", "k")


def test_with_a_socket_in_the_environment_the_default_client_is_used(
    monkeypatch: pytest.MonkeyPatch, client: StashClient
) -> None:
    blocking: Any = types.ModuleType("trioserve.dirty.blocking")
    blocking.default_client = lambda: types.SimpleNamespace(stash=client)
    monkeypatch.setitem(sys.modules, "trioserve.dirty.blocking", blocking)
    monkeypatch.setenv("TRIOSERVE_DIRTY_SOCKET", "/run/trioserve/dirty.sock")
    stash.put("t", "k", 1)
    assert client.get("t", "k") == 1


def test_a_script_with_the_blocking_face_does_not_load_trio() -> None:
    code = """
import sys
before = set(sys.modules)
from trioserve.dirty import stash
from trioserve.dirty.stash_direct import DirectTransport
from trioserve.dirty.tables import StashTables
stash.set_default_transport(DirectTransport(StashTables()))
stash.put("t", "k", 1)
assert stash.get("t", "k") == 1
loaded = set(sys.modules) - before
assert not {"trio", "asyncio", "socket"} & loaded, "too much is loaded"
"""
    subprocess.run([sys.executable, "-c", code], timeout=30, check=True)


def test_threads_that_count_through_a_face_lose_nothing(client: StashClient) -> None:
    def count() -> None:
        for _ in range(300):
            client.incr("t", "n")

    run_together(count, 6)
    assert client.get("t", "n") == 1800


def test_threads_that_swap_lose_nothing(client: StashClient) -> None:
    client.put("t", "n", 0)

    def count() -> None:
        for _ in range(50):
            while True:
                old = client.get("t", "n")
                if client.compare_and_swap("t", "n", old, old + 1):
                    break

    run_together(count, 4)
    assert client.get("t", "n") == 200


def run_together(function: Callable[[], None], count: int) -> None:
    threads = [threading.Thread(target=function) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
