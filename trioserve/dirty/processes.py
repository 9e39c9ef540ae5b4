# SPDX-License-Identifier: MIT
"""One life of one worker process, seen from the arbiter: started, made ready, drained, ended.

Tasks, all in the nursery of ``run``: the channel; a deadline for the start; the heartbeat; one that
waits for the word to drain; one that waits for the process's end. ``run`` ends when the channel
has, which is when the process has ended, or was told to.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
from typing import TYPE_CHECKING, Any, Final

import trio

from trioserve.dirty import frames
from trioserve.dirty.channel import Channel
from trioserve.dirty.errors import DirtyConnectionError, DirtyError, DirtyProtocolError
from trioserve.dirty.frames import FrameType
from trioserve.dirty.slots import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trioserve.config import Config
    from trioserve.dirty.frames import Payload
    from trioserve.dirty.pool import Pool
    from trioserve.supervision import ChildProcess, Life

__all__ = ["WorkerHandle"]

_log = logging.getLogger("trioserve.error")

#: Seconds between pings, unless dirty_heartbeat_timeout wants more of them.
_HEARTBEAT: Final = 5.0
#: Pings in dirty_heartbeat_timeout at least; and those in a row without an answer after which a
#: worker gets no new calls. It is pings that are counted, not time: while this process is stopped
#: itself, or its machine asleep, none are sent.
_MIN_BEATS: Final = 6
_SILENT_BEATS: Final = 2
#: Seconds from a channel's end to that of its process: closing the apps has its own timeout before.
_EXIT_TIME: Final = 2.0
#: Seconds from the process's end to that of its channel, which as a rule has come already.
_END_OF_FILE_TIME: Final = 0.1

Entries = dict[str, dict[str, Any]]


class WorkerHandle:
    """A worker process of this arbiter; what hooks are given as ``worker``.

    Attributes:
        pid: of the process.
        number: counts the workers that were started, as gunicorn's ``age``.
        apps: app path → what its class says; empty until it is ready.
        is_ready: it has initialised its apps.
        is_silent: it does not answer just now.
        started_at, heard_at: Trio's clock.
        failure: why it could not start, as it said itself.
    """

    def __init__(
        self,
        child: ChildProcess,
        life: Life,
        number: int,
        config: Config,
        pool: Pool,
        assign: Callable[[Entries], list[str]],
    ) -> None:
        self.pid = child.pid
        self.number = number
        self.apps: Entries = {}
        self.is_ready = False
        self.is_silent = False
        self.started_at = self.heard_at = trio.current_time()
        self.failure: DirtyError | None = None
        self.pool_worker: Worker | None = None
        self.life = life
        self._child = child
        self._config = config
        self._pool = pool
        self._assign = assign
        self._token = int.from_bytes(os.urandom(8), "big") >> 2 | 1
        self._gone = trio.Event()
        self._started = trio.Event()
        self._idle = trio.Event()
        self._ended_by: str | None = None
        #: It has got the HELLO that it waited for, and takes other frames from now on.
        self._is_loaded = False
        self._question_ids = itertools.count(1)
        self._questions: dict[int, Callable[[dict[str, Any]], None]] = {}
        self._unanswered = 0
        self._max_rss: int | None = None
        self._weighs_too_much = False
        self._channel = Channel(
            child.socket,
            self._on_frame,
            max_frame_size=config.dirty_max_frame_size,
            write_timeout=math.inf,  # a worker that doesn't read is ended for its calls' timeouts
        )

    async def run(self) -> str:
        """Lives one life; returns how it ended."""
        how = "it was stopped"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_channel)
                nursery.start_soon(self._watch_exit)
                nursery.start_soon(self._limit_start)
                nursery.start_soon(self._drain)
                nursery.start_soon(self._beat)
                await self._gone.wait()
                nursery.cancel_scope.cancel()
            with trio.move_on_after(_EXIT_TIME):
                await self._child.wait()
            how = self._describe_end()
        finally:
            self.is_ready = False
            if self.pool_worker is not None:
                self._pool.worker_lost(self.pool_worker, how)
        return how

    @property
    def is_serving(self) -> bool:
        """Whether it can be given calls: it is ready, answers, and was not asked to go."""
        return self.is_ready and not self.is_silent and not self.life.draining.is_set()

    def _describe_end(self) -> str:
        how = self._child.describe_exit()
        if self._ended_by is not None:
            return f"{how}: {self._ended_by}"
        if self.failure is not None:
            return f"{how}: {self.failure}"
        return how

    # -- what the pool asks -----------------------------------------------------------------

    def send(self, parts: list[bytes | memoryview]) -> None:
        """See WorkerFace."""
        self._channel.send(parts)

    def kill(self, reason: str) -> None:
        """See WorkerFace."""
        if self._ended_by is not None:
            return
        _log.error("dirty worker %d is killed: %s", self.pid, reason)
        self.is_ready = False
        self._ended_by = reason
        self.life.expect_end()
        self._child.kill()

    async def tasks(self, timeout: float) -> dict[str, Any]:
        """What its tasks and threads are doing, or why it doesn't say.

        Returns:
            ``pid``; ``tree`` (see trioserve.task_tree, with ``threads``) and ``error``, of which
            one is None.
        """
        if not self._is_loaded:
            return self._told({"error": "it is importing its apps, and can't answer yet"})
        answer: dict[str, Any] = {}
        came = trio.Event()

        def take(fields: dict[str, Any]) -> None:
            answer.update(fields)
            came.set()

        question = next(self._question_ids)
        self._questions[question] = take
        try:
            self._channel.send(frames.tasks(question))
            with trio.move_on_after(timeout):
                await came.wait()
        finally:
            del self._questions[question]
        return self._told(answer or {"error": f"no answer within {timeout:g} s"})

    def _told(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        tree = answer.get("tree")
        return {
            "pid": self.pid,
            "tree": None if tree is None else json.loads(tree),
            "error": answer.get("error"),
        }

    # -- tasks ------------------------------------------------------------------------------

    async def _run_channel(self) -> None:
        try:
            await self._channel.run()
        except (DirtyProtocolError, DirtyConnectionError) as exc:
            self._ended_by = f"its messages can't be understood: {exc}"
            self._child.kill()
        finally:
            self._gone.set()
            for take in self._questions.values():
                take({"error": "it has ended"})

    async def _watch_exit(self) -> None:
        await self._child.wait()
        with trio.move_on_after(_END_OF_FILE_TIME):
            await self._gone.wait()
        # Only a process that it has forked still holds the socket.
        self._channel.shut_down_reading()

    async def _limit_start(self) -> None:
        timeout = self._config.dirty_startup_timeout or math.inf
        with trio.move_on_after(timeout) as patience:
            await self._started.wait()
        if patience.cancelled_caught:
            self._ended_by = f"it was not ready within {timeout:g} s (dirty_startup_timeout)"
            self._child.kill()

    async def _drain(self) -> None:
        await self.life.draining.wait()
        worker = self.pool_worker
        if worker is not None:
            worker.on_idle = self._idle.set
            if not self._pool.drain(worker):
                with trio.move_on_after(self._config.dirty_graceful_timeout):
                    await self._idle.wait()
        # Its end of file: it closes its apps and exits. The supervisor's deadline is above this.
        self._channel.send(frames.drain())
        self._channel.shut_down_writing()

    async def _beat(self) -> None:
        await self._started.wait()  # until then it may be importing, and doesn't read
        timeout = self._config.dirty_heartbeat_timeout
        interval = min(_HEARTBEAT, timeout / _MIN_BEATS) if timeout else _HEARTBEAT
        while not self.life.draining.is_set():
            self._channel.send(frames.ping(0))
            self._unanswered += 1
            await trio.sleep(interval)
            if not timeout or not self.is_ready or self.pool_worker is None:
                continue
            if self._unanswered * interval >= timeout:
                self.kill(f"it answered nothing for {timeout:g} s (dirty_heartbeat_timeout)")
            elif self._unanswered >= _SILENT_BEATS and not self.is_silent:
                _log.warning("dirty worker %d does not answer: it gets no new calls", self.pid)
                self.is_silent = True
                self._pool.suspend(self.pool_worker)

    def _on_pong(self) -> None:
        self.heard_at = trio.current_time()
        self._unanswered = 0
        if self.is_silent and self.pool_worker is not None:
            _log.warning("dirty worker %d answers again", self.pid)
            self.is_silent = False
            self._pool.resume(self.pool_worker)

    # -- what the worker says ---------------------------------------------------------------

    def _on_frame(self, frame_type: int, call_id: int, payload: Payload) -> None:
        if frame_type in _REPLIES:
            if self.pool_worker is not None:
                self._pool.on_frame(self.pool_worker, frame_type, call_id, payload)
        elif frame_type == FrameType.PONG:
            self._on_pong()
        elif frame_type == FrameType.HELLO:
            self._on_hello(frames.decode_hello(payload))
        elif frame_type == FrameType.TASKS:
            take = self._questions.get(call_id)
            if take is not None:  # not too late
                take(frames.decode_tasks(payload))
        else:
            raise DirtyProtocolError(f"a worker can't send a frame of type {frame_type:#04x}")

    def _on_hello(self, hello: Mapping[str, Any]) -> None:
        self.heard_at = trio.current_time()
        stage = hello.get("stage")
        if stage == "imported":
            load = self._assign(hello["apps"])
            self._channel.send(
                frames.hello({"role": "arbiter", "load": load, "worker": self._token})
            )
            self._is_loaded = True
        elif stage == "ready":
            self._make_ready(hello["apps"])
        elif stage == "leaving":
            self._on_leaving()
        elif stage == "failed":
            self._started.set()
            self.failure = DirtyError.from_dict(hello.get("error"))
            _log.error(
                "dirty worker %d can't start: %s\n%s",
                self.pid,
                self.failure,
                self.failure.details.get("traceback", ""),
            )

    def _on_leaving(self) -> None:
        """Somebody has sent it a SIGTERM."""
        if self.pool_worker is not None:
            self.life.request_replacement()
        elif self._ended_by is None:  # it has nothing to finish
            self._ended_by = "it was asked to end (SIGTERM) before it was ready"
            self._child.kill()

    def _make_ready(self, entries: Entries) -> None:
        self._started.set()
        self.apps = entries
        self.is_ready = True
        self._max_rss = min(
            (entry["max_rss"] for entry in entries.values() if entry.get("max_rss")), default=None
        )
        self._weighs_too_much = self._max_rss is not None and (self.rss or 0) > self._max_rss
        config = self._config
        worker = self.pool_worker = Worker(self.pid, self, config.dirty_concurrency, self._token)
        if any(entry.get("max_requests") for entry in entries.values()):
            worker.on_count = self._count
        self.life.ready()
        self._pool.worker_ready(worker, entries, config.dirty_threads)

    def _count(self, app_path: str, count: int) -> None:
        limit = self.apps[app_path].get("max_requests")
        if limit is not None and count >= limit:
            self.life.request_replacement()

    def check_memory(self) -> None:
        """Asks to be replaced if an app's ``max_rss`` is exceeded."""
        if self._max_rss is None or not self.is_ready:
            return
        rss = self.rss
        if rss is None or rss <= self._max_rss:
            return
        delay = self.life.request_replacement(in_vain=self._weighs_too_much)
        if delay is None:
            return
        _log.info("dirty worker %d is replaced: it has %d bytes in memory", self.pid, rss)
        if self._weighs_too_much:
            _log.warning(
                "dirty worker %d had more than max_rss (%d bytes) in memory before its first call: "
                "so will the next one, which is started in %g s. Set a higher limit",
                self.pid,
                self._max_rss,
                delay,
            )

    @property
    def rss(self) -> int | None:
        """Bytes resident in memory, where the system tells."""
        try:
            with open(f"/proc/{self.pid}/statm", "rb") as file:
                return int(file.read().split()[1]) * _PAGE_SIZE
        except (OSError, IndexError, ValueError):
            return None

    def describe(self) -> dict[str, Any]:
        """For STATUS."""
        now = trio.current_time()
        worker = self.pool_worker
        return {
            "pid": self.pid,
            "age": self.number,
            "apps": sorted(self.apps),
            "booted": self.is_ready,
            "silent": self.is_silent,
            "last_heartbeat": round(now - self.heard_at, 2),
            "uptime": round(now - self.started_at, 2),
            "draining": self.life.draining.is_set(),
            "running": 0 if worker is None else len(worker.calls),
            "calls": {} if worker is None else dict(worker.counts),
            "errors": 0 if worker is None else worker.errors,
            "rss": self.rss,
        }


_REPLIES: Final = frozenset({FrameType.RESPONSE, FrameType.ERROR, FrameType.CHUNK, FrameType.END})


def _page_size() -> int:
    import resource

    return resource.getpagesize()


_PAGE_SIZE: Final = _page_size()
