# SPDX-License-Identifier: MIT
"""The root of a trioserve process: its phases, its signals and its exit code.

Tasks: ``signals`` listens for the whole life of the process; the HTTP server runs in the other
branch of the same nursery and is told to stop by an event. Around the HTTP server, if there are
dirty apps, stands their pool: it starts first and stops last.

========  ============================================================================
signal    first                                    second
========  ============================================================================
SIGTERM   graceful: listeners close, requests      now: what is left is cancelled, the
SIGINT    under way have ``graceful_timeout``      lifespan still gets its shutdown
========  ============================================================================

SIGTTIN and SIGTTOU add and remove a dirty worker. A third stop signal ends the process where it
stands. So does a stop that takes longer than all its timeouts together: what Trio can't cancel is
code that blocks, in the event loop or in a thread.

Exit codes: 0 after a graceful stop; 128 + the signal's number after a second signal, and where
the process had to be ended; 2 and 3 are the command line's, for what can't be used and for a
startup that failed.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Final, NoReturn

import trio

from trioserve.asgi.extension import Options
from trioserve.config import Config
from trioserve.errors import BindError, TrioserveError
from trioserve.listeners import open_listeners, systemd_listen_fds
from trioserve.logs import configure_logging
from trioserve.server import serve_until
from trioserve.tls import open_contexts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from trioserve.addresses import BoundAddress
    from trioserve.dirty import DirtyClient
    from trioserve.listeners import Listener
    from trioserve.types import ASGIApp

__all__ = ["NurseryArbiter", "Phase", "run", "serve"]

_log = logging.getLogger("trioserve.error")

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
#: Signal → operation and word of ``DirtyClient.manage``.
_SCALE_SIGNALS: Final = {signal.SIGTTIN: "add", signal.SIGTTOU: "remove"}
#: Seconds in which the pool's workers have been ended by force, if need be: to close their apps,
#: from SIGTERM to SIGKILL, and for the kernel.
_POOL_MARGIN: Final = 15.0


class Phase(enum.Enum):
    """Where the process is in its life."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"
    STOPPED = "stopped"


class NurseryArbiter:
    """Owns the sockets, the signals and the phase.

    Attributes:
        phase: see Phase.
        exit_code: valid once ``run`` has returned.
    """

    def __init__(self, app: ASGIApp, config: Config) -> None:
        self._app = app
        self._config = config
        self._stop = trio.Event()
        self._last_resort = _LastResort()
        self._dirty_client: DirtyClient | None = None
        self.phase = Phase.STARTING
        self.exit_code = 0

    async def run(self) -> None:
        """Serves until a signal ends it.

        Raises:
            BindError, StartupError, ConfigError, AppImportError: alone, never in a group.
            SystemExit: the application's, which ends the process with its code.
        """
        failure: TrioserveError | SystemExit | None = None
        scale_signals = _SCALE_SIGNALS if self._config.dirty_worker_count else ()
        with trio.open_signal_receiver(*_STOP_SIGNALS, *scale_signals) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._handle_signals, signals, nursery.cancel_scope)
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
        tls = open_contexts(self._config)
        async with (
            _open_listeners(self._config) as listeners,
            open_pool(self._config) as extensions,
            trio.open_nursery() as serving,
        ):
            if "trioserve.dirty" in extensions:
                self._dirty_client = extensions["trioserve.dirty"]["client"]
            addresses = await serving.start(
                serve_until, self._stop, self._app, self._config, listeners, extensions, tls
            )
            if self.phase is Phase.STARTING:
                self._announce(addresses)

    def _announce(self, addresses: tuple[BoundAddress, ...]) -> None:
        self.phase = Phase.SERVING
        _log.info(
            "trioserve is serving on %s (process %d; Ctrl+C stops it)",
            ", ".join(map(str, addresses)),
            os.getpid(),
        )

    async def _handle_signals(
        self, signals: AsyncIterator[int], everything: trio.CancelScope
    ) -> None:
        async for number in signals:
            name = signal.Signals(number).name
            if number in _SCALE_SIGNALS:
                await self._scale(name, _SCALE_SIGNALS[signal.Signals(number)])
                continue
            if self.phase is Phase.SERVING:
                self.phase = Phase.STOPPING
                _log.info(
                    "%s: stopping; requests under way have %g s",
                    name,
                    self._config.graceful_timeout,
                )
                self._stop.set()
                self._last_resort.arm(number, self._graceful_time + self._shutdown_time)
                continue
            for stop_signal in _STOP_SIGNALS:  # a third one finds nobody to ask
                signal.signal(stop_signal, signal.SIG_DFL)
            # A second signal, or one before the application had started up.
            if self.phase is Phase.STOPPING:
                _log.warning("%s again: stopping now", name)
                self.exit_code = 128 + number
            self.phase = Phase.STOPPING
            self._last_resort.arm(number, self._shutdown_time)
            everything.cancel()

    async def _scale(self, name: str, operation: str) -> None:
        if self._dirty_client is None or self.phase is not Phase.SERVING:
            return
        result = await self._dirty_client.manage(operation)
        _log.info(
            "%s: %s a dirty worker: %d are wanted now%s",
            name,
            operation,
            result["target_workers"],
            f" ({result['reason']})" if "reason" in result else "",
        )

    @property
    def _graceful_time(self) -> float:
        """Seconds for what has begun: requests, then calls of dirty apps."""
        config = self._config
        return config.graceful_timeout + (
            config.dirty_graceful_timeout if config.dirty_worker_count else 0
        )

    @property
    def _shutdown_time(self) -> float:
        """Seconds in which lifespan and pool, once cancelled, must have ended; a moment more."""
        config = self._config
        return (
            (config.lifespan_shutdown_timeout or 3600)
            + (_POOL_MARGIN if config.dirty_worker_count else 0)
            + 2
        )


