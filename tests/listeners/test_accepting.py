# SPDX-License-Identifier: MIT
"""The accept loop, against real clients; where accept() must fail, only that call is a fake."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.listeners.conftest import REPOSITORY, Connect, OpenOne, Options, linux_only
from trioserve.listeners import ConnectionGate, Listener, open_listeners

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Taker:
    """An on_connection that keeps what it is given."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.peers: list[Any] = []
        self._send, self._receive = trio.open_memory_channel[socket.socket](1000)

    def __call__(self, sock: socket.socket, peer_address: Any) -> None:
        self.sockets.append(sock)
        self.peers.append(peer_address)
        self._send.send_nowait(sock)

    async def next(self) -> socket.socket:
        with trio.fail_after(5):
            return await self._receive.receive()

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


@pytest.fixture
def taker() -> Iterator[Taker]:
    taker = Taker()
    yield taker
    taker.close()


@pytest.fixture
def gate() -> ConnectionGate:
    return ConnectionGate(0)


async def test_an_accepted_tcp_socket_is_ready_for_the_server(
    open_one: OpenOne, connect: Connect, nursery: trio.Nursery, taker: Taker, gate: ConnectionGate
) -> None:
    async with open_one() as listener:
        nursery.start_soon(listener.serve, taker, gate)
        client = connect(listener)
        sock = await taker.next()
        assert sock.gettimeout() == 0
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not sock.get_inheritable()
        assert taker.peers == [client.getsockname()]
        assert gate.open == 1
        nursery.cancel_scope.cancel()


@linux_only
async def test_an_accepted_unix_socket_has_no_peer_address(
    open_one: OpenOne, connect: Connect, nursery: trio.Nursery, taker: Taker, gate: ConnectionGate
) -> None:
    async with open_one(Options(bind=(f"unix:@trioserve-test-{os.getpid()}",))) as listener:
        nursery.start_soon(listener.serve, taker, gate)
        connect(listener)
        sock = await taker.next()
        assert sock.gettimeout() == 0
        assert not taker.peers[0]
        nursery.cancel_scope.cancel()


async def test_after_a_batch_of_64_other_tasks_run(
    open_one: OpenOne, connect: Connect, nursery: trio.Nursery, taker: Taker, gate: ConnectionGate
) -> None:
    async with open_one() as listener:
        for _ in range(70):
            connect(listener)
        taken_after_each_step: list[int] = []

        class Watch(trio.abc.Instrument):
            def after_task_step(self, task: trio.lowlevel.Task) -> None:
                taken_after_each_step.append(len(taker.sockets))

        watch = Watch()
        trio.lowlevel.add_instrument(watch)
        nursery.start_soon(listener.serve, taker, gate)
        for _ in range(70):
            await taker.next()
        trio.lowlevel.remove_instrument(watch)
        assert set(taken_after_each_step) == {0, 64, 70}
        nursery.cancel_scope.cancel()


async def test_listeners_that_share_a_gate_stop_at_its_limit_and_go_on_when_one_leaves(
    connect: Connect, nursery: trio.Nursery, taker: Taker, error_log: list[logging.LogRecord]
) -> None:
    gate = ConnectionGate(3)
    most_open = 0

    def take(sock: socket.socket, peer_address: Any) -> None:
        nonlocal most_open
        most_open = max(most_open, gate.open)
        taker(sock, peer_address)

    async with open_listeners(Options(bind=("127.0.0.1:0",) * 2)) as listeners:
        for listener in listeners:
            for _ in range(4):
                connect(listener)
            nursery.start_soon(listener.serve, take, gate)
        with trio.fail_after(5):
            # Reached only if nobody spins on the sockets, which stay readable.
            await wait_all_tasks_blocked()
        assert len(taker.sockets) == 3
        assert len(error_log) == 1
        for taken in range(4, 9):
            gate.leave()
            with trio.fail_after(5):
                await wait_all_tasks_blocked()
            assert len(taker.sockets) == taken
        assert most_open == 3
        assert all("max_connections (3)" in record.getMessage() for record in error_log)
        nursery.cancel_scope.cancel()


