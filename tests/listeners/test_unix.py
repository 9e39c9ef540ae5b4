# SPDX-License-Identifier: MIT
"""Unix sockets: the mode of their files, and whose file is removed when."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.listeners.conftest import Connect, OpenOne, Options, linux_only
from trioserve.errors import BindError
from trioserve.listeners import Listener, open_listeners

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of the test's own: relative paths keep below the limit of 108 bytes."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def killed_server(path: str) -> None:
    """Leave behind what a server leaves that is killed: a socket file without a listener."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()


@pytest.mark.parametrize("mode", [0o600, 0o666, 0o770])
async def test_the_file_has_the_mode_before_anybody_can_connect_whatever_the_umask(
    open_one: OpenOne, here: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    modes_at_listen: list[int] = []
    listen = socket.socket.listen

    def spy(self: socket.socket, backlog: int) -> None:
        modes_at_listen.append(stat.S_IMODE(os.stat("s").st_mode))
        listen(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", spy)
    umask = os.umask(0o027)
    try:
        async with open_one(Options(bind=("unix:s",), unix_socket_mode=mode)) as listener:
            assert listener.address.url == "unix:s"
            assert listener.address.family == "unix"
    finally:
        os.umask(umask)
    assert modes_at_listen == [mode]


async def test_clients_connect_and_at_exit_the_file_is_gone(
    open_one: OpenOne, connect: Connect, here: Path
) -> None:
    async with open_one(Options(bind=("unix:s",))) as listener:
        connect(listener)
    assert not (here / "s").exists()


async def test_the_file_of_a_killed_server_is_replaced(
    open_one: OpenOne, connect: Connect, here: Path
) -> None:
    killed_server("s")
    async with open_one(Options(bind=("unix:s",))) as listener:
        connect(listener)
    assert not (here / "s").exists()


async def test_a_live_socket_is_left_to_its_owner(
    open_one: OpenOne, connect: Connect, here: Path
) -> None:
    async with open_one(Options(bind=("unix:s",))) as listener:
        with pytest.raises(BindError, match=r"can't bind unix:s: another process.*listens there"):
            async with open_one(Options(bind=("unix:s",))):
                pass
        connect(listener)


@linux_only
async def test_a_live_socket_whose_queue_is_full_is_not_taken_for_a_dead_one(
    open_one: OpenOne, here: Path
) -> None:
    with ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind("s")
        busy.listen(0)
        client = stack.enter_context(socket.socket(socket.AF_UNIX))
        client.connect("s")  # Linux's queue holds backlog + 1
        with pytest.raises(BindError, match="listens there"):
            async with open_one(Options(bind=("unix:s",))):
                pass


async def test_a_socket_of_another_type_is_not_taken_for_a_dead_one(
    open_one: OpenOne, here: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind("s")
        with pytest.raises(BindError, match=r"unix:s: Protocol wrong type"):
            async with open_one(Options(bind=("unix:s",))):
                pass
    assert (here / "s").exists()


def _make_file(path: Path) -> None:
    path.write_text("precious")


def _make_directory(path: Path) -> None:
    path.mkdir()


def _make_link_to_a_dead_socket(path: Path) -> None:
    killed_server("dead")
    path.symlink_to("dead")


@pytest.mark.parametrize("make", [_make_file, _make_directory, _make_link_to_a_dead_socket])
async def test_what_is_no_socket_is_never_removed(
    open_one: OpenOne, here: Path, make: Callable[[Path], None]
) -> None:
    make(here / "s")
    before = os.lstat("s")
    with pytest.raises(BindError, match="a file that is no socket is there"):
        async with open_one(Options(bind=("unix:s",))):
            pass
    assert os.path.samestat(os.lstat("s"), before)


async def test_a_file_that_has_taken_the_path_meanwhile_stays_at_exit(
    open_one: OpenOne, here: Path
) -> None:
    async with open_one(Options(bind=("unix:s",))):
        os.unlink("s")
        killed_server("s")
    assert (here / "s").exists()


async def test_a_file_that_is_gone_already_is_no_error_at_exit(
    open_one: OpenOne, here: Path
) -> None:
    async with open_one(Options(bind=("unix:s",))):
        os.unlink("s")


async def test_the_file_is_found_at_exit_though_the_app_changed_the_directory(
    open_one: OpenOne, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "elsewhere").mkdir()
    async with open_one(Options(bind=("unix:s",))):
        monkeypatch.chdir(here / "elsewhere")
    assert not (here / "s").exists()


async def test_a_later_failure_removes_the_files_of_earlier_binds(here: Path) -> None:
    with pytest.raises(BindError, match="unix:missing/s"):
        async with open_listeners(Options(bind=("unix:s", "unix:missing/s"))):
            pass
    assert not (here / "s").exists()


async def test_a_socket_that_cannot_listen_leaves_no_file(
    open_one: OpenOne, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, mode: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "chmod", refuse)
    with pytest.raises(BindError, match=f"permission denied in {here}; make it writable"):
        async with open_one(Options(bind=("unix:s",))):
            pass
    assert not (here / "s").exists()


async def test_a_directory_that_is_missing_is_named(open_one: OpenOne, here: Path) -> None:
    with pytest.raises(BindError, match=f"the directory {here}/missing does not exist; create it"):
        async with open_one(Options(bind=("unix:missing/s",))):
            pass


async def test_a_directory_that_is_a_file_is_named(open_one: OpenOne, here: Path) -> None:
    (here / "file").touch()
    with pytest.raises(BindError, match=f"{here}/file is no directory"):
        async with open_one(Options(bind=("unix:file/s",))):
            pass


@linux_only
async def test_an_abstract_socket_has_no_file_and_one_owner(
    open_one: OpenOne, connect: Connect, here: Path
) -> None:
    bind = f"unix:@trioserve-test-{os.getpid()}"

    async def serve_twice(first: Listener) -> None:
        with pytest.raises(BindError, match="listens there"):
            async with open_one(Options(bind=(bind,))):
                pass
        connect(first)

    async with open_one(Options(bind=(bind,))) as listener:
        assert listener.address.url == bind
        await serve_twice(listener)
    assert os.listdir(here) == []
