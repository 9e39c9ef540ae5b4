# SPDX-License-Identifier: MIT
"""The HTTP workers of a server: places, each with a supervisor, each life a process.

Tasks, all in the nursery of ``run``: a Supervisor for each place, with a WorkerHandle for each
life. ``stop`` lets requests under way finish; cancelling ends all workers at once.

A *place* is where a worker runs. It keeps its number, and with ``reuse_port`` its sockets, whatever
process is there: what waits in their queues is served by the next one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from trioserve.errors import StartupError, TrioserveError
from trioserve.hooks import HookWorker
from trioserve.metrics import counting_logs, make_recorder, merge, without_gauges
from trioserve.supervision import LIFELINE, SOCKET, Life, RespawnPolicy, Supervisor, open_child
from trioserve.workers.handle import WorkerHandle
from trioserve.workers.places import WorkerPlace, open_pipe
from trioserve.workers.transfer import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from trioserve.addresses import BoundAddress
    from trioserve.config import Config
    from trioserve.listeners import Listener

__all__ = ["HttpWorkers"]

_log = logging.getLogger("trioserve.error")

#: A worker finds modules where this process does, and nowhere else: a queue.py in the working
#: directory must not stand for Python's own.
_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[3]); "
    "from trioserve.http_worker import run; run()"
)
#: One that served for a second has done its work, and what killed it (an operator, the kernel for
#: its memory, one request) is no reason to wait: its place is needed. A crash loop is short-lived.
_POLICY: Final = RespawnPolicy(max_delay=5.0, stable_after=1.0, max_restarts=30)
#: What anybody may bring it to: a slip of the finger must not take the machine.
_MAX_WORKERS: Final = 512
#: Seconds that a worker gets beyond its timeouts to end by itself.
_MARGIN: Final = 2.0
#: Seconds that stand for no limit.
_NEVER: Final = 3600.0


class HttpWorkers:
    """All of them.

    Args:
        config: settings of the workers; another one comes with a reload.
        listeners: the server's, which workers inherit.
        tell: is called with the name of a hook and its arguments; raises nothing.
        open_own: opens TCP sockets for one place, with ``reuse_port``.
        dirty_socket: the path of the pool's socket; None where there is no pool.

    Attributes:
        config: the settings of the workers that start from now on.
        target: how many are wanted.
        is_degraded: no worker serves, and none is expected to.
    """

    def __init__(
        self,
        config: Config,
        listeners: list[Listener],
        tell: Callable[..., object],
        *,
        dirty_socket: str | None,
        open_own: Callable[[], list[Listener]] | None = None,
    ) -> None:
        self.config = config
        self.target = config.workers
        self._listeners = listeners
        self._tell = tell
        self._dirty_socket = dirty_socket
        self._open_own = open_own
        self._places: list[WorkerPlace] = []
        self._leaving: list[WorkerPlace] = []
        self._ages = 0
        self._have_served = False
        self._was_degraded = False
        self._failure: TrioserveError | None = None
        self._changed = trio.lowlevel.ParkingLot()
        self._stop = trio.Event()
        self._changing = trio.Lock()
        self._nursery: trio.Nursery
        self._ended_restarts = 0
        self._recorder = make_recorder(config)  # of this process there are its logs to be counted
        self._ended_counts: dict[str, Any] | None = None

    async def run(
        self, task_status: trio.TaskStatus[tuple[BoundAddress, ...]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Runs them until ``stop`` was called and the last one has ended, or until cancelled.

        Reports as started when all of them serve, but for those that have started in vain while
        others could.

        Raises:
            AppImportError, StartupError, ConfigError: the first worker can't be started.
        """
        to_json(self.config)  # which says so if it can't be handed to a worker
        with counting_logs(self._recorder):
            await self._run(task_status)
        if self._failure is not None:
            raise self._failure

    async def _run(self, task_status: trio.TaskStatus[tuple[BoundAddress, ...]]) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._set_target(self.config.workers)
            await self._until(lambda: self._failure is not None or self._have_all_begun)
            if self._failure is not None:
                nursery.cancel_scope.cancel()
            else:
                self._have_served = True
                task_status.started(tuple(one.address for one in self._listeners))
                await self._stop.wait()
                self._was_degraded = self.is_degraded
                self._remove_places(self._places)
                for listener in self._listeners:
                    listener.close()  # the workers have them, and close them as they drain

    def stop(self) -> None:
        """Begins the end: requests under way have ``graceful_timeout``, nothing new starts."""
        self._stop.set()

    @property
    def is_degraded(self) -> bool:
        """No worker serves, though some should, and the policy has given them up.

        Once ``run`` has ended: whether it was so when the stop came.
        """
        return self._was_degraded or (
            bool(self._places)
            and all(
                place.supervisor.is_degraded and not place.supervisor.is_ready
                for place in self._places
            )
        )

    @property
    def restarts(self) -> int:
        """Ends that nobody asked for, so far."""
        return self._ended_restarts + sum(place.supervisor.restarts for place in self._places)

    @property
    def handles(self) -> list[WorkerHandle]:
        """Of all lives that there are now."""
        places = (*self._places, *self._leaving)
        return [handle for place in places for handle in place.handles]

    def describe(self) -> list[dict[str, Any]]:
        """For a status."""
        entries = [entry for place in self._places for entry in place.describe()]
        leaving = [entry for place in self._leaving for entry in place.describe() if entry["pid"]]
        return entries + leaving

    def for_hooks(self) -> tuple[HookWorker, ...]:
        """What hooks are told of them."""
        return tuple(handle.for_hooks() for handle in self.handles)

    def post_all(self, message: Mapping[str, Any]) -> None:
        """Says something to each of them."""
        for handle in self.handles:
            handle.post(message)

    async def ask_all(self, what: str) -> list[tuple[WorkerHandle, Any]]:
        """What each answers; None from those that don't."""
        answers: list[tuple[WorkerHandle, Any]] = []

        async def ask(handle: WorkerHandle) -> None:
            answers.append((handle, await handle.ask(what)))

        async with trio.open_nursery() as nursery:
            for handle in self.handles:
                nursery.start_soon(ask, handle)
        answers.sort(key=lambda answer: (answer[0].number, answer[0].age))
        return answers

    async def snapshot(self) -> dict[str, Any] | None:
        """What all of them have counted, those that have ended included; None: nothing is."""
        answers = await self.ask_all("snapshot")
        for handle, answer in answers:
            handle.snapshot = answer or handle.snapshot  # what it said last, if it doesn't answer
        if self._recorder is None:
            return None
        found = [self._ended_counts, *(handle.snapshot for handle, _ in answers)]
        return merge([self._recorder.snapshot(), *(one for one in found if one is not None)])

    async def tasks(self) -> list[dict[str, Any]]:
        """The tree of tasks of each; see Controls."""
        return [
            {
                "pid": handle.pid,
                "name": f"worker {handle.number}",
                "tree": tree,
                "error": "no answer within 2 s" if tree is None else None,
            }
            for handle, tree in await self.ask_all("tasks")
        ]

    # -- more, fewer, others -------------------------------------------------------------------

    async def add(self, count: int) -> None:
        """More workers, which are started now; more wanted ones, from now on.

        Raises:
            TrioserveError: there would be more than 512.
        """
        async with self._changing:  # in here, since others may be waiting to change the same
            if count < 1 or self.target + count > _MAX_WORKERS:
                raise TrioserveError(
                    f"{count} more HTTP workers can't be had: there are to be {self.target}, "
                    f"and 1 to {_MAX_WORKERS} are possible"
                )
            await self._set_target(self.target + count)

    async def remove(self, count: int) -> None:
        """Fewer workers: those with the highest numbers drain.

        Raises:
            TrioserveError: none would be left.
        """
        async with self._changing:
            if count < 1 or self.target - count < 1:
                raise TrioserveError(
                    f"{count} of {self.target} HTTP workers can't be removed: one is left at least"
                )
            await self._set_target(self.target - count)

    async def rest(self) -> None:
        """Drains all workers; the next reload, or ``add``, brings them back."""
        async with self._changing:
            self._remove_places(self._places.copy())

    def kill(self, pid: int) -> None:
        """SIGKILL for a worker; its successor is started at once.

        Raises:
            TrioserveError: no worker has this process id.
        """
        for handle in self.handles:
            if handle.pid == pid:
                handle.kill("killed by its operator")
                return
        known = ", ".join(str(handle.pid) for handle in self.handles) or "none"
        raise TrioserveError(f"no HTTP worker has the process id {pid}; there are: {known}")

    async def reload(self, config: Config) -> None:
        """Replaces all workers, one after the other: each serves until its successor is ready.

        Raises:
            TrioserveError: a successor could not be started: the others stay as they are, and so do
                the settings for those that start later.
        """
        async with self._changing:
            before, self.config = self.config, config
            for place in self._places:
                place.supervisor.drain_timeout = self._drain_timeout
            for place in self._places.copy():
                if place not in self._places:
                    continue
                if not await place.supervisor.try_replacing():
                    self.config = before
                    raise TrioserveError(
                        f"the reload ends: {place.supervisor.name} can't be started as it is now "
                        f"({place.supervisor.last_end}); the others go on as they were. Mend it, "
                        "and reload again"
                    )
            if config.workers and not config.reload:
                await self._set_target(config.workers)

    def start_anew(self) -> None:
        """Has all workers stop accepting, and starts successors at once; see ``--reload``."""
        for handle in self.handles:
            handle.retire()
        for place in self._places:
            place.supervisor.replace()

    # -- places -----------------------------------------------------------------------------

    async def _set_target(self, target: int) -> None:
        if self._stop.is_set():  # while this waited for its turn: what it started would never end
            raise TrioserveError("the HTTP workers are stopping: nothing comes of it")
        before, self.target = self.target, target
        if before != target:
            self._tell("workers_changed", target, before)
        self._remove_places(self._places[target:])
        while len(self._places) < target:
            await self._add_place()

    async def _add_place(self) -> None:
        taken = {place.number for place in (*self._places, *self._leaving)}
        number = next(one for one in range(1, len(taken) + 2) if one not in taken)
        listeners = self._listeners
        if self._open_own is not None and any(
            place.listeners is listeners for place in self._places
        ):
            listeners = self._open_own()
        place = WorkerPlace(number, listeners)
        place.supervisor = Supervisor(
            partial(self._live_or_give_up, place),
            name=f"HTTP worker {number}",
            policy=_POLICY,
            drain_timeout=self._drain_timeout,
            on_change=lambda _: self._notify(),
        )
        self._places.append(place)
        self._places.sort(key=lambda one: one.number)
        self._nursery.start_soon(self._run_place, place)

    async def _run_place(self, place: WorkerPlace) -> None:
        try:
            await place.supervisor.run()
        finally:
            self._ended_restarts += place.supervisor.restarts
            for places in (self._places, self._leaving):
                if place in places:
                    places.remove(place)
            self._close_own(place)
            self._notify()

    def _remove_places(self, places: list[WorkerPlace]) -> None:
        for place in places.copy():
            self._places.remove(place)
            self._leaving.append(place)
            place.supervisor.remove()
            # Its worker takes what waits there, and closes. Open here, they would get connections
            # that nobody accepts.
            self._close_own(place)

    def _close_own(self, place: WorkerPlace) -> None:
        if place.listeners is not self._listeners:
            for listener in place.listeners:
                listener.close()

    @property
    def _drain_timeout(self) -> float:
        """Seconds for a worker that is to finish its requests, and to end."""
        return self.config.graceful_timeout + self._stop_timeout

    @property
    def _stop_timeout(self) -> float:
        """Seconds for the end of a worker that has no requests any more."""
        return (self.config.lifespan_shutdown_timeout or _NEVER) + _MARGIN

    def _is_last(self, place: WorkerPlace) -> bool:
        """Whether nobody accepts from a place's sockets once its worker drains."""
        if place.listeners is not self._listeners:
            return place in self._leaving
        return self._stop.is_set() and not any(one.is_shared for one in self._listeners)

    # -- one life -----------------------------------------------------------------------------

    async def _live_or_give_up(self, place: WorkerPlace, life: Life) -> str:
        """One life; if it is the first of all and ends before it serves, so does the server."""
        failure: TrioserveError | None = None
        try:
            how, failure = await self._live(place, life)
        except OSError as exc:
            how = f"its process can't be started: {exc}"
        if not life.is_ready and not self._have_served and not self._have_any_begun:
            place.supervisor.remove()
            self._failure = failure or StartupError(
                f"HTTP worker {place.number} ended before it served: {how}"
            )
        return how

    async def _live(self, place: WorkerPlace, life: Life) -> tuple[str, TrioserveError | None]:
        self._ages += 1
        config = self.config
        descriptors = [(one.socket.fileno(), one.address.scheme) for one in place.listeners]
        self._tell("pre_worker", HookWorker(number=place.number, pid=None, config=config))
        with self._told_of_exit() as handles, open_pipe() as (dump_end, dump_fd):
            async with open_child(
                [sys.executable, "-P", "-c", _BOOT, SOCKET, LIFELINE, json.dumps(sys.path)],
                name=place.supervisor.name,
                pass_fds=[dump_fd, *(number for number, _ in descriptors)],
                stop_timeout=self._stop_timeout,
            ) as child:
                handle = WorkerHandle(
                    child,
                    life,
                    number=place.number,
                    age=self._ages,
                    config=config,
                    dump_fd=dump_end,
                    is_last=partial(self._is_last, place),
                )
                begin = {
                    "type": "begin",
                    "number": place.number,
                    "config": to_json(config),
                    "listeners": descriptors,
                    "dirty_socket": self._dirty_socket,
                    "dump_fd": dump_fd,
                }
                handles.append(handle)
                place.handles.append(handle)
                self._tell("post_worker", handle.for_hooks())
                try:
                    how = await handle.run(begin)
                finally:
                    place.handles.remove(handle)
                    self._keep_counts(handle)
        if handle.app_traceback:
            _log.error("HTTP worker %d can't start:\n%s", place.number, handle.app_traceback)
        return how, handle.failure

    @contextlib.contextmanager
    def _told_of_exit(self) -> Iterator[list[WorkerHandle]]:
        """Calls ``worker_exit`` for what is in the list, also where the block is cancelled."""
        handles: list[WorkerHandle] = []
        try:
            yield handles
        finally:
            for handle in handles:
                self._tell("worker_exit", handle.for_hooks())

    def _keep_counts(self, handle: WorkerHandle) -> None:
        """Of one that was killed, what has happened since its last beat is lost."""
        if handle.snapshot is not None:
            before = [] if self._ended_counts is None else [self._ended_counts]
            self._ended_counts = merge([*before, without_gauges(handle.snapshot)])

    # -- what run() waits for ------------------------------------------------------------------

    @property
    def _have_any_begun(self) -> bool:
        return any(place.supervisor.is_ready for place in self._places)

    @property
    def _have_all_begun(self) -> bool:
        """All that can: one that has failed beside one that serves is tried again, by and by."""
        return self._have_any_begun and all(
            place.supervisor.is_ready or place.supervisor.last_end for place in self._places
        )

    def _notify(self) -> None:
        self._changed.unpark_all()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.park()
