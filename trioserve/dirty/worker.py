# SPDX-License-Identifier: MIT
"""The worker process: ``python -P -c BOOT SOCKET LIFELINE SETTINGS``.

It imports its apps, says what they are (HELLO ``imported``), is told which of them to run, makes
and initialises those, says ``ready``, and runs actions until its channel ends.

Tasks: the channel's writer, and its reader if there are async actions; one task for each async
call, in the same nursery. Threads: the crew's (crew.py), which read where there are sync actions
only, and the lifeline's. A thread never touches Trio but by ``run_sync_soon``.

Imports nothing of the HTTP wing, and little besides Trio: what a worker weighs before its app is
paid once for each.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import logging
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

import trio

from trioserve.dirty import frames
from trioserve.dirty.app import describe, resolve
from trioserve.dirty.app_loading import load_app_class, load_hook
from trioserve.dirty.channel import Channel
from trioserve.dirty.client import DirtyClient
from trioserve.dirty.crew import Crew, Lane
from trioserve.dirty.current import set_client
from trioserve.dirty.descriptions import describe_exception
from trioserve.dirty.errors import (
    DirtyAppError,
    DirtyConnectionError,
    DirtyError,
    DirtyProtocolError,
)
from trioserve.dirty.forks import watch_forks
from trioserve.dirty.frames import FrameReader, FrameType
from trioserve.dirty.jobs import AsyncJob, SyncJob, pass_cancellation
from trioserve.dirty.remote import open_remote
from trioserve.lifeline import ignore_interrupts, watch_lifeline
from trioserve.system.titles import set_process_title

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trioserve.dirty.frames import Payload

__all__ = ["run"]

_log = logging.getLogger("trioserve.error")

#: Exit codes: an app can't be imported or initialised; the arbiter said something unexpected.
FAILED: Final = 3
CONFUSED: Final = 4

#: Tasks that are described of many, and where that is longer than a frame may be.
_TREE_SIZES: Final = (10_000, 100)

#: Looks at a dead arbiter's socket, and seconds between them.
_REMOVALS: Final = 20
_REMOVAL_PAUSE: Final = 0.05


class WorkerProcess:
    """What runs in the worker after its apps have been imported.

    Attributes:
        pid: of this process.
        apps: app path → instance; for the hook ``dirty_worker_init``.
        is_dismissed: the arbiter has said that the end of the channel is its wish, not its death.
    """

    def __init__(
        self,
        sock: socket.socket,
        settings: Mapping[str, Any],
        classes: Mapping[str, type],
        entries: Mapping[str, Mapping[str, Any]],
        token: int,
    ) -> None:
        self.pid = os.getpid()
        self.apps: dict[str, Any] = {}
        self._settings = settings
        self._classes = classes
        self._entries = entries
        self._token = token
        self._channel = Channel(
            sock, self._on_frame, max_frame_size=settings["max_frame_size"], home=self.pid
        )
        self._jobs: dict[int, AsyncJob | SyncJob] = {}
        self._lanes = self._make_lanes()
        self._crew: Crew
        self._routes: dict[tuple[str, str], tuple[Callable[..., Any], bool]] = {}
        self._nursery: trio.Nursery
        self._ended = trio.Event()
        self.is_dismissed = False
        # Of each app that this worker runs. Where nothing is async, nothing needs Trio to read.
        self._threads_read = not any(
            kind.startswith("async")
            for path in classes
            for kind in (entries[path]["actions"] or {}).values()
        )
        self._send: Callable[[frames.Parts], None] = self._channel.send
        self._loop: trio.lowlevel.TrioToken | None = None  # where threads read

    async def run(self) -> int:
        """Initialises the apps, runs actions until the channel ends; returns the exit code."""
        settings = self._settings
        async with (
            open_remote(settings["socket_path"], settings["max_frame_size"]) as remote,
            trio.open_nursery() as nursery,
        ):
            # For calls and stash operations of async actions; connected when first used.
            set_client(DirtyClient(remote))
            self._nursery = nursery
            nursery.start_soon(self._ask_to_leave)
            self._start_reading()
            try:
                await self._start_apps()
            except DirtyError as exc:
                self._say("failed", error=exc.to_dict())
                await trio.lowlevel.checkpoint()  # the channel writes at a step's end
                nursery.cancel_scope.cancel()
                return FAILED
            self._say("ready", apps=self._running_entries())
            await self._ended.wait()
            for job in list(self._jobs.values()):
                job.cancel()
            with trio.move_on_after(self._settings["graceful_timeout"]):
                await self._close_apps()
            nursery.cancel_scope.cancel()
        return 0

    async def _ask_to_leave(self) -> None:
        """SIGTERM, from whoever: asks to be replaced, which ends this process when it is idle.

        A service manager may send it to all processes at once; then the arbiter says what to do.
        """
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                self._say("leaving")

    def _make_lanes(self) -> dict[str, Lane]:
        """The lane of each app: one for all that don't ask for threads of their own."""
        shared = Lane(self._settings["threads"])
        own = {path: self._entries[path]["threads"] for path in self._classes}
        return {path: shared if threads is None else Lane(threads) for path, threads in own.items()}

    def _start_reading(self) -> None:
        size = sum(lane.free for lane in {*self._lanes.values()})
        if not self._threads_read:
            self._crew = Crew(size, lambda: False)
            self._nursery.start_soon(self._run_channel)
            return
        self._send = self._channel.send_from_thread
        self._channel.let_threads_read()
        self._nursery.start_soon(self._channel.run_unread)
        token = self._loop = trio.lowlevel.current_trio_token()

        def read() -> bool:
            try:
                if self._channel.read_from_thread():
                    return True
            except DirtyError as exc:
                self._log_confusion(exc)
            except Exception:  # a thread's border: without it the worker would hang
                _log.exception("dirty worker %d failed to read", self.pid)
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(self._ended.set)
            return False

        self._crew = Crew(size + 1, read)
        self._crew.lead()

    def _log_confusion(self, exc: DirtyError) -> None:
        _log.error("dirty worker %d: the arbiter can't be understood: %s", self.pid, exc)

    async def _run_channel(self) -> None:
        try:
            await self._channel.run()
        except (DirtyProtocolError, DirtyConnectionError) as exc:
            self._log_confusion(exc)
        finally:
            self._ended.set()

    def _say(self, stage: str, **more: Any) -> None:
        """From Trio's loop, which must not wait for the socket: it is who writes to a full one."""
        self._channel.send(
            frames.hello({"role": "worker", "pid": self.pid, "stage": stage, **more})
        )

    # -- apps -------------------------------------------------------------------------------

    async def _start_apps(self) -> None:
        """Makes and initialises the apps, each in a slot of the lane that will run its actions.

        Raises:
            DirtyError: one of them raised.
        """
        for path, cls in self._classes.items():
            lane = self._lanes[path]
            try:
                self.apps[path] = app = await self._crew.run(lane, cls)
                await self._call(lane, app.init)
            except BaseException as exc:  # an app's border: its own words are what helps
                pass_cancellation(exc)
                raise _failed(f"{path!r} could not be initialised", exc) from exc
        hook = self._settings["init_hook"]
        if hook is not None:
            try:
                load_hook(hook)(self)
            except (KeyboardInterrupt, trio.Cancelled):
                raise
            except BaseException:  # a hook's border: a SystemExit ends the hook only
                _log.exception("dirty_worker_init failed; the worker goes on")

    async def _call(self, lane: Lane, method: Callable[[], Any]) -> None:
        if inspect.iscoroutinefunction(method):
            await method()
        else:
            await self._crew.run(lane, method)

    async def _close_apps(self) -> None:
        """``close()`` of each app, in the reverse order; one that fails keeps none from it."""
        for path, app in reversed(self.apps.items()):
            try:
                await self._call(self._lanes[path], app.close)
            except BaseException as exc:  # an app's border
                pass_cancellation(exc)
                _log.exception("dirty worker %d: close() of %r failed", self.pid, path)

    def _running_entries(self) -> dict[str, Any]:
        return {path: dict(self._entries[path]) for path in self.apps}

    # -- frames -----------------------------------------------------------------------------

    def _on_frame(self, frame_type: int, call_id: int, payload: Payload) -> None:
        if frame_type == FrameType.REQUEST:
            try:
                self._start(call_id, payload)
            except DirtyError as exc:
                self._send(frames.error(call_id, exc))
            except (KeyboardInterrupt, trio.Cancelled):
                raise
            except BaseException as exc:  # one call's border: finding an action runs the app's code
                self._jobs.pop(call_id, None)
                self._send(frames.error(call_id, _unstarted(exc)))
        elif frame_type == FrameType.CANCEL:
            if not self._give_back(call_id):
                job = self._jobs.get(call_id)
                if job is not None:
                    job.cancel()
        elif frame_type == FrameType.CREDIT:
            job = self._jobs.get(call_id)
            if job is not None:
                job.add_credit(frames.decode_credit(payload))
        elif frame_type == FrameType.REVOKE:
            self._give_back(call_id)
        elif frame_type == FrameType.PING:
            self._send(frames.pong(call_id))
        elif frame_type == FrameType.DRAIN:
            self.is_dismissed = True
        elif frame_type == FrameType.TASKS:
            self._tell_tasks(call_id)

    def _tell_tasks(self, question: int) -> None:
        if self._loop is None:
            self._answer_tasks(question)
        else:  # it is a thread that reads, and the tree is the loop's
            with contextlib.suppress(trio.RunFinishedError):
                self._loop.run_sync_soon(self._answer_tasks, question)

    def _answer_tasks(self, question: int) -> None:
        """In the loop, which must not wait for the socket."""
        from trioserve import task_tree  # rarely needed

        answer = frames.tasks(question, {"error": "its tree is longer than dirty_max_frame_size"})
        for max_tasks in _TREE_SIZES:
            tree = task_tree.describe_tasks(max_tasks=max_tasks)
            tree["threads"] = task_tree.describe_threads()
            with contextlib.suppress(DirtyProtocolError):
                fields = {"tree": json.dumps(tree)}  # nested more deeply than values may be
                answer = frames.tasks(question, fields, self._channel.max_frame_size)
                break
        self._channel.send(answer)

    def _start(self, call_id: int, payload: Payload) -> None:
        route = frames.peek_route(payload)
        if route is None:
            request = frames.decode_request(payload)
            route = request.app_path, request.action
        method, is_sync = self._routes.get(route) or self._find(*route)
        job_class = SyncJob if is_sync else AsyncJob
        job = job_class(
            self._channel, call_id, *route, payload, method, self._jobs.pop, self._token
        )
        self._jobs[call_id] = job
        if isinstance(job, SyncJob):
            self._crew.start(self._lanes[route[0]], call_id, job.run)
        else:
            self._nursery.start_soon(job.run)

    def _find(self, app_path: str, action: str) -> tuple[Callable[..., Any], bool]:
        """The action's function, and whether it needs a thread.

        Raises:
            DirtyAppError: there is no such action.
        """
        app = self.apps[app_path]
        actions = self._entries[app_path]["actions"]
        method = resolve(app, action, app_path)
        if actions is None:
            return method, True  # any name may come: not to be kept
        found = method, actions.get(action, "sync") in ("sync", "generator")
        self._routes[app_path, action] = found
        return found

    def _give_back(self, call_id: int) -> bool:
        """Says that the call has not started, if so; then it won't."""
        job = self._jobs.get(call_id)
        if not isinstance(job, SyncJob):
            return False
        if not self._crew.take_back(self._lanes[job.app_path], call_id):
            return False
        del self._jobs[call_id]
        self._send(frames.error(call_id, DirtyError("the call had not started", not_started=True)))
        return True


