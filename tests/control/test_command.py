# SPDX-License-Identifier: MIT
"""``trioservectl`` as a process: what it asks for, what it prints, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.control.fake_server import PATIENCE, FakeControls, fake_server
from tests.server_process import running
from trioserve.control import client as control_client
from trioserve.control.client import ControlClient, NoServerError
from trioserve.control.command import main

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The real command, beside the interpreter that runs the tests.
TRIOSERVECTL = str(Path(sys.executable).with_name("trioservectl"))


@pytest.fixture
def server(base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeControls]:
    """A fake server that the environment names."""
    with fake_server(f"{base}/s") as controls:
        monkeypatch.setenv("TRIOSERVE_CONTROL_SOCKET", f"{base}/s")
        yield controls


def trioservectl(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    return subprocess.run(
        [TRIOSERVECTL, *words],
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


# -- each command -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "asked", "printed"),
    [
        (["status"], ("status",), "trioserve 9.9, process "),
        (["tasks"], ("tasks",), "arbiter, process "),
        (["workers", "add"], ("add_workers", 1), "workers are added; 3 are wanted now\n"),
        (["workers", "add", "3"], ("add_workers", 3), "workers are added; 5 are wanted now\n"),
        (["workers", "remove"], ("remove_workers", 1), "workers are removed; 1 is wanted now\n"),
        (["workers", "remove", "2"], ("remove_workers", 2), "workers are removed; 1 is wanted"),
        (["workers", "kill", "4001"], ("kill_worker", 4001), "the worker is killed; another"),
        (["dirty", "add", "2"], ("add_dirty", 2), "dirty workers are added; 3 are wanted now\n"),
        (["reload"], ("reload",), "the reload has begun\n"),
        (["log-level", "debug"], ("set_log_level", "debug"), "the log level is set\n"),
        (["shutdown"], ("shutdown", False), "the server stops\n"),
        (["shutdown", "--now"], ("shutdown", True), "the server stops\n"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_asks_the_server_and_says_what_was_done(
    server: FakeControls, words: list[str], asked: tuple[Any, ...], printed: str
) -> None:
    done = trioservectl(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(printed)
    assert server.asked == [asked]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["status"], ("app", "shop:app")),
        (["workers", "add"], ("target_workers", 3)),
        (["reload"], None),
    ],
)
def test_json_is_the_servers_answer(
    server: FakeControls, words: list[str], expected: tuple[str, Any] | None
) -> None:
    done = trioservectl(*words, "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert answer == {} if expected is None else answer[expected[0]] == expected[1]


def test_tasks_are_shown_as_trees_with_who_did_not_answer(server: FakeControls) -> None:
    done = trioservectl("tasks")
    blocks = done.stdout.split("\n\n")
    assert blocks[0].startswith(f"arbiter, process {os.getpid()}\n")
    assert "└─ trioserve.control.server.serve_control\n" in blocks[0]
    assert blocks[1:] == ["worker 1, process 4001\n(no answer within 2 s)\n"]
    [arbiter, worker] = json.loads(trioservectl("tasks", "--json").stdout)
    assert arbiter["tree"]["nurseries"]
    assert (worker["tree"], worker["error"]) == (None, "no answer within 2 s")


# -- how it ends ------------------------------------------------------------------------------


def test_a_refusal_ends_with_1_and_the_servers_words(server: FakeControls) -> None:
    server.refuses = "there are no workers: the server is one process"
    done = trioservectl("workers", "add")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"trioservectl: {server.refuses}\n"


def test_what_the_dirty_pool_could_not_do_ends_with_1(server: FakeControls) -> None:
    done = trioservectl("dirty", "remove")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "trioservectl: each worker that is left is the last one of some app\n"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["what"],
        ["status", "more"],
        ["workers"],
        ["workers", "double"],
        ["workers", "add", "0"],
        ["workers", "add", "few"],
        ["workers", "kill"],
        ["workers", "kill", "-1"],
        ["dirty", "kill", "1"],
        ["log-level"],
        ["log-level", "loud"],
        ["shutdown", "--nwo"],
        ["status", "--pid", "1", "--socket", "/s"],
        ["top", "--json"],
        ["top"],  # the test's is no terminal
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(
    server: FakeControls, capfd: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(words) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("trioservectl:" if words == ["top"] else "usage: trioservectl")
    assert server.asked == []


def test_help_needs_no_server(capfd: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["workers", "kill", "-h"], ["top", "--help"]):
        assert main(words) == 0
        assert capfd.readouterr().out.startswith("usage: trioservectl")


def test_nobody_there_ends_with_3(base: Path) -> None:
    done = trioservectl("status", "--socket", f"{base}/s")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"trioservectl: no server can be reached at {base}/s: No such file or directory\n"
    )


@contextlib.contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """Whatever is behind a socket: it answers one line, so, and leaves."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(4096)
                sock.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        thread.join(PATIENCE)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"", "the server at {path} has gone"),
        (b'{"answer": {', "the server at {path} has gone"),
        (b"HTTP/1.1 400 Bad Request\r\n", "what is at {path} is no trioserve: it said b'HTTP"),
        (b"[]\n", "what is at {path} is no trioserve: it said b'[]'"),
        (b"{}\n", "what is at {path} is no trioserve: it said b'{}'"),
    ],
)
def test_what_is_no_server_ends_with_3(
    base: Path, capfd: pytest.CaptureFixture[str], answer: bytes, expected: str
) -> None:
    with answering(base / "s", answer):
        assert main(["status", "--socket", f"{base}/s"]) == 3
    assert capfd.readouterr().err.startswith(
        "trioservectl: " + expected.replace("{path}", f"{base}/s")
    )


