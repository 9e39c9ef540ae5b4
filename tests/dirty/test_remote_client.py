# SPDX-License-Identifier: MIT
"""DirtyClient over a socket: calls, streams, the stash; and an arbiter that goes and comes back."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.dirty.fake_arbiter import answer_hello, listening
from tests.dirty.raw_peer import PATIENCE, RawPeer
from tests.dirty.test_arbiter_socket import ECHO, wait_for_event
from tests.server_process import running
from trioserve.dirty import frames, get_client, open_dirty_client, open_dirty_pool, paths
from trioserve.dirty.errors import (
    DirtyAppError,
    DirtyAppNotFoundError,
    DirtyConnectionError,
    DirtyError,
    DirtyProtocolError,
    DirtyTimeoutError,
    DirtyWorkerError,
)
from trioserve.dirty.frames import STREAM_WINDOW, FrameType
from trioserve.dirty.stash_watch import Change

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.server_process import ServerProcess
    from trioserve.dirty import DirtyClient

#: The arbiter's process and its workers take a second to start, once for all tests.
slow = pytest.mark.slow


@pytest.fixture
async def client(arbiter_socket: str) -> AsyncIterator[DirtyClient]:
    async with open_dirty_client(arbiter_socket) as client:
        yield client


# -- calls ----------------------------------------------------------------------------------


@slow
async def test_execute_gives_the_result(client: DirtyClient) -> None:
    assert await client.execute(ECHO, "echo", 1, "b", k=[None]) == [[1, "b"], {"k": [None]}]
    now = datetime.datetime.now(tz=datetime.UTC)
    assert await client.execute(ECHO, "aecho", {"now": now, "big": 1 << 100}) == {
        "now": now,
        "big": 1 << 100,
    }


@slow
async def test_errors_are_those_of_the_worker(client: DirtyClient) -> None:
    with pytest.raises(DirtyAppError, match="raised ValueError: as asked") as caught:
        await client.execute(ECHO, "fail")
    assert caught.value.exception_type == "ValueError"
    assert "socket_apps.py" in caught.value.traceback
    with pytest.raises(DirtyAppNotFoundError):
        await client.execute("no:App", "run")
    with pytest.raises(DirtyAppError, match="has no action 'nope'"):
        await client.execute(ECHO, "nope")
    with pytest.raises(DirtyAppError, match=r"call it by stream\(\)"):
        await client.execute(ECHO, "count", 3)


@slow
async def test_a_stream_gives_the_items(client: DirtyClient) -> None:
    for action in ("count", "acount"):
        async with client.stream(ECHO, action, 1000) as items:
            assert [item async for item in items] == list(range(1000))
    async with client.stream(ECHO, "aecho", "alone") as items:
        assert [item async for item in items] == ["alone"]
    async with client.stream(ECHO, "fail_after", 3) as items:
        assert [await anext(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(DirtyAppError, match="ValueError"):
            await anext(items)
        with pytest.raises(StopAsyncIteration):
            await anext(items)


@slow
async def test_a_stream_left_early_ends_its_generator(client: DirtyClient) -> None:
    async with client.stream(ECHO, "rows_until_left", "remote-left") as items:
        async for item in items:
            if item == 3:
                break
    await wait_for_event(client, "remote-left", "closed")


@slow
async def test_a_slow_reader_holds_a_window_full_and_no_more(client: DirtyClient) -> None:
    size = 16 * 1024
    count = 8 * STREAM_WINDOW // size
    async with client.stream(ECHO, "blocks", count, size) as items:
        for number in range(count):
            assert (await anext(items))[:4] == number.to_bytes(4, "big")
            if number % 100 == 0:
                # What had been sent before this answer has come before it.
                await client.execute(ECHO, "pid")
                waiting = sum(len(payload) for _, payload in items._arrived)
                assert waiting <= STREAM_WINDOW + size + 100


@slow
async def test_a_call_that_is_cancelled_cancels_its_action(client: DirtyClient) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.execute, ECHO, "hang", "remote-cancel")
        await wait_for_event(client, "remote-cancel", "started")
        nursery.cancel_scope.cancel()
    await wait_for_event(client, "remote-cancel", "cancelled")


@slow
async def test_a_timeout_is_the_arbiters_and_cancels_the_action(client: DirtyClient) -> None:
    with pytest.raises(DirtyTimeoutError, match=r"0\.2 s") as caught:
        await client.execute(ECHO, "hang", "remote-timeout", timeout=0.2)
    assert caught.value.timeout == 0.2
    with pytest.raises(ValueError, match="timeout must be 0"):
        await client.execute(ECHO, "pid", timeout=-1)


@slow
async def test_a_timeout_holds_for_a_whole_stream(client: DirtyClient) -> None:
    with pytest.raises(DirtyTimeoutError):  # noqa: PT012
        async with client.stream(ECHO, "rows_until_left", "remote-slow", timeout=0.3) as items:
            async for _ in items:
                pass
    await wait_for_event(client, "remote-slow", "closed")


@slow
async def test_a_clients_timeout_holds_where_a_call_has_none(arbiter_socket: str) -> None:
    async with open_dirty_client(arbiter_socket, timeout=0.1) as client:
        with pytest.raises(DirtyTimeoutError):
            await client.execute(ECHO, "nap", 0.5)
        assert await client.execute(ECHO, "nap", 0.2, timeout=0) == "rested"


@slow
async def test_concurrent_calls_each_get_their_own_result(client: DirtyClient) -> None:
    async def call(number: int) -> None:
        if number % 3 == 0:
            async with client.stream(ECHO, "acount", number) as items:
                assert [item async for item in items] == list(range(number))
        else:
            action = ("echo", "aecho")[number % 2]
            result = await client.execute(ECHO, action, number)
            assert result == (number if action == "aecho" else [[number], {}])

    async with trio.open_nursery() as nursery:
        for number in range(300):
            nursery.start_soon(call, number)


@slow
async def test_status_is_the_pools(client: DirtyClient) -> None:
    status = await client.status()
    assert status["worker_count"] == 2
    assert status["apps"][ECHO]["workers"] == 2
    with pytest.raises(ValueError, match='must be "add" or "remove"'):
        await client.manage("more")


@slow
async def test_an_action_has_a_client_of_its_own(client: DirtyClient) -> None:
    # Its events come by that client; and it is the process's own, which no test has.
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.execute, ECHO, "hang", "remote-own")
        await wait_for_event(client, "remote-own", "started")
        nursery.cancel_scope.cancel()
    with pytest.raises(RuntimeError, match="there is no dirty pool in this process"):
        get_client()


# -- the stash ------------------------------------------------------------------------------


async def test_the_stash_over_a_socket(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    async with open_dirty_pool(dirty_socket=path), open_dirty_client(path) as client:
        stash = client.stash
        await stash.put("t", "k", {"error": 1})
        assert await stash.get("t", "k") == {"error": 1}
        assert await stash.get("t", "missing", 5) == 5
        table = stash.table("t")
        assert await table.incr("n", 2) == 2
        assert await stash.compare_and_swap("t", "n", 2, 3)
        assert await stash.pop("t", "n") == 3
        await stash.update("t", {str(number): number for number in range(2500)})
        pairs = {key: value async for key, value in stash.items("t", "[0-9]*")}
        assert pairs == {str(number): number for number in range(2500)}
        with pytest.raises(KeyError):
            await stash.info("nowhere")


async def test_a_watch_over_a_socket_goes_on_beyond_its_first_window(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    async with open_dirty_pool(dirty_socket=path) as own, open_dirty_client(path) as client:
        value = bytes(60_000)
        async with client.stash.watch("t", "k*") as changes:
            for number in range(2 * STREAM_WINDOW // 60_000):
                await own.stash.put("t", f"k{number}", value)
                await own.stash.put("t", "other", 1)
                assert await anext(changes) == Change("put", f"k{number}", value)
        with pytest.raises(StopAsyncIteration):
            await anext(changes)
        assert (await client.status())["stash"]["watchers"] == 0


async def test_a_watch_ends_with_the_arbiter(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(run_pool, path, stop)
        async with open_dirty_client(path) as client, client.stash.watch("t") as changes:
            stop.set()
            with trio.fail_after(PATIENCE), pytest.raises(DirtyConnectionError):
                await anext(changes)


async def run_pool(
    path: str, stop: trio.Event, task_status: trio.TaskStatus[None], **settings: Any
) -> None:
    """A pool without workers, until it is told to stop."""
    async with open_dirty_pool(dirty_socket=path, **settings):
        task_status.started()
        await stop.wait()


async def test_an_operation_that_is_cancelled_leaves_the_next_one_its_own_answer(
    tmp_path: Path,
) -> None:
    path = f"{tmp_path}/s"
    async with open_dirty_pool(dirty_socket=path), open_dirty_client(path) as client:
        await client.stash.put("t", "a", "a")
        for _ in range(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.stash.get, "t", "a")
                await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            assert await client.stash.get("t", "b", "b") == "b"


# -- an arbiter that goes, and comes back ------------------------------------------------------


@slow  # starts arbiters and kills them
async def test_calls_fail_at_once_when_the_arbiter_is_killed_and_go_on_when_it_is_back(
    tmp_path: Path,
) -> None:
    path = f"{tmp_path}/s"
    async with open_dirty_client(path) as client:
        for life in range(2):
            failures: list[DirtyError] = []
            async with trio.open_nursery() as nursery, open_arbiter(path) as arbiter:
                for number in range(3):
                    event = f"kill-{life}-{number}"
                    nursery.start_soon(collect, failures, client.execute, ECHO, "hang", event)
                    await wait_for_event(client, event, "started")
                async with client.stash.watch("t") as changes:
                    arbiter.send_signal(signal.SIGKILL)
                    await collect(failures, anext, changes)
            assert len(failures) == 4
            for failure in failures:
                assert isinstance(failure, DirtyConnectionError)
                assert failure.socket_path == path
                assert "closed the connection" in str(failure)
            with pytest.raises(DirtyConnectionError, match="can't be reached"):
                await client.execute(ECHO, "pid")
        async with open_arbiter(path) as arbiter:
            assert await client.execute(ECHO, "aecho", 1) == 1
            with pytest.raises(DirtyWorkerError):
                await client.execute(ECHO, "die")
            assert await trio.to_thread.run_sync(arbiter.stop) == 0
    assert os.listdir(tmp_path) == []


@contextlib.asynccontextmanager
async def open_arbiter(path: str) -> AsyncIterator[ServerProcess]:
    command = (sys.executable, "-m", "tests.dirty.pool_process", path, "1")
    with running(*command) as process:
        await trio.to_thread.run_sync(process.stdout.wait_for, "^ready$")
        yield process


async def collect(
    failures: list[DirtyError], function: Callable[..., Awaitable[object]], *args: Any
) -> None:
    """Calls it, which fails, and not by a timeout."""
    with trio.fail_after(PATIENCE):
        try:
            await function(*args)
        except DirtyError as exc:
            failures.append(exc)


async def test_a_client_is_made_before_its_arbiter(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    async with open_dirty_client(path) as client:
        with pytest.raises(DirtyConnectionError, match="No such file") as caught:
            await client.execute("a:App", "run")
        assert caught.value.socket_path == path
        async with open_dirty_pool(dirty_socket=path):
            assert (await client.status())["worker_count"] == 0


async def test_tasks_that_call_at_the_same_time_share_one_connection(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"

    async def serve(peer: RawPeer) -> None:
        await answer_hello(peer)
        while True:
            _, request_id, _ = await peer.receive()
            await peer.send(frames.response(request_id, {}))

    async with listening(path, serve) as connections, open_dirty_client(path) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(client.status)
        assert connections.count == 1


async def test_a_connection_that_is_lost_between_calls_is_made_again(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"

    async def serve_once(peer: RawPeer) -> None:
        await answer_hello(peer)
        _, request_id, _ = await peer.receive()
        await peer.send(frames.response(request_id, {}))

    async with listening(path, serve_once) as connections, open_dirty_client(path) as client:
        for number in range(5):
            assert await client.status() == {}
            assert connections.count == number + 1
            await trio.testing.wait_all_tasks_blocked()


# -- an arbiter that behaves oddly -----------------------------------------------------------


async def test_an_arbiter_that_says_nothing_is_given_up(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = f"{tmp_path}/s"

    async def say_nothing(peer: RawPeer) -> None:
        await trio.sleep_forever()

    async with listening(path, say_nothing) as connections, open_dirty_client(path) as client:
        for _ in range(2):
            with pytest.raises(DirtyConnectionError, match="it said nothing for 5 s"):
                await client.execute("a:App", "run")
        assert connections.count == 2


async def test_an_arbiter_that_refuses_says_why(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"

    async def refuse(peer: RawPeer) -> None:
        await peer.receive()
        await peer.send(frames.error(0, DirtyProtocolError("your version is too old")))

    async with listening(path, refuse), open_dirty_client(path) as client:
        for _ in range(2):
            with pytest.raises(DirtyConnectionError, match="your version is too old"):
                await client.execute("a:App", "run")


async def test_an_arbiter_that_ends_a_connection_says_why(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"

    async def refuse(peer: RawPeer) -> None:
        await answer_hello(peer)
        await peer.receive()
        await peer.send(frames.error(0, DirtyProtocolError("I can't follow")))

    async with listening(path, refuse), open_dirty_client(path) as client:
        with pytest.raises(DirtyConnectionError, match="I can't follow"):
            await client.execute("a:App", "run")


async def test_garbage_is_the_end_of_a_connection(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"

    async def confuse(peer: RawPeer) -> None:
        await answer_hello(peer)
        await peer.receive()
        await peer.send_bytes(b"garbage, garbage, garbage")
        await peer.receive()

    async with listening(path, confuse), open_dirty_client(path) as client:
        with pytest.raises(DirtyConnectionError, match='begins with "GD"'):
            await client.execute("a:App", "run")


async def test_a_call_that_the_arbiter_does_not_end_in_time_is_ended_here(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = f"{tmp_path}/s"
    came: list[int] = []

    async def hang(peer: RawPeer) -> None:
        await answer_hello(peer)
        came.extend([(await peer.receive())[0] for _ in range(2)])
        await trio.sleep_forever()

    async with listening(path, hang), open_dirty_client(path) as client:
        start = trio.current_time()
        with pytest.raises(DirtyTimeoutError, match=r"no answer .* within 3 s") as caught:
            await client.execute("a:App", "run", timeout=3)
        assert caught.value.timeout == 3
        assert trio.current_time() - start == 4  # the arbiter's own word would come before
        await trio.testing.wait_all_tasks_blocked()
        assert came == [FrameType.REQUEST, FrameType.CANCEL]
        with pytest.raises(DirtyTimeoutError, match="within 30 s"):
            await client.status()
        with pytest.raises(DirtyTimeoutError, match="within 30 s"):
            await client.stash.get("t", "k")


async def test_a_shorter_timeout_that_comes_later_ends_first(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = f"{tmp_path}/s"
    ends: list[float] = []

    async def hang(peer: RawPeer) -> None:
        await answer_hello(peer)
        await trio.sleep_forever()

    async def call(client: DirtyClient, timeout: float) -> None:
        with pytest.raises(DirtyTimeoutError):
            await client.execute("a:App", "run", timeout=timeout)
        ends.append(trio.current_time())

    async with listening(path, hang), open_dirty_client(path) as client:
        async with trio.open_nursery() as nursery:
            for timeout in (7, 5, 3, 6):
                nursery.start_soon(call, client, timeout)
                await trio.testing.wait_all_tasks_blocked()
        assert ends == [4, 6, 7, 8]


async def test_replies_of_unknown_calls_are_dropped(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"

    async def serve(peer: RawPeer) -> None:
        await answer_hello(peer)
        _, request_id, _ = await peer.receive()
        await peer.send(
            frames.response(99, "whose?"),
            frames.error(98, DirtyError("whose?")),
            frames.response(request_id, "yours"),
        )
        await peer.receive()

    async with listening(path, serve), open_dirty_client(path) as client:
        assert await client.execute("a:App", "run") == "yours"


async def test_a_call_that_is_too_long_for_the_arbiter_is_an_error_of_its_own(
    tmp_path: Path,
) -> None:
    path = f"{tmp_path}/s"
    async with (
        open_dirty_pool(dirty_socket=path, dirty_max_frame_size=100_000),
        open_dirty_client(path) as client,
    ):
        await client.status()
        with pytest.raises(DirtyProtocolError, match="dirty_max_frame_size is 100,000"):
            await client.execute("a:App", "run", bytes(100_000))
        with pytest.raises(DirtyAppNotFoundError):
            await client.execute("a:App", "run", bytes(99_000))


async def test_an_arbiter_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{tmp_path}/s"
    uid = os.geteuid()
    async with open_dirty_pool(dirty_socket=path), open_dirty_client(path) as client:
        monkeypatch.setattr(os, "geteuid", lambda: uid + 1000)
        monkeypatch.setattr(paths, "peer_uid", lambda _: uid + 1)
        with pytest.raises(DirtyConnectionError, match=f"belongs to user {uid + 1}"):
            await client.status()


async def test_a_full_queue_of_connections_is_waited_for(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = f"{tmp_path}/s"
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(path)
        listener.listen(0)
        first = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        first.connect(path)
        async with open_dirty_client(path) as client:
            with pytest.raises(DirtyConnectionError, match="it took too long"):
                await client.status()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.status)
                await trio.testing.wait_all_tasks_blocked()
                listener.accept()[0].close()
                await trio.sleep(0.1)
                peer = RawPeer(listener.accept()[0])
                stack.callback(peer.close)
                await answer_hello(peer)
                _, request_id, _ = await peer.receive()
                await peer.send(frames.response(request_id, {}))


# -- its block --------------------------------------------------------------------------------


async def test_which_arbiter_is_meant_must_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIOSERVE_DIRTY_SOCKET", raising=False)
    with pytest.raises(DirtyConnectionError, match="TRIOSERVE_DIRTY_SOCKET"):
        async with open_dirty_client():
            pass


async def test_the_environment_may_say_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{tmp_path}/s"
    monkeypatch.setenv("TRIOSERVE_DIRTY_SOCKET", path)
    async with open_dirty_pool(dirty_socket=path), open_dirty_client() as client:
        assert (await client.status())["arbiter_pid"] == os.getpid()


async def test_calls_of_other_tasks_fail_when_the_block_is_left(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    failures: list[DirtyError] = []

    async def hang(peer: RawPeer) -> None:
        await answer_hello(peer)
        await trio.sleep_forever()

    async with listening(path, hang), trio.open_nursery() as nursery:
        async with open_dirty_client(path) as client:
            for _ in range(3):
                nursery.start_soon(collect, failures, client.execute, "a:App", "run")
            await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(PATIENCE):
            with pytest.raises(DirtyConnectionError, match="its block has been left"):
                await client.status()
    assert len(failures) == 3
    for failure in failures:
        assert isinstance(failure, DirtyConnectionError)
        assert "this client was closed under the call" in str(failure)


async def test_an_error_of_the_block_leaves_it_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with open_dirty_client(f"{tmp_path}/s"):
            raise KeyError("mine")


async def test_a_cancellation_while_it_connects_leaves_nothing_behind(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    answers = trio.Event()

    async def serve(peer: RawPeer) -> None:
        await answers.wait()
        await answer_hello(peer)
        _, request_id, _ = await peer.receive()
        await peer.send(frames.response(request_id, {}))
        await peer.receive()

    async with listening(path, serve) as connections, open_dirty_client(path) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.status)
            await trio.testing.wait_all_tasks_blocked()
            assert connections.count == 1
            nursery.cancel_scope.cancel()
        answers.set()
        assert await client.status() == {}
        assert connections.count == 2
        await trio.testing.wait_all_tasks_blocked()
        assert connections.open == 1
