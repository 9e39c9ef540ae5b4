# SPDX-License-Identifier: MIT
"""Whole servers and their system: systemd, pid files, users, log files, hooks, process 1."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.plain_client import get
from tests.server_process import PATIENCE, REPOSITORY, TRIOSERVE, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.server_process import ServerProcess

pytestmark = [
    pytest.mark.slow,  # a server each, and more
    pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc"),
]

APP = "tests.system_app:app"
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
NOBODY = pwd.getpwnam("nobody")
#: Servers of one process, and of workers.
WORKERS = pytest.mark.parametrize("workers", [0, 2])


def options(*more: object, workers: int = 0) -> list[str]:
    own = [APP, "--app-dir", str(REPOSITORY), "--bind", "127.0.0.1:0", "--workers", str(workers)]
    return [*own, *map(str, more)]


@contextlib.contextmanager
def started(
    *more: object, workers: int = 0, before: tuple[str, ...] = (), **environ: str
) -> Iterator[ServerProcess]:
    """A server, once it serves."""
    command = (*before, TRIOSERVE, *options(*more, workers=workers))
    with running(*command, environ=environ) as server:
        _ = server.address
        yield server


def asked(server: ServerProcess) -> dict[str, Any]:
    """What the application says of the process that serves it."""
    told: dict[str, Any] = json.loads(get(server.port, "/").text)
    assert told["own_exit_code"] == 7
    return told


def reload(server: ServerProcess, init: int | None = None) -> None:
    """SIGHUP, and the end of what it does: without workers there is little to be done."""
    os.kill(init or server.process.pid, signal.SIGHUP)
    server.stderr.wait_for("the reload is done|SIGHUP: the application and its settings stay")


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 2 * PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


def exists(pid: int) -> bool:
    """Whether it runs; a zombie doesn't."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@contextlib.contextmanager
def ended_at_last(pid: Callable[[], int]) -> Iterator[None]:
    """A successor, which its test can't wait for, is gone after the block."""
    try:
        yield
    finally:
        with contextlib.suppress(ValueError, FileNotFoundError, ProcessLookupError):
            os.kill(pid(), signal.SIGKILL)


# -- systemd ----------------------------------------------------------------------------------


class Manager:
    """What systemd would hear."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(2 * PATIENCE)

    def close(self) -> None:
        self._socket.close()

    def wait_for(self, line: str) -> list[str]:
        """Reads until a message has a line that begins so; returns the message's lines."""
        while True:
            lines = self._socket.recv(4096).decode().split("\n")
            self.heard.append(lines[0])
            if any(one.startswith(line) for one in lines):
                return lines


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@WORKERS
def test_systemd_is_told_of_start_reload_and_stop_and_nobody_else_can_tell_it(
    manager: Manager, workers: int
) -> None:
    with started(workers=workers, NOTIFY_SOCKET=str(manager.path)) as server:
        ready = manager.wait_for("READY=1")
        assert ready[1] == f"STATUS=serving on {server.address}"
        assert manager.heard == ["READY=1"]
        assert asked(server)["private"] == []
        server.send_signal(signal.SIGHUP)
        assert manager.wait_for("RELOADING=1")[1].startswith("MONOTONIC_USEC=")
        manager.wait_for("READY=1")
        server.send_signal(signal.SIGTERM)
        manager.wait_for("STOPPING=1")
        assert server.wait() == 0


@WORKERS
def test_the_watchdog_hears_of_the_server(manager: Manager, workers: int) -> None:
    notify = str(manager.path)
    with started(workers=workers, NOTIFY_SOCKET=notify, WATCHDOG_USEC="100000") as server:
        for _ in range(5):
            manager.wait_for("WATCHDOG=1")
        assert server.stop() == 0


def test_a_manager_that_is_gone_is_one_line_of_log(manager: Manager) -> None:
    manager.close()
    with started(NOTIFY_SOCKET=str(manager.path)) as server:
        assert server.stop() == 0
        assert server.stderr.text.count("the service manager at") == 1


