# SPDX-License-Identifier: MIT
"""``workers = 0``: the HTTP server in the arbiter's own process, behind the face of HttpWorkers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import trio

from trioserve.errors import TrioserveError
from trioserve.hooks import HookWorker
from trioserve.metrics import counting_logs
from trioserve.server import serve_until
from trioserve.workers.handle import resident_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioserve.addresses import BoundAddress
    from trioserve.config import Config
    from trioserve.listeners import Listener
    from trioserve.metrics import Recorder
    from trioserve.tls import TlsContexts
    from trioserve.types import ASGIApp

__all__ = ["LocalServer"]


class LocalServer:
    """The one server of this process; see HttpWorkers for what the methods mean."""

    target = 0
    restarts = 0
    is_degraded = False

    def __init__(
        self,
        app: ASGIApp,
        config: Config,
        listeners: list[Listener],
        extensions: Mapping[str, Any],
        tls: TlsContexts | None,
        recorder: Recorder | None,
    ) -> None:
        self.config = config
        self._app = app
        self._listeners = listeners
        self._extensions = extensions
        self._tls = tls
        self._recorder = recorder
        self._stop = trio.Event()
        self._started_at = trio.current_time()
        self._is_ready = False

    async def run(
        self, task_status: trio.TaskStatus[tuple[BoundAddress, ...]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serves until ``stop`` was called and the last request has ended, or until cancelled.

        Raises:
            StartupError: the application's lifespan startup failed.
        """
        with counting_logs(self._recorder):
            await serve_until(
                self._stop,
                self._app,
                self.config,
                self._listeners,
                self._extensions,
                self._tls,
                self._recorder,
                task_status=task_status,
            )

    def stop(self) -> None:
        """Begins the end: requests under way have ``graceful_timeout``."""
        self._stop.set()

    def for_hooks(self) -> tuple[HookWorker, ...]:
        """What hooks are told: this process is the worker."""
        return (HookWorker(number=0, pid=os.getpid(), config=self.config),)

    async def snapshot(self) -> dict[str, Any] | None:
        """What has been counted; None where nothing is."""
        return None if self._recorder is None else self._recorder.snapshot()

    async def tasks(self) -> list[dict[str, Any]]:
        """Of workers: none; this process's tasks are the arbiter's."""
        return []

    def post_all(self, message: Mapping[str, Any]) -> None:
        """There is nobody else to be told."""

    def describe(self) -> list[dict[str, Any]]:
        """For a status: the one entry."""
        recorder = self._recorder
        return [
            {
                "number": 0,
                "pid": os.getpid(),
                "state": "draining" if self._stop.is_set() else "serving",
                "uptime": round(trio.current_time() - self._started_at, 2),
                "rss": resident_size(os.getpid()),
                "requests": recorder and recorder.requests_total,
                "connections": recorder and recorder.connections,
                "in_flight": recorder and recorder.in_flight,
                "heard": 0.0,
                "restarts": 0,
                "last_end": None,
            }
        ]

    async def reload(self, config: Config) -> None:
        """Looks at the certificates again; the application stays as it is.

        Raises:
            TrioserveError: always: what was not done, and what would do it.
        """
        if self._tls is not None:
            self._tls.reload()
        raise TrioserveError(
            "the application and its settings stay as they are: they live in this process "
            "(workers = 0). SIGUSR2 starts a new server in its place; workers would be reloaded"
        )

    async def add(self, count: int) -> None:
        """There are none to add to.

        Raises:
            TrioserveError: always.
        """
        raise TrioserveError("this server has no worker processes; start it with --workers 1")

    remove = add

    def start_anew(self) -> None:
        """Never asked for: with ``--reload`` there is a worker."""

    async def rest(self) -> None:
        """As add."""
        await self.add(0)

    def kill(self, pid: int) -> None:
        """As add."""
        raise TrioserveError("this server has no worker processes; start it with --workers 1")
