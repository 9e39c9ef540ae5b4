# SPDX-License-Identifier: MIT
"""DirtyClient: calls to dirty apps from a Trio program.

No task of its own: whoever calls waits, and the backend (calls.py) wakes it with the reply.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Self

import outcome
import trio

from trioserve.dirty import frames
from trioserve.dirty.app import current_call
from trioserve.dirty.arguments import checked_timeout, manage_fields
from trioserve.dirty.calls import Call
from trioserve.dirty.errors import DirtyAppError, DirtyError
from trioserve.dirty.frames import STREAM_WINDOW, FrameType

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from trioserve.dirty.calls import Backend
    from trioserve.dirty.frames import Parts, Payload
    from trioserve.dirty.stash import AsyncStash

__all__ = ["DirtyClient", "DirtyStream"]

#: Items of a stream taken without waiting, after which other tasks run.
_YIELD_COUNT: Final = 256
#: Bytes of a stream that are taken before the worker is told that it may send as many more.
_CREDIT_SIZE: Final = STREAM_WINDOW // 2


class DirtyClient:
    """Calls actions of dirty apps and uses the stash, in one Trio loop.

    A server hands it to its handlers (``scope["extensions"]["trioserve.dirty"]["client"]``,
    ``trioserve.dirty.get_client()``); elsewhere ``open_dirty_client`` makes one. Any number of
    tasks may use it at the same time.

    Args:
        backend: what runs the actions.
        timeout: seconds for calls that don't say it themselves; 0 or inf = none.
    """

    def __init__(self, backend: Backend, timeout: float = math.inf) -> None:
        self._backend = backend
        self._timeout = checked_timeout(timeout)
        self._stash: AsyncStash | None = None

    async def execute(
        self, app_path: str, action: str, /, *args: Any, timeout: float | None = None, **kwargs: Any
    ) -> Any:
        """The result of one action.

        Args:
            app_path: as configured: "module:Class".
            action: a public method of that class.
            *args: what TLV can carry: None, bool, int, float, bytes, str, list, dict with str
                keys, numpy and typed arrays, datetime, Decimal, UUID, set. Tuples come as lists.
            timeout: seconds, the queue included; None = the client's; 0 = none.
            **kwargs: as args. An action with a parameter named ``timeout`` takes it as a
                positional argument.

        Raises:
            TypeError, ValueError: the timeout can't be.
            DirtyAppError: the action raised (``exception_type``, ``traceback``), is unknown or is
                a generator.
            DirtyTimeoutError: the time is over. The action is cancelled: a task at once; a thread
                can ask ``trioserve.dirty.cancelled()``.
            DirtyOverloadedError: too many calls wait already.
            DirtyWorkerError: the worker died. The action may have run in part.
            DirtyAppNotFoundError, DirtyNoWorkersAvailableError: nothing can run it.
            DirtyConnectionError: the arbiter has gone.
            DirtyProtocolError: an argument can't be sent.

        *Cancellation*: the action is cancelled as by its timeout; nothing of it comes later.
        """
        seconds = self._seconds(timeout)
        await self._backend.ready()
        call = _Execution(app_path, action, args, kwargs, seconds)
        self._backend.submit(call)
        backend = self._backend

        def abort(_: object) -> trio.lowlevel.Abort:
            backend.cancel(call)
            return trio.lowlevel.Abort.SUCCEEDED

        frame_type, payload = await trio.lowlevel.wait_task_rescheduled(abort)
        if frame_type == FrameType.RESPONSE:
            return frames.decode_result(payload)
        if frame_type == FrameType.ERROR:
            raise frames.decode_error(payload)
        if frame_type == FrameType.CHUNK:
            backend.cancel(call)
        raise DirtyAppError(
            f"{action!r} of {app_path!r} is a generator: call it by stream(), not by execute()",
            app_path=app_path,
            action=action,
        )

    def stream(
        self, app_path: str, action: str, /, *args: Any, timeout: float | None = None, **kwargs: Any
    ) -> AbstractAsyncContextManager[DirtyStream]:
        """The items of a generator, as they come::

            async with client.stream("models:Chat", "answer", question) as words:
                async for word in words:
                    ...

        The worker is at most 1 MiB ahead of who reads. Leaving the block ends the generator. An
        action that returns one result is a stream of one item.

        Args:
            app_path, action, args, kwargs: see execute.
            timeout: seconds for the whole stream; None = the client's; 0 = none.

        Raises:
            As execute; from entering the block, or from the iteration.
        """
        call = DirtyStream(self._backend, app_path, action, args, kwargs, self._seconds(timeout))
        return _StreamBlock(self._backend, call)

    async def status(self) -> dict[str, Any]:
        """The pool: ``arbiter_pid``, ``workers`` (a dict each), ``apps`` (counters of each)."""
        await self._backend.ready()
        return await self._backend.status()

    async def manage(self, operation: str, count: int = 1) -> dict[str, Any]:
        """Changes how many workers there are.

        Args:
            operation: "add" or "remove".
            count: of workers.

        Returns:
            ``success``, ``operation``, ``requested``, ``spawned`` or ``removed``,
            ``total_workers``, ``target_workers``, and ``reason`` if less was done than asked.
        """
        code, count = manage_fields(operation, count)
        await self._backend.ready()
        return await self._backend.manage(code, count)

    @property
    def stash(self) -> AsyncStash:
        """The tables that all processes share."""
        if self._stash is None:
            from trioserve.dirty.stash import AsyncStash

            self._stash = AsyncStash(self._backend)
        return self._stash

    def _seconds(self, timeout: float | None) -> float:
        if timeout is None:
            return self._timeout
        return checked_timeout(timeout)


def _encode(
    app_path: str, action: str, args: Any, kwargs: Any, timeout: float
) -> tuple[Parts, frames.Trace | None]:
    """A REQUEST's payload, and the call that it is made by: the one that this context runs."""
    state = current_call.get()
    trace = None if state is None else frames.Trace(state.request_id, state.worker)
    parts = frames.request_payload(
        app_path,
        action,
        args,
        kwargs,
        timeout if timeout < math.inf else None,
        None if trace is None else trace._asdict(),
    )
    return parts, trace


