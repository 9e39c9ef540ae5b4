# SPDX-License-Identifier: MIT
"""The threads of a worker process: they run sync jobs, and may read the channel in turn.

A thread that waits for a message, runs the job that it brings and sends the reply needs no other
thread for it, and handing a job from one thread to another costs more than a small job does. So
where a worker has sync actions only, its threads read: one of them, the leader, waits on the
socket; before it runs a job itself it makes another the leader. There is a thread more than there
are slots, so that somebody always reads: a CANCEL is met while all slots are taken. Where there are
async actions, too, Trio's loop reads.

A Lane is not a set of threads but a number of slots: any thread runs any job that has one.

What crosses between threads, all of it under the crew's lock or by its queue: lanes, and who leads.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import outcome
import trio

from trioserve.dirty.forks import end_if_forked

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Crew", "Lane"]

_log = logging.getLogger("trioserve.error")


class Lane:
    """So many jobs of a group of apps at a time, first come, first served.

    Attributes:
        free: slots that no job has.
        waiting: call id and function of jobs without a slot.
    """

    __slots__ = ("free", "waiting")

    def __init__(self, size: int) -> None:
        self.free = size
        self.waiting: deque[tuple[int, Callable[[], object]]] = deque()


class Crew:
    """Threads. They are daemons: a hung action must not keep the process alive.

    Args:
        size: how many; one more than all slots of all lanes where they read.
        read: reads messages once, by blocking, and ``start``s what they ask for; False at the end.
            It must not raise.
    """

    def __init__(self, size: int, read: Callable[[], bool]) -> None:
        self._home = os.getpid()
        self._read = read
        self._lock = threading.Lock()
        #: Work for whoever is idle; None is to lead.
        self._tasks: queue.SimpleQueue[tuple[Lane, Callable[[], object]] | None]
        self._tasks = queue.SimpleQueue()
        self._leader: int | None = None
        self._own: tuple[Lane, Callable[[], object]] | None = None
        for number in range(size):
            threading.Thread(target=self._work, name=f"dirty-{number}", daemon=True).start()

    def lead(self) -> None:
        """One thread reads from now on."""
        self._tasks.put(None)

    def start(self, lane: Lane, call_id: int, job: Callable[[], object]) -> None:
        """Runs the job as soon as its lane has a slot. It is not expected to raise.

        A reply that it sends is sent before the next job of its slot starts.
        """
        with self._lock:
            if not lane.free:
                lane.waiting.append((call_id, job))
                return
            lane.free -= 1
        if self._own is None and self._leader == threading.get_ident():
            self._own = lane, job  # the leader's own, once it has handed on all that it read
        else:
            self._tasks.put((lane, job))

    def take_back(self, lane: Lane, call_id: int) -> bool:
        """True if the job had no slot yet; then it won't run."""
        with self._lock:
            for waiting in lane.waiting:
                if waiting[0] == call_id:
                    lane.waiting.remove(waiting)
                    return True
        return False

    async def run(self, lane: Lane, function: Callable[[], Any]) -> Any:
        """The function's result, from one of the threads, in a slot of the lane.

        *Cancellation*: the function goes on; its result is dropped.
        """
        token = trio.lowlevel.current_trio_token()
        done = trio.Event()
        result: list[outcome.Outcome[Any]] = []

        def work() -> None:
            result.append(outcome.capture(function))
            end_if_forked(self._home, getattr(result[0], "error", None))
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(done.set)

        self.start(lane, 0, work)
        await done.wait()
        return result[0].unwrap()

    # -- a thread ---------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            task = self._tasks.get()
            if task is None:
                task = self._read_until_there_is_work()
                if task is None:
                    return
            self._run(*task)

    def _read_until_there_is_work(self) -> tuple[Lane, Callable[[], object]] | None:
        self._leader = threading.get_ident()
        while self._own is None:
            if not self._read():
                return None
        task, self._own = self._own, None
        self._leader = None
        self._tasks.put(None)  # before the job: it may take its time
        return task

    def _run(self, lane: Lane, job: Callable[[], object]) -> None:
        while True:
            try:
                job()
            except BaseException:  # a slot's border: without it, thread and slot would be lost
                end_if_forked(self._home)
                _log.exception("a job in thread %s failed", threading.current_thread().name)
            end_if_forked(self._home)
            with self._lock:
                if not lane.waiting:
                    lane.free += 1
                    return
                job = lane.waiting.popleft()[1]
