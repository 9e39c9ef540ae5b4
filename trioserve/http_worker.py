# SPDX-License-Identifier: MIT
"""An HTTP worker: the process that serves, started and supervised by an arbiter.

Tasks, in the nursery of ``_main``: the channel to the arbiter; the beat; the signals; and the HTTP
server itself, in the block. What ends it:

=======================================  ======================================================
``drain`` from the arbiter               requests under way have ``graceful_timeout``, then it ends
the end of the channel, SIGQUIT          now: what is left is cancelled, the lifespan is shut down
the arbiter's death                      the same, and after 5 s the process ends as it is
SIGTERM, ``max_requests``                it asks to be replaced, and goes on until that is done
SIGUSR1                                  it opens its log files again, and goes on
=======================================  ======================================================

Exit codes: 0 after a stop; 2 and 3 where the application can't be imported or its startup failed,
which the arbiter has been told by then; 1 for what should not happen.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import random
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

import trio

from trioserve.asgi.extension import Options
from trioserve.counting import counted
from trioserve.errors import AppImportError, StartupError, TrioserveError
from trioserve.hooks import HookWorker, call_hook
from trioserve.lifeline import ignore_interrupts, watch_lifeline
from trioserve.listeners import Listener, adopt
from trioserve.loading import app_traceback, load_app, load_hook, load_hooks
from trioserve.logs import configure_logging, reopen_logs, set_log_level
from trioserve.metrics import Recorder, counting_logs, make_recorder
from trioserve.server import serve_until
from trioserve.system.titles import process_title, set_process_title
from trioserve.task_tree import describe_tasks
from trioserve.tls import open_contexts
from trioserve.workers import DUMP_SIGNAL, Channel, from_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from trioserve.config import Config
    from trioserve.tls import TlsContexts
    from trioserve.types import ASGIApp

__all__ = ["HttpWorker", "run"]

_log = logging.getLogger("trioserve.error")

#: Seconds that a worker without a parent has to shut its application down.
_ORPHAN_GRACE: Final = 5.0
#: The arbiter's own come here, too, where somebody sends them to all processes of a server; those
#: that concern it alone do nothing.
_SIGNALS: Final = (
    *(signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1),
    *(signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU),
)
#: Seconds between two beats, unless worker_timeout wants more of them; beats in that at least.
_BEAT: Final = 1.0
_MIN_BEATS: Final = 10

#: Seconds for the arbiter to read what was said last.
_LAST_WORDS_TIMEOUT: Final = 2.0

_EXIT_CODES: Final[dict[type[TrioserveError], int]] = {StartupError: 3}
_EXIT_USAGE: Final = 2


class HttpWorker:
    """The server in this process, and its conversation with the arbiter.

    Attributes:
        exit_code: valid once ``run`` has returned.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._channel = Channel(stream, self._on_message)
        self._stop = trio.Event()
        self._everything = trio.CancelScope()
        self._told, self._begin = trio.open_memory_channel[dict[str, Any]](1)
        self._listeners: list[Listener] = []
        self._recorder: Recorder | None = None
        self.exit_code = 0

    async def run(self) -> None:
        """Waits to be told what to serve, and serves it until the arbiter says stop, or ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_channel)
            with self._everything:
                begin = await self._begin.receive()
                await self._live(begin)
            with trio.move_on_after(_LAST_WORDS_TIMEOUT):
                await self._channel.finish()
            nursery.cancel_scope.cancel()

    def end(self) -> None:
        """Cancels all that is left. To be called in Trio's thread."""
        self._everything.cancel()

    async def _run_channel(self) -> None:
        await self._channel.run()
        self.end()

    async def _live(self, begin: Mapping[str, Any]) -> None:
        dump_fd = begin["dump_fd"]
        os.set_inheritable(dump_fd, False)
        os.set_blocking(dump_fd, False)  # nobody reads it who did not send the signal
        faulthandler.register(DUMP_SIGNAL, file=dump_fd, all_threads=True, chain=False)
        try:
            config = from_json(begin["config"])
            configure_logging(config)
            number = begin["number"]
            set_process_title(process_title(f"worker {number}", config.process_name))
            self._listeners = [
                adopt(number, scheme, is_shared=True) for number, scheme in begin["listeners"]
            ]
            async with _open_dirty(begin["dirty_socket"], config) as extensions:
                await self._serve_or_show(number, config, extensions)
        except* TrioserveError as group:
            self._report(_first(group))

    async def _serve_or_show(
        self, number: int, config: Config, extensions: Mapping[str, Any]
    ) -> None:
        """With ``--reload``, an application that can't be started is no end: its exception is shown
        to whoever asks, until a file changes.
        """
        try:
            app, loaded = _load(config)
            await self._serve(number, app, loaded, extensions)
        except* (AppImportError, StartupError) as group:
            error = _first(group)
            if not config.reload:
                raise
        else:
            return
        from trioserve.reloading.error_page import make_error_app

        trace = app_traceback(error) if isinstance(error, AppImportError) else ""
        _log.error("%s%s\nIt is shown to whoever asks, until a file changes", trace, error)
        await self._serve(number, make_error_app(error), config, extensions)

    async def _serve(
        self, number: int, app: ASGIApp, config: Config, extensions: Mapping[str, Any]
    ) -> None:
        if config.worker_init is not None:
            hook = load_hook("worker_init", config.worker_init, app_dir=config.app_dir)
            worker = HookWorker(number=number, pid=os.getpid(), config=config)
            call_hook("worker_init", hook, worker)
        if config.max_requests:
            limit = config.max_requests + random.randint(0, config.max_requests_jitter)
            app = counted(app, limit, lambda: self._leave(f"it has served {limit} requests"))
        tls = open_contexts(config)
        self._recorder = make_recorder(config)
        with counting_logs(self._recorder):
            await self._run_server(app, config, extensions, tls)
        self._post_beat()  # the last figures

    async def _run_server(
        self,
        app: ASGIApp,
        config: Config,
        extensions: Mapping[str, Any],
        tls: TlsContexts | None,
    ) -> None:
        async with trio.open_nursery() as services:
            services.start_soon(self._handle_signals)
            services.start_soon(self._beat, config)
            async with trio.open_nursery() as serving:
                await serving.start(
                    serve_until,
                    self._stop,
                    app,
                    config,
                    self._listeners,
                    extensions,
                    tls,
                    self._recorder,
                )
                self._channel.post({"type": "ready"})
            services.cancel_scope.cancel()

    def _report(self, error: TrioserveError) -> None:
        """Tells the arbiter why there is nothing to serve."""
        self.exit_code = _EXIT_CODES.get(type(error), _EXIT_USAGE)
        trace = app_traceback(error) if isinstance(error, AppImportError) else ""
        self._channel.post(
            {
                "type": "failed",
                "kind": type(error).__name__,
                "text": str(error),
                "traceback": trace,
            }
        )

    # -- tasks ------------------------------------------------------------------------------

    async def _handle_signals(self) -> None:
        with trio.open_signal_receiver(*_SIGNALS) as signals:
            async for number in signals:
                if number == signal.SIGQUIT:
                    self.end()
                elif number == signal.SIGTERM:
                    self._leave("it was sent SIGTERM")
                elif number == signal.SIGUSR1:
                    reopen_logs()

    async def _beat(self, config: Config) -> None:
        timeout = config.worker_timeout
        interval = min(_BEAT, timeout / _MIN_BEATS) if timeout else _BEAT
        while True:
            self._post_beat()
            await trio.sleep(interval)

    def _post_beat(self) -> None:
        self._channel.post({"type": "beat", "snapshot": self._snapshot()})

    def _leave(self, reason: str) -> None:
        self._channel.post({"type": "leaving", "reason": reason})

    # -- what the arbiter says ----------------------------------------------------------------

    def _on_message(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "begin":
            self._told.send_nowait(message)
        elif kind == "drain":
            for listener in self._listeners:
                listener.is_shared = not message["is_last"]
            self._stop.set()
        elif kind == "reopen_logs":
            reopen_logs()
        elif kind == "log_level":
            set_log_level(message["level"])
        elif kind == "ask":
            result = _QUESTIONS[message["what"]](self)
            self._channel.post({"type": "answer", "id": message["id"], "result": result})

    def _snapshot(self) -> dict[str, Any] | None:
        return None if self._recorder is None else self._recorder.snapshot()

    def _tasks(self) -> dict[str, Any]:
        return describe_tasks()


_QUESTIONS: Final = {"snapshot": HttpWorker._snapshot, "tasks": HttpWorker._tasks}


def _load(config: Config) -> tuple[ASGIApp, Config]:
    assert config.app is not None  # the command line has looked
    app = load_app(config.app, factory=config.factory, app_dir=config.app_dir)
    return app, load_hooks(config)


@contextlib.asynccontextmanager
async def _open_dirty(path: str | None, config: Config) -> AsyncIterator[Mapping[str, Any]]:
    """A client of the server's pool, for handlers and for ``get_client()``."""
    if path is None:
        yield {}
        return
    from trioserve.dirty import current
    from trioserve.dirty.client import DirtyClient
    from trioserve.dirty.remote import open_remote

    async with open_remote(path, config.dirty_max_frame_size) as remote:
        client = DirtyClient(remote)
        current.set_client(client)
        try:
            yield {"trioserve.dirty": Options({"client": client})}
        finally:
            current.set_client(None)


def _first(group: BaseExceptionGroup[TrioserveError]) -> TrioserveError:
    exc: BaseException = group
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    assert isinstance(exc, TrioserveError)
    return exc


async def _main(sock: socket.socket, lifeline: int) -> int:
    worker = HttpWorker(trio.SocketStream(trio.socket.from_stdlib_socket(sock)))
    token = trio.lowlevel.current_trio_token()
    watch_lifeline(lifeline, grace=_ORPHAN_GRACE, on_eof=lambda: token.run_sync_soon(worker.end))
    await worker.run()
    return worker.exit_code


def run() -> NoReturn:
    """The whole life of the process; the arbiter's boot line calls it."""
    ignore_interrupts()
    sock = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(sock.fileno(), False)
    sys.exit(trio.run(_main, sock, int(sys.argv[2])))