def _unstarted(exc: BaseException) -> DirtyAppError:
    raised = describe_exception(exc)
    return DirtyAppError(
        f"the call can't be started: {raised.name}: {raised.message}",
        exception_type=raised.kind,
        traceback=raised.traceback,
    )


def _failed(what: str, exc: BaseException) -> DirtyError:
    """An error that tells the arbiter why this worker can't start, with the traceback."""
    from trioserve.dirty.errors import DirtyWorkerError

    raised = describe_exception(exc)
    details = exc.details if isinstance(exc, DirtyError) else {}
    return DirtyWorkerError(
        f"{what}: {raised.name}: {raised.message}",
        worker_id=os.getpid(),
        traceback=details.get("traceback") or raised.traceback,
    )


def _read_hello(sock: socket.socket, max_frame_size: int) -> dict[str, Any]:
    """The arbiter's HELLO, waited for by blocking: nothing else can happen yet.

    Raises:
        EOFError: the arbiter has gone.
        DirtyProtocolError: it is something else.
    """
    reader = FrameReader(max_frame_size)
    while True:
        data = sock.recv(65536)
        if not data:
            raise EOFError
        for frame_type, _, payload in reader.feed(data):
            if frame_type != FrameType.HELLO:
                raise DirtyProtocolError(f"expected HELLO, got a frame of type {frame_type:#x}")
            return frames.decode_hello(payload)
        if reader.error is not None:
            raise reader.error


