# SPDX-License-Identifier: MIT
"""Where the control socket lies, and how the command finds it."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from trioserve.config import Config
from trioserve.control import paths
from trioserve.control.paths import control_socket_path, find_sockets

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator
    from pathlib import Path

AUTO = Config()
NAME = f"trioserve-{os.getpid()}.sock"


@contextlib.contextmanager
def listening(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(path))
        sock.listen()
        yield


def leave_dead(path: Path, age: float = 3600) -> None:
    """A socket to which nobody listens any more."""
    with listening(path):
        pass
    os.utime(path, (path.stat().st_mtime - age,) * 2)


# -- the server -------------------------------------------------------------------------------


def test_off_is_nowhere_and_a_path_is_itself() -> None:
    assert control_socket_path(Config(control_socket="off")) is None
    assert control_socket_path(Config(control_socket="/nowhere/c.sock")) == "/nowhere/c.sock"


def test_by_default_it_is_in_the_users_runtime_directory(runtime: Path) -> None:
    assert control_socket_path(AUTO) == f"{runtime}/trioserve/{NAME}"
    assert stat.S_IMODE((runtime / "trioserve").stat().st_mode) == 0o700
    assert control_socket_path(AUTO) == f"{runtime}/trioserve/{NAME}"  # as often as one likes


def test_there_are_others_where_no_variable_names_one() -> None:
    assert paths.other_directories() == ("/run/trioserve", f"/tmp/trioserve-{os.geteuid()}")


def others_can_write(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o777)


def another_user(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    os.chown(directory, 12345, -1)


def a_link(directory: Path) -> None:
    elsewhere = directory.with_name("elsewhere")
    elsewhere.mkdir(mode=0o700)
    directory.symlink_to(elsewhere)


def a_file(directory: Path) -> None:
    directory.write_text("")


UNFIT = [
    others_can_write,
    pytest.param(another_user, marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root")),
    a_link,
    a_file,
]


@pytest.mark.parametrize("make", UNFIT)
def test_a_directory_that_is_not_this_users_alone_is_left_for_the_next(
    runtime: Path, base: Path, make: object
) -> None:
    assert callable(make)
    make(runtime / "trioserve")
    assert control_socket_path(AUTO) == f"{base}/system/{NAME}"


@pytest.mark.parametrize("make", UNFIT)
def test_neither_is_it_used_where_the_variable_names_it(
    base: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch, make: object
) -> None:
    if make is a_link:
        pytest.skip("who makes the variable may make it a link")
    assert callable(make)
    make(base / "other")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base / "other"))
    assert control_socket_path(AUTO) == f"{base}/system/{NAME}"


@pytest.mark.parametrize("value", ["", "relative", "/nowhere"])
def test_a_variable_that_names_no_directory_is_as_none(
    base: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    assert control_socket_path(AUTO) == f"{base}/system/{NAME}"


def test_a_path_that_is_too_long_is_left_for_the_next(
    base: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = base / ("x" * 100)
    long.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    assert control_socket_path(AUTO) == f"{base}/system/{NAME}"


def test_without_any_directory_there_is_one_line_in_the_log(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, records: list[logging.LogRecord]
) -> None:
    a_file(runtime / "trioserve")
    monkeypatch.setattr(paths, "other_directories", lambda: ("/proc/self/no",))
    assert control_socket_path(AUTO) is None
    [record] = records
    assert record.getMessage() == (
        "there is no control socket, so trioservectl can't be used: "
        f"{runtime}/trioserve: it is no directory; /proc/self/no: No such file or directory"
    )


def test_what_killed_servers_have_left_is_removed(runtime: Path) -> None:
    directory = runtime / "trioserve"
    directory.mkdir(mode=0o700)
    leave_dead(directory / "trioserve-1.sock")
    leave_dead(directory / "trioserve-2.sock", age=0)  # it may be about to listen
    leave_dead(directory / "else.sock")
    (directory / "trioserve-3.sock").write_text("")
    os.utime(directory / "trioserve-3.sock", (0, 0))
    with listening(directory / "trioserve-4.sock"):
        os.utime(directory / "trioserve-4.sock", (0, 0))
        control_socket_path(AUTO)
    assert sorted(path.name for path in directory.iterdir()) == [
        "else.sock",
        "trioserve-2.sock",
        "trioserve-3.sock",
        "trioserve-4.sock",
    ]


# -- the command ------------------------------------------------------------------------------


def test_it_finds_those_to_which_somebody_listens_in_all_directories(
    runtime: Path, base: Path
) -> None:
    assert find_sockets() == []
    first, second = runtime / "trioserve", base / "system"
    first.mkdir(mode=0o700)
    second.mkdir(mode=0o755)
    leave_dead(first / "trioserve-1.sock")
    with listening(first / "trioserve-30.sock"), listening(second / "trioserve-4.sock"):
        assert find_sockets() == [
            (4, f"{second}/trioserve-4.sock"),
            (30, f"{first}/trioserve-30.sock"),
        ]
    assert os.path.lexists(first / "trioserve-1.sock")  # it only looks


def test_it_looks_into_no_directory_of_others(runtime: Path) -> None:
    directory = runtime / "trioserve"
    directory.mkdir()
    with listening(directory / "trioserve-1.sock"):
        directory.chmod(0o777)
        assert find_sockets() == []
