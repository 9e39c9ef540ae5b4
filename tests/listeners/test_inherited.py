# SPDX-License-Identifier: MIT
"""Sockets that somebody else opened: by number, and by systemd's variables."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from tests.listeners.conftest import REPOSITORY, Connect, OpenOne, Options, dial, linux_only
from trioserve.addresses import format_bound
from trioserve.errors import BindError, ConfigError
from trioserve.listeners import open_listeners, systemd_listen_fds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def given() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


async def test_a_listening_descriptor_is_served_and_stays_its_givers(
    open_one: OpenOne, connect: Connect, given: socket.socket
) -> None:
    given.set_inheritable(True)
    async with open_one(Options(bind=(f"fd://{given.fileno()}",))) as listener:
        assert listener.address == format_bound(given.getsockname(), socket.AF_INET)
        assert listener.socket.fileno() != given.fileno()
        assert not listener.socket.get_inheritable()
        assert not given.get_inheritable()
        with pytest.raises(BlockingIOError):
            listener.socket.accept()
        connect(listener)
    given.accept()[0].close()


async def test_one_descriptor_may_be_given_twice(given: socket.socket) -> None:
    async with open_listeners(Options(bind=(f"fd://{given.fileno()}",) * 2)) as listeners:
        assert len({listener.socket.fileno() for listener in listeners}) == 2


async def test_an_inherited_unix_socket_keeps_its_file(
    open_one: OpenOne, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("s")
        sock.listen()
        async with open_one(Options(bind=(f"fd://{sock.fileno()}",))) as listener:
            assert listener.address.url == "unix:s"
    assert "s" in os.listdir()


async def refused(fd: int) -> str:
    with pytest.raises(BindError) as caught:
        async with open_listeners(Options(bind=(f"fd://{fd}",))):
            pass
    assert f"can't bind fd://{fd}: " in str(caught.value)
    return str(caught.value)


async def test_a_descriptor_that_is_not_open_is_refused() -> None:
    assert "no such descriptor is open" in await refused(987654)


async def test_a_descriptor_that_is_no_socket_is_refused() -> None:
    reader, writer = os.pipe()
    try:
        assert "no socket" in await refused(reader)
    finally:
        os.close(reader)
        os.close(writer)


async def test_a_socket_that_does_not_listen_is_refused() -> None:
    with socket.socket() as sock:
        assert "not listening" in await refused(sock.fileno())


async def test_a_datagram_socket_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert "no stream socket" in await refused(sock.fileno())


@linux_only
async def test_a_socket_of_another_family_is_refused() -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as sock:
        assert "neither TCP nor Unix" in await refused(sock.fileno())


def test_systemds_variables_give_bind_forms_and_are_consumed() -> None:
    environ = {
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": "2",
        "LISTEN_FDNAMES": "web:admin",
        "HOME": "/",
    }
    assert systemd_listen_fds(environ) == ("fd://3", "fd://4")
    assert environ == {"HOME": "/"}
    assert systemd_listen_fds(environ) == ()


def test_variables_that_are_for_another_process_give_nothing_and_are_consumed() -> None:
    environ = {"LISTEN_PID": str(os.getppid()), "LISTEN_FDS": "1"}
    assert systemd_listen_fds(environ) == ()
    assert environ == {}


@pytest.mark.parametrize("count", ["", "x", "-1", "٣", "9" * 5000])
def test_a_number_of_sockets_that_is_none_is_a_config_error(count: str) -> None:
    with pytest.raises(ConfigError, match="LISTEN_FDS must be the number"):
        systemd_listen_fds({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count})


# As systemd does it: the descriptor becomes 3, the pid is known only after the fork, then exec.
LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="web")
os.execv(sys.executable, [sys.executable, "-W", "error", "-c", sys.argv[2]])
"""

SERVICE = """
import os, trio
from tests.listeners.conftest import Options
from trioserve.listeners import ConnectionGate, open_listeners, systemd_listen_fds

def answer(sock, peer_address):
    with sock:
        sock.send(b"from the service")

async def main():
    binds = systemd_listen_fds()
    assert not any(name.startswith("LISTEN_") for name in os.environ)
    async with open_listeners(Options(bind=binds)) as (listener,):
        print(f"{binds} {listener.address} {os.get_inheritable(3)}", flush=True)
        with trio.move_on_after(10):
            await listener.serve(answer, ConnectionGate(0))

trio.run(main)
"""


@pytest.mark.slow  # two Python starts: the variables hold for one pid and its descriptor 3 only
async def test_a_service_started_as_by_systemd_serves_the_socket_it_inherits(
    given: socket.socket,
) -> None:
    command = [sys.executable, "-c", LAUNCHER, str(given.fileno()), SERVICE]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(
                trio.run_process,
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                pass_fds=[given.fileno()],
                check=False,
                cwd=REPOSITORY,
            )
        )
        with trio.fail_after(20):
            address = format_bound(given.getsockname(), socket.AF_INET)
            line = await process.stdout.receive_some()
            assert line.decode().strip() == f"('fd://3',) {address.url} False"
            with dial(address) as client:
                client.setblocking(False)
                await trio.lowlevel.wait_readable(client.fileno())
                assert client.recv(100) == b"from the service"
        nursery.cancel_scope.cancel()
