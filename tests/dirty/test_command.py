# SPDX-License-Identifier: MIT
"""``trioserve-dirty``: what it takes, what it prints, and how it ends."""

from __future__ import annotations

import datetime
import decimal
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import tomllib
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.dirty.raw_peer import PATIENCE
from tests.dirty.test_arbiter_socket import ECHO
from tests.dirty.thread_arbiter import ThreadPeer, listening
from tests.server_process import REPOSITORY, running
from trioserve.dirty import frames
from trioserve.dirty.command import main
from trioserve.dirty.command_output import as_json, raw, status_text
from trioserve.dirty.errors import DirtyAppError
from trioserve.dirty.frames import FrameType

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = (sys.executable, "-m", "trioserve.dirty.command")

#: As a terminal starts it: who runs the tests in the background may have had SIGINT ignored.
FROM_A_TERMINAL = (
    sys.executable,
    "-c",
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from trioserve.dirty.command import main; sys.exit(main())",
)

#: The arbiter's process and its workers take a second to start, once for all tests.
slow = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIOSERVE_DIRTY_SOCKET", raising=False)


@pytest.fixture
def arbiter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An arbiter that answers a call by what it was called with; the environment names it."""
    path = f"{tmp_path}/s"

    def serve(peer: ThreadPeer) -> None:
        _, request_id, payload = peer.receive()
        app, action, args, kwargs, timeout, _ = frames.decode_request(payload)
        peer.send(frames.response(request_id, [app, action, args, kwargs, timeout]))

    monkeypatch.setenv("TRIOSERVE_DIRTY_SOCKET", path)
    with listening(path, serve):
        yield


# -- call: what it takes ------------------------------------------------------------------------

JSON_WORDS = ["1", "2.5", "null", "true", '"1"', '{"a": [1]}', "[]", "-5", "1e3"]
JSON_VALUES: list[Any] = [1, 2.5, None, True, "1", {"a": [1]}, [], -5, 1000.0]
PLAIN_WORDS = ["word", "two words", "", "not{json", "a=b"]


@pytest.mark.parametrize(
    ("words", "called"),
    [
        ([], [[], {}, None]),
        (JSON_WORDS, [JSON_VALUES, {}, None]),
        (PLAIN_WORDS, [PLAIN_WORDS, {}, None]),
        (["--kw", "a=1", "--kw=b=word", "--kw", "c=", "--kw", "d=x=y"], [
            [], {"a": 1, "b": "word", "c": "", "d": "x=y"}, None,
        ]),
        (["1", "--kw", "a=1", "two", "--timeout", "3", "-4"], [[1, "two", -4], {"a": 1}, 3.0]),
        (["--timeout", "0"], [[], {}, None]),
        (["--", "--word", "-x"], [["--word", "-x"], {}, None]),
    ],
)  # fmt: skip
def test_words_are_json_or_themselves(
    arbiter: None, capsys: pytest.CaptureFixture[str], words: list[str], called: list[Any]
) -> None:
    assert main(["call", "a:App", "act", *words]) == 0
    assert json.loads(capsys.readouterr().out) == ["a:App", "act", *called]


def test_options_may_stand_anywhere(arbiter: None, capsys: pytest.CaptureFixture[str]) -> None:
    path = os.environ.pop("TRIOSERVE_DIRTY_SOCKET")
    for words in (
        ["--socket", path, "call", "--kw", "a=1", "a:App", "act", "1"],
        ["call", "--socket", path, "a:App", "--kw", "a=1", "act", "1"],
        ["call", "a:App", "act", "1", "--kw", "a=1", f"--socket={path}"],
    ):
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out) == ["a:App", "act", [1], {"a": 1}, None]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["what"], "invalid choice: 'what'"),
        (["call"], "the following arguments are required: APP, ACTION"),
        (["call", "a:App"], "the following arguments are required: ACTION"),
        (["call", "a:App", "act", "{a"], "argument ARG: '{a' is no JSON: "),
        (["call", "a:App", "act", "1", "--raw", "[1"], "argument ARG: '[1' is no JSON: "),
        (["call", "a:App", "act", "[" * 100_000], "argument ARG: "),
        (["call", "a:App", "act", "--kw", "a"], "'a': expected NAME=JSON"),
        (["call", "a:App", "act", "--kw", "a b=1"], "'a b=1': expected NAME=JSON"),
        (["call", "a:App", "act", "--kw", 'a="x'], """'"x' is no JSON"""),
        (["call", "a:App", "act", "--kw", "timeout=1"], "'timeout' can only be given by its place"),
        (["call", "a:App", "act", "--timeout", "-1"], "'-1': expected seconds, 0 (none) or more"),
        (["call", "a:App", "act", "--timeout", "nan"], "'nan': expected seconds"),
        (["call", "a:App", "act", "--timeout", "soon"], "'soon': expected seconds"),
        (["call", "a:App", "act", "--strem"], "unrecognized arguments: --strem"),
        (["call", "a:App", "act", "1", "--raw", "2", "-x"], "unrecognized arguments: 2 -x"),
        (["status", "more"], "unrecognized arguments: more"),
        (["workers"], "the following arguments are required: operation"),
        (["workers", "double"], "invalid choice: 'double'"),
        (["workers", "add", "0"], "'0': expected a number, 1 or more"),
        (["workers", "add", "few"], "'few': expected a number, 1 or more"),
        (["workers", "add", "1", "2"], "unrecognized arguments: 2"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_wrong_usage_is_said_and_ends_with_2(
    arbiter: None, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert expected in captured.err
    assert "usage: trioserve-dirty" in captured.err


@pytest.mark.parametrize("words", [["call", "a:App", "act"], ["status"], ["workers", "add"]])
def test_without_a_socket_it_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(words) == 2
    assert "Give --socket PATH, or set TRIOSERVE_DIRTY_SOCKET" in capsys.readouterr().err


def test_help_and_version_need_no_socket(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["call", "--help"], ["status", "-h"], ["workers", "--help"]):
        assert main(words) == 0
        assert capsys.readouterr().out.startswith("usage: trioserve-dirty")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("trioserve ")


# -- call: how it ends --------------------------------------------------------------------------


def test_nobody_there_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--socket", f"{tmp_path}/s"]) == 1
    assert capsys.readouterr().err.startswith(
        f"trioserve-dirty: DirtyConnectionError: the dirty arbiter at {tmp_path}/s can't be reached"
    )


def test_an_error_comes_after_the_workers_traceback_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = f"{tmp_path}/s"

    def fail(peer: ThreadPeer) -> None:
        _, request_id, _ = peer.receive()
        peer.send(frames.chunk(request_id, "first"))
        error = DirtyAppError("it failed", traceback="Traceback:\n  here\n")
        peer.send(frames.error(request_id, error))

    with listening(path, fail):
        assert main(["--socket", path, "call", "a:App", "act", "--stream"]) == 1
    captured = capsys.readouterr()
    assert captured.out == '"first"\n'
    assert captured.err == "Traceback:\n  here\ntrioserve-dirty: DirtyAppError: it failed\n"


def test_an_interrupt_ends_with_130(
    arbiter: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trioserve.dirty.command.BlockingDirtyClient.execute", interrupt)
    assert main(["call", "a:App", "act"]) == 130
    assert capsys.readouterr().err == ""


# -- what it prints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        ("grüße", '"grüße"'),
        ([1, 2.5, True], "[1, 2.5, true]"),
        (1 << 100, str(1 << 100)),
        (b"\xff\x00", '{"$base64": "/wA="}'),
        ({"a": b""}, '{"a": {"$base64": ""}}'),
        (datetime.datetime(2025, 1, 2, 3, 4, tzinfo=datetime.UTC), '"2025-01-02T03:04:00+00:00"'),
        (datetime.date(2025, 1, 2), '"2025-01-02"'),
        (decimal.Decimal("1.10"), '"1.10"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        ({3, 1, 2}, "[1, 2, 3]"),
        (frozenset({"b", "a"}), '["a", "b"]'),
        (memoryview(b"\1\2"), "[1, 2]"),
    ],
)
def test_values_as_json(value: Any, expected: str) -> None:
    assert as_json(value) == expected


def test_arrays_as_json() -> None:
    numpy = pytest.importorskip("numpy")
    assert as_json(numpy.array([[1, 2], [3, 4]])) == "[[1, 2], [3, 4]]"
    assert as_json(numpy.array([1 + 2j])) == '["(1+2j)"]'
    assert as_json(numpy.array(["2025-01-02"], dtype="datetime64[D]")) == '["2025-01-02"]'


def test_json_for_a_terminal_that_is_not_utf_8() -> None:
    assert as_json("ü", ascii_only=True) == '"\\u00fc"'


def test_raw_values() -> None:
    assert raw("a b") == "a b"
    assert raw(b"\xff") == b"\xff"
    assert raw([1]) == "[1]"


def test_raw_bytes_are_written_as_they_are(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = f"{tmp_path}/s"

    def serve(peer: ThreadPeer) -> None:
        _, request_id, _ = peer.receive()
        for item in ("text", b"\xff\n\x00", {"a": 1}, b"end"):
            peer.send(frames.chunk(request_id, item))
        peer.send(frames.end(request_id))

    with listening(path, serve):
        assert main(["--socket", path, "call", "a:App", "act", "--stream", "--raw"]) == 0
    assert capsysbinary.readouterr().out == b'text\n\xff\n\x00{"a": 1}\nend'


STATUS = {
    "arbiter_pid": 100,
    "worker_count": 2,
    "target_workers": 3,
    "restarts": 4,
    "degraded": [{"slot": 3, "last_end": "exit code 1"}],
    "workers": [
        {
            "pid": 101,
            "age": 1,
            "apps": ["a:App", "b:App"],
            "booted": True,
            "last_heartbeat": 0.25,
            "uptime": 100_000.0,
            "draining": False,
            "running": 2,
            "calls": {"a:App": 10, "b:App": 5},
            "errors": 1,
            "rss": 28 << 20,
        },
        {
            "pid": 9102,
            "age": 12,
            "apps": [],
            "booted": False,
            "last_heartbeat": 3.0,
            "uptime": 3.0,
            "draining": False,
            "running": 0,
            "calls": {},
            "errors": 0,
            "rss": None,
        },
    ],
    "apps": {
        "a:App": {
            "workers": 1,
            "queued": 0,
            "running": 2,
            "calls": 12,
            "errors": 1,
            "timeouts": 0,
        }
    },
    "stash": {"tables": 1, "entries": 2, "bytes": 1536, "watchers": 0},
}


def test_a_status_is_a_table() -> None:
    assert (
        status_text(STATUS)
        == """\