def test_a_server_that_goes_before_it_has_answered_shutdown_has_done_it(
    base: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with answering(base / "s", b""):
        assert main(["shutdown", "--socket", f"{base}/s"]) == 0
    assert capfd.readouterr().out == "the server stops\n"


def test_a_server_that_says_nothing_is_not_waited_for(base: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"{base}/s")
        listener.listen()
        with (
            ControlClient(f"{base}/s") as client,
            pytest.raises(NoServerError, match=r"did not answer within 0\.01 s"),
        ):
            client.ask("status", timeout=0.01)


def test_a_server_of_another_user_is_not_asked(
    server: FakeControls, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(control_client, "peer_uid", lambda _: 1001)
    with pytest.raises(NoServerError, match="belongs to user 1001: a server of this user"):
        ControlClient(os.environ["TRIOSERVE_CONTROL_SOCKET"])
    monkeypatch.setattr(control_client, "peer_uid", lambda _: 0)
    ControlClient(os.environ["TRIOSERVE_CONTROL_SOCKET"]).close()
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert server.asked == []


def test_an_interrupt_ends_with_130(base: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"{base}/s")
        listener.listen()
        listener.settimeout(PATIENCE)
        # As a terminal starts it: who runs the tests in the background may have had it ignored.
        program = (
            "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
            "from trioserve.control.command import main; sys.exit(main())"
        )
        with running(sys.executable, "-c", program, "reload", "--socket", f"{base}/s") as command:
            sock, _ = listener.accept()
            with sock:
                assert sock.recv(4096)  # now it waits for the answer
                assert command.stop(signal.SIGINT) == 130
        assert command.stderr.text == ""


# -- which server -----------------------------------------------------------------------------


def test_the_only_server_is_found(runtime: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (runtime / "trioserve").mkdir(mode=0o700)
    with fake_server(f"{runtime}/trioserve/trioserve-7.sock") as controls:
        assert main(["status"]) == 0
        done = trioservectl("reload")  # a process finds it, too
        assert done.returncode == 0 or "which server?" in done.stderr  # if others run here
    assert controls.asked[0] == ("status",)
    assert main(["status"]) == 3
    assert "no server of this user has a control socket" in capfd.readouterr().err


def test_of_several_one_must_be_named(runtime: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (runtime / "trioserve").mkdir(mode=0o700)
    paths = {pid: f"{runtime}/trioserve/trioserve-{pid}.sock" for pid in (7, 8)}
    with fake_server(paths[7]) as seven, fake_server(paths[8]) as eight:
        assert main(["reload"]) == 2
        assert capfd.readouterr().err == (
            "trioservectl: which server? Give --pid or --socket; there are:\n"
            f"  --pid 7  ({paths[7]})\n"
            f"  --pid 8  ({paths[8]})\n"
        )
        assert main(["--pid", "7", "workers", "kill", "8"]) == 0
        assert main(["reload", "--pid", "8"]) == 0
        assert main(["status", "--socket", paths[8]]) == 0
        assert main(["reload", "--pid", "9"]) == 3
        assert "with the process id 9 has a control socket; there are:" in capfd.readouterr().err
    assert seven.asked == [("kill_worker", 8)]
    assert eight.asked == [("reload",), ("status",)]


@pytest.mark.parametrize("value", ["auto", "off", ""])
def test_a_variable_that_is_no_path_names_no_server(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("TRIOSERVE_CONTROL_SOCKET", value)
    assert main(["status"]) == 3


def test_it_starts_without_what_it_does_not_need(server: FakeControls) -> None:
    program = (
        "import sys; from trioserve.control.command import main; main(['status']);"
        "print(*sorted({'trio', 'rich', 'cyclopts'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stderr == "\n"