class _Execution(Call):
    """A call whose task waits for one frame."""

    def __init__(self, app_path: str, action: str, args: Any, kwargs: Any, timeout: float) -> None:
        parts, trace = _encode(app_path, action, args, kwargs, timeout)
        super().__init__(app_path, action, parts, timeout, trace)
        self._task: trio.lowlevel.Task | None = trio.lowlevel.current_task()

    def deliver(self, frame_type: int, payload: Payload) -> None:
        task = self._task
        if task is not None:
            self._task = None
            trio.lowlevel.reschedule(task, outcome.Value((frame_type, payload)))

    def fail(self, error: DirtyError) -> None:
        task = self._task
        if task is not None:
            self._task = None
            trio.lowlevel.reschedule(task, outcome.Error(error))


class DirtyStream(Call):
    """The items of one stream; made by ``DirtyClient.stream``."""

    def __init__(
        self,
        backend: Backend,
        app_path: str,
        action: str,
        args: Any,
        kwargs: Any,
        timeout: float,
    ) -> None:
        parts, trace = _encode(app_path, action, args, kwargs, timeout)
        super().__init__(app_path, action, parts, timeout, trace)
        self._backend = backend
        self._arrived: deque[tuple[int, Payload]] = deque()
        self._error: DirtyError | None = None
        self._finished = False
        self._task: trio.lowlevel.Task | None = None
        self._taken_size = 0
        self._unyielded = 0

    def deliver(self, frame_type: int, payload: Payload) -> None:
        """See Call."""
        self._arrived.append((frame_type, payload))
        self._wake()

    def fail(self, error: DirtyError) -> None:
        """See Call."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        """The next item.

        *Cancellation*: no item is lost.
        """
        if self._finished:
            raise StopAsyncIteration
        if self._arrived:
            self._unyielded += 1
            if self._unyielded >= _YIELD_COUNT:
                self._unyielded = 0
                await trio.lowlevel.checkpoint()
        else:
            await self._wait()
        frame_type, payload = self._arrived.popleft()
        if frame_type == FrameType.CHUNK:
            size = len(payload) + frames.HEADER_SIZE
            self._taken_size += size
            if self._taken_size >= _CREDIT_SIZE:
                self._backend.credit(self, self._taken_size)
                self._taken_size = 0
            return frames.decode_data(payload)
        self._finished = True
        if frame_type == FrameType.RESPONSE:
            return frames.decode_result(payload)
        if frame_type == FrameType.ERROR:
            raise frames.decode_error(payload)
        raise StopAsyncIteration

    async def _wait(self) -> None:
        while not self._arrived:
            if self._error is not None:
                self._finished = True
                raise self._error
            if self._task is not None:
                raise trio.BusyResourceError("another task is reading this stream")
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._stop_waiting)
            self._unyielded = 0

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


class _StreamBlock:
    """Around the block of a stream: nothing of the call outlives it."""

    def __init__(self, backend: Backend, call: DirtyStream) -> None:
        self._backend = backend
        self._call = call
        self._entered = False

    async def __aenter__(self) -> DirtyStream:
        if self._entered:
            raise RuntimeError("a stream can be entered once: make another by client.stream(…)")
        self._entered = True
        await self._backend.ready()
        self._backend.submit(self._call)
        return self._call

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._call._finished = True
        self._backend.cancel(self._call)
