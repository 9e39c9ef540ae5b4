# SPDX-License-Identifier: MIT
"""Calls as a worker process sees them: run in a thread of the crew, or as a task.

What crosses between threads: a job's credit and its ``cancelled`` (from who reads, under the jobs'
condition), and frames, which a thread writes itself (``Channel.send_from_thread``): the way back
costs no wake-up of Trio.

A sync action's reply is sent before its thread takes the next job. So the arbiter knows which of
the jobs that it sent have not started when the process dies.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import threading
from typing import TYPE_CHECKING, Any, Final

import trio

from trioserve.dirty import frames
from trioserve.dirty.app import CallState, current_call
from trioserve.dirty.descriptions import describe_exception
from trioserve.dirty.errors import DirtyAppError, DirtyError, DirtyProtocolError
from trioserve.dirty.forks import end_if_forked
from trioserve.dirty.frames import MAX_CREDIT, STREAM_WINDOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterator

    from trioserve.dirty.channel import Channel
    from trioserve.dirty.frames import Payload

__all__ = ["AsyncJob", "Job", "SyncJob", "pass_cancellation"]

_log = logging.getLogger("trioserve.error")

#: Bytes and seconds of an async generator's chunks after which other tasks run.
_YIELD_SIZE: Final = 64 * 1024
_YIELD_TIME: Final = 0.001
_CHUNK_COST: Final = 128

#: Results that are surely neither generators nor to be awaited: asking costs more than sending.
_PLAIN: Final = frozenset((type(None), bool, int, float, str, bytes, list, dict, tuple))

#: A job was cancelled or given credit. One for all jobs: few threads ever wait, and making one for
#: each call costs as much as a small call.
_job_changed: Final = threading.Condition(threading.Lock())


class _Refusal(Exception):
    """What came, or what is to be sent, can't cross the wire. Not the action's fault to catch."""

    def __init__(self, error: DirtyError) -> None:
        super().__init__(error.message)
        self.error = error


def _is_orphans(exc: BaseException) -> bool:
    """Whether it is what an action is told whose own call was cancelled with it: no news."""
    return isinstance(exc, DirtyError) and bool(exc.details.get("orphaned"))


def pass_cancellation(exc: BaseException) -> None:
    """At a border: raises what of ``exc`` is Trio's cancellation, alone or out of a group."""
    if isinstance(exc, trio.Cancelled):
        raise exc
    if isinstance(exc, BaseExceptionGroup):
        passing = exc.subgroup(trio.Cancelled)
        if passing is not None:
            raise passing from None


class Job:
    """One call that came."""

    def __init__(
        self,
        channel: Channel,
        call_id: int,
        app_path: str,
        action: str,
        payload: Payload,
        worker: int,
    ) -> None:
        self.channel = channel
        self.id = call_id
        self.app_path = app_path
        self.action = action
        self.payload = payload
        self.state = CallState(call_id, worker)
        self.credit = STREAM_WINDOW

    def cancel(self) -> None:
        """The caller has gone. From the Trio loop."""
        raise NotImplementedError

    def add_credit(self, size: int) -> None:
        """``size`` more bytes may be sent. From the Trio loop."""
        raise NotImplementedError

    def decode_request(self) -> frames.Request:
        """The arguments."""
        try:
            return frames.decode_request(self.payload)
        except DirtyProtocolError as exc:
            raise _Refusal(exc) from exc

    def encode_error(self, exc: BaseException) -> list[bytes | memoryview]:
        """The ERROR frame for what the action raised. Never raises."""
        if isinstance(exc, _Refusal):
            return frames.error(self.id, exc.error)
        if self.state.cancelled and not _is_orphans(exc):  # nobody will read it there
            said = "%r of %s raised after its caller had gone"
            _log.warning(said, self.action, self.app_path, exc_info=exc)
        raised = describe_exception(exc)
        return frames.error(
            self.id,
            DirtyAppError(
                f"{self.action!r} of {self.app_path!r} raised {raised.kind}: "
                f"{raised.message or raised.name}",
                app_path=self.app_path,
                action=self.action,
                exception_type=raised.kind,
                traceback=raised.traceback,
            ),
        )

    def encode_response(self, result: Any) -> list[bytes | memoryview]:
        """The RESPONSE frame."""
        try:
            return frames.response(self.id, result, self.channel.max_frame_size)
        except DirtyProtocolError as exc:
            raise self._unsendable("a result", exc) from exc

    def encode_chunk(self, item: Any) -> list[bytes | memoryview]:
        """The CHUNK frame."""
        try:
            return frames.chunk(self.id, item, self.channel.max_frame_size)
        except DirtyProtocolError as exc:
            raise self._unsendable("an item", exc) from exc

    def _unsendable(self, what: str, exc: DirtyProtocolError) -> _Refusal:
        return _Refusal(
            DirtyProtocolError(
                f"{self.action!r} of {self.app_path!r} gave {what} that can't be sent: {exc}"
            )
        )

    def encode_cancelled(self) -> list[bytes | memoryview]:
        """The ERROR frame that ends a cancelled call; nobody reads what it says."""
        return frames.error(self.id, DirtyError("the call was cancelled"))


