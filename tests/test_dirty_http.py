# SPDX-License-Identifier: MIT
"""The dirty pool beside a real server: what a client that leaves, a stop, a kill and a wrong
setting do to calls, to worker processes and to files.

Each server has a directory of its own for its sockets, by which its workers are found in the
system's list of processes: none may be left.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trioserve
from tests.dirty_http_app import ACTIONS, app
from tests.dirty_leftovers import needs_proc, wait_until, workers_of
from tests.plain_client import connect, get
from tests.server_process import REPOSITORY, TRIOSERVE, running, serving
from trioserve.dirty import BlockingDirtyClient, get_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.server_process import ServerProcess

#: Each starts a server and at least one worker, which takes about a second.
pytestmark = [pytest.mark.slow, needs_proc]

#: Seconds for one message to pass between processes of a machine that is busy with other things.
#: It decides how late a test fails, not whether.
MARGIN = 5.0


@contextlib.contextmanager
def dirty_server(directory: Path, *options: str) -> Iterator[ServerProcess]:
    """A server with a pool whose sockets lie in ``directory``; nothing of it may be left.

    After the block the server must have ended.
    """
    with serving(
        "tests.dirty_http_app:app",
        f"--dirty-app={ACTIONS}",
        f"--process-name={directory}",
        *options,
        app_dir=REPOSITORY,
        environ={"XDG_RUNTIME_DIR": str(directory)},
    ) as server:
        yield server
        server.wait()
        # Not later: what outlives the server outlives its supervision.
        assert workers_of(directory) == []
        assert list(directory.iterdir()) == []


def socket_in(directory: Path) -> str:
    """The socket that a server made for itself in its directory."""
    (path,) = directory.glob("trioserve-dirty-*/dirty.sock")
    return str(path)


def set_flag(directory: Path, name: str) -> None:
    """Lets the action end that waits for it."""
    with BlockingDirtyClient(socket_in(directory)) as client:
        client.stash.put("flags", name, value=True)


def counters(server: ServerProcess) -> dict[str, Any]:
    """What STATUS says of the app."""
    apps = json.loads(get(server.port, "/status").body)["apps"]
    found: dict[str, Any] = apps[ACTIONS]
    return found


def pool_is_free(server: ServerProcess) -> bool:
    return (counters(server)["running"], counters(server)["queued"]) == (0, 0)


# -- a client that leaves -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "told"),
    [
        pytest.param("/call/hang", ["hang"], id="an async action"),
        pytest.param("/call/spin", ["spin"], id="a sync action, which asks cancelled()"),
        pytest.param("/call/call_hang", ["hang", "call_hang"], id="an action that called another"),
        pytest.param("/stream/ticks", ["ticks"], id="an async generator"),
        pytest.param("/stream/rows", ["rows"], id="a generator"),
    ],
)
def test_a_client_that_leaves_ends_its_call_in_the_worker_after_the_grace(
    target: str, told: list[str], tmp_path: Path
) -> None:
    # One slot of each kind, but for the nested call: the next call shows that they are free again.
    slots = f"--dirty-concurrency={len(told)}"
    with dirty_server(tmp_path, "--asgi-disconnect-grace-period=0.3", slots) as server:
        with connect(server.port) as client:
            client.send("GET", target)
            for name in told:
                server.stdout.wait_for(f"^{name} started")
            if target.startswith("/stream"):
                client.begin()
                assert client.part()
            left_at = time.monotonic()
        for name in told:
            ended_at = float(server.stdout.wait_for(rf"^{name} cancelled at ([\d.]+)$")[1])
            # A generator that sends is told earlier: sending to a client that has left raises.
            grace = 0 if name == "rows" else 0.3
            assert left_at + grace - 0.001 <= ended_at <= left_at + grace + MARGIN
        if target.startswith("/call"):
            request = r"^request of \w+ cancelled at ([\d.]+)$"
            assert left_at + 0.299 <= float(server.stdout.wait_for(request)[1]) <= ended_at + MARGIN
        wait_until(lambda: pool_is_free(server), "the call's slot is free")
        assert json.loads(get(server.port, "/call/echo?arg=1").body) == {"result": "1"}
        assert len(workers_of(tmp_path)) == 1  # the same one: nobody had to be killed
        assert counters(server)["workers"] == 1
        assert server.stop() == 0
        assert "ERROR" not in server.stderr.text
        assert not re.search(r"dirty worker \d+ ended", server.stderr.text.partition("SIGTERM")[0])


def test_a_call_that_ends_within_the_grace_is_not_cancelled(tmp_path: Path) -> None:
    with dirty_server(tmp_path, "--asgi-disconnect-grace-period=60") as server:
        with connect(server.port) as client:
            client.send("GET", "/watch/await_flag?arg=go")
            server.stdout.wait_for("^await_flag started")
        server.stdout.wait_for("^the client has left")
        set_flag(tmp_path, "go")
        server.stdout.wait_for("^await_flag finished")
        assert server.stop() == 0
        assert "cancelled" not in server.stdout.text
        assert "ERROR" not in server.stderr.text


def test_a_call_that_waits_in_the_queue_never_starts_once_its_client_has_left(
    tmp_path: Path,
) -> None:
    options = ("--asgi-disconnect-grace-period=0", "--dirty-concurrency=1")
    with dirty_server(tmp_path, *options) as server:
        with connect(server.port) as first:
            first.send("GET", "/call/await_flag?arg=go")
            server.stdout.wait_for("^await_flag started")
            with connect(server.port) as second:
                second.send("GET", "/call/hang")
                wait_until(lambda: counters(server)["queued"] == 1, "the second call is queued")
            wait_until(lambda: counters(server)["queued"] == 0, "it has left the queue")
            set_flag(tmp_path, "go")
            assert json.loads(first.reply().body) == {"result": "go"}
        assert server.stop() == 0
        assert "hang started" not in server.stdout.text


# -- a stop ---------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["await_flag", "poll_flag"])
def test_a_call_under_way_at_a_stop_finishes_and_its_response_is_delivered(
    action: str, tmp_path: Path
) -> None:
    with dirty_server(tmp_path) as server, connect(server.port) as client:
        client.send("GET", f"/call/{action}?arg=go")
        server.stdout.wait_for(f"^{action} started")
        server.send_signal(signal.SIGTERM)
        server.stderr.wait_for("SIGTERM: stopping")
        set_flag(tmp_path, "go")
        assert json.loads(client.reply().body) == {"result": "go"}
        assert server.wait() == 0
        assert "ERROR" not in server.stderr.text


def test_a_stream_under_way_at_a_stop_goes_on_to_its_end(tmp_path: Path) -> None:
    with dirty_server(tmp_path) as server, connect(server.port) as client:
        client.send("GET", "/stream/stream_until_flag?arg=go")
        client.begin()
        assert client.part() == b"first "
        server.send_signal(signal.SIGTERM)
        server.stderr.wait_for("SIGTERM: stopping")
        set_flag(tmp_path, "go")
        assert b"".join(iter(client.part, None)) == b"last"
        assert server.wait() == 0


@pytest.mark.parametrize("action", ["hang", "block"])
def test_a_second_signal_ends_calls_and_workers_now(action: str, tmp_path: Path) -> None:
    with dirty_server(tmp_path) as server, connect(server.port) as client:
        client.send("GET", f"/call/{action}")
        server.stdout.wait_for(f"^{action} started")
        server.send_signal(signal.SIGTERM)
        server.stderr.wait_for("requests under way have 30 s")
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 143
        server.stdout.wait_for(f"^request of {action} cancelled")
        assert client.sock.recv(1) == b""  # never a fake response
        assert "Traceback" not in server.stderr.text


def test_an_action_that_never_ends_is_cut_by_the_graceful_timeouts(tmp_path: Path) -> None:
    timeouts = ("--graceful-timeout=0.1", "--dirty-graceful-timeout=0.1")
    with dirty_server(tmp_path, *timeouts) as server, connect(server.port) as client:
        client.send("GET", "/call/block")
        server.stdout.wait_for("^block started")
        assert server.stop() == 0
        assert client.sock.recv(1) == b""
        assert "Traceback" not in server.stderr.text


def test_a_stop_waits_for_calls_of_other_processes_as_well(tmp_path: Path) -> None:
    """Also where it takes longer than all timeouts of the HTTP server: nothing ends it by force."""
    timeouts = ("--graceful-timeout=0.1", "--lifespan-shutdown-timeout=0.1")
    with dirty_server(tmp_path, *timeouts) as server, contextlib.ExitStack() as outside:
        client = outside.enter_context(BlockingDirtyClient(socket_in(tmp_path)))
        call = outside.enter_context(client.stream(ACTIONS, "stream_until_flag", "go"))
        items = iter(call)
        assert next(items) == "first "
        server.send_signal(signal.SIGTERM)
        server.stderr.wait_for("SIGTERM: stopping")
        time.sleep(2.5)  # a server that forgot the pool's time would end itself after 2.2 s
        set_flag(tmp_path, "go")
        assert list(items) == ["last"]
        assert server.wait() == 0
        assert "ERROR" not in server.stderr.text


# -- SIGKILL --------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["hang", "block"])
def test_sigkill_of_the_server_leaves_no_worker_no_socket_and_no_directory(
    action: str, tmp_path: Path
) -> None:
    """Neither one that is idle, nor one that runs a task, or a thread that nothing can stop."""
    options = (f"--process-name={tmp_path}", f"--dirty-app={ACTIONS}", "--dirty-workers=2")
    with serving(
        "tests.dirty_http_app:app",
        *options,
        app_dir=REPOSITORY,
        environ={"XDG_RUNTIME_DIR": str(tmp_path)},
    ) as server:
        wait_until(lambda: counters(server)["workers"] == 2, "two workers are ready")
        assert len(workers_of(tmp_path)) == 2
        with connect(server.port) as client:
            client.send("GET", f"/call/{action}")
            server.stdout.wait_for(f"^{action} started")
            server.process.kill()
            server.wait()
        wait_until(lambda: workers_of(tmp_path) == [], "the workers have ended")
        wait_until(lambda: list(tmp_path.iterdir()) == [], "socket and directory are removed")


def test_a_worker_that_is_killed_fails_its_call_at_once_and_is_followed_by_another(
    tmp_path: Path,
) -> None:
    with dirty_server(tmp_path) as server, connect(server.port) as client:
        client.send("GET", "/call/hang")
        server.stdout.wait_for("^hang started")
        (before,) = workers_of(tmp_path)
        os.kill(before, signal.SIGKILL)
        assert client.reply().status == 500
        server.stderr.wait_for(f"DirtyWorkerError: worker {before} ended .killed by SIGKILL")
        assert json.loads(get(server.port, "/call/pid").body)["result"] != before
        assert server.stop() == 0


# -- scaling --------------------------------------------------------------------------------


def test_sigttin_and_sigttou_add_and_remove_a_worker(tmp_path: Path) -> None:
    with dirty_server(tmp_path) as server:
        server.send_signal(signal.SIGTTIN)
        server.stderr.wait_for("SIGTTIN: add a dirty worker: 2 are wanted now$")
        wait_until(lambda: counters(server)["workers"] == 2, "two workers are ready")
        assert len(workers_of(tmp_path)) == 2
        server.send_signal(signal.SIGTTOU)
        server.stderr.wait_for("SIGTTOU: remove a dirty worker: 1 are wanted now$")
        wait_until(lambda: len(workers_of(tmp_path)) == 1, "one worker is left")
        server.send_signal(signal.SIGTTOU)
        server.stderr.wait_for("SIGTTOU: .*: 1 are wanted now .*the last one of some app")
        assert json.loads(get(server.port, "/call/echo?arg=1").body) == {"result": "1"}
        assert server.stop() == 0


def test_a_worker_that_is_removed_finishes_its_call(tmp_path: Path) -> None:
    with dirty_server(tmp_path, "--dirty-workers=2") as server:
        wait_until(lambda: counters(server)["workers"] == 2, "two workers are ready")
        with connect(server.port) as one, connect(server.port) as other:
            for number, client in enumerate((one, other), 1):  # one in each worker
                client.send("GET", "/call/poll_flag?arg=go")
                server.stdout.wait_for("^poll_flag started", count=number)
            server.send_signal(signal.SIGTTOU)
            server.stderr.wait_for("1 are wanted now$")
            set_flag(tmp_path, "go")
            assert [client.reply().status for client in (one, other)] == [200, 200]
        wait_until(lambda: len(workers_of(tmp_path)) == 1, "one worker is left")
        assert server.stop() == 0


# -- a handler's client ---------------------------------------------------------------------


def test_handlers_and_threads_have_a_client(tmp_path: Path) -> None:
    with dirty_server(tmp_path) as server:
        assert get(server.port, "/same_client").text == "the same\n"
        assert get(server.port, "/in_a_thread").text == "from a thread\n"
        assert server.stop() == 0
        assert "ERROR" not in server.stderr.text


async def test_serve_in_a_program_has_its_pool_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SPT_NOENV": "1", "STARTED_AS": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)  # as tests.server_process does, for workers_of
    path = tmp_path / "dirty.sock"
    ended: list[int] = []
    config = trioserve.Config(
        bind=["127.0.0.1:0"],
        dirty_app=[ACTIONS],
        dirty_socket=path,
        process_name=str(path),
        dirty_worker_exit=lambda arbiter, worker: ended.append(worker.pid),
    )
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            (address,) = await nursery.start(trioserve.serve, app, config)
            port = int(address.url.rpartition(":")[2])
            reply = await trio.to_thread.run_sync(get, port, "/same_client")
            assert reply.text == "the same\n"
            assert await get_client().execute(ACTIONS, "echo", [1]) == [1]
            assert path.is_socket()
            workers = workers_of(tmp_path)
            assert len(workers) == 1
            nursery.cancel_scope.cancel()
    assert ended == workers
    assert workers_of(tmp_path) == []
    assert not path.exists()
    assert "TRIOSERVE_DIRTY_SOCKET" not in os.environ
    with pytest.raises(RuntimeError, match="no dirty pool"):
        get_client()


async def test_serve_in_a_program_raises_if_the_pool_has_no_place(tmp_path: Path) -> None:
    config = trioserve.Config(
        bind=["127.0.0.1:0"], dirty_app=[ACTIONS], dirty_socket=tmp_path / "nowhere" / "dirty.sock"
    )
    with pytest.raises(trioserve.BindError, match="nowhere can't be used: No such file"):
        await trioserve.serve(app, config)


# -- settings that can't be -----------------------------------------------------------------


def refused(*options: str) -> str:
    """What the command says before it exits with 2."""
    command = (TRIOSERVE, "tests.dirty_http_app:app", "--bind=127.0.0.1:0", *options)
    with running(*command, f"--dirty-app={ACTIONS}") as server:
        assert server.wait() == 2
        (line,) = server.stderr.lines
        assert "serving" not in line
        return line


def test_a_socket_path_that_can_not_be_used_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "dirty.sock"
    line = refused(f"--dirty-socket={missing}")
    assert (
        line
        == f"trioserve: dirty_socket: {missing.parent} can't be used: No such file or directory"
    )
    file = tmp_path / "file"
    file.touch()
    assert refused(f"--dirty-socket={file}").endswith(f"{file} is there, and is no socket")
    assert file.exists()
    taken = tmp_path / "taken.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(taken))
        listener.listen()
        assert refused(f"--dirty-socket={taken}").endswith(f"somebody listens at {taken} already")


@pytest.mark.parametrize("hook", ["on-dirty-starting", "dirty-post-fork", "dirty-worker-exit"])
def test_a_hook_that_can_not_be_imported_is_one_line_and_exit_code_2(hook: str) -> None:
    line = refused(f"--{hook}=tests.dirty_http_app:on_starting")
    name = hook.replace("-", "_")
    assert line.startswith(f'trioserve: {name}: module "tests.dirty_http_app" has no attribute')
