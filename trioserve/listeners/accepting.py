# SPDX-License-Identifier: MIT
"""One listening socket, and the accept loop on it."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import trio

from trioserve.addresses import BoundAddress, format_bound
from trioserve.listeners.gate import ConnectionGate
from trioserve.listeners.unix import SocketFile

__all__ = ["Listener", "OnConnection"]

_log = logging.getLogger("trioserve.error")

OnConnection = Callable[[socket.socket, Any], None]
"""Takes an accepted socket and its peer's address (as ``socket.accept()`` gives it)."""

# How many are accepted before other tasks get their turn; and before other processes do, where they
# accept from the same socket: the first one to wake must not take all that came together.
_MAX_BATCH = 64
_SHARED_BATCH = 1

# Seconds in which an idle process wakes up for a connection.
_WAKE_TIME = 0.00005

# Seconds without accepting after descriptors or memory ran out; doubled from one to the other.
_MIN_PAUSE = 0.1
_MAX_PAUSE = 1.0

# The machine is out of something. The connection stays in the queue, so the socket stays readable:
# to go on at once would be a busy loop.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

# The one connection failed before we took it. accept(2): "For reliable operation the application
# should detect the network errors defined for the protocol after accept() and treat them like
# EAGAIN by retrying." EPERM is a firewall's rule. Some names exist on Linux only.
_CONNECTION_LOST = frozenset(
    number
    for name in (
        *("ECONNABORTED", "ECONNRESET", "EPERM", "EPROTO", "ENOPROTOOPT", "EOPNOTSUPP"),
        *("ETIMEDOUT", "ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH", "ENONET"),
    )
    if (number := getattr(errno, name, None)) is not None
)