@WORKERS
def test_after_an_upgrade_systemd_and_the_pid_file_name_the_successor(
    manager: Manager, tmp_path: Path, workers: int
) -> None:
    pid_file = tmp_path / "server.pid"
    options = ("--pid-file", pid_file)
    with started(*options, workers=workers, NOTIFY_SOCKET=str(manager.path)) as server:
        manager.wait_for("READY=1")
        assert int(pid_file.read_text()) == server.process.pid
        with ended_at_last(lambda: int(pid_file.read_text())):
            server.send_signal(signal.SIGUSR2)
            (line,) = manager.wait_for("MAINPID=")
            successor = int(line.partition("=")[2])
            assert successor != server.process.pid
            assert server.wait() == 0
            assert int(pid_file.read_text()) == successor
            asked(server)
            os.kill(successor, signal.SIGTERM)
            manager.wait_for("STOPPING=1")
            until(lambda: not exists(successor), "the successor's end")
            assert not pid_file.exists()


# -- the pid file -------------------------------------------------------------------------------


@WORKERS
def test_the_pid_file_is_there_while_the_server_serves(tmp_path: Path, workers: int) -> None:
    pid_file = tmp_path / "server.pid"
    with started("--pid-file", pid_file, workers=workers) as server:
        assert int(pid_file.read_text()) == server.process.pid
        with running(TRIOSERVE, *options("--pid-file", pid_file, workers=workers)) as second:
            assert second.wait() == 2
            expected = f"process {server.process.pid}, whose id it holds, is running"
            assert expected in second.stderr.text
        assert int(pid_file.read_text()) == server.process.pid
        assert server.stop() == 0
    assert not pid_file.exists()


def test_what_a_crash_has_left_behind_is_replaced(tmp_path: Path) -> None:
    pid_file = tmp_path / "server.pid"
    with started("--pid-file", pid_file) as server:
        server.process.kill()
        server.wait()
    assert pid_file.exists()
    with started("--pid-file", pid_file) as server:
        assert "has ended without removing it; replaced" in server.stderr.text
        assert server.stop() == 0


def test_a_pid_file_in_a_folder_that_anybody_can_write_to_stops_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with running(TRIOSERVE, *options("--pid-file", folder / "server.pid")) as server:
        assert server.wait() == 2
        assert "no sticky bit" in server.stderr.lines[-1]
        assert "Traceback" not in server.stderr.text


# -- users, directories, variables ----------------------------------------------------------------


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory of root's that others can look into, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


#: Runs a command where everybody reaches the interpreter, though it is in a directory of root's
#: alone: that is covered by an empty one with the interpreter in it. Nobody else sees that.
REACHABLE = """
set -e
kept=$(mktemp -d)
mount --bind "$1" "$kept"
mount -t tmpfs -o mode=755 none "$2"
mkdir -p "$1"
mount --move "$kept" "$1"
rmdir "$kept"
shift 2
exec "$@"
"""


@pytest.fixture(scope="module")
def for_anybody() -> tuple[str, ...]:
    """The words before a command that becomes another user, and starts Python as that one."""
    if can_run(()):
        return ()
    prefix = Path(sys.base_prefix).resolve()
    hidden = [path for path in prefix.parents if not path.stat().st_mode & 0o001]
    if hidden:
        own_mounts = ("unshare", "--mount", "--propagation", "private")
        words = (*own_mounts, "sh", "-c", REACHABLE, "sh", str(prefix), str(hidden[-1]))
        if can_run(words):
            return words
    pytest.skip("the interpreter is where others can't run it")


def can_run(before: tuple[str, ...]) -> bool:
    """Whether an interpreter that has become nobody can start another, with what is installed."""
    program = (
        f"import os, subprocess, sys; os.setgroups([]); os.setuid({NOBODY.pw_uid}); "
        "sys.exit(subprocess.call([sys.executable, '-c', 'import trioserve.server']))"
    )
    command = [*before, sys.executable, "-c", program]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@NEEDS_ROOT
