# SPDX-License-Identifier: MIT
"""Where the arbiter's socket lies, who may reach it, and what is left of it."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trioserve.dirty import paths
from trioserve.dirty.errors import DirtyConnectionError, DirtyError
from trioserve.dirty.paths import (
    check_server,
    make_private_path,
    open_listener,
    remove_if_dead,
    remove_private_directory,
)
from trioserve.peers import peer_pid

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short one: a socket's path has 103 bytes at most."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def leave_stale_socket(path: str | Path) -> None:
    """What an arbiter leaves that was killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(path))
        sock.listen()


def connect(path: str | Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(str(path))
    except BaseException:
        sock.close()
        raise
    return sock


# -- the private path -----------------------------------------------------------------------


def test_a_private_path_lies_in_a_new_directory_of_mode_0700(
    monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    first, second = make_private_path(), make_private_path()
    assert first != second
    for path in (Path(first), Path(second)):
        assert path.parent.parent == directory
        assert mode(path.parent) == 0o700
        assert not path.exists()
        remove_private_directory(str(path))
        assert not path.parent.exists()


def leave_behind(directory: Path, name: str, *, mode: int = 0o700) -> Path:
    """What an arbiter that was killed leaves."""
    left = directory / f"trioserve-dirty-{name}"
    left.mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(left / "dirty.sock"))
    left.chmod(mode)
    return left


def test_what_killed_arbiters_have_left_is_removed_when_another_directory_is_made(
    monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    dead = [leave_behind(directory, name) for name in ("one", "two")]
    empty = directory / "trioserve-dirty-empty"
    empty.mkdir(mode=0o700)
    os.utime(empty, (0, 0))
    path = make_private_path()
    assert not any(left.exists() for left in (*dead, empty))
    assert os.listdir(directory) == [Path(path).parent.name]


def test_nothing_else_is_removed(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    elsewhere = directory / "elsewhere"
    elsewhere.mkdir()
    target = leave_behind(elsewhere, "x")
    (directory / "trioserve-dirty-link").symlink_to(target)
    shared = leave_behind(directory, "shared", mode=0o770)
    foreign = leave_behind(directory, "other").rename(directory / "other-dirty-x")
    about_to_begin = Path(make_private_path()).parent
    with open_listener(make_private_path()) as listener:
        living = Path(listener.getsockname()).parent
        more = leave_behind(directory, "more")
        (more / "a file of somebody's").touch()
        full = directory / "trioserve-dirty-full"
        full.mkdir(mode=0o700)
        (full / "dirty.sock").write_text("no socket")
        make_private_path()
        for kept in (target / "dirty.sock", shared / "dirty.sock", foreign / "dirty.sock"):
            assert kept.is_socket()
        assert (directory / "trioserve-dirty-link").is_symlink()
        assert about_to_begin.is_dir()
        assert (living / "dirty.sock").is_socket()
        assert [entry.name for entry in more.iterdir()] == ["a file of somebody's"]
        assert (full / "dirty.sock").is_file()


def test_directories_of_other_users_are_not_looked_into(
    monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    left = leave_behind(directory, "x")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    paths._sweep_stale(str(directory))
    assert (left / "dirty.sock").is_socket()


@pytest.mark.parametrize("bits", [0o770, 0o707])
def test_a_runtime_directory_that_others_may_write_to_is_not_used(
    monkeypatch: pytest.MonkeyPatch, directory: Path, bits: int
) -> None:
    directory.chmod(bits)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    path = make_private_path()
    remove_private_directory(path)
    assert directory not in Path(path).parents


def test_a_runtime_directory_of_another_user_is_not_used(
    monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    path = make_private_path()
    remove_private_directory(path)
    assert directory not in Path(path).parents


def test_a_runtime_directory_that_is_missing_or_relative_is_not_used(
    monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    monkeypatch.chdir(directory)
    (directory / "here").mkdir(mode=0o700)
    for value in ("/nonexistent", "here", ""):
        monkeypatch.setenv("XDG_RUNTIME_DIR", value)
        path = make_private_path()
        remove_private_directory(path)
        assert Path(path).is_absolute()
        assert directory not in Path(path).parents


def test_a_private_path_is_short_enough_to_be_bound(
    monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    long = directory / ("x" * 100)
    long.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    path = make_private_path()
    with open_listener(path):
        pass
    remove_private_directory(path)


def test_an_error_says_where_no_private_directory_can_be_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/nonexistent")
    with pytest.raises(DirtyError, match=r"/nonexistent: No such file.*set dirty_socket"):
        make_private_path()


def test_only_an_empty_directory_of_ours_is_removed(directory: Path) -> None:
    for name in ("operators", "trioserve-dirty-full"):
        place = directory / name
        place.mkdir()
        if name.endswith("full"):
            (place / "file").touch()
        remove_private_directory(str(place / "dirty.sock"))
        assert place.exists()
    remove_private_directory(str(directory / "trioserve-dirty-gone" / "dirty.sock"))


# -- the listener ---------------------------------------------------------------------------


def test_the_socket_is_for_its_user_alone_whatever_the_umask(directory: Path) -> None:
    path = directory / "dirty.sock"
    before = os.umask(0)
    try:
        with open_listener(str(path)) as sock:
            assert mode(path) == 0o600
            assert not sock.getblocking()
            connect(path).close()
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert not path.exists()


def test_a_stale_socket_is_replaced(directory: Path) -> None:
    path = directory / "dirty.sock"
    leave_stale_socket(path)
    with open_listener(str(path)):
        connect(path).close()


def test_a_socket_that_somebody_listens_to_is_left_alone(directory: Path) -> None:
    path = directory / "dirty.sock"
    with open_listener(str(path)):
        with (
            pytest.raises(DirtyError, match=rf"dirty_socket: somebody listens at {path} already"),
            open_listener(str(path)),
        ):
            pass
        connect(path).close()


def test_a_listener_whose_queue_is_full_counts_as_one_that_listens(directory: Path) -> None:
    path = directory / "dirty.sock"
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(str(path))
        listener.listen(0)
        stack.enter_context(connect(path))
        with pytest.raises(DirtyError, match="is in the way"), open_listener(str(path)):
            pass
        assert path.exists()


def test_a_file_that_is_no_socket_is_left_alone(directory: Path) -> None:
    path = directory / "dirty.sock"
    path.write_text("mine")
    with pytest.raises(DirtyError, match="is there, and is no socket"), open_listener(str(path)):
        pass
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("missing/dirty.sock", "can't be used: No such file"),
        ("file/dirty.sock", "is no directory"),
        ("x" * 120, "can't be bound: AF_UNIX path too long"),
    ],
)
def test_a_path_that_cannot_be_bound_is_a_clear_error(
    directory: Path, path: str, match: str
) -> None:
    (directory / "file").touch()
    with (
        pytest.raises(DirtyError, match=f"^dirty_socket: .*{match}"),
        open_listener(f"{directory}/{path}"),
    ):
        pass


def test_a_directory_in_which_anybody_may_replace_files_is_refused(directory: Path) -> None:
    directory.chmod(0o777)
    with pytest.raises(DirtyError, match="anybody may replace"), open_listener(f"{directory}/s"):
        pass
    directory.chmod(0o1777)  # as /tmp: nobody may remove what is another's
    with open_listener(f"{directory}/s"):
        pass


def test_nothing_is_left_of_a_socket_that_could_not_be_opened(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "refused")

    monkeypatch.setattr(os, "chmod", refuse)
    with (
        pytest.raises(DirtyError, match=r"can't be bound: .*refused"),
        open_listener(f"{directory}/s"),
    ):
        pass
    assert list(directory.iterdir()) == []


def test_what_somebody_else_has_put_at_the_path_is_not_removed(directory: Path) -> None:
    path = directory / "dirty.sock"
    with open_listener(str(path)):
        path.unlink()
        leave_stale_socket(path)
    assert path.exists()


def test_of_many_that_find_a_stale_socket_one_gets_it(directory: Path) -> None:
    path = str(directory / "dirty.sock")
    for _ in range(20):
        leave_stale_socket(path)
        start, done = threading.Barrier(4), threading.Barrier(4)
        won: list[bool] = []

        def compete(start: threading.Barrier, done: threading.Barrier, won: list[bool]) -> None:
            start.wait(20)
            with contextlib.ExitStack() as stack:
                try:
                    stack.enter_context(open_listener(path))
                    won.append(True)
                except DirtyError as exc:
                    assert "somebody listens" in str(exc)  # noqa: PT017 (of a thread)
                    won.append(False)
                done.wait(20)

        threads = [threading.Thread(target=compete, args=(start, done, won)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == [False, False, False, True]
        assert not os.path.exists(path)


def test_a_directory_that_somebody_locks_is_given_up_after_a_while(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    monkeypatch.setattr(paths, "_LOCK_TIMEOUT", 0.02)
    fd = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with (
            pytest.raises(DirtyError, match="another process locks"),
            open_listener(f"{directory}/s"),
        ):
            pass
    finally:
        os.close(fd)


def test_a_directory_that_cannot_be_locked_is_used_without(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", flock)
    with open_listener(f"{directory}/s"):
        pass


# -- after a kill ---------------------------------------------------------------------------


def test_the_socket_and_the_directory_of_a_killed_arbiter_are_removed(directory: Path) -> None:
    place = directory / "trioserve-dirty-1234"
    place.mkdir()
    leave_stale_socket(place / "dirty.sock")
    remove_if_dead(str(place / "dirty.sock"))
    assert not place.exists()
    remove_if_dead(str(place / "dirty.sock"))  # by another of its workers


def test_the_socket_of_its_successor_is_left_alone(directory: Path) -> None:
    path = directory / "dirty.sock"
    with open_listener(str(path)):
        remove_if_dead(str(path))
        connect(path).close()


# -- who is at the other end ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("me", "arbiter", "refused"),
    [(1000, 1000, False), (1000, 0, False), (1000, 1001, True), (0, 1001, False), (1, None, False)],
)
def test_a_client_refuses_an_arbiter_of_another_user_unless_it_is_root(
    monkeypatch: pytest.MonkeyPatch, me: int, arbiter: int | None, refused: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: me)
    monkeypatch.setattr(paths, "peer_uid", lambda _: arbiter)
    sock: Any = None
    with contextlib.ExitStack() as stack:
        if refused:
            expected = "/x belongs to user 1001: .* of this user \\(1000\\) or of root"
            stack.enter_context(pytest.raises(DirtyConnectionError, match=expected))
        check_server(sock, "/x")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_can_neither_enter_the_directory_nor_connect(directory: Path) -> None:
    place = directory / "private"
    place.mkdir(mode=0o700)
    directory.chmod(0o755)
    for path in (place / "dirty.sock", directory / "dirty.sock"):
        with open_listener(str(path)):
            os.seteuid(65534)
            try:
                with pytest.raises(PermissionError):
                    connect(path).close()
            finally:
                os.seteuid(0)


_LISTEN = """
import sys
from trioserve.dirty.paths import open_listener
with open_listener(sys.argv[1], int(sys.argv[2])) as sock:
    print("listening", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="who listens is told on Linux only")
@pytest.mark.slow
def test_a_successor_has_the_path_and_gives_it_back_while_its_predecessor_lives(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "dirty.sock")

    def successor_of(pid: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _LISTEN, path, str(pid)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def listener() -> int | None:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
            return peer_pid(probe)

    with open_listener(path):
        with successor_of(os.getpid()) as successor:
            assert successor.stdout is not None
            assert successor.stdout.readline() == "listening\n"
            assert listener() == successor.pid
            successor.communicate()
        assert listener() == os.getpid()
        last = successor_of(os.getpid())
        assert last.stdout is not None
        assert last.stdout.readline() == "listening\n"
    assert listener() == last.pid
    last.communicate()
    assert list(tmp_path.iterdir()) == []