arbiter 100: 2 workers of 3, 4 restarts, DEGRADED

 PID  AGE  STATE     UPTIME  HEARD  RUNNING  CALLS  ERRORS    MEMORY  APPS
 101    1  ready      1d03h   0.2s        2     15       1  28.0 MiB  a:App b:App
9102   12  starting    3.0s   3.0s        0      0       0         -  -

  slot 3 has given up: exit code 1

APP    WORKERS  QUEUED  RUNNING  CALLS  ERRORS  TIMEOUTS
a:App        1       0        2     12       1         0

stash: 1 table, 2 entries, 1.5 KiB, 0 watchers"""
    )


def test_a_status_that_says_less_is_a_table_as_well() -> None:
    status = {
        "arbiter_pid": 100,
        "worker_count": 1,
        "apps": ["a:App"],
        "workers": [
            {"pid": 1, "age": 1, "apps": ["a:App"], "booted": True, "last_heartbeat": None}
        ],
    }
    assert (
        status_text(status)
        == """\
arbiter 100: 1 worker

PID  AGE  STATE  UPTIME  HEARD  RUNNING  CALLS  ERRORS  MEMORY  APPS
  1    1  ready  -       -      -        -      -       -       a:App

APP
a:App"""
    )
    assert status_text({}).startswith("arbiter None: 0 workers")


@pytest.mark.parametrize(
    ("uptime", "rss", "expected"),
    [
        (59.94, 1023, ["59.9s", "1023 B"]),
        (61.0, 1024, ["1m01s", "1.0 KiB"]),
        (7260.0, 5 << 30, ["2h01m", "5.0 GiB"]),
        (86400.0, 5000 << 30, ["1d00h", "5000.0 GiB"]),
    ],
)
def test_times_and_sizes_have_units(uptime: float, rss: int, expected: list[str]) -> None:
    text = status_text({"workers": [{"uptime": uptime, "rss": rss}]})
    for part in expected:
        assert part in text


@pytest.mark.parametrize(
    ("words", "result", "code", "out", "err"),
    [
        (["add"], {"spawned": 1, "target_workers": 3}, 0, "1 worker added; there are 3 now\n", ""),
        (
            ["add", "2"],
            {"spawned": 2, "target_workers": 4},
            0,
            "2 workers added; there are 4 now\n",
            "",
        ),
        (
            ["remove", "2"],
            {"removed": 1, "target_workers": 1, "reason": "it is the last one"},
            1,
            "1 worker removed; there are 1 now\n",
            "trioserve-dirty: 2 asked for: it is the last one\n",
        ),
        (
            ["add"],
            {"success": True, "spawned": 0, "total_workers": 2},
            1,
            "0 workers added; there are 2 now\n",
            "trioserve-dirty: 1 asked for: the arbiter says no reason\n",
        ),
        (["add", "--json"], {"spawned": 1}, 0, '{"spawned": 1}\n', ""),
    ],
)  # fmt: skip
def test_workers_says_what_was_done(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    result: dict[str, Any],
    code: int,
    out: str,
    err: str,
) -> None:
    path = f"{tmp_path}/s"

    def serve(peer: ThreadPeer) -> None:
        frame_type, request_id, payload = peer.receive()
        assert frame_type == FrameType.MANAGE
        count = int(words[1]) if words[1:] and words[1].isdigit() else 1
        assert frames.decode_manage(payload) == (1 if words[0] == "add" else 2, count)
        peer.send(frames.response(request_id, result))

    with listening(path, serve):
        assert main(["workers", *words, "--socket", path]) == code
    assert capsys.readouterr() == (out, err)


# -- the real thing -----------------------------------------------------------------------------


@slow
def test_calls_and_status_with_a_real_arbiter(
    arbiter_socket: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIOSERVE_DIRTY_SOCKET", arbiter_socket)
    assert main(["call", ECHO, "echo", "1", "two", "--kw", "k=[3]"]) == 0
    assert capsys.readouterr().out == '[[1, "two"], {"k": [3]}]\n'
    assert main(["call", ECHO, "count", "3", "--stream"]) == 0
    assert capsys.readouterr().out == "0\n1\n2\n"
    assert main(["call", ECHO, "fail"]) == 1
    err = capsys.readouterr().err
    assert "ValueError: as asked" in err
    assert err.splitlines()[-1].startswith("trioserve-dirty: DirtyAppError: ")
    assert main(["call", ECHO, "hang", "command", "--timeout", "0.2"]) == 1
    assert "DirtyTimeoutError" in capsys.readouterr().err
    assert main(["status"]) == 0
    assert ECHO in capsys.readouterr().out
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["worker_count"] == 2


def test_the_command_is_installed() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    module, _, name = project["project"]["scripts"]["trioserve-dirty"].partition(":")
    assert getattr(importlib.import_module(module), name) is main


@slow  # starts an interpreter
def test_items_are_printed_as_they_come(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    read = threading.Semaphore(0)

    def serve(peer: ThreadPeer) -> None:
        _, request_id, _ = peer.receive()
        for number in range(3):
            peer.send(frames.chunk(request_id, number))
            assert read.acquire(timeout=PATIENCE)
        peer.send(frames.end(request_id))

    with (
        listening(path, serve),
        running(*COMMAND, "--socket", path, "call", "a:App", "act", "--stream") as process,
    ):
        for number in range(3):
            process.stdout.wait_for(f"^{number}$")
            read.release()
        assert process.wait() == 0
        assert process.stderr.text == ""


@slow  # starts an interpreter
def test_an_interrupt_of_the_terminal_cancels_the_call(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    came = threading.Event()

    def serve(peer: ThreadPeer) -> None:
        peer.receive()
        came.set()
        peer.receive()

    with (
        listening(path, serve) as arbiter,
        running(*FROM_A_TERMINAL, "--socket", path, "call", "a:App", "act") as process,
    ):
        assert came.wait(PATIENCE)
        assert process.stop(signal.SIGINT) == 130
        arbiter.wait_for_end()
        assert process.stderr.text == ""


@slow  # starts interpreters
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"

    def serve(peer: ThreadPeer) -> None:
        _, request_id, _ = peer.receive()
        while True:
            peer.send(frames.chunk(request_id, "x" * 1000))

    command = [*COMMAND, "--socket", path, "call", "a:App", "act", "--stream"]
    with listening(path, serve):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY
        )
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.wait(PATIENCE) == 0
            assert process.stderr.read() == b""


@slow  # starts an interpreter
def test_its_start_is_light() -> None:
    code = (
        "import sys; from trioserve.dirty.command import main; main(['call', '--help']); "
        "print(sorted({'trio', 'cyclopts', 'attrs', 'asyncio', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"