@WORKERS
def test_the_server_becomes_a_user_with_all_its_processes(
    shared: Path, for_anybody: tuple[str, ...], workers: int
) -> None:
    pid_file, log = shared / "server.pid", shared / "access.log"
    files = ("--pid-file", pid_file, "--access-log-file", log)
    with started("--user", "nobody", *files, workers=workers, before=for_anybody) as server:
        told = asked(server)
        assert told["user"] == [NOBODY.pw_uid] * 2 + [NOBODY.pw_gid] * 2
        assert told["groups"] == [NOBODY.pw_gid]
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        uids = "\t".join([str(NOBODY.pw_uid)] * 4)
        assert f"Uid:\t{uids}\n" in status
        assert log.stat().st_uid == NOBODY.pw_uid
        assert server.stop() == 0
    assert pid_file.read_text() == ""  # the directory is root's


@NEEDS_ROOT
def test_a_server_that_has_become_a_user_can_be_upgraded(
    shared: Path, for_anybody: tuple[str, ...]
) -> None:
    pid_file, log = shared / "server.pid", shared / "error.log"
    files = ("--pid-file", pid_file, "--error-log-file", log)
    command = (*for_anybody, TRIOSERVE, *options("--user", "nobody", *files))

    def serving() -> list[str]:
        text = log.read_text() if log.exists() else ""
        return re.findall(r"is serving on \S+:(\d+) \(process", text)

    with running(*command) as server:
        until(lambda: len(serving()) == 1, "the first server")
        with ended_at_last(lambda: int(pid_file.read_text())):
            server.send_signal(signal.SIGUSR2)
            assert server.wait(2 * PATIENCE) == 0, log.read_text()
            successor = int(pid_file.read_text())
            assert successor != server.process.pid
            told = json.loads(get(int(serving()[0]), "/").text)
            assert (told["pid"], told["user"][0]) == (successor, NOBODY.pw_uid)
            os.kill(successor, signal.SIGTERM)
            until(lambda: not exists(successor), "the successor's end")


@NEEDS_ROOT
def test_who_is_not_root_is_told_so_before_anything_serves(for_anybody: tuple[str, ...]) -> None:
    become = "import os, sys; os.setgid({0}); os.setuid({0}); os.execv(sys.argv[1], sys.argv[1:])"
    words = (sys.executable, "-c", become.format(NOBODY.pw_uid))
    with running(*for_anybody, *words, TRIOSERVE, *options("--user", "root")) as server:
        assert server.wait() == 2, server.stderr.text
        assert "user 'root': only root can become another" in server.stderr.lines[-1]
        assert "is serving" not in server.stderr.text


@WORKERS
def test_directory_umask_and_variables_are_in_effect(tmp_path: Path, workers: int) -> None:
    (tmp_path / "srv").mkdir()
    (tmp_path / "shop.env").write_text("SHOP_SETTING=from the file\nTRIOSERVE_ACCESS_LOG=false\n")
    chosen = ("--chdir", tmp_path / "srv", "--umask", "0027", "--env-file", tmp_path / "shop.env")
    with started(*chosen, workers=workers) as server:
        told = asked(server)
        assert told["directory"] == str(tmp_path / "srv")
        assert told["umask"] == 0o027
        assert told["setting"] == "from the file"
        assert server.stop() == 0
        assert server.stdout.text == ""


def test_a_reload_reads_the_variables_anew(tmp_path: Path) -> None:
    variables = tmp_path / "shop.env"
    variables.write_text("SHOP_SETTING=1\nSHOP_GONE=1\n")
    with started("--env-file", variables, workers=1) as server:
        first = asked(server)
        assert (first["setting"], first["gone"]) == ("1", "1")
        variables.write_text("SHOP_SETTING=2\n")
        reload(server)
        # What the old worker has accepted by then it answers.
        until(lambda: asked(server)["pid"] != first["pid"], "the new worker")
        second = asked(server)
        assert (second["setting"], second["gone"]) == ("2", None)
        variables.write_text("SHOP_SETTING='open\n")
        server.send_signal(signal.SIGHUP)
        server.stderr.wait_for(r"env_file .*, line 1: expected NAME=value")
        assert asked(server)["pid"] == second["pid"]
        assert server.stop() == 0