def main(argv: list[str]) -> int:
    """The process: returns its exit code."""
    sock = socket.socket(fileno=int(argv[1]))
    settings = json.loads(argv[3])
    ignore_interrupts()
    watch_lifeline(
        int(argv[2]),
        grace=settings["orphan_grace"],
        on_eof=functools.partial(_remove_socket, settings["socket_path"]),
    )
    _configure_logging(settings)
    set_process_title(settings["title"])
    os.environ["TRIOSERVE_DIRTY_SOCKET"] = settings["socket_path"]
    sock.setblocking(True)
    watch_forks()
    hello = {"role": "worker", "pid": os.getpid()}
    try:
        try:
            classes = {path: load_app_class(path) for path in settings["apps"]}
            entries = {path: describe(cls, path) for path, cls in classes.items()}
        except DirtyError as exc:
            error = _failed("the apps can't be loaded", exc).to_dict()
            sock.sendall(b"".join(frames.hello({**hello, "stage": "failed", "error": error})))
            return FAILED
        sock.sendall(b"".join(frames.hello({**hello, "stage": "imported", "apps": entries})))
        answer = _read_hello(sock, settings["max_frame_size"])
    except (EOFError, OSError):  # the arbiter has gone: nobody is left to tell
        _remove_socket(settings["socket_path"])
        return 0
    except DirtyProtocolError:
        _log.exception("dirty worker %d: the arbiter said something unexpected", os.getpid())
        return CONFUSED
    chosen = {path: classes[path] for path in answer["load"]}
    worker = WorkerProcess(sock, settings, chosen, entries, answer["worker"])
    code = trio.run(worker.run)
    if code != FAILED and not worker.is_dismissed:
        _remove_socket(settings["socket_path"])
    return code


