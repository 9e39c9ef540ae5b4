# SPDX-License-Identifier: MIT
"""The root of a trioserve process: its phases, its signals and its exit code.

Tasks: one listens for signals for the whole life of the process; HTTP is served in the other
branch of the same nursery, by this process or by workers, and is told to stop by an event. Around
HTTP, if there are dirty apps, stands their pool: it starts first and stops last.

=================  ===========================================================================
signal             what it does
=================  ===========================================================================
SIGTERM            graceful stop: requests under way have ``graceful_timeout``
SIGINT, SIGQUIT    stop now: requests are cancelled, the lifespan still gets its shutdown
SIGHUP             rolling reload: settings, code and certificates; workers one after the other
SIGUSR1            log files are opened again
SIGUSR2            hot upgrade: a new server on the same sockets; this one drains once it serves
SIGTTIN, SIGTTOU   a worker more, a worker less: of HTTP, else of the dirty pool
SIGWINCH           HTTP workers drain, and rest until SIGHUP or SIGTTIN (not in a terminal)
=================  ===========================================================================

A second stop signal means now. A third one ends the process where it stands. So does a stop that
takes longer than all its timeouts together: what Trio can't cancel is code that blocks, in the
event loop or in a thread.

Exit codes: 0 after a stop that was asked for; 128 + the signal's number after a second signal,
and where the process had to be ended; 2 and 3 are the command line's, for what can't be used and
for a startup that failed; 3, too, if no worker could be kept alive when the stop came.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs
import trio

from trioserve.config import LogOptions
from trioserve.errors import ConfigError, TrioserveError
from trioserve.hooks import HookArbiter, call_hook
from trioserve.last_resort import LastResort
from trioserve.listeners import open_twins
from trioserve.loading import load_hooks
from trioserve.logs import configure_logging, reopen_logs, set_log_level
from trioserve.metrics import make_recorder
from trioserve.serving import open_bound_listeners, open_pool, pool_extensions
from trioserve.surroundings import Surroundings
from trioserve.system.pid_file import open_pid_file
from trioserve.system.privileges import drop_privileges
from trioserve.tls import open_contexts
from trioserve.upgrading import start_successor
from trioserve.workers import HttpWorkers, LocalServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from trioserve.addresses import BoundAddress
    from trioserve.config import Config
    from trioserve.dirty.arbiter import DirtyArbiter
    from trioserve.hooks import HookWorker
    from trioserve.listeners import Listener
    from trioserve.system.pid_file import PidFile
    from trioserve.tls import TlsContexts
    from trioserve.types import ASGIApp

__all__ = ["Chore", "NurseryArbiter", "Phase"]

_log = logging.getLogger("trioserve.error")

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_EXIT_DEGRADED: Final = 3
#: What sockets, pool and process were made from: SIGHUP can't change it.
_FIXED: Final = (
    *("bind", "insecure_bind", "backlog", "unix_socket_mode", "reuse_port"),
    *("dirty_app", "dirty_workers", "dirty_socket", "reload"),
    *("control_socket", "metrics_bind", "statsd_host", "pid_file", "user", "group"),
)
_LOG_SETTINGS: Final = tuple(field.name for field in attrs.fields(LogOptions))
#: Seconds in which the pool's workers have been ended by force, if need be: to close their apps,
#: from SIGTERM to SIGKILL, and for the kernel.
_POOL_MARGIN: Final = 15.0


class Chore(Protocol):
    """A task beside serving."""

    __name__: str

    async def __call__(self, arbiter: NurseryArbiter, *, task_status: trio.TaskStatus[Any]) -> None:
        """Says by ``task_status`` that it has begun, and runs until cancelled, or done."""


class Phase(enum.Enum):
    """Where the process is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"
    STOPPED = "stopped"