def test_processes_show_what_they_are() -> None:
    with started("--process-name", "shop", workers=2) as server:
        pid = asked(server)["pid"]

        def title(pid: int) -> str:
            return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0")

        assert title(server.process.pid) == "trioserve: arbiter [shop]"
        assert re.fullmatch(r"trioserve: worker [12] \[shop\]", title(pid))
        assert server.stop() == 0


# -- log files ------------------------------------------------------------------------------------


@WORKERS
def test_log_files_are_rotated_by_renaming(tmp_path: Path, workers: int) -> None:
    access, error = tmp_path / "access.log", tmp_path / "error.log"
    files = ("--access-log-file", access, "--error-log-file", error)
    with running(TRIOSERVE, *options(*files, workers=workers)) as server:
        until(lambda: error.exists() and "is serving on" in error.read_text(), "the start")
        found = re.search(r"is serving on \S+:(\d+)", error.read_text())
        assert found is not None
        port = int(found[1])
        get(port, "/before")
        until(lambda: "/before" in access.read_text(), "the access log")
        access.rename(tmp_path / "access.log.1")
        error.rename(tmp_path / "error.log.1")
        server.send_signal(signal.SIGUSR1)
        until(lambda: error.exists() and "log files are open again" in error.read_text(), "USR1")
        # Workers hear of it a moment later; what they write until then is in the old file.
        asked_for = 0
        while not access.exists() or "/after" not in access.read_text():
            assert asked_for < 2000
            get(port, "/after")
            asked_for += 1
        assert server.stop() == 0
        old, new = (tmp_path / "access.log.1").read_text(), access.read_text()
        assert old.count("/before") == 1
        assert old.count("/after") + new.count("/after") == asked_for
        assert (server.stdout.text, server.stderr.text) == ("", "")
        assert "Traceback" not in error.read_text()


def test_a_log_file_that_cant_be_opened_stops_the_start(tmp_path: Path) -> None:
    with running(TRIOSERVE, *options("--error-log-file", tmp_path / "no" / "log")) as server:
        assert server.wait() == 2
        assert server.stderr.lines[-1].startswith("trioserve: error_log_file ")


# -- hooks ----------------------------------------------------------------------------------------

HOOKS = (
    "on_starting",
    "when_ready",
    "on_reload",
    "on_exit",
    "pre_worker",
    "post_worker",
    "worker_init",
    "worker_exit",
    "workers_changed",
)


def hook_options(*names: str, function: str | None = None) -> list[str]:
    found = []
    for name in names:
        found += [f"--{name.replace('_', '-')}", f"tests.system_app:{function or name}"]
    return found