def _configure_logging(settings: dict[str, Any]) -> None:
    handlers: list[logging.Handler] | None = None
    failure: OSError | None = None
    if settings["log_file"] is not None:
        from logging.handlers import WatchedFileHandler

        try:
            # Nobody tells a worker that the file was renamed: it looks for itself.
            handlers = [WatchedFileHandler(settings["log_file"], encoding="utf-8")]
        except OSError as exc:
            failure = exc
    logging.basicConfig(
        level=settings["log_level"], format=settings["log_format"], handlers=handlers
    )
    if failure is not None:
        _log.error("the log can't be opened, so this worker's goes to stderr: %s", failure)


def _remove_socket(path: str) -> None:
    """The arbiter was killed, and can't clean up: its socket is nobody's now.

    It may seem to listen for a moment yet: its descriptors are closed one after the other.
    """
    from trioserve.dirty.paths import remove_if_dead

    for _ in range(_REMOVALS):
        remove_if_dead(path)
        if not os.path.lexists(path):
            return
        time.sleep(_REMOVAL_PAUSE)


def run() -> NoReturn:
    """The whole life of the process; BOOT (arbiter.py) calls it."""
    code = 1
    try:
        code = main(sys.argv)
    except BaseException:
        _log.exception("dirty worker %d failed", os.getpid())
    finally:
        # Not sys.exit(): a library's thread that is no daemon, or a hung action, would be waited
        # for.
        try:
            logging.shutdown()
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:  # closed by whoever has started the server
                    with contextlib.suppress(OSError, ValueError):
                        stream.flush()
        finally:
            os._exit(code)
