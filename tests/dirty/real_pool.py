# SPDX-License-Identifier: MIT
"""Real pools for tests, and gates at which their actions are met.

Nothing of a pool outlives its block: processes, the socket and its directory are looked for after
it. Waiting is for an event, with PATIENCE as the deadline; never for a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import tempfile
from typing import TYPE_CHECKING, Any, Final

import trio

from trioserve.config import Config
from trioserve.config.settings import all_settings
from trioserve.dirty.arbiter import DirtyArbiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from trioserve.dirty import DirtyClient
    from trioserve.dirty.processes import WorkerHandle

__all__ = [
    "APPS",
    "PATIENCE",
    "Gate",
    "RealPool",
    "Visit",
    "exists",
    "is_gone",
    "open_gate",
    "open_pool",
    "until",
]

#: Seconds. Only a broken pool needs so long: it decides how late a test fails, not whether.
PATIENCE: Final = 30.0

APPS: Final = "tests.dirty.apps"


async def until(condition: Callable[[], bool]) -> None:
    """Waits for something that nobody tells of, looking often."""
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110  there is no event to wait for
            await trio.sleep(0.005)


def is_gone(path: str) -> bool:
    """Whether neither the socket is there nor its directory."""
    return not os.path.lexists(path) and not os.path.exists(os.path.dirname(path))


def mode_of_directory(path: str) -> int:
    """Permissions of the directory that the socket is in."""
    return os.stat(os.path.dirname(path)).st_mode & 0o777


def exists(pid: int) -> bool:
    """Whether there is such a process; a zombie is one."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Visit:
    """An action that has come to a gate.

    Attributes:
        pid: of its process.
        words: what it said.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = b""
        self.pid = 0
        self.words: list[Any] = []

    async def hear(self) -> list[Any] | None:
        """The next line; None at the end."""
        with trio.fail_after(PATIENCE):
            while b"\n" not in self._buffer:
                try:
                    data = await self._stream.receive_some(1000)
                except trio.BrokenResourceError:
                    return None
                if not data:
                    return None
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        words: list[Any] = json.loads(line)
        return words

    async def release(self, answer: str = "go") -> None:
        """Lets the action go on."""
        with contextlib.suppress(trio.BrokenResourceError):
            await self._stream.send_all(answer.encode())

    async def gone(self) -> None:
        """Returns when the action has ended; what it still says is dropped."""
        while await self.hear() is not None:
            pass

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Kills the action's process."""
        os.kill(self.pid, number)


class Gate:
    """A place where actions are met.

    Attributes:
        path: what they are told.
    """

    def __init__(self, path: str, listener: trio.SocketListener) -> None:
        self.path = path
        self._listener = listener
        self._visits: list[trio.SocketStream] = []

    async def visit(self) -> Visit:
        """The next action that comes."""
        with trio.fail_after(PATIENCE):
            stream = await self._listener.accept()
        self._visits.append(stream)
        visit = Visit(stream)
        words = await visit.hear()
        assert words is not None
        visit.pid, *visit.words = words
        return visit

    async def visits(self, count: int) -> list[Visit]:
        """The next ones."""
        return [await self.visit() for _ in range(count)]

    async def aclose(self) -> None:
        """Lets everybody go on who is still here."""
        await self._listener.aclose()
        for stream in self._visits:
            await trio.aclose_forcefully(stream)


@contextlib.asynccontextmanager
async def open_gate() -> AsyncIterator[Gate]:
    """A gate around the block."""
    directory = tempfile.mkdtemp(prefix="gate-")
    try:
        sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        await sock.bind(f"{directory}/gate")
        sock.listen(1000)
        gate = Gate(f"{directory}/gate", trio.SocketListener(sock))
        try:
            yield gate
        finally:
            await gate.aclose()
    finally:
        shutil.rmtree(directory)


class RealPool:
    """A pool that runs in this process.

    Attributes:
        arbiter, client: of the pool.
        seen: process ids of all workers that were ever looked at.
    """

    def __init__(self, arbiter: DirtyArbiter) -> None:
        self.arbiter = arbiter
        self.client: DirtyClient = arbiter.client
        self.seen: set[int] = set()

    @property
    def path(self) -> str:
        """Of its socket."""
        return self.arbiter.socket_path

    @property
    def handles(self) -> list[WorkerHandle]:
        """Its processes, the oldest first."""
        handles = [handle for slot in self.arbiter._slots for handle in slot.handles]
        self.seen |= {handle.pid for handle in handles}
        return sorted(handles, key=lambda handle: handle.number)

    @property
    def ready_pids(self) -> list[int]:
        """Of workers that can be given calls."""
        return [
            handle.pid
            for handle in self.handles
            if handle.is_ready and not handle.life.draining.is_set()
        ]

    async def until_ready(self, count: int = 1) -> list[int]:
        """Waits for so many workers; their process ids."""
        await until(lambda: len(self.ready_pids) >= count)
        return self.ready_pids

    async def until_replaced(self, *old: int) -> None:
        """Waits until others than these are ready, and not fewer."""
        await until(lambda: len(self.ready_pids) >= len(old) and not {*old} & {*self.ready_pids})

    async def until_queued(self, count: int, app: str = "Work") -> None:
        """Waits until so many calls of an app wait."""
        await until(lambda: self.arbiter.pool.apps[f"{APPS}:{app}"].queued == count)

    async def until_idle(self) -> None:
        """Waits until no call is left."""
        await until(lambda: not self.arbiter.pool._calls)


@contextlib.asynccontextmanager
async def open_pool(*apps: str, ready: bool = True, **settings: Any) -> AsyncIterator[RealPool]:
    """A pool around the block; it is stopped in an orderly way at the end.

    Args:
        apps: classes of tests/dirty/apps.py, or paths.
        ready: wait for all workers first.
        settings: without ``dirty_``, but for those of the whole server.
    """
    paths = [app if ":" in app else f"{APPS}:{app}" for app in apps or ("Work",)]
    options = {
        f"dirty_{name}" if f"dirty_{name}" in all_settings() else name: value
        for name, value in settings.items()
    }
    arbiter = DirtyArbiter(Config(dirty_app=paths, **options))
    pool = RealPool(arbiter)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(arbiter.run)
            assert mode_of_directory(arbiter.socket_path) == 0o700
            if ready:
                await pool.until_ready(arbiter.config.dirty_worker_count)
            yield pool
            _ = pool.handles
            arbiter.stop()
            await until(lambda: not arbiter._slots)
    finally:
        assert [pid for pid in pool.seen if exists(pid)] == []
        assert is_gone(arbiter.socket_path)