class _LastResort:
    """Ends the process if a stop takes too long: a timer in a thread that nothing waits for.

    Not a Trio task, since what it is for is a Trio loop that can't end: a handler's thread that
    goes on (Trio waits for threads), or code that blocks the loop itself.
    """

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None

    def arm(self, number: int, seconds: float) -> None:
        """Ends the process after ``seconds``; an earlier timer is replaced."""
        self.cancel()
        self._timer = threading.Timer(seconds, self._end, (number, seconds))
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        """The stop has ended by itself."""
        if self._timer is not None:
            self._timer.cancel()

    def _end(self, number: int, seconds: float) -> NoReturn:
        _log.error(
            "the stop takes longer than %g s, so something blocks the event loop or a thread (%s): "
            "the process is ended",
            seconds,
            ", ".join(thread.name for thread in threading.enumerate()),
        )
        logging.shutdown()
        os._exit(128 + number)


def _first(
    group: BaseExceptionGroup[TrioserveError | SystemExit],
) -> TrioserveError | SystemExit:
    """The first of a group's errors; the rest says nothing else to the operator."""
    exc: BaseException = group
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    assert isinstance(exc, (TrioserveError, SystemExit))
    return exc


def _open_listeners(config: Config) -> AbstractAsyncContextManager[list[Listener]]:
    return open_listeners(
        config,
        scheme="https" if config.has_tls else "http",
        insecure_bind=config.insecure_bind,
    )


@contextlib.asynccontextmanager
async def open_pool(config: Config) -> AsyncIterator[Mapping[str, Any]]:
    """The dirty pool of ``config`` around the block, and what handlers are told of it.

    Yields:
        What belongs into the ``extensions`` of every scope; nothing where there are no dirty apps.

    Raises:
        BindError: the pool's socket can't be made.
    """
    if not config.dirty_worker_count:
        yield {}
        return
    # Only now: a server without dirty apps doesn't pay for them.
    from trioserve.dirty.errors import DirtyError
    from trioserve.dirty.opening import open_arbiter

    arbiters = contextlib.AsyncExitStack()
    async with arbiters:
        try:
            arbiter = await arbiters.enter_async_context(open_arbiter(config))
        except DirtyError as exc:
            raise BindError(str(exc)) from exc
        yield {"trioserve.dirty": Options({"client": arbiter.client})}


async def serve(
    app: ASGIApp,
    config: Config | None = None,
    *,
    task_status: trio.TaskStatus[tuple[BoundAddress, ...]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves ``app`` inside a running Trio program until cancelled.

    ``await nursery.start(serve, app, config)`` returns the bound addresses once the application has
    started up; port 0 comes back as the real port. Several servers may run in one program.

    Args:
        app: an ASGI 3 application.
        config: by default 127.0.0.1:8000. ``app`` and ``factory`` are not looked at, and
            ``app_dir`` only where a hook is given as text.
            With ``dirty_app`` its pool runs around the server.
        task_status: is given a tuple of BoundAddress, in the order of ``bind`` and then of
            ``insecure_bind``.

    Raises:
        ConfigError: certificates, keys or ciphers can't be used.
        AppImportError: the ``ssl_context`` hook can't be imported, or failed.
        BindError: an address can't be bound.
        StartupError: the application's lifespan startup failed.

    *Cancellation*: a clean stop. Requests under way are cancelled, the app gets its lifespan
    shutdown (bounded by ``lifespan_shutdown_timeout``), sockets close, socket files are removed.
    """
    config = config or Config()
    tls = open_contexts(config)
    async with _open_listeners(config) as listeners, open_pool(config) as extensions:
        await serve_until(
            trio.Event(), app, config, listeners, extensions, tls, task_status=task_status
        )


def run(config: Config, app: ASGIApp) -> int:
    """Runs the whole server in this thread; returns the process's exit code.

    Raises:
        BindError: an address can't be bound.
        StartupError: the application's lifespan startup failed.
        ConfigError: LISTEN_FDS of the environment can't be used, or certificates can't.
    """
    configure_logging(config)
    inherited = systemd_listen_fds()
    if inherited:
        config = config.with_changes(bind=inherited)
    arbiter = NurseryArbiter(app, config)
    trio.run(arbiter.run)
    return arbiter.exit_code
