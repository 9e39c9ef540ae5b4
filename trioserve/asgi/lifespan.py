# SPDX-License-Identifier: MIT
"""The ASGI lifespan protocol 2.0: startup before the first request, shutdown after the last.

Tasks: one, the application called with the lifespan scope. ``open_lifespan`` starts it, tells it of
startup and shutdown, and waits for it. What crosses: two events each way, in ``_Lifespan``.

The task is shielded from the server's cancellation, since an application must get its shutdown then
too; the shield's deadline is moved on from phase to phase, so there always is one.
"""

from __future__ import annotations

import contextlib
import logging
import math
from typing import TYPE_CHECKING, Any, Final

import trio

from trioserve.asgi.background import contain
from trioserve.asgi.scope import ASGI_VERSIONS
from trioserve.errors import AppProtocolError, StartupError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trioserve.config import ApplicationOptions
    from trioserve.types import ASGIApp, Message

__all__ = ["open_lifespan"]

_log = logging.getLogger("trioserve.error")

_STARTUP: Final = "lifespan.startup"
_SHUTDOWN: Final = "lifespan.shutdown"


@contextlib.asynccontextmanager
async def open_lifespan(app: ASGIApp, options: ApplicationOptions) -> AsyncIterator[dict[str, Any]]:
    """Runs the application's lifespan around the block; yields its state (a dict).

    ``lifespan="auto"`` takes an exception before the startup's answer for "not supported", as the
    specification has it; with ``"on"`` it is a failed startup; with ``"off"`` nothing is called.

    Raises:
        StartupError: the startup failed, or took longer than ``lifespan_startup_timeout``. Its
            ``__cause__`` is the application's exception, if it raised one.

    *Cancellation*: the application still gets its shutdown, for ``lifespan_shutdown_timeout``.
    """
    if options.lifespan == "off":
        yield {}
        return
    lifespan = _Lifespan(app, options)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lifespan.run, name="lifespan")
        try:
            await lifespan.start_up()
            if lifespan.failure is None:
                yield lifespan.state
        finally:
            await lifespan.shut_down()
    if lifespan.failure is not None:
        raise StartupError(lifespan.failure) from lifespan.cause


class _Lifespan:
    """The application's side and the server's side of one lifespan."""

    def __init__(self, app: ASGIApp, options: ApplicationOptions) -> None:
        self._app = app
        self._required = options.lifespan == "on"
        self._startup_timeout = options.lifespan_startup_timeout or math.inf
        self._shutdown_timeout = options.lifespan_shutdown_timeout or math.inf
        # The shield lets the application see shutdown when the server is cancelled. Its deadline is
        # set in each phase; made here, it can also be cancelled before the task has begun.
        self._scope = trio.CancelScope(shield=True)
        self._asked = ""  # the last event that the application received
        self._stopping = trio.Event()
        self._started = trio.Event()
        self._stopped = trio.Event()
        self._ended = False
        self.state: dict[str, Any] = {}
        #: Why the startup failed; None while it hasn't.
        self.failure: str | None = None
        #: What the application raised when its startup failed, if it raised.
        self.cause: BaseException | None = None

    async def run(self) -> None:
        """The application's task."""
        scope = {"type": "lifespan", "asgi": {**ASGI_VERSIONS, "spec_version": "2.0"}}
        scope["state"] = self.state
        try:
            self._scope.deadline = trio.current_time() + self._startup_timeout
            with self._scope:
                await self._app(scope, self._receive, self._send)
                if self._required and not self._started.is_set():
                    self.failure = (
                        "the application returned without an answer to its lifespan startup"
                    )
        except BaseException as exc:
            self._failed(contain(exc))
        finally:
            self._ended = True
            if self._scope.cancelled_caught and not self._started.is_set():
                self.failure = (
                    "the application's lifespan startup took longer than "
                    f"lifespan_startup_timeout ({self._startup_timeout:g} s)"
                )
            self._started.set()
            self._stopped.set()

    def _failed(self, exc: BaseException | None) -> None:
        if exc is None:
            return
        if self.failure is not None:
            # It has said itself that it failed, and why; Starlette raises what it said, too.
            self.cause = exc
            _log.debug("the application's lifespan ended after its failure", exc_info=exc)
        elif self._started.is_set():
            _log.error("Exception in the application's lifespan", exc_info=exc)
        elif self._required:
            _log.error("Exception in the application's lifespan startup", exc_info=exc)
            self.failure, self.cause = f"the application's lifespan startup failed: {exc!r}", exc
        else:
            _log.debug("the application doesn't support lifespan", exc_info=exc)

    async def start_up(self) -> None:
        """Waits for the application's answer to startup."""
        await self._started.wait()
        if self.failure is None:
            self._scope.deadline = math.inf

    async def shut_down(self) -> None:
        """Tells the application, waits for its answer and for its task's end."""
        self._stopping.set()
        if self._ended:
            return
        if not self._started.is_set():
            self._scope.cancel()  # the server goes down before the application is up
            return
        self._scope.deadline = trio.current_time() + self._shutdown_timeout
        # Shielded for the same reason as the task; bounded by the task's own deadline.
        with trio.move_on_after(self._shutdown_timeout, shield=True):
            await self._stopped.wait()
        if self._scope.cancel_called:
            _log.error(
                "the application's lifespan shutdown took longer than "
                "lifespan_shutdown_timeout (%g s) and was cancelled",
                self._shutdown_timeout,
            )

    # -- what the application calls ---------------------------------------------------------

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = _STARTUP
        else:
            await self._stopping.wait()
            if self._asked == _SHUTDOWN:
                await trio.sleep_forever()  # there is no third event; the deadline ends this
            self._asked = _SHUTDOWN
        return {"type": self._asked}

    async def _send(self, message: Message) -> None:
        kind = message.get("type", "") if isinstance(message, dict) else ""
        phase, _, answer = str(kind).rpartition(".")
        event = {_STARTUP: self._started, _SHUTDOWN: self._stopped}.get(phase)
        if (
            event is None
            or answer not in ("complete", "failed")
            or event.is_set()
            or (phase == _SHUTDOWN and not self._stopping.is_set())
        ):
            raise AppProtocolError(
                f"the application sent {message!r} in its lifespan; legal there: "
                f"{_STARTUP}.complete or .failed once, then {_SHUTDOWN}.complete or .failed once"
            )
        if answer == "failed":
            reason = message.get("message", "") or "no message was given"
            if phase == _STARTUP:
                self.failure = f"the application's lifespan startup failed: {reason}"
            else:
                _log.error("the application's lifespan shutdown failed: %s", reason)
        event.set()
