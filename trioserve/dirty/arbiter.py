# SPDX-License-Identifier: MIT
"""The dirty arbiter: a Unix socket, a pool of supervised workers, the stash.

Tasks, all in the nursery of ``run``: the accepting one and a Session for each connection; a
Supervisor for each slot of the pool, with one WorkerHandle a life; the sweeps of deadlines, of
expired stash entries and of memory. ``stop`` lets calls under way finish; cancelling ends them.

A *slot* is a place for a worker: which apps run there is decided when its first worker has imported
them and said their limits, and stays so for the workers after it.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import logging
import math
import os
import socket
import sys
import time
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, Final

import trio

from trioserve.dirty import current, frames
from trioserve.dirty.client import DirtyClient
from trioserve.dirty.descriptions import shown
from trioserve.dirty.errors import DirtyConnectionError, DirtyError, DirtyOverloadedError
from trioserve.dirty.paths import (
    is_stranger,
    make_private_path,
    open_listener,
    peer_uid,
    remove_private_directory,
)
from trioserve.dirty.placement import Slot, assign_apps, deal_apps, first_to_go
from trioserve.dirty.pool import Pool
from trioserve.dirty.processes import WorkerHandle
from trioserve.dirty.sessions import Backlog, Session
from trioserve.dirty.slots import App
from trioserve.dirty.stash_direct_trio import AsyncDirectTransport
from trioserve.dirty.tables import StashTables
from trioserve.supervision import LIFELINE, SOCKET, Life, RespawnPolicy, Supervisor, open_child
from trioserve.system.titles import process_title

if TYPE_CHECKING:
    from trioserve.config import Config
    from trioserve.dirty.calls import Call
    from trioserve.dirty.processes import Entries

__all__ = ["DirtyArbiter"]

_log = logging.getLogger("trioserve.error")

#: A worker finds modules where this process does, and nowhere else: a queue.py in the working
#: directory must not stand for Python's own.
_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[3])['sys_path']; "
    "from trioserve.dirty.worker import run; run()"
)
_LOG_FORMAT: Final = "[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s"
#: Seconds that a worker without a parent has to close its apps.
_ORPHAN_GRACE: Final = 5.0
#: What MANAGE may bring it to: a slip of the finger must not take the machine.
_MAX_WORKERS: Final = 512
#: Clients' connections that are served at a time: each may make a frame's worth of memory be held.
_MAX_CONNECTIONS: Final = 2048
_MEMORY_INTERVAL: Final = 1.0
#: Seconds without accepting after it failed: out of descriptors, as a rule.
_ACCEPT_PAUSE: Final = 0.1
#: Seconds that a worker told to go gets beyond dirty_graceful_timeout, to close its apps.
_CLOSE_TIME: Final = 5.0


class DirtyArbiter:
    """The pool of one server. Made and run in the process that serves, beside the HTTP server.

    Args:
        config: the server's.
        predecessor: the process that this one replaces, in a hot upgrade.

    Attributes:
        config: the server's.
        pid: of this process.
        socket_path: where other processes reach it.
        client: for this process's handlers.
        tables: the stash.
        pool: queues and slots.
    """

    def __init__(self, config: Config, predecessor: int | None = None) -> None:
        self.config = config
        self._predecessor = predecessor
        self.pid = os.getpid()
        self.socket_path = config.dirty_socket or ""
        self.tables = StashTables(
            max_table_size=config.dirty_stash_table_size or sys.maxsize,
            max_size=config.dirty_stash_size or sys.maxsize,
        )
        self._specs = {spec.path: spec.workers for spec in config.dirty_apps}
        self._limits: dict[str, int | None] | None = None
        self._default_timeout = config.dirty_timeout or math.inf
        self.pool = Pool(
            [App(path, self._default_timeout) for path in self._specs],
            queue_size=config.dirty_queue_size,
            is_expected=self._is_expected,
            is_coming=self._is_coming,
            max_frame_size=config.dirty_max_frame_size,
            clock=trio.lowlevel.current_clock().current_time,
        )
        self.pool.on_sooner = self._wake_sweeper
        self._backlog = Backlog()
        self._connections = 0
        self._is_crowded = False
        self._slots: list[Slot] = []
        self._target = 0
        self._numbers = 0
        self._stop = trio.Event()
        self._sweeper: trio.lowlevel.Task | None = None
        self._nursery: trio.Nursery
        self._stash = AsyncDirectTransport(self.tables)
        self.client = DirtyClient(self)  # the pool knows each app's timeout
        # The pool's own methods, without a layer between.
        self.submit = self.pool.submit
        self.cancel = self.pool.cancel
        self.credit = self.pool.credit
        self.stash = self._stash.stash
        self.stash_stream = self._stash.stash_stream

    async def run(
        self, task_status: trio.TaskStatus[DirtyArbiter] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Runs the pool until ``stop`` was called and all calls have ended, or until cancelled.

        Reports as started when calls can be made: they wait for the first worker.

        Raises:
            DirtyError: the socket can't be made.
        """
        self._call_hook("on_dirty_starting", self.config.on_dirty_starting, self)
        if not self.socket_path:
            self.socket_path = make_private_path()
        try:
            with (
                open_listener(self.socket_path, self._predecessor) as listener,
                current.installed(self),
            ):
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    nursery.start_soon(self._accept, trio.socket.from_stdlib_socket(listener))
                    nursery.start_soon(self._sweep)
                    nursery.start_soon(self._sweep_stash)
                    nursery.start_soon(self._watch_memory)
                    self._add_slots(self.config.dirty_worker_count)
                    task_status.started(self)
                    await self._stop.wait()
                    slots = self._slots.copy()
                    for slot in slots:
                        slot.supervisor.remove()
                    for slot in slots:
                        await slot.ended.wait()
                    nursery.cancel_scope.cancel()
        finally:
            self.tables.close_watchers()
            self.pool.fail_all(self._closed)
            remove_private_directory(self.socket_path)

    def stop(self) -> None:
        """Begins the end: calls under way have ``dirty_graceful_timeout``, nothing new starts."""
        self._stop.set()

    def _closed(self, call: Call) -> DirtyError:
        return DirtyConnectionError(
            f"the dirty pool was stopped before {call.action!r} of {call.app_path!r} had ended",
            socket_path=self.socket_path,
        )

    # -- Backend (the rest stands in __init__) -------------------------------------------------

    async def ready(self) -> None:
        """See Backend."""

    async def status(self) -> dict[str, Any]:
        """See Backend."""
        workers = [
            {"slot": slot.number, **handle.describe()}
            for slot in self._slots
            for handle in slot.handles
        ]
        workers.sort(key=lambda worker: worker["age"])
        return {
            "arbiter_pid": self.pid,
            "workers": workers,
            "worker_count": len(workers),
            "apps": self.pool.describe_apps(),
            "target_workers": self._target,
            "degraded": [
                {"slot": slot.number, "last_end": slot.supervisor.last_end}
                for slot in self._slots
                if slot.supervisor.is_degraded
            ],
            "restarts": sum(slot.supervisor.restarts for slot in self._slots),
            "stash": self.tables.status(),
        }

    async def tasks(self, timeout: float = 2.0) -> list[dict[str, Any]]:
        """What the tasks and threads of each worker are doing, asked all at once.

        Args:
            timeout: seconds for each of them.

        Returns:
            For each worker ``pid``, ``name``, ``tree`` (see trioserve.task_tree) and ``error``; of
            the last two, one is None.
        """
        found: list[dict[str, Any]] = []

        async def ask(slot: Slot, handle: WorkerHandle) -> None:
            found.append({"name": slot.supervisor.name, **await handle.tasks(timeout)})

        async with trio.open_nursery() as nursery:
            for slot in self._slots:
                for handle in slot.handles:
                    nursery.start_soon(ask, slot, handle)
        return sorted(found, key=lambda told: (told["name"], told["pid"]))

    async def manage(self, operation: int, count: int) -> dict[str, Any]:
        """See Backend."""
        if count < 1:
            raise DirtyError(f"the count of workers must be 1 or more, got {shown(count)}")
        if operation == 1:
            if self._target + count > _MAX_WORKERS:
                raise DirtyError(
                    f"{shown(count)} more workers are too many: there are to be {self._target}, "
                    f"and the most is {_MAX_WORKERS}"
                )
            self._add_slots(count)
            return self._managed("add", count, "spawned", count, None)
        if operation == 2:
            removed, reason = self._remove_slots(count)
            return self._managed("remove", count, "removed", removed, reason)
        raise DirtyError(f"a MANAGE operation is 1 (add) or 2 (remove), got {shown(operation)}")

    def _managed(
        self, operation: str, requested: int, done: str, number: int, reason: str | None
    ) -> dict[str, Any]:
        result = {
            "success": number > 0,
            "operation": operation,
            "requested": requested,
            done: number,
            "total_workers": len(self._slots),
            "target_workers": self._target,
        }
        if reason is not None:
            result["reason"] = reason
        return result

    def reload(self) -> None:
        """Replaces all workers by ones with new code, one after the other.

        Each serves until its successor is ready. If a successor can't be made ready, the others
        keep the code that they have.
        """
        self._nursery.start_soon(self.reload_all)

    async def reload_all(self) -> bool:
        """As ``reload``, and returns when it is done: whether all were replaced."""
        self._limits = None  # the new code may have others
        for slot in self._slots.copy():
            if not await slot.supervisor.try_replacing():
                _log.error("dirty: %s has no successor; the reload ends", slot.supervisor.name)
                return False
        return True

    # -- slots ------------------------------------------------------------------------------

    def _add_slots(self, count: int) -> None:
        self._target += count
        for _ in range(count):
            number = 1 + max((slot.number for slot in self._slots), default=0)
            slot = Slot(number)
            slot.supervisor = Supervisor(
                partial(self._live, slot),
                name=f"dirty worker {number}",
                policy=RespawnPolicy(),
                drain_timeout=self.config.dirty_graceful_timeout + _CLOSE_TIME,
                on_change=lambda _: self.pool.review(),
            )
            self._slots.append(slot)
            if self._limits is not None:
                assign_apps(slot, self._slots, self._limits)
            self._nursery.start_soon(self._run_slot, slot)

    async def _run_slot(self, slot: Slot) -> None:
        try:
            await slot.supervisor.run()
        finally:
            slot.ended.set()
            if slot in self._slots:
                self._slots.remove(slot)

    def _remove_slots(self, count: int) -> tuple[int, str | None]:
        """Lets slots go whose apps all run elsewhere, too."""
        for removed in range(count):
            slot = first_to_go(self._slots, self._specs)
            if slot is None:
                return removed, "each worker that is left is the last one of some app"
            self._slots.remove(slot)
            slot.supervisor.remove()
            self._target -= 1
        return count, None

    def _is_expected(self, app_path: str) -> bool:
        return not self._stop.is_set() and any(
            slot.runs(app_path) and not slot.supervisor.is_degraded for slot in self._slots
        )

    def _is_coming(self, app_path: str) -> bool:
        return not self._stop.is_set() and any(
            slot.runs(app_path) and not slot.is_serving and not slot.supervisor.is_degraded
            for slot in self._slots
        )

    def _learn(self, entries: Entries) -> None:
        """The first worker has said what the apps are: now slots can be given their apps."""
        self._limits = {
            path: self._specs[path] or entry.get("workers") for path, entry in entries.items()
        }
        for path, entry in entries.items():
            own = entry.get("timeout")
            self.pool.set_timeout(path, self._default_timeout if own is None else own or math.inf)
            for table in entry.get("stashes") or ():
                self.tables.ensure(table)
        deal_apps(self._slots, self._limits)

    # -- one life of a worker ------------------------------------------------------------------

    async def _live(self, slot: Slot, life: Life) -> str:
        self._numbers += 1
        number = self._numbers

        def assign(entries: Entries) -> list[str]:
            if self._limits is None:
                self._learn(entries)
            return list(slot.apps or ())

        argv = [sys.executable, "-P", "-c", _BOOT, SOCKET, LIFELINE]
        handle: WorkerHandle | None = None
        try:
            async with open_child(
                [*argv, self._worker_settings(slot.supervisor.name)],
                name=slot.supervisor.name,
                stop_timeout=0,  # what is orderly goes by the channel
            ) as child:
                handle = WorkerHandle(child, life, number, self.config, self.pool, assign)
                slot.handles.append(handle)
                self._call_hook("dirty_post_fork", self.config.dirty_post_fork, self, handle)
                return await handle.run()
        finally:
            if handle is not None:
                slot.handles.remove(handle)
                self._call_hook("dirty_worker_exit", self.config.dirty_worker_exit, self, handle)

    def _worker_settings(self, name: str) -> str:
        config = self.config
        log_file = config.error_log_file
        return json.dumps(
            {
                "apps": list(self._specs),
                "threads": config.dirty_threads,
                "max_frame_size": config.dirty_max_frame_size,
                "graceful_timeout": config.dirty_graceful_timeout,
                "init_hook": config.dirty_worker_init,
                "socket_path": self.socket_path,
                "log_level": config.log_level.upper(),
                "log_format": _LOG_FORMAT,
                "log_file": None if log_file == "-" else os.path.abspath(log_file),
                "title": process_title(name, config.process_name),
                "orphan_grace": _ORPHAN_GRACE,
                "sys_path": sys.path,
            }
        )

    def _call_hook(self, name: str, hook: Any, *args: Any) -> None:
        if hook is None:
            return
        try:
            if isinstance(hook, str):
                module, _, attribute = hook.partition(":")
                hook = reduce(getattr, attribute.split("."), importlib.import_module(module))
            hook(*args)
        except (KeyboardInterrupt, trio.Cancelled):
            raise
        except BaseException:  # a hook's border: a SystemExit ends the hook only
            _log.exception("the hook %s failed; the pool goes on", name)

    # -- other tasks ------------------------------------------------------------------------

    async def _accept(self, listener: trio.socket.SocketType) -> None:
        while True:
            try:
                sock, _ = await listener.accept()
            except OSError as exc:
                if exc.errno != errno.ECONNABORTED:  # its client has left already
                    _log.warning("dirty: no connection can be accepted for now: %s", exc)
                    await trio.sleep(_ACCEPT_PAUSE)
                continue
            plain = _to_stdlib(sock)
            if self._may_come(plain):
                size = self.config.dirty_max_frame_size
                session = Session(plain, self, self.tables, size, self._backlog)
                self._connections += 1
                self._nursery.start_soon(self._run_session, session)
            else:
                plain.close()

    def _may_come(self, sock: socket.socket) -> bool:
        """Whether a client is to be served; one that isn't is told why, if it is ours."""
        uid = peer_uid(sock)
        if is_stranger(uid):
            _log.warning("dirty: a connection of user %d was refused", uid)
            return False
        if self._connections < _MAX_CONNECTIONS:
            self._is_crowded = False
            return True
        if not self._is_crowded:
            self._is_crowded = True
            _log.warning("dirty: connections are refused: there are %d", self._connections)
        error = DirtyOverloadedError(f"{_MAX_CONNECTIONS} connections are open already")
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.send(b"".join(frames.error(0, error)))
        return False

    async def _run_session(self, session: Session) -> None:
        try:
            await session.run()
        except Exception:  # the border of one connection
            _log.exception("dirty: a client's connection failed")
        finally:
            self._connections -= 1

    async def _sweep(self) -> None:
        while True:
            with trio.move_on_at(self.pool.next_sweep):
                self._sweeper = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._stop_waiting)
            if trio.current_time() >= self.pool.next_sweep:
                self.pool.sweep()

    def _wake_sweeper(self) -> None:
        if self._sweeper is not None:
            trio.lowlevel.reschedule(self._sweeper)
            self._sweeper = None

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._sweeper = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def _sweep_stash(self) -> None:
        while True:
            due = self.tables.sweep()
            wait = 1.0 if due is None else min(1.0, max(0.0, due - time.monotonic()))
            await trio.sleep(wait)

    async def _watch_memory(self) -> None:
        while True:
            await trio.sleep(_MEMORY_INTERVAL)
            for slot in self._slots:
                for handle in slot.handles:
                    handle.check_memory()


def _to_stdlib(sock: trio.socket.SocketType) -> socket.socket:
    return socket.socket(fileno=sock.detach())