async def test_a_connection_that_cannot_be_taken_over_is_closed_and_logged_and_the_next_one_served(
    open_one: OpenOne,
    connect: Connect,
    nursery: trio.Nursery,
    taker: Taker,
    gate: ConnectionGate,
    error_log: list[logging.LogRecord],
) -> None:
    def take(sock: socket.socket, peer_address: Any) -> None:
        if not error_log:
            raise RuntimeError("no room in the nursery")
        taker(sock, peer_address)

    async with open_one() as listener:
        refused = connect(listener)
        connect(listener)
        nursery.start_soon(listener.serve, take, gate)
        await taker.next()
        assert refused.recv(1) == b""
        assert gate.open == 1
        (record,) = error_log
        assert "could not be taken over" in record.getMessage()
        assert record.exc_info is not None
        assert "no room in the nursery" in str(record.exc_info[1])
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_an_interrupt_while_taking_over_ends_the_listener_and_leaks_no_socket(
    open_one: OpenOne,
    connect: Connect,
    gate: ConnectionGate,
    error_log: list[logging.LogRecord],
    error: type[BaseException],
) -> None:
    def take(sock: socket.socket, peer_address: Any) -> None:
        raise error

    async with open_one() as listener:
        client = connect(listener)
        with pytest.raises(error), trio.fail_after(5):
            await listener.serve(take, gate)
        assert client.recv(1) == b""
        assert gate.open == 0
        assert error_log == []


class FlakySocket(socket.socket):
    """A listening socket whose accept() fails with the errors of a script first."""

    script: list[int]
    times: list[float]

    def accept(self) -> tuple[socket.socket, Any]:
        self.times.append(trio.current_time())
        if self.script:
            number = self.script.pop(0)
            raise OSError(number, os.strerror(number))
        return super().accept()


def flaky(listener: Listener, *script: int) -> FlakySocket:
    """Give a listener a duplicate of its socket that fails first."""
    sock = FlakySocket(fileno=os.dup(listener.socket.fileno()))
    sock.setblocking(False)
    sock.script = list(script)
    sock.times = []
    listener.socket.close()
    listener.socket = sock
    return sock


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_a_shortage_is_logged_once_waited_out_ever_longer_and_its_end_is_logged(
    open_one: OpenOne,
    connect: Connect,
    nursery: trio.Nursery,
    taker: Taker,
    gate: ConnectionGate,
    error_log: list[logging.LogRecord],
    autojump_clock: MockClock,
    number: int,
) -> None:
    async with open_one() as listener:
        sock = flaky(listener, *[number] * 6)
        connect(listener)
        nursery.start_soon(listener.serve, taker, gate)
        await taker.next()
        await wait_all_tasks_blocked()
        start, *later = sock.times[:7]
        assert [time - start for time in later] == pytest.approx([0.1, 0.3, 0.7, 1.5, 2.5, 3.5])
        shortage, recovery = error_log
        assert shortage.levelno == logging.ERROR
        assert os.strerror(number) in shortage.getMessage()
        assert recovery.getMessage() == f"{listener.address}: accepting connections again"

        sock.script = [number]
        sock.times.clear()
        connect(listener)
        await taker.next()
        assert sock.times[1] - sock.times[0] == pytest.approx(0.1)
        nursery.cancel_scope.cancel()


async def test_a_connection_that_failed_in_the_queue_is_skipped_silently(
    open_one: OpenOne,
    connect: Connect,
    nursery: trio.Nursery,
    taker: Taker,
    gate: ConnectionGate,
    error_log: list[logging.LogRecord],
) -> None:
    async with open_one() as listener:
        flaky(listener, errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.EHOSTUNREACH)
        connect(listener)
        nursery.start_soon(listener.serve, taker, gate)
        await taker.next()
        assert error_log == []
        nursery.cancel_scope.cancel()


async def test_an_error_that_trying_again_cannot_mend_leaves_serve(
    open_one: OpenOne, connect: Connect, taker: Taker, gate: ConnectionGate
) -> None:
    async with open_one() as listener:
        flaky(listener, errno.EINVAL)
        connect(listener)
        with pytest.raises(OSError, match="Invalid argument"), trio.fail_after(5):
            await listener.serve(taker, gate)


REAL_SHORTAGE = """
import logging, os, resource, socket, trio
from tests.listeners.conftest import Options, dial
from trioserve.listeners import ConnectionGate, open_listeners

shortage = trio.Event()

class OnLog(logging.Handler):
    def emit(self, record):
        print(record.levelname, record.getMessage().partition(": ")[2], flush=True)
        shortage.set()

async def main():
    logging.getLogger("trioserve.error").addHandler(OnLog())
    taken = trio.Event()

    def take(sock, peer_address):
        sock.close()
        taken.set()

    async with open_listeners(Options()) as (listener,), trio.open_nursery() as nursery:
        with dial(listener.address):
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            hogs = []
            try:
                while True:
                    hogs.append(os.dup(0))
            except OSError:
                pass
            nursery.start_soon(listener.serve, take, ConnectionGate(0))
            await shortage.wait()
            for hog in hogs:
                os.close(hog)
            await taken.wait()
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

import trio.testing
trio.run(main)
"""


