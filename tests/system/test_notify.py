# SPDX-License-Identifier: MIT
"""What a service manager hears, on a real datagram socket."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
import time
from typing import TYPE_CHECKING

import pytest
import trio

from trioserve.system.notify import ServiceManager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 20.0


class Ear:
    """The manager's end."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self.name = name
        self._sock = sock

    def hear(self) -> str:
        return self._sock.recv(4096).decode()

    def hears_nothing(self) -> bool:
        self._sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            return not self._sock.recv(4096)
        return True


@pytest.fixture(params=["path", "abstract"])
def ear(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ear]:
    name = str(tmp_path / "notify")
    if request.param == "abstract":
        if sys.platform != "linux":
            pytest.skip("abstract addresses are Linux's")
        name = f"@trioserve-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1) if name[0] == "@" else name)
        sock.settimeout(PATIENCE)
        yield Ear(sock, name)


def test_ready_stopping_status_and_main_pid_are_one_datagram_each(ear: Ear) -> None:
    manager = ServiceManager.from_environment({"NOTIFY_SOCKET": ear.name})
    assert manager.is_there
    manager.ready("serving on 127.0.0.1:80")
    assert ear.hear() == "READY=1\nSTATUS=serving on 127.0.0.1:80"
    manager.stopping()
    assert ear.hear() == "STOPPING=1"
    manager.status("2 workers, 1 of them silent: café")
    assert ear.hear() == "STATUS=2 workers, 1 of them silent: café"
    manager.main_pid(4711)
    assert ear.hear() == "MAINPID=4711"
    manager.stopping()  # which would be the service's, as the manager sees it
    assert ear.hears_nothing()


def test_a_reload_says_when_it_began_by_the_monotonic_clock(ear: Ear) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    ServiceManager.from_environment({"NOTIFY_SOCKET": ear.name}).reloading("new settings")
    first, second, third = ear.hear().split("\n")
    assert (first, third) == ("RELOADING=1", "STATUS=new settings")
    name, _, microseconds = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_status_of_several_lines_is_one_and_can_assign_nothing(ear: Ear) -> None:
    ServiceManager.from_environment({"NOTIFY_SOCKET": ear.name}).status("broken\nREADY=1\n")
    assert ear.hear() == "STATUS=broken READY=1"


def test_the_variables_are_removed_so_that_children_dont_inherit_them() -> None:
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
    ServiceManager.from_environment(environ)
    assert environ == {"PATH": "/bin"}
    assert not ServiceManager.from_environment(environ).is_there


def test_a_successor_is_given_them_without_the_process_they_were_for() -> None:
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "2500000", "WATCHDOG_PID": str(os.getpid())}
    manager = ServiceManager.from_environment(environ)
    again = ServiceManager.from_environment(dict(manager.successor_environment))
    assert again.is_there
    assert again.watchdog_timeout == manager.watchdog_timeout == 2.5
    assert ServiceManager().successor_environment == {}


def test_without_a_manager_nothing_happens() -> None:
    manager = ServiceManager.from_environment({})
    manager.ready("x")
    manager.reloading()
    manager.stopping()
    manager.status("x")
    manager.main_pid(1)
    assert not manager.is_there


def test_a_datagram_that_cant_be_sent_is_one_line_of_log_until_one_arrives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "notify"
    manager = ServiceManager.from_environment({"NOTIFY_SOCKET": str(path)})
    manager.ready()
    manager.status("x")
    (record,) = caplog.records
    assert record.getMessage() == (
        f"the service manager at {path} can't be told READY=1: No such file or directory"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        manager.status("y")
    manager.status("z")
    assert len(caplog.records) == 2


def test_a_full_queue_holds_nothing_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        manager = ServiceManager.from_environment({"NOTIFY_SOCKET": str(path)})
        for _ in range(10_000):
            manager.status("x")
            if caplog.records:
                break
        assert "can't be told STATUS=x" in caplog.text


@pytest.mark.parametrize("address", ["vsock:2:1234", "relative", "@", "/"])
def test_an_address_of_another_kind_is_one_line_of_log(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert not ServiceManager.from_environment({"NOTIFY_SOCKET": address}).is_there
    assert f"NOTIFY_SOCKET '{address}': expected a path or @name" in caplog.text


async def test_the_watchdog_hears_of_us_at_half_its_time(
    ear: Ear, autojump_clock: trio.testing.MockClock
) -> None:
    variables = {"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}
    manager = ServiceManager.from_environment({"NOTIFY_SOCKET": ear.name, **variables})
    with trio.move_on_after(12):
        await manager.run_watchdog()
    assert [ear.hear() for _ in range(3)] == ["WATCHDOG=1"] * 3  # at 0, 5 and 10 s
    assert ear.hears_nothing()


async def test_a_watchdog_without_a_process_is_ours_and_one_of_another_is_not(ear: Ear) -> None:
    def manager(**variables: str) -> ServiceManager:
        return ServiceManager.from_environment({"NOTIFY_SOCKET": ear.name, **variables})

    assert manager(WATCHDOG_USEC="1500000").watchdog_timeout == 1.5
    assert manager(WATCHDOG_USEC="1500000", WATCHDOG_PID="1").watchdog_timeout is None
    await manager().run_watchdog()  # returns
    await ServiceManager(None, 1.0).run_watchdog()


@pytest.mark.parametrize("text", ["soon", "0", "-1", "²", "9" * 30])
def test_a_watchdogs_time_that_is_none_is_one_line_of_log(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": text}
    assert ServiceManager.from_environment(environ).watchdog_timeout is None
    assert f"WATCHDOG_USEC '{text}': expected microseconds" in caplog.text