class NurseryArbiter:
    """Owns the sockets, the signals and the phase.

    Args:
        app: what is served in this process; None where workers import it.
        config: the settings.
        hooks: the same with its hooks imported; by default there are none to import.
        surroundings: of the process, for SIGHUP, SIGUSR2 and systemd.
        chores: what is done beside serving; see trioserve.chores.

    Attributes:
        addresses: where it serves, once it does.
        around: the surroundings.
        config: the settings, those of the last reload that succeeded.
        hooks: the same with callables for hooks.
        http: what serves.
        pool: the dirty one; None where there is none.
        phase: see Phase.
        exit_code: valid once ``run`` has returned.
    """

    def __init__(
        self,
        app: ASGIApp | None,
        config: Config,
        *,
        hooks: Config | None = None,
        surroundings: Surroundings | None = None,
        chores: Sequence[Chore] = (),
    ) -> None:
        self._app = app
        self._chores = chores
        self._last_resort = LastResort()
        self._living: Callable[[], tuple[HookWorker, ...]] = tuple
        self._listeners: list[Listener] = []
        self._everything: trio.CancelScope
        self._nursery: trio.Nursery
        self._reloading = trio.Lock()
        self._upgrading = trio.CancelScope()
        self.addresses: tuple[BoundAddress, ...] = ()
        self.around = surroundings or Surroundings()
        self._files = contextlib.ExitStack()
        self._pid_file: PidFile | None = None
        self.config = config
        self.hooks = hooks or config
        self.phase = Phase.STARTING
        self.http: LocalServer | HttpWorkers
        self.pool: DirtyArbiter | None = None
        self.exit_code = 0

    async def run(self) -> None:
        """Serves until a signal ends it.

        Raises:
            BindError, StartupError, ConfigError, AppImportError: alone, never in a group.
            SystemExit: the application's, which ends the process with its code.
        """
        failure: TrioserveError | SystemExit | None = None
        with trio.open_signal_receiver(*_STOP_SIGNALS, *_HANDLERS) as signals:
            async with trio.open_nursery() as nursery:
                self._everything = nursery.cancel_scope
                nursery.start_soon(self._handle_signals, signals)
                try:
                    await self._serve()
                except* (TrioserveError, SystemExit) as group:
                    failure = _first(group)
                nursery.cancel_scope.cancel()
        self._last_resort.cancel()
        self.phase = Phase.STOPPED
        if failure is not None:
            raise failure

    async def _serve(self) -> None:
        """Opens everything in the order in which it is needed; the nesting closes it."""
        config = self.config
        tls = None if self._app is None else open_contexts(config)
        predecessor = self.around.upgrade.predecessor
        async with open_bound_listeners(config, self.around.upgrade.sockets) as listeners:
            with self._files:
                self._listeners = listeners
                if predecessor is None:
                    self._open_pid_file()
                owned = [one.socket.fileno() for one in listeners if config.reuse_port]
                drop_privileges(config, owned)
                async with open_pool(config, predecessor) as pool, trio.open_nursery() as chores:
                    self.pool = pool
                    self._nursery = chores
                    chores.start_soon(self.around.manager.run_watchdog)
                    await self._serve_http(tls)
                    chores.cancel_scope.cancel()

    def _open_pid_file(self) -> None:
        predecessor = self.around.upgrade.predecessor
        opened = open_pid_file(self.config.pid_file, predecessor=predecessor)
        self._pid_file = self._files.enter_context(opened)

    def _succeed(self) -> None:
        """Takes over what the old server has kept until now, in case that this one fails."""
        if self.around.upgrade.predecessor is None:
            return
        try:
            self._open_pid_file()
        except ConfigError as exc:  # the old one writes it, which may have the right to
            _log.warning("%s", exc)
        for listener in self._listeners:
            listener.take_file()
        self.around.upgrade.complete()

    async def _serve_http(self, tls: TlsContexts | None) -> None:
        self.http = self._make_http(tls)
        self._living = self.http.for_hooks
        for chore in self._chores:
            await self._nursery.start(self._run_chore, chore, name=chore.__name__)
        async with trio.open_nursery() as serving:
            self.addresses = await serving.start(self.http.run)
            if self.phase is Phase.STARTING:
                self._announce()
            else:
                self.http.stop()
        if self.http.is_degraded and not self.exit_code:
            self.exit_code = _EXIT_DEGRADED

    def _make_http(self, tls: TlsContexts | None) -> LocalServer | HttpWorkers:
        config, listeners = self.config, self._listeners
        if self._app is not None:
            extensions, recorder = pool_extensions(self.pool), make_recorder(config)
            return LocalServer(self._app, config, listeners, extensions, tls, recorder)
        return HttpWorkers(
            config,
            listeners,
            self._tell,
            dirty_socket=self.pool.socket_path if self.pool else None,
            open_own=partial(open_twins, listeners, config.backlog) if config.reuse_port else None,
        )

    async def _run_chore(
        self, chore: Chore, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED
    ) -> None:
        has_begun = _Begun(task_status)
        try:
            await chore(self, task_status=has_begun)
        except Exception:  # a border: what is done beside serving must not end that
            if not has_begun.value:
                raise
            _log.exception("%s has failed; the server goes on without it", chore.__name__)

    def _announce(self) -> None:
        self.phase = Phase.SERVING
        addresses = ", ".join(map(str, self.addresses))
        _log.info(
            "trioserve is serving on %s (process %d; Ctrl+C stops it)", addresses, os.getpid()
        )
        self.around.manager.ready(f"serving on {addresses}")
        self._succeed()
        call_hook("when_ready", self.hooks.when_ready, self.for_hooks())

    def _tell(self, name: str, *args: Any) -> None:
        """Calls a hook that concerns HTTP workers."""
        call_hook(name, getattr(self.hooks, name), self.for_hooks(), *args)

    def for_hooks(self) -> HookArbiter:
        """What hooks are told of this server."""
        return HookArbiter(
            pid=os.getpid(),
            config=self.config,
            addresses=tuple(map(str, self.addresses)),
            workers=self._living(),
        )

    # -- signals ----------------------------------------------------------------------------

    async def _handle_signals(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            name = signal.Signals(number).name
            if number in _STOP_SIGNALS:
                self._stop(number, name)
            elif self.phase is not Phase.SERVING:
                _log.warning("%s: nothing is done, since the server is %s", name, self.phase.value)
            else:
                # A chore of its own: what it waits for must not keep a stop waiting.
                self._nursery.start_soon(self._grant, name, _HANDLERS[signal.Signals(number)])

    async def _grant(
        self, name: str, handler: Callable[[NurseryArbiter, str], Awaitable[None]]
    ) -> None:
        try:
            await handler(self, name)
        except TrioserveError as exc:
            _log.error("%s: %s", name, exc)
        except Exception:  # a border: what somebody has wished must not end the server
            _log.exception("%s could not be carried out; the server goes on", name)

    def _stop(self, number: int, name: str) -> None:
        if self.phase is Phase.SERVING and number == signal.SIGTERM:
            self.shut_down(f"{name}: stopping; requests under way have %g s", number)
            return
        if self.phase is Phase.STOPPING:
            self.exit_code = 128 + number
            for stop_signal in _STOP_SIGNALS:  # a third one finds nobody to ask
                signal.signal(stop_signal, signal.SIG_DFL)
            _log.warning("%s again: stopping now", name)
        else:
            _log.info("%s: stopping now; requests under way are cancelled", name)
        self.phase = Phase.STOPPING
        self._last_resort.arm(number, self._shutdown_time)
        self._everything.cancel()

    def shut_down(self, message: str, number: int = signal.SIGTERM) -> None:
        """Begins the graceful stop.

        Args:
            message: for the log, with a place for the seconds.
            number: of the signal that the exit code tells, should it take too long.
        """
        self.phase = Phase.STOPPING
        self._upgrading.cancel()
        _log.info(message, self.config.graceful_timeout)
        self.around.manager.stopping()
        self.http.stop()
        self._last_resort.arm(number, self._graceful_time + self._shutdown_time)

    async def _on_hup(self, name: str) -> None:
        _log.info("%s: reloading", name)
        await self.reload_all()

    async def reload_all(self) -> None:
        """Settings and code anew: dirty workers first, then those of HTTP, each without a gap.

        Raises:
            TrioserveError: the settings can't be used, or something could not be replaced. All that
                was not replaced goes on as it was.
        """
        async with self._reloading:
            self.around.manager.reloading()
            try:
                await self._reload()
            finally:
                self.around.manager.ready()

    async def _reload(self) -> None:
        invocation = self.around.invocation
        config = self.config if invocation is None else invocation.read_config()
        hooks = load_hooks(config)
        config = self._keep_fixed(config)
        call_hook("on_reload", hooks.on_reload, attrs.evolve(self.for_hooks(), config=config))
        if self.pool is not None and not await self.pool.reload_all():
            raise TrioserveError("the dirty workers could not be replaced; HTTP stays as it is")
        await self.http.reload(config)
        if any(getattr(config, name) != getattr(self.config, name) for name in _LOG_SETTINGS):
            configure_logging(config)
        self.config, self.hooks = config, hooks
        _log.info("the reload is done")

    def _keep_fixed(self, config: Config) -> Config:
        """What the sockets and the pool were made from stays; says so where it was changed."""
        kept = {name: getattr(self.config, name) for name in _FIXED}
        for name, value in kept.items():
            # Sockets that somebody has passed on are in the place of what the settings say.
            if getattr(config, name) != value and "fd://" not in str(value):
                _log.warning("%s has changed: that takes a restart, or SIGUSR2", name)
        return config.with_changes(**kept)

    def set_log_level(self, level: str) -> None:
        """For this process, the workers that there are, and those of both kinds that start later.

        Raises:
            ConfigError: it is no level.
        """
        self.config = self.config.with_changes(log_level=level)
        set_log_level(level)
        self.http.config = self.http.config.with_changes(log_level=level)
        self.http.post_all({"type": "log_level", "level": level})
        if self.pool is not None:
            self.pool.config = self.pool.config.with_changes(log_level=level)

    async def _on_usr1(self, name: str) -> None:
        reopen_logs()
        self.http.post_all({"type": "reopen_logs"})
        _log.info("%s: log files are open again", name)

    async def _on_usr2(self, name: str) -> None:
        _log.info("%s: starting a new server on the same sockets", name)
        if self.around.invocation is None:
            raise TrioserveError("this server was not started by a command that could be repeated")
        async with self._reloading:
            pid: int | None = None
            self._upgrading = trio.CancelScope()
            with self._upgrading:
                pid = await start_successor(
                    self._listeners,
                    self.config,
                    environment=self.around.successor_environment(),
                    directory=self.around.invocation.directory,
                    pass_fds=self.around.init.fds,
                )
            if pid is None:
                raise TrioserveError("this server is stopping, so there is no new one either")
            for listener in self._listeners:
                listener.hand_over()
            if self._pid_file is not None:
                self._pid_file.hand_over(pid)
            self.around.hand_over(pid)
            self.shut_down("the new server serves: this one stops; its requests have %g s")

    async def _on_ttin(self, name: str) -> None:
        await self._scale(name, 1)

    async def _on_ttou(self, name: str) -> None:
        await self._scale(name, -1)

    async def _scale(self, name: str, change: int) -> None:
        if self.http.target:
            await (self.http.add(1) if change > 0 else self.http.remove(1))
            _log.info("%s: %d HTTP workers are wanted now", name, self.http.target)
            return
        if self.pool is None:
            return
        operation = "add" if change > 0 else "remove"
        result = await self.pool.client.manage(operation)
        _log.info(
            "%s: %s a dirty worker: %d are wanted now%s",
            name,
            operation,
            result["target_workers"],
            f" ({result['reason']})" if "reason" in result else "",
        )

    async def _on_winch(self, name: str) -> None:
        if _has_terminal():  # whose size has changed, that is all
            return
        _log.info("%s: the HTTP workers drain, and rest until SIGHUP or SIGTTIN", name)
        await self.http.rest()

    @property
    def _graceful_time(self) -> float:
        """Seconds for what has begun: requests, then calls of dirty apps."""
        config = self.config
        return config.graceful_timeout + (
            config.dirty_graceful_timeout if config.dirty_worker_count else 0
        )

    @property
    def _shutdown_time(self) -> float:
        """Seconds in which lifespan and pool, once cancelled, must have ended; a moment more."""
        config = self.config
        return (
            (config.lifespan_shutdown_timeout or 3600)
            + (_POOL_MARGIN if config.dirty_worker_count else 0)
            + 2
        )


_HANDLERS: Final = {
    signal.SIGHUP: NurseryArbiter._on_hup,
    signal.SIGUSR1: NurseryArbiter._on_usr1,
    signal.SIGUSR2: NurseryArbiter._on_usr2,
    signal.SIGTTIN: NurseryArbiter._on_ttin,
    signal.SIGTTOU: NurseryArbiter._on_ttou,
    signal.SIGWINCH: NurseryArbiter._on_winch,
}


def _has_terminal() -> bool:
    """Whether this process belongs to a terminal, which sends SIGWINCH for its own reasons."""
    try:
        os.close(os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


class _Begun:
    """A task_status that remembers."""

    def __init__(self, task_status: trio.TaskStatus[Any]) -> None:
        self._task_status = task_status
        self.value = False

    def started(self, value: Any = None) -> None:
        """See trio.TaskStatus."""
        self.value = True
        self._task_status.started(value)


def _first(
    group: BaseExceptionGroup[TrioserveError | SystemExit],
) -> TrioserveError | SystemExit:
    """The first of a group's errors; the rest says nothing else to the operator."""
    exc: BaseException = group
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    assert isinstance(exc, (TrioserveError, SystemExit))
    return exc