def noted(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_hooks_are_called_in_their_order_each_in_its_process(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    settings = tmp_path / "trioserve.toml"
    settings.write_text("backlog = 100\n")
    chosen = ("--config", settings, *hook_options(*HOOKS))
    with started(*chosen, workers=1, HOOKS_NOTED_IN=str(notes)) as server:
        until(lambda: any(one["hook"] == "when_ready" for one in noted(notes)), "when_ready")
        first = noted(notes)
        settings.write_text("backlog = 100\ngraceful_timeout = 5\n")
        reload(server)
        server.send_signal(signal.SIGTTIN)
        server.stderr.wait_for("2 HTTP workers are wanted now")
        assert server.stop() == 0
    all_of_them = noted(notes)
    assert [one["hook"] for one in first if one["hook"] != "workers_changed"] == [
        "on_starting",
        "pre_worker",
        "post_worker",
        "worker_init",
        "when_ready",
    ]
    arbiter = server.process.pid
    for one in all_of_them:
        assert (one["in"] == arbiter) == (one["hook"] != "worker_init"), one
    by_name = {one["hook"]: one for one in first}
    assert by_name["on_starting"]["addresses"] == []
    assert by_name["when_ready"]["addresses"] == [server.address]
    assert by_name["when_ready"]["pid"] == arbiter
    assert by_name["pre_worker"]["pid"] is None
    assert by_name["post_worker"]["pid"] == by_name["worker_init"]["in"]
    assert by_name["pre_worker"]["number"] == by_name["worker_init"]["number"] == 1
    assert [one["backlog"] for one in all_of_them if one["hook"] == "on_reload"] == [100]
    changes = [(one["new"], one["old"]) for one in all_of_them if one["hook"] == "workers_changed"]
    assert (2, 1) in changes
    started_ones = [one["pid"] for one in all_of_them if one["hook"] == "post_worker"]
    ended_ones = [one["pid"] for one in all_of_them if one["hook"] == "worker_exit"]
    assert sorted(started_ones) == sorted(ended_ones)
    # The second one may not have been ready yet.
    ends = {one["end"] for one in all_of_them if one["hook"] == "worker_exit"}
    assert "exit code 0" in ends
    assert ends <= {"exit code 0", "killed by SIGTERM (15)"}
    assert all_of_them[-1]["hook"] == "on_exit"


def test_without_workers_the_servers_own_hooks_are_called(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with started(*hook_options(*HOOKS), HOOKS_NOTED_IN=str(notes)) as server:
        reload(server)
        assert server.stop() == 0
    names = [one["hook"] for one in noted(notes) if one["hook"] not in ("worker_init",)]
    assert names == ["on_starting", "when_ready", "on_reload", "on_exit"]


@WORKERS
def test_a_hook_that_raises_is_logged_and_the_server_goes_on(workers: int) -> None:
    names = [name for name in HOOKS if name != "on_starting"]
    with started(*hook_options(*names, function="raises"), workers=workers) as server:
        asked(server)
        reload(server)
        asked(server)
        assert server.stop() == 0
        for name in names if workers else ("when_ready", "on_reload", "on_exit"):
            if name != "workers_changed":
                assert f"the hook {name} failed; the server goes on" in server.stderr.text
        assert "ValueError: the hook's own mistake" in server.stderr.text


@WORKERS
def test_on_starting_can_stop_the_start(workers: int) -> None:
    chosen = hook_options("on_starting", function="raises")
    with running(TRIOSERVE, *options(*chosen, workers=workers)) as server:
        assert server.wait() == 3
        assert server.stderr.lines[-1] == (
            "trioserve: the hook on_starting failed: ValueError: the hook's own mistake"
        )
        assert "is serving" not in server.stderr.text


@pytest.mark.parametrize("name", ["when_ready", "pre_worker"])
def test_a_hook_that_cant_be_imported_stops_the_start(name: str) -> None:
    chosen = hook_options(name, function="missing")
    with running(TRIOSERVE, *options(*chosen, workers=1)) as server:
        assert server.wait() == 2
        assert server.stderr.lines[-1].startswith(f"trioserve: {name}: module ")


# -- process 1 ------------------------------------------------------------------------------------


def namespace() -> tuple[str, ...]:
    """The words before a command that make it process 1."""
    words = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here")
    probe = subprocess.run([*words, "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("this machine doesn't permit new process namespaces")
    return words


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@WORKERS
def test_as_process_1_it_serves_reloads_and_stops(workers: int) -> None:
    with started(workers=workers, before=namespace()) as server:
        init = child_of(server.process.pid)
        told = asked(server)
        assert told["pid"] > 1
        reload(server, init)
        asked(server)
        os.kill(init, signal.SIGTERM)
        assert server.wait() == 0


def is_another(init: int, before: int) -> bool:
    """Whether the old server has ended, and process 1 has taken note of that."""
    return child_of(init) != before


@WORKERS
def test_as_process_1_it_can_be_upgraded(workers: int) -> None:
    with started(workers=workers, before=namespace()) as server:
        init = child_of(server.process.pid)
        for count in (1, 2):
            first = child_of(init)
            os.kill(init, signal.SIGUSR2)
            server.stderr.wait_for("trioserve is serving on", count=count + 1)
            until(partial(is_another, init, first), "the old server's end")
            asked(server)
        os.kill(init, signal.SIGTERM)
        assert server.wait() == 0