@pytest.mark.slow  # a whole process, for only there may the limit of open files be lowered
async def test_a_process_that_is_really_out_of_descriptors_recovers() -> None:
    with trio.fail_after(20):
        result = await trio.run_process(
            [sys.executable, "-W", "error", "-c", REAL_SHORTAGE],
            capture_stdout=True,
            cwd=REPOSITORY,
        )
    shortage, recovery = result.stdout.decode().splitlines()
    assert shortage.startswith("ERROR can't accept connections, they wait: [Errno 24]")
    assert recovery == "WARNING accepting connections again"


async def test_pending_connections_are_taken_without_waiting_and_with_what_they_sent(
    open_one: OpenOne, connect: Connect, taker: Taker
) -> None:
    gate = ConnectionGate(0)
    async with open_one() as listener:
        for number in range(3):
            connect(listener).sendall(b"%d" % number)
        listener.accept_pending(taker, gate)
        listener.accept_pending(taker, gate)
    assert [sock.recv(9) for sock in taker.sockets] == [b"0", b"1", b"2"]
    assert gate.open == 3


async def test_pending_connections_count_in_the_gate_that_serve_had_and_it_holds(
    open_one: OpenOne, connect: Connect, taker: Taker
) -> None:
    gate = ConnectionGate(2)
    async with open_one() as listener:
        with trio.move_on_after(0):
            await listener.serve(taker, gate)
        for _ in range(3):
            connect(listener)
        listener.accept_pending(taker)
    assert gate.open == 2
    assert len(taker.sockets) == 2


async def test_a_flood_does_not_keep_accept_pending_from_ending(
    open_one: OpenOne, connect: Connect, taker: Taker
) -> None:
    async with open_one(Options(backlog=2)) as listener:

        def take(sock: socket.socket, peer_address: Any) -> None:
            taker(sock, peer_address)
            connect(listener)

        connect(listener)
        listener.accept_pending(take)
    assert len(taker.sockets) == 3


async def test_a_shortage_ends_accept_pending_with_a_log_line(
    open_one: OpenOne, connect: Connect, taker: Taker, error_log: list[logging.LogRecord]
) -> None:
    async with open_one() as listener:
        flaky(listener, errno.EMFILE)
        connect(listener)
        listener.accept_pending(taker)
    assert taker.sockets == []
    assert len(error_log) == 1


async def test_a_closed_listener_has_nothing_pending_and_serves_nobody(
    open_one: OpenOne, taker: Taker, gate: ConnectionGate
) -> None:
    async with open_one() as listener:
        url = listener.address.url
    listener.accept_pending(taker)
    listener.close()
    with pytest.raises(trio.ClosedResourceError):
        await listener.serve(taker, gate)
    assert repr(listener) == f"<Listener {url}>"


async def test_closing_a_listener_ends_its_serve(
    open_one: OpenOne, nursery: trio.Nursery, taker: Taker, gate: ConnectionGate
) -> None:
    ended = trio.Event()

    async def serve(listener: Listener) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await listener.serve(taker, gate)
        ended.set()

    async with open_one() as listener:
        nursery.start_soon(serve, listener)
        await wait_all_tasks_blocked()
        listener.close()
        with trio.fail_after(5):
            await ended.wait()


def _nothing_special(listener: Listener, connect: Connect) -> int:
    return 0


def _full_gate(listener: Listener, connect: Connect) -> int:
    connect(listener)
    return 1


def _shortage(listener: Listener, connect: Connect) -> int:
    flaky(listener, errno.EMFILE)
    connect(listener)
    return 0


@pytest.mark.parametrize("make_it_wait", [_nothing_special, _full_gate, _shortage])
async def test_cancelled_wherever_it_waits_serve_loses_no_connection(
    open_one: OpenOne,
    connect: Connect,
    taker: Taker,
    make_it_wait: Callable[[Listener, Connect], int],
) -> None:
    async with open_one() as listener:
        limit = make_it_wait(listener, connect)
        gate = ConnectionGate(limit)
        for _ in range(limit):
            gate.enter()
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(listener.serve, taker, gate))
                # A pause of 0.1 s counts as blocked too.
                await wait_all_tasks_blocked()
                assert taker.sockets == []
                nursery.cancel_scope.cancel()
        assert gate.open == limit
        for _ in range(limit):
            gate.leave()
        if not select.select([listener.socket], [], [], 0)[0]:
            connect(listener)
        listener.accept_pending(taker, gate)
    assert len(taker.sockets) == 1
