# SPDX-License-Identifier: MIT
"""BlockingDirtyClient: for threads, scripts and actions; never in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.dirty.raw_peer import PATIENCE
from tests.dirty.test_arbiter_socket import ECHO
from tests.dirty.thread_arbiter import ThreadPeer, answering, listening
from tests.server_process import REPOSITORY, running
from trioserve.dirty import (
    BlockingDirtyClient,
    blocking,
    blocking_connection,
    frames,
    get_blocking_client,
    paths,
    stash,
)
from trioserve.dirty.blocking import close_default_client
from trioserve.dirty.errors import (
    DirtyAppError,
    DirtyAppNotFoundError,
    DirtyConnectionError,
    DirtyError,
    DirtyProtocolError,
    DirtyTimeoutError,
)
from trioserve.dirty.frames import STREAM_WINDOW

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APP = "a:App"
LONE = "tests.dirty.socket_apps:Lone"

#: The arbiter's process and its workers take a second to start, once for all tests.
slow = pytest.mark.slow


@pytest.fixture
def client(arbiter_socket: str) -> Iterator[BlockingDirtyClient]:
    with BlockingDirtyClient(arbiter_socket) as client:
        yield client


def wait_for_event(client: BlockingDirtyClient, event: str, what: str) -> None:
    """Returns when an action has told this by the stash."""
    with client.stash.watch("events", event) as changes:
        if client.stash.get("events", event) != what:
            assert any(change.value == what for change in changes)


# -- calls ----------------------------------------------------------------------------------


@slow
def test_execute_gives_the_result(client: BlockingDirtyClient) -> None:
    assert client.execute(ECHO, "echo", 1, "b", k=[None]) == [[1, "b"], {"k": [None]}]
    data = os.urandom(3_000_000)
    assert client.execute(ECHO, "aecho", data) == data
    assert client.execute(ECHO, "size", data) == len(data)


@slow
def test_errors_are_those_of_the_worker(client: BlockingDirtyClient) -> None:
    with pytest.raises(DirtyAppError, match="raised ValueError: as asked") as caught:
        client.execute(ECHO, "fail")
    assert caught.value.exception_type == "ValueError"
    with pytest.raises(DirtyAppNotFoundError):
        client.execute("no:App", "run")
    with pytest.raises(DirtyAppError, match=r"call it by stream\(\)"):
        client.execute(ECHO, "count", 3)
    with pytest.raises(DirtyAppError, match=r"call it by stream\(\)"):
        client.execute(ECHO, "count", 0)
    assert client.execute(ECHO, "aecho", 1) == 1


@slow
def test_a_stream_gives_the_items(client: BlockingDirtyClient) -> None:
    for action in ("count", "acount"):
        with client.stream(ECHO, action, 1000) as items:
            assert list(items) == list(range(1000))
            assert list(items) == []
    with client.stream(ECHO, "aecho", "alone") as items:
        assert list(items) == ["alone"]
    with client.stream(ECHO, "blocks", 100, 50_000) as items:  # far more than is under way
        assert [item[:4] for item in items] == [number.to_bytes(4, "big") for number in range(100)]
    with client.stream(ECHO, "fail_after", 3) as items:
        assert [next(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(DirtyAppError, match="ValueError"):
            next(items)


@slow
def test_a_stream_left_early_ends_its_generator(client: BlockingDirtyClient) -> None:
    with client.stream(ECHO, "rows_until_left", "blocking-left") as items:
        for item in items:
            if item == 3:
                break
    assert list(items) == []
    wait_for_event(client, "blocking-left", "closed")


def test_a_stream_is_used_in_a_block(tmp_path: Path) -> None:
    stream = BlockingDirtyClient(f"{tmp_path}/s").stream(APP, "run")
    with pytest.raises(RuntimeError, match=r"with client\.stream"):
        next(stream)


@slow
def test_a_timeout_is_the_arbiters(client: BlockingDirtyClient) -> None:
    with pytest.raises(DirtyTimeoutError, match=r"0\.2 s") as caught:
        client.execute(ECHO, "hang", "blocking-timeout", timeout=0.2)
    assert caught.value.timeout == 0.2
    with pytest.raises(DirtyTimeoutError), client.stream(ECHO, "acount", 1 << 60, timeout=0.2) as s:
        for _ in s:
            pass
    with pytest.raises(ValueError, match="timeout must be 0"):
        client.execute(ECHO, "pid", timeout=-1)
    assert client.execute(ECHO, "aecho", 1, timeout=0) == 1


@slow
def test_threads_share_a_client(
    client: BlockingDirtyClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "_MAX_IDLE", 4)

    def work(number: int) -> None:
        for index in range(20):
            assert client.execute(ECHO, "echo", number, index) == [[number, index], {}]
            with client.stream(ECHO, "count", index) as items:
                assert list(items) == list(range(index))
            assert client.stash.incr("blocking", "n") > 0

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(work, range(16)))
    assert client.stash.get("blocking", "n") == 320
    assert len(client._idle) <= 4


@slow
def test_status_and_manage(client: BlockingDirtyClient) -> None:
    assert client.status()["worker_count"] == 2
    with pytest.raises(ValueError, match='must be "add" or "remove"'):
        client.manage("more")
    with pytest.raises(ValueError, match="count must be 1 or more, got 0"):
        client.manage("add", 0)
    with pytest.raises(TypeError, match="count must be an int"):
        client.manage("add", "1")  # type: ignore[arg-type]


# -- actions that call ----------------------------------------------------------------------


@slow
def test_an_action_may_call_others(client: BlockingDirtyClient) -> None:
    assert client.execute(ECHO, "nested", "aecho", 5) == 5
    assert client.execute(ECHO, "nested", "nested", "nested", "echo", 5) == [[5], {}]
    with pytest.raises(DirtyAppError, match="ValueError"):
        client.execute(ECHO, "nested", "fail")


@slow
def test_a_call_that_would_wait_for_itself_is_refused(client: BlockingDirtyClient) -> None:
    with pytest.raises(DirtyAppError, match="would wait for ever"):
        client.execute(LONE, "call_itself")
    assert client.execute(LONE, "thread")  # its slot is free


# -- the stash ------------------------------------------------------------------------------


@slow
def test_the_stash_over_a_socket(client: BlockingDirtyClient) -> None:
    table = client.stash.table("blocking-table")
    table["a"] = {"error": 1}
    assert table["a"] == {"error": 1}
    assert dict(table.items()) == {"a": {"error": 1}}
    with pytest.raises(KeyError):
        table["b"]
    table.update({str(number): number for number in range(2500)})
    assert len(table) == 2501
    assert sum(table.values("[0-9]*")) == sum(range(2500))
    assert client.stash.get("nowhere", "k", 5) == 5
    assert "declared" in client.stash.tables()


@slow
def test_a_watch_over_a_socket(client: BlockingDirtyClient) -> None:
    with client.stash.watch("blocking-watch", "k*") as changes:
        value = bytes(60_000)
        for number in range(2 * STREAM_WINDOW // 60_000):
            client.stash.put("blocking-watch", f"k{number}", value)
            client.stash.put("blocking-watch", "other", 1)
            assert tuple(next(changes)) == ("put", f"k{number}", value)


@slow
def test_the_stashs_functions_mean_the_arbiter_of_the_environment(
    arbiter_socket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIOSERVE_DIRTY_SOCKET", arbiter_socket)
    try:
        stash.put("blocking-functions", "k", [1])
        assert stash.table("blocking-functions")["k"] == [1]
        assert stash.incr("blocking-functions", "n", 2) == 2
        assert get_blocking_client().execute(ECHO, "aecho", 1) == 1
    finally:
        close_default_client()


def test_the_client_of_the_environment_changes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_path, second_path = f"{tmp_path}/1", f"{tmp_path}/2"
    with listening(first_path, answering()) as first, listening(second_path, answering()):
        monkeypatch.setenv("TRIOSERVE_DIRTY_SOCKET", first_path)
        client = get_blocking_client()
        assert client.execute(APP, "run", 1) == [1]
        assert get_blocking_client() is client
        monkeypatch.setenv("TRIOSERVE_DIRTY_SOCKET", second_path)
        other = get_blocking_client()
        assert other is not client
        first.wait_for_end()
        assert other.execute(APP, "run", 2) == [2]
        close_default_client()
    monkeypatch.delenv("TRIOSERVE_DIRTY_SOCKET")
    with pytest.raises(DirtyConnectionError, match="set TRIOSERVE_DIRTY_SOCKET"):
        get_blocking_client()


# -- event loops ------------------------------------------------------------------------------


def attempts(path: str) -> Iterator[Any]:
    client = BlockingDirtyClient(path)

    def enter_stream() -> None:
        with client.stream(APP, "run"):
            pass

    def enter_watch() -> None:
        with client.stash.watch("t"):
            pass

    yield lambda: client.execute(APP, "run")
    yield enter_stream
    yield client.status
    yield lambda: client.manage("add")
    yield lambda: client.stash.get("t", "k")
    yield enter_watch


async def test_it_refuses_to_block_trio(tmp_path: Path) -> None:
    for attempt in attempts(f"{tmp_path}/s"):
        with pytest.raises(RuntimeError, match="block the event loop: in Trio tasks, await"):
            attempt()


def test_it_refuses_to_block_asyncio(tmp_path: Path) -> None:
    async def main() -> None:
        for attempt in attempts(f"{tmp_path}/s"):
            with pytest.raises(RuntimeError, match="block the event loop: in asyncio tasks"):
                attempt()

    asyncio.run(main())


def test_threads_of_event_loops_may_use_it(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    with listening(path, answering()), BlockingDirtyClient(path) as client:

        async def in_trio() -> Any:
            return await trio.to_thread.run_sync(client.execute, APP, "run", 1)

        async def in_asyncio() -> Any:
            return await asyncio.to_thread(client.execute, APP, "run", 2)

        assert trio.run(in_trio) == [1]
        assert asyncio.run(in_asyncio()) == [2]


# -- connections ------------------------------------------------------------------------------


def test_a_connection_serves_one_call_after_the_other(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    with listening(path, answering()) as arbiter, BlockingDirtyClient(path) as client:
        for number in range(10):
            assert client.execute(APP, "run", number) == [number]
            with client.stream(APP, "run", number) as items:
                assert list(items) == [[number]]
            client.status()
        assert arbiter.count == 1


def test_an_error_leaves_the_connection_usable(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"

    def refuse(peer: ThreadPeer) -> None:
        while True:
            peer.send(frames.error(peer.receive()[1], DirtyAppError("no")))

    with listening(path, refuse) as arbiter, BlockingDirtyClient(path) as client:
        for _ in range(3):
            with pytest.raises(DirtyAppError, match="no"):
                client.execute(APP, "run")
        assert arbiter.count == 1


def test_a_stream_that_is_left_closes_its_connection(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"

    def stream(peer: ThreadPeer) -> None:
        _, request_id, _ = peer.receive()
        while True:
            peer.send(frames.chunk(request_id, bytes(10_000)))

    with listening(path, stream) as arbiter, BlockingDirtyClient(path) as client:
        with client.stream(APP, "run") as items:
            next(items)
        arbiter.wait_for_end()
        with pytest.raises(DirtyAppError, match="is a generator"):
            client.execute(APP, "run")
        arbiter.wait_for_end()
        with pytest.raises(KeyError), client.stream(APP, "run"):
            raise KeyError
        arbiter.wait_for_end()
        assert arbiter.count == 3


def test_a_connection_that_the_arbiter_has_closed_is_made_again(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    with listening(path, answering(1)) as arbiter, BlockingDirtyClient(path) as client:
        for number in range(5):
            assert client.execute(APP, "run", number) == [number]
            arbiter.wait_for_end()
        assert arbiter.count == 5


def test_a_connection_that_is_closed_under_the_request_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{tmp_path}/s"
    with listening(path, answering(1)) as arbiter, BlockingDirtyClient(path) as client:
        assert client.execute(APP, "run", 1) == [1]
        arbiter.wait_for_end()
        # As if it had been closed just after the look.
        monkeypatch.setattr(blocking_connection.BlockingConnection, "is_alive", lambda _: True)
        assert client.execute(APP, "run", 2) == [2]


def test_what_comes_beyond_a_reply_is_not_taken_for_the_next_one(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"

    def babble(peer: ThreadPeer) -> None:
        while True:
            _, request_id, _ = peer.receive()
            reply = frames.response(request_id, "right")
            peer.send([*reply, *frames.response(request_id + 1, "wrong")])

    with listening(path, babble) as arbiter, BlockingDirtyClient(path) as client:
        for number in range(3):
            assert client.execute(APP, "run") == "right"
            assert arbiter.count == number + 1


def test_a_byte_that_comes_between_two_calls_ends_a_connection(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    said = threading.Semaphore(0)

    def babble(peer: ThreadPeer) -> None:
        peer.send(frames.response(peer.receive()[1], "right"))
        peer.sock.sendall(b"?")
        said.release()
        peer.receive()

    with listening(path, babble) as arbiter, BlockingDirtyClient(path) as client:
        for number in range(3):
            assert client.execute(APP, "run") == "right"
            assert arbiter.count == number + 1
            assert said.acquire(timeout=PATIENCE)


def test_a_connection_of_the_parent_is_not_used_by_a_forked_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{tmp_path}/s"
    with listening(path, answering()) as arbiter, BlockingDirtyClient(path) as client:
        assert client.execute(APP, "run", 1) == [1]
        monkeypatch.setattr(os, "getpid", lambda: 1)
        assert client.execute(APP, "run", 2) == [2]
        assert client.execute(APP, "run", 3) == [3]
        assert arbiter.count == 2


def test_a_closed_client_keeps_no_connections(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    with listening(path, answering()) as arbiter:
        client = BlockingDirtyClient(path)
        client.execute(APP, "run")
        with client.stream(APP, "run") as items:
            client.close()
            assert list(items) == [[]]
        arbiter.wait_for_end()
        assert client.execute(APP, "run") == []
        arbiter.wait_for_end()


# -- an arbiter that isn't there, or behaves oddly ----------------------------------------------


def test_which_arbiter_is_meant_must_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIOSERVE_DIRTY_SOCKET", raising=False)
    with pytest.raises(DirtyConnectionError, match="set TRIOSERVE_DIRTY_SOCKET"):
        BlockingDirtyClient()
    monkeypatch.setenv("TRIOSERVE_DIRTY_SOCKET", "/there")
    assert BlockingDirtyClient().path == "/there"
    assert BlockingDirtyClient("/here").path == "/here"


def test_nobody_there_is_a_connection_error(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    client = BlockingDirtyClient(path)
    with pytest.raises(DirtyConnectionError, match="No such file") as caught:
        client.execute(APP, "run")
    assert caught.value.socket_path == path
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(path)
    with pytest.raises(DirtyConnectionError, match="refused"):
        client.status()


def test_an_arbiter_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{tmp_path}/s"
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1000)
    monkeypatch.setattr(paths, "peer_uid", lambda _: uid + 1)
    with (
        listening(path, answering()),
        pytest.raises(DirtyConnectionError, match=f"belongs to user {uid + 1}"),
    ):
        BlockingDirtyClient(path).status()


def test_a_full_queue_of_connections_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{tmp_path}/s"
    client = BlockingDirtyClient(path)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(path)
        listener.listen(0)
        first = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        first.connect(path)
        with monkeypatch.context() as patch:
            patch.setattr(blocking_connection, "_CONNECT_TIMEOUT", 0.05)
            with pytest.raises(DirtyConnectionError, match="temporarily unavailable"):
                client.execute(APP, "run")
        with ThreadPoolExecutor(1) as thread:
            call = thread.submit(client.execute, APP, "run", timeout=PATIENCE)
            listener.accept()[0].close()
            sock, _ = listener.accept()
            with sock:
                answering(1)(ThreadPeer(sock))
            assert call.result(PATIENCE) == []
    client.close()


def test_an_arbiter_that_says_nothing_is_given_up_after_the_calls_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{tmp_path}/s"
    monkeypatch.setattr(blocking_connection, "_TIMEOUT_MARGIN", 0)

    def hang(peer: ThreadPeer) -> None:
        while True:
            peer.receive()

    with listening(path, hang) as arbiter, BlockingDirtyClient(path, timeout=0.02) as client:
        with pytest.raises(DirtyTimeoutError, match=r"no answer .* within 0\.02 s") as caught:
            client.execute(APP, "run")
        assert caught.value.timeout == 0.02
        arbiter.wait_for_end()


def test_an_arbiter_that_takes_nothing_is_given_up_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{tmp_path}/s"
    monkeypatch.setattr(blocking_connection, "_TIMEOUT_MARGIN", 0)
    done = threading.Event()
    with listening(path, lambda _: done.wait(PATIENCE)), BlockingDirtyClient(path) as client:
        with pytest.raises(DirtyTimeoutError, match="no answer"):
            client.execute(APP, "run", bytes(10_000_000), timeout=0.05)
        done.set()


@pytest.mark.parametrize(
    ("reply", "error_class", "expected"),
    [
        (b"".join(frames.response(77, 1)), DirtyConnectionError, "a reply to request 77 came"),
        (b"garbage, garbage, garbage", DirtyProtocolError, 'begins with "GD"'),
        (b"", DirtyConnectionError, "it closed the connection"),
        (b"GD\x01", DirtyConnectionError, "it closed the connection"),
        (b"".join(frames.error(0, DirtyProtocolError("bad"))), DirtyProtocolError, "bad"),
        (b"".join(frames.end(1)), DirtyConnectionError, "part of a stream came"),
    ],
    ids=["another id", "garbage", "nothing", "half a header", "an error of no id", "an end"],
)
def test_a_reply_that_is_none_is_an_error(
    tmp_path: Path, reply: bytes, error_class: type[DirtyError], expected: str
) -> None:
    path = f"{tmp_path}/s"

    def confuse(peer: ThreadPeer) -> None:
        peer.receive()
        peer.sock.sendall(reply)

    with (
        listening(path, confuse),
        BlockingDirtyClient(path) as client,
        pytest.raises(error_class, match=expected),
    ):
        client.status()


def test_what_the_arbiter_says_before_it_closes_under_a_request_is_the_error(
    tmp_path: Path,
) -> None:
    path = f"{tmp_path}/s"

    def refuse(peer: ThreadPeer) -> None:
        peer.sock.recv(100)
        peer.send(frames.error(0, DirtyProtocolError("that is too long")))

    with (
        listening(path, refuse),
        BlockingDirtyClient(path) as client,
        pytest.raises(DirtyProtocolError, match="that is too long"),
    ):
        client.execute(APP, "run", bytes(10_000_000))


def test_a_connection_that_is_closed_before_its_request_was_read_is_an_error(
    tmp_path: Path,
) -> None:
    path = f"{tmp_path}/s"

    def slam(peer: ThreadPeer) -> None:
        peer.sock.recv(1, socket.MSG_PEEK)

    with listening(path, slam), BlockingDirtyClient(path) as client:
        for size in (10, 10_000_000):
            with pytest.raises(DirtyConnectionError, match=r"reset by peer|Broken pipe"):
                client.execute(APP, "run", bytes(size))


def test_garbage_that_comes_before_the_request_is_read_is_no_answer(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"

    def babble(peer: ThreadPeer) -> None:
        peer.sock.recv(100)
        peer.sock.sendall(b"garbage, garbage, garbage")

    with (
        listening(path, babble),
        BlockingDirtyClient(path) as client,
        pytest.raises(DirtyConnectionError, match=r"Broken pipe|reset by peer"),
    ):
        client.execute(APP, "run", bytes(10_000_000))


def test_a_request_that_is_too_long_is_not_sent(tmp_path: Path) -> None:
    client = BlockingDirtyClient(f"{tmp_path}/s", max_frame_size=1000)
    with pytest.raises(DirtyProtocolError, match="dirty_max_frame_size is 1,000"):
        client.execute(APP, "run", bytes(1000))


@slow  # starts arbiters and kills one
def test_calls_go_on_when_a_killed_arbiter_is_back(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    command = (sys.executable, "-m", "tests.dirty.pool_process", path, "1")
    with BlockingDirtyClient(path) as client:
        with running(*command) as arbiter:
            arbiter.stdout.wait_for("^ready$")
            with ThreadPoolExecutor(2) as threads:
                call = threads.submit(client.execute, ECHO, "hang", "blocking-kill")
                wait_for_event(client, "blocking-kill", "started")
                arbiter.send_signal(signal.SIGKILL)
                with pytest.raises(DirtyConnectionError, match="it closed the connection"):
                    call.result(PATIENCE)
        with pytest.raises(DirtyConnectionError):
            client.status()
        with running(*command) as arbiter:
            arbiter.stdout.wait_for("^ready$")
            assert client.execute(ECHO, "aecho", 1) == 1
            assert arbiter.stop() == 0
    assert os.listdir(tmp_path) == []


# -- scripts ----------------------------------------------------------------------------------

SCRIPT = f"""
import sys
from trioserve.dirty import BlockingDirtyClient, stash

client = BlockingDirtyClient()
print(client.execute("{ECHO}", "echo", 1, k=2))
with client.stream("{ECHO}", "count", 3) as items:
    print(list(items))
stash.put("script", "k", 1)
print(stash.get("script", "k"))
print(sorted({{"trio", "asyncio", "attrs", "tempfile"}} & set(sys.modules)))
client.close()
"""


@slow  # starts an interpreter
def test_a_script_needs_no_event_loop_and_leaves_nothing_open(arbiter_socket: str) -> None:
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", SCRIPT],
        cwd=REPOSITORY,
        env={**os.environ, "TRIOSERVE_DIRTY_SOCKET": arbiter_socket},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.stderr == ""
    assert result.stdout.splitlines() == ["[[1], {'k': 2}]", "[0, 1, 2]", "1", "[]"]
