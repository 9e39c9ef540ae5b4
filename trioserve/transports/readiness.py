# SPDX-License-Identifier: MIT
"""One task that watches the sockets of all connections of a server, by an epoll of its own.

Why not ``trio.lowlevel.wait_readable``: that arms Trio's epoll anew for every wait (a system call
and some bookkeeping a request), and tells nothing while nobody waits. Here a socket is registered
once, edge-triggered, for input and for the peer's leaving (EPOLLRDHUP), so that

- waiting for the next request costs no system call,
- a client that leaves while the application is busy is noticed at once, without a task a request.

Tasks: ``run`` is started by the server and cancelled after its last connection. Its child
``_flush`` writes what transports have put off until all tasks of a step have run (one system call
for many small messages); a socket that doesn't take it all gets a task until it does. They touch
nothing of a connection but call its transport's ``on_event`` and ``flush``.

Edge-triggered means: an event says that something *new* came. A transport remembers it until a
read has shown that nothing is left.
"""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

import trio

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable

__all__ = ["Flushable", "ReadinessWatcher", "Watched"]

#: Events taken from the kernel in one call. Trio runs the tasks of a batch in either order, at
#: random, so a small batch keeps the sockets nearer to first come, first served.
_BATCH: Final = 24

if sys.platform == "linux":
    _FLAGS: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET


class Watched(Protocol):
    """What can be registered."""

    def on_event(self, events: int) -> None:
        """Called with the epoll events that came; must not block or raise."""


class Flushable(Protocol):
    """What can have written something that is still to leave."""

    def flush(self) -> Awaitable[None] | None:
        """Called after flush_soon(); a wait for what the socket doesn't take. Must not raise."""


class ReadinessWatcher:
    """An epoll and the task that reads it. Linux only: see ``supported``."""

    supported: Final = sys.platform == "linux"

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Watched] = {}
        self._unflushed: list[Flushable] = []
        self._flusher: trio.lowlevel.Task | None = None

    def register(self, sock: socket.socket, watched: Watched) -> None:
        """From now on ``watched.on_event`` is told what happens on ``sock``.

        Raises:
            OSError: ENOSPC: the user's limit of watches is reached; ENOMEM.
        """
        fd = sock.fileno()
        self._epoll.register(fd, _FLAGS)
        self._watched[fd] = watched

    def unregister(self, sock: socket.socket) -> None:
        """No further event; to be called before the socket is closed."""
        fd = sock.fileno()
        # A cancelled server may end ``run``, which closes the epoll, before its last connection.
        if self._watched.pop(fd, None) is not None and not self._epoll.closed:
            self._epoll.unregister(fd)

    def flush_soon(self, writer: Flushable) -> None:
        """Calls ``writer.flush()`` after the tasks that can run now."""
        self._unflushed.append(writer)
        if self._flusher is not None:
            trio.lowlevel.reschedule(self._flusher)
            self._flusher = None

    async def run(self) -> None:
        """Distributes events, and flushes, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._flush, nursery)
            await self._watch()

    async def _flush(self, nursery: trio.Nursery) -> None:
        while True:
            if not self._unflushed:
                self._flusher = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._stop_flushing)
            due, self._unflushed = self._unflushed, []
            for writer in due:
                rest = writer.flush()
                if rest is not None:
                    nursery.start_soon(_finish, rest)
            if self._unflushed:  # a flush has made something new: others have their turn first
                await trio.lowlevel.checkpoint()

    def _stop_flushing(self, _: object) -> trio.lowlevel.Abort:
        self._flusher = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def _watch(self) -> NoReturn:
        epoll = self._epoll
        watched = self._watched
        with epoll:
            while True:
                batch = epoll.poll(0, _BATCH)
                if not batch:
                    await trio.lowlevel.wait_readable(epoll)
                    continue
                for fd, events in batch:
                    # A connection earlier in this batch may have closed this one.
                    transport = watched.get(fd)
                    if transport is not None:
                        transport.on_event(events)
                # Under load there is more by now, and looking is cheaper than arming a wait.
                await trio.lowlevel.checkpoint()


async def _finish(rest: Awaitable[None]) -> None:
    await rest
