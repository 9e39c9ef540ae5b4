# SPDX-License-Identifier: MIT
"""The root of a trioserve process: its phases, its signals and its exit code.

Tasks: ``signals`` listens for the whole life of the process; the HTTP server runs in the other
branch of the same nursery and is told to stop by an event.

========  ============================================================================
signal    first                                    second
========  ============================================================================
SIGTERM   graceful: listeners close, requests      now: what is left is cancelled, the
SIGINT    under way have ``graceful_timeout``      lifespan still gets its shutdown
========  ============================================================================

A third signal ends the process where it stands. So does a stop that takes longer than all its
timeouts together: what Trio can't cancel is code that blocks, in the event loop or in a thread.

Exit codes: 0 after a graceful stop; 128 + the signal's number after a second signal, and where
the process had to be ended; 2 and 3 are the command line's, for what can't be used and for a
startup that failed.
"""

from __future__ import annotations

import enum
import logging
import os
import signal
import threading
from typing import TYPE_CHECKING, Final, NoReturn

import trio

from trioserve.errors import TrioserveError
from trioserve.listeners import open_listeners, systemd_listen_fds
from trioserve.logs import configure_logging
from trioserve.server import serve_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trioserve.addresses import BoundAddress
    from trioserve.config import Config
    from trioserve.types import ASGIApp

__all__ = ["NurseryArbiter", "Phase", "run"]

_log = logging.getLogger("trioserve.error")

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


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
        self.phase = Phase.STARTING
        self.exit_code = 0

    async def run(self) -> None:
        """Serves until a signal ends it.

        Raises:
            BindError, StartupError, ConfigError: alone, never in a group.
            SystemExit: the application's, which ends the process with its code.
        """
        failure: TrioserveError | SystemExit | None = None
        with trio.open_signal_receiver(*_STOP_SIGNALS) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._handle_signals, signals, nursery.cancel_scope)
                try:
                    await self._serve(nursery)
                except* (TrioserveError, SystemExit) as group:
                    failure = _first(group)
                nursery.cancel_scope.cancel()
        self._last_resort.cancel()
        self.phase = Phase.STOPPED
        if failure is not None:
            raise failure

    async def _serve(self, nursery: trio.Nursery) -> None:
        async with open_listeners(self._config) as listeners, trio.open_nursery() as serving:
            addresses = await serving.start(
                serve_until, self._stop, self._app, self._config, listeners
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
            if self.phase is Phase.SERVING:
                self.phase = Phase.STOPPING
                _log.info(
                    "%s: stopping; requests under way have %g s",
                    name,
                    self._config.graceful_timeout,
                )
                self._stop.set()
                self._last_resort.arm(number, self._config.graceful_timeout + self._shutdown_time)
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

    @property
    def _shutdown_time(self) -> float:
        """Seconds in which the application's lifespan must have ended, and a moment more."""
        return (self._config.lifespan_shutdown_timeout or 3600) + 2


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


def run(config: Config, app: ASGIApp) -> int:
    """Runs the whole server in this thread; returns the process's exit code.

    Raises:
        BindError: an address can't be bound.
        StartupError: the application's lifespan startup failed.
        ConfigError: LISTEN_FDS of the environment can't be used.
    """
    configure_logging(config)
    inherited = systemd_listen_fds()
    if inherited:
        config = config.with_changes(bind=inherited)
    arbiter = NurseryArbiter(app, config)
    trio.run(arbiter.run)
    return arbiter.exit_code