class SyncJob(Job):
    """An action or a generator that runs in a thread."""

    def __init__(
        self,
        channel: Channel,
        call_id: int,
        app_path: str,
        action: str,
        payload: Payload,
        method: Callable[..., Any],
        finished: Callable[[int], object],
        worker: int = 0,
    ) -> None:
        super().__init__(channel, call_id, app_path, action, payload, worker)
        self._method = method
        self._finished = finished
        self._changed = _job_changed

    def cancel(self) -> None:
        """See Job: a generator stops at its next item; an action can ask ``cancelled()``."""
        with self._changed:
            self.state.cancelled = True
            self._changed.notify_all()

    def add_credit(self, size: int) -> None:
        """See Job."""
        with self._changed:
            self.credit = min(self.credit + size, MAX_CREDIT)
            self._changed.notify_all()

    def run(self) -> None:
        """Runs it to its end, in this thread. Never raises."""
        token = current_call.set(self.state)
        try:
            request = self.decode_request()
            result = self._method(*request.args, **request.kwargs)
            if type(result) in _PLAIN:
                parts = self.encode_response(result)
            elif inspect.isgenerator(result):
                parts = self._stream(result)
            else:
                if inspect.isawaitable(result) or inspect.isasyncgen(result):
                    raise TypeError(
                        "the app's own __call__ gave something to await; make the action itself an "
                        "`async def` method, and leave __call__ as it is"
                    )
                parts = self.encode_response(result)
        except BaseException as exc:  # the call's border: a SystemExit of an action ends it, too
            end_if_forked(self.channel.home, exc)
            parts = self.encode_error(exc)
        finally:
            current_call.reset(token)
        self._finished(self.id)
        self.channel.send_from_thread(parts)

    def _stream(self, items: Iterator[Any]) -> list[bytes | memoryview]:
        with contextlib.closing(items):  # type: ignore[type-var]
            for item in items:
                end_if_forked(self.channel.home)  # before the lock: somebody may have had it
                parts = self.encode_chunk(item)
                with self._changed:
                    while self.credit <= 0 and not self.state.cancelled:
                        self._changed.wait()
                    if self.state.cancelled:
                        return self.encode_cancelled()
                    self.credit -= sum(map(len, parts))
                self.channel.send_from_thread(parts)
        return frames.end(self.id)


class AsyncJob(Job):
    """An ``async def`` action or an async generator: a task of the worker's nursery."""

    def __init__(
        self,
        channel: Channel,
        call_id: int,
        app_path: str,
        action: str,
        payload: Payload,
        method: Callable[..., Any],
        finished: Callable[[int], object],
        worker: int = 0,
    ) -> None:
        super().__init__(channel, call_id, app_path, action, payload, worker)
        self._method = method
        self._finished = finished
        self._scope = trio.CancelScope()
        self._credited: trio.lowlevel.ParkingLot | None = None
        self._unyielded = 0
        self._yielded_at = 0.0

    def cancel(self) -> None:
        """See Job."""
        self.state.cancelled = True
        self._scope.cancel()

    def add_credit(self, size: int) -> None:
        """See Job."""
        self.credit = min(self.credit + size, MAX_CREDIT)
        if self._credited is not None:
            self._credited.unpark_all()

    async def run(self) -> None:
        """Runs it to its end.

        *Errors handled here*: whatever the action raises. *Cancellation*: by ``cancel`` it ends
        this job only; from outside it passes.
        """
        current_call.set(self.state)  # a task has a context of its own
        frame: list[bytes | memoryview] | None = None
        try:
            with self._scope:
                frame = await self._perform()
        except BaseException as exc:  # the call's border: a SystemExit of an action ends it, too
            pass_cancellation(exc)
            end_if_forked(self.channel.home, exc)
            frame = self.encode_error(exc)
        self._finished(self.id)
        self.channel.send(frame or self.encode_cancelled(), changeable=True)

    async def _perform(self) -> list[bytes | memoryview]:
        request = self.decode_request()
        result = self._method(*request.args, **request.kwargs)
        if inspect.isasyncgen(result):
            return await self._stream(result)
        return self.encode_response(await result)

    async def _stream(self, items: AsyncIterable[Any]) -> list[bytes | memoryview]:
        async with contextlib.aclosing(items):  # type: ignore[type-var]
            async for item in items:
                parts = self.encode_chunk(item)
                while self.credit <= 0:
                    if self._credited is None:
                        self._credited = trio.lowlevel.ParkingLot()
                    await self._credited.park()
                size = sum(map(len, parts))
                self.credit -= size
                self.channel.send(parts, changeable=True)  # the generator may use its buffer again
                self._unyielded += size + _CHUNK_COST
                now = trio.current_time()
                # Also by time: what is not the first of a step waits for the step's end.
                if self._unyielded >= _YIELD_SIZE or now - self._yielded_at >= _YIELD_TIME:
                    self._unyielded = 0
                    self._yielded_at = now
                    await trio.lowlevel.checkpoint()
        return frames.end(self.id)