class Listener:
    """A listening socket with what is needed to accept from it and to close it.

    Made by :func:`trioserve.listeners.open_listeners`, which also closes it.

    Args:
        sock: A listening stream socket; the listener owns it from here on, and makes it
            non-blocking.
        backlog: How many connections its queue may hold: the bound of :meth:`accept_pending`.
        scheme: ``http`` or ``https``, for :attr:`address`.
        socket_file: The file that goes with a Unix socket of ours; unlinked by :meth:`close`.
        is_shared: Other processes accept from it, too.
        bind: The bind address that it is of.

    Attributes:
        bind: The bind address that it is of, as it was written; "" where nobody said.
        socket: The listening socket.
        address: Where it really listens; stays valid after :meth:`close`.
        is_shared: Other processes accept from it, too, and go on when this one stops: then nothing
            that is pending is this one's.
    """

    __slots__ = ("_backlog", "_gate", "_socket_file", "address", "bind", "is_shared", "socket")

    def __init__(
        self,
        sock: socket.socket,
        *,
        backlog: int = socket.SOMAXCONN,
        scheme: str = "http",
        socket_file: SocketFile | None = None,
        is_shared: bool = False,
        bind: str = "",
    ) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.address: BoundAddress = format_bound(sock.getsockname(), sock.family, scheme=scheme)
        self._backlog = backlog
        self._socket_file = socket_file
        self._gate = ConnectionGate(0)
        self.is_shared = is_shared
        self.bind = bind

    def __repr__(self) -> str:
        return f"<Listener {self.address}>"

    async def serve(self, on_connection: OnConnection, gate: ConnectionGate) -> None:
        """Accept connections and hand them over, until cancelled.

        Each accepted socket is non-blocking and, if it is TCP, has TCP_NODELAY. The gate is
        entered for it; who takes the socket owns it, and calls ``gate.leave()`` when it is closed.

        Args:
            on_connection: Called for each connection; must not block. If it raises an Exception,
                the socket is closed, the gate left, the traceback logged, and the next connection
                is accepted: that is a border of containment. Any other BaseException
                does the same without the log and leaves ``serve``.
            gate: While it is full, nothing is accepted: clients wait in the kernel's queue.

        Raises:
            trio.ClosedResourceError: :meth:`close` was called meanwhile.
            OSError: The socket is broken in a way that accepting again can't mend.

        Errors handled here: out of descriptors or memory (logged once, tried again after 0.1 s,
        doubled up to 1 s; the recovery is logged); a connection that failed in the queue (skipped).

        Cancellation: only between two batches of at most 64 (of one, where the socket is shared),
            so that no accepted socket is lost.
        """
        self._gate = gate
        pause = 0.0
        while True:
            await gate.wait_for_room()
            if self.socket.fileno() == -1:
                raise trio.ClosedResourceError(f"{self} was closed")
            await trio.lowlevel.wait_readable(self.socket.fileno())
            batch = _SHARED_BATCH if self.is_shared else _MAX_BATCH
            shortage = self._accept_batch(on_connection, gate, batch)
            if self.is_shared:
                await _let_others_wake()
            if shortage is not None:
                if not pause:
                    self._log_shortage(shortage)
                pause = min(pause * 2 or _MIN_PAUSE, _MAX_PAUSE)
                await trio.sleep(pause)
            elif pause:
                pause = 0.0
                _log.warning("%s: accepting connections again", self.address)

    def accept_pending(
        self, on_connection: OnConnection, gate: ConnectionGate | None = None
    ) -> None:
        """Hand over what is in the kernel's queue now, never waiting: the last step before closing.

        For a client these connections are established, and closing the listening socket would
        reset them. Nothing where the socket is shared: the others take them.

        Args:
            on_connection: As for :meth:`serve`.
            gate: By default the one that :meth:`serve` was given last. Its limit holds here too:
                what is beyond it stays in the queue.

        Limits: at most backlog + 1 connections (what Linux's queue holds), so that a flood of new
        ones can't keep a server from stopping. A shortage of descriptors ends it early, logged.

        Raises:
            OSError: As for :meth:`serve`.
        """
        if self.socket.fileno() == -1 or self.is_shared:
            return
        shortage = self._accept_batch(on_connection, gate or self._gate, self._backlog + 1)
        if shortage is not None:
            self._log_shortage(shortage)

    def take_file(self) -> None:
        """Have ``close`` remove the file of an inherited Unix socket, as if it was made here."""
        path = self.address.path
        if path is not None and not path.startswith("@"):
            with contextlib.suppress(OSError):  # somebody has removed it
                self._socket_file = SocketFile.at(path)

    def hand_over(self) -> None:
        """Leave the socket, its queue and its file to another process that has it by now."""
        self.is_shared = True
        self._socket_file = None

    def close(self) -> None:
        """Close the socket; a second call does nothing.

        A task in :meth:`serve` gets trio.ClosedResourceError. Must be called from Trio's thread.
        """
        if self.socket.fileno() == -1:
            return
        if self._socket_file is not None:
            # Before the socket is closed: while it is open no other file can get its inode number.
            self._socket_file.unlink_if_ours()
        trio.lowlevel.notify_closing(self.socket.fileno())
        self.socket.close()

    def _accept_batch(
        self, on_connection: OnConnection, gate: ConnectionGate, max_accepted: int
    ) -> OSError | None:
        """Accept until the queue is empty, the gate full or the batch whole.

        Returns the error if descriptors or memory ran out.
        """
        for _ in range(max_accepted):
            if gate.full:
                return None
            try:
                sock, peer_address = self.socket.accept()
            except BlockingIOError:
                return None
            except OSError as exc:
                if exc.errno in _EXHAUSTED:
                    return exc
                if exc.errno not in _CONNECTION_LOST:
                    raise
            else:
                gate.enter()
                _hand_over(sock, peer_address, on_connection, gate)
        return None

    def _log_shortage(self, shortage: OSError) -> None:
        _log.error(
            "%s: can't accept connections, they wait: %s (raise the limit of open files, "
            "ulimit -n, or set max_connections below it)",
            self.address,
            shortage,
        )


async def _let_others_wake() -> None:
    """Some passes of the loop, while another process has its chance of the next connection.

    By the clock, since a pass takes far less than a wake-up in a process that has nothing to do,
    and more in one that is busy, which then waits for no other.
    """
    until = time.perf_counter() + _WAKE_TIME
    while True:
        await trio.lowlevel.checkpoint()
        if time.perf_counter() >= until:
            return


def _hand_over(
    sock: socket.socket, peer_address: Any, on_connection: OnConnection, gate: ConnectionGate
) -> None:
    try:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            # Some systems refuse it with EINVAL when the peer has gone; the connection will see.
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        on_connection(sock, peer_address)
    except BaseException as exc:
        sock.close()
        gate.leave()
        if not isinstance(exc, Exception):
            raise
        _log.exception("the connection from %s could not be taken over", peer_address or "a peer")
