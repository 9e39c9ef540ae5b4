# SPDX-License-Identifier: MIT
"""One life of one HTTP worker process, seen from the arbiter.

Tasks, all in the nursery of ``run``: the channel; a deadline for the start; one that waits for the
word to drain; one that counts the silence, and looks at age and memory; one that waits for the
process's end. ``run`` ends when the process has.

A worker's *beat* says that its event loop turns. It is silence in ticks that is counted, not time:
while this process is stopped itself, or its machine asleep, no tick passes. A worker that was
silent for ``worker_timeout`` is asked by a signal to write down where its threads are
(faulthandler does that even while the interpreter is stuck), and then killed.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import random
import signal
from typing import TYPE_CHECKING, Any, Final

import trio

from trioserve.errors import AppImportError, ConfigError, StartupError, TrioserveError
from trioserve.hooks import HookWorker
from trioserve.workers.channel import Channel
from trioserve.workers.messages import MessageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trioserve.config import Config
    from trioserve.supervision import ChildProcess, Life

__all__ = ["DUMP_SIGNAL", "WorkerHandle"]

_log = logging.getLogger("trioserve.error")

#: Has a worker write the stacks of its threads to the descriptor that it was given for that.
DUMP_SIGNAL: Final = signal.SIGUSR2
#: Seconds between two looks, unless worker_timeout wants more of them.
_TICK: Final = 1.0
#: Ticks in worker_timeout at least; and the share of it after which a worker is called silent.
_MIN_TICKS: Final = 5
_SILENT_SHARE: Final = 0.5
#: Seconds for the stacks of a hung worker: to begin, and between two parts of them.
_DUMP_TIMEOUT: Final = 2.0
_DUMP_PAUSE: Final = 0.2
_DUMP_SIZE: Final = 256 << 10
#: Seconds from a channel's end to that of its process.
_EXIT_TIME: Final = 5.0
#: Seconds for an answer: a worker that is busy for longer has none that is worth waiting for.
_ANSWER_TIMEOUT: Final = 2.0
#: The last tenth of a lifetime is when workers are replaced.
_LIFETIME_SPREAD: Final = 0.1

_ERRORS: Final[dict[str, type[TrioserveError]]] = {
    "AppImportError": AppImportError,
    "ConfigError": ConfigError,
    "StartupError": StartupError,
}


class WorkerHandle:
    """A worker process of this server; what hooks are given as ``worker``.

    Attributes:
        number: of its place, from 1.
        pid: of the process.
        age: counts the workers that were started, as gunicorn has it.
        failure: why it could not start, as it said itself.
        app_traceback: of the application's exception behind that; "" without one.
        snapshot: the last one of its counts that came; None before.
    """

    def __init__(
        self,
        child: ChildProcess,
        life: Life,
        *,
        number: int,
        age: int,
        config: Config,
        dump_fd: int,
        is_last: Callable[[], bool],
    ) -> None:
        self.number = number
        self.pid = child.pid
        self.age = age
        self.failure: TrioserveError | None = None
        self.app_traceback = ""
        self.snapshot: dict[str, Any] | None = None
        self.started_at = self.heard_at = trio.current_time()
        self._child = child
        self._life = life
        self._config = config
        self._dump_fd = dump_fd
        self._is_last = is_last
        self._started = trio.Event()
        self._silence = 0
        self._ended_by: str | None = None
        self._weighs_too_much = False
        self._dies_at = self.started_at + _lifetime(config)
        self._answers: dict[int, _Answer] = {}
        self._asked = 0
        self._channel = Channel(
            trio.SocketStream(trio.socket.from_stdlib_socket(child.socket)), self._on_message
        )

    async def run(self, begin: Mapping[str, Any]) -> str:
        """Lives one life; returns how it ended.

        Args:
            begin: the message that tells the worker what to do.
        """
        self.post(begin)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_channel, nursery.cancel_scope)
            nursery.start_soon(self._limit_start)
            nursery.start_soon(self._drain)
            nursery.start_soon(self._watch)
        with trio.move_on_after(_EXIT_TIME):
            await self._child.wait()
        return self._describe_end()

    def _describe_end(self) -> str:
        how = self._child.describe_exit()
        reason = self._ended_by or self.failure
        return how if reason is None else f"{how}: {reason}"

    # -- what others ask ---------------------------------------------------------------------

    @property
    def state(self) -> str:
        """``starting``, ``serving``, ``silent`` or ``draining``."""
        if self._life.draining.is_set():
            return "draining"
        if not self._life.is_ready:
            return "starting"
        timeout = self._config.worker_timeout
        is_silent = timeout and self._silence * self._tick >= timeout * _SILENT_SHARE
        return "silent" if is_silent else "serving"

    @property
    def rss(self) -> int | None:
        """Bytes resident in memory, where the system tells."""
        return resident_size(self.pid)

    def for_hooks(self) -> HookWorker:
        """What hooks are told of it."""
        status = self._child.exit_status
        return HookWorker(
            number=self.number,
            pid=self.pid,
            config=self._config,
            exit_status=status,
            end=None if status is None else self._child.describe_exit(),
        )

    def describe(self) -> dict[str, Any]:
        """For a status."""
        now = trio.current_time()
        counts = self.snapshot or {}
        return {
            "number": self.number,
            "pid": self.pid,
            "state": self.state,
            "uptime": round(now - self.started_at, 2),
            "rss": self.rss,
            "requests": counts.get("requests_total"),
            "connections": counts.get("connections"),
            "in_flight": counts.get("in_flight"),
            "heard": round(now - self.heard_at, 2),
        }

    def post(self, message: Mapping[str, Any]) -> None:
        """Says something to it; where it has stopped reading, nothing."""
        self._channel.post(message)

    async def ask(self, what: str) -> Any:
        """What it answers; None where it doesn't within 2 s."""
        # Never one of before: its answer may come when its asker has gone.
        self._asked += 1
        number = self._asked
        answer = self._answers[number] = _Answer()
        try:
            if self._started.is_set() and self._channel.post(
                {"type": "ask", "id": number, "what": what}
            ):
                with trio.move_on_after(_ANSWER_TIMEOUT):
                    await answer.came.wait()
        finally:
            del self._answers[number]
        return answer.value

    def retire(self) -> None:
        """Has it drain without waiting for its successor; connections wait in the queue."""
        self._life.expect_end()
        self.post({"type": "drain", "is_last": False})

    def kill(self, reason: str) -> None:
        """SIGKILL; another worker is started at once."""
        if self._ended_by is None:
            self._ended_by = reason
            self._life.expect_end()
            self._child.kill()

    # -- tasks ------------------------------------------------------------------------------

    async def _run_channel(self, everything: trio.CancelScope) -> None:
        """Until the worker's end of the stream, which as a rule is that of the process."""
        try:
            await self._channel.run()
        except MessageError as exc:
            self._ended_by = f"its messages can't be understood: {exc}"
            self._child.kill()
        finally:
            for answer in self._answers.values():
                answer.came.set()
        everything.cancel()

    async def _limit_start(self) -> None:
        timeout = self._config.worker_startup_timeout or math.inf
        with trio.move_on_after(timeout):
            await self._started.wait()
        if not self._started.is_set():
            reason = f"it was not ready within {timeout:g} s (worker_startup_timeout)"
            await self._kill_hung(reason)

    async def _drain(self) -> None:
        await self._life.draining.wait()
        self.post({"type": "drain", "is_last": self._is_last()})

    async def _watch(self) -> None:
        await self._started.wait()
        timeout = self._config.worker_timeout
        weight = self._config.max_worker_rss
        self._weighs_too_much = bool(weight) and (self.rss or 0) > weight
        while True:
            await trio.sleep(self._tick)
            self._silence += 1
            if timeout and self._silence * self._tick >= timeout:
                await self._kill_hung(f"its event loop is blocked for {timeout:g} s")
                return
            self._check_age()
            self._check_memory()

    @property
    def _tick(self) -> float:
        timeout = self._config.worker_timeout
        return min(_TICK, timeout / _MIN_TICKS) if timeout else _TICK

    def _check_age(self) -> None:
        if trio.current_time() >= self._dies_at and self._replace():
            _log.info("HTTP worker %d (process %d) is replaced for its age", self.number, self.pid)

    def _check_memory(self) -> None:
        limit = self._config.max_worker_rss
        if not limit or (rss := self.rss) is None or rss <= limit:
            return
        if not self._replace(in_vain=self._weighs_too_much):
            return
        _log.warning(
            "HTTP worker %d (process %d) has %d bytes in memory (max_worker_rss is %d): it is "
            "replaced%s",
            self.number,
            self.pid,
            rss,
            limit,
            ", though it had so many from the start: set a higher limit"
            if self._weighs_too_much
            else "",
        )

    def _replace(self, *, in_vain: bool = False) -> bool:
        return self._life.request_replacement(in_vain=in_vain) is not None

    async def _kill_hung(self, reason: str) -> None:
        stacks = await self._stacks()
        if self._child.exit_status is not None:  # it has ended meanwhile
            return
        _log.error(
            "HTTP worker %d (process %d) is killed: %s. %s",
            self.number,
            self.pid,
            reason,
            f"Where its threads are:\n{stacks}" if stacks else "It does not even say where it is",
        )
        if self._life.is_ready:
            self.kill(reason)
        else:
            self._ended_by = reason
            self._child.kill()

    async def _stacks(self) -> str:
        """What faulthandler writes in the worker, which may be stopped and write nothing."""
        try:
            os.kill(self.pid, DUMP_SIGNAL)
        except ProcessLookupError:
            return ""
        data = bytearray()
        timeout = _DUMP_TIMEOUT
        while len(data) < _DUMP_SIZE:
            with trio.move_on_after(timeout) as patience:
                await trio.lowlevel.wait_readable(self._dump_fd)
            if patience.cancelled_caught:
                break
            with contextlib.suppress(BlockingIOError):
                part = os.read(self._dump_fd, _DUMP_SIZE)
                if not part:
                    break
                data += part
            timeout = _DUMP_PAUSE
        return data.decode(errors="replace").rstrip()

    # -- what the worker says ---------------------------------------------------------------

    def _on_message(self, message: dict[str, Any]) -> None:
        handler = _HANDLERS.get(message["type"])
        if handler is None:
            raise MessageError(f"a worker can't say {message['type']!r}")
        self._silence = 0
        self.heard_at = trio.current_time()
        try:
            handler(self, message)
        except KeyError as exc:
            raise MessageError(f"{message['type']!r} lacks {exc}") from exc

    def _on_ready(self, _message: dict[str, Any]) -> None:
        self._started.set()
        self._life.ready()

    def _on_failed(self, message: dict[str, Any]) -> None:
        self._started.set()
        kind = _ERRORS.get(message["kind"], StartupError)
        self.failure = kind(message["text"])
        self.app_traceback = message["traceback"]

    def _on_beat(self, message: dict[str, Any]) -> None:
        self.snapshot = message["snapshot"] or self.snapshot

    def _on_leaving(self, message: dict[str, Any]) -> None:
        if self._replace():
            _log.info(
                "HTTP worker %d (process %d) is replaced: %s",
                self.number,
                self.pid,
                message["reason"],
            )
        elif not self._life.is_ready and self._ended_by is None:
            self._ended_by = message["reason"]
            self._child.kill()

    def _on_answer(self, message: dict[str, Any]) -> None:
        answer = self._answers.get(message["id"])
        if answer is not None:
            answer.value = message["result"]
            answer.came.set()


_HANDLERS: Final = {
    "ready": WorkerHandle._on_ready,
    "failed": WorkerHandle._on_failed,
    "beat": WorkerHandle._on_beat,
    "leaving": WorkerHandle._on_leaving,
    "answer": WorkerHandle._on_answer,
}


class _Answer:
    """A place for what a worker answers."""

    def __init__(self) -> None:
        self.came = trio.Event()
        self.value: Any = None


def _lifetime(config: Config) -> float:
    if not config.worker_lifetime:
        return math.inf
    return config.worker_lifetime * random.uniform(1 - _LIFETIME_SPREAD, 1)


def resident_size(pid: int) -> int | None:
    """Bytes of a process resident in memory; None where the system doesn't tell."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None
