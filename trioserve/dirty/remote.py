# SPDX-License-Identifier: MIT
"""An arbiter behind its Unix socket, as a backend.

Tasks, in the nursery of ``open_remote``: one runs the connection's channel, from the first call to
the connection's end; one sweeps overdue calls. A lost connection fails its calls at once; the next
call makes another.

An arbiter of another make (gunicorn's) answers HELLO by closing. Each call then gets a connection,
and a task, to itself: see plain_peer.py. The first call that finds nobody there ends that, and the
next one says HELLO again.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from typing import TYPE_CHECKING, Any, Final

import outcome
import trio

from trioserve.dirty import frames
from trioserve.dirty.calls import Call, Stage
from trioserve.dirty.channel import Channel
from trioserve.dirty.client import DirtyStream
from trioserve.dirty.errors import DirtyConnectionError, DirtyError, DirtyTimeoutError
from trioserve.dirty.frames import FrameType
from trioserve.dirty.plain_peer import CLOSED, PlainCall, connect, unreachable

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from trioserve.dirty.frames import Parts, Payload

__all__ = ["Remote", "open_remote"]

_HELLO_TIMEOUT: Final = 5.0
#: Seconds beyond a call's timeout in which the arbiter says itself that it is over.
_TIMEOUT_MARGIN: Final = 1.0
#: Seconds for STATUS, MANAGE and an operation of the stash.
_REQUEST_TIMEOUT: Final = 30.0


@contextlib.asynccontextmanager
async def open_remote(
    path: str, max_frame_size: int = frames.DEFAULT_MAX_FRAME_SIZE
) -> AsyncIterator[Remote]:
    """A connection to the arbiter at ``path``, made when it is first used, around the block.

    Args:
        path: the arbiter's socket.
        max_frame_size: bytes of a message, either way; the arbiter's own limit holds, too.

    Calls that are still under way when the block is left fail with DirtyConnectionError.
    """
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        remote = Remote(path, nursery, max_frame_size)
        nursery.start_soon(remote.sweep)
        try:
            yield remote
        except Exception as exc:  # carried past the nursery, which would wrap it in a group
            failure = exc
        finally:
            remote.close()
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


class Remote:
    """See Backend. Made by ``open_remote``."""

    def __init__(self, path: str, nursery: trio.Nursery, max_frame_size: int) -> None:
        self._path = path
        self._nursery = nursery
        self._max_frame_size = max_frame_size
        self._connecting = trio.Lock()
        self._connection: _Connection | None = None
        self._is_plain = False
        self._plain_calls: set[PlainCall] = set()
        self._ids = itertools.count(1)
        self._next_sweep = math.inf
        self._sweeper: trio.lowlevel.Task | None = None
        self._closed = False

    def close(self) -> None:
        """Later calls are refused. Those under way fail when the nursery is cancelled."""
        self._closed = True

    def _unreachable(self, reason: str) -> DirtyConnectionError:
        return unreachable(self._path, reason)

    # -- the connection ---------------------------------------------------------------------

    async def ready(self) -> None:
        """See Backend."""
        if self._can_send():
            return
        async with self._connecting:
            if not self._can_send():  # another task may have connected while this one waited
                await self._connect()

    def _can_send(self) -> bool:
        return self._connection is not None or self._is_plain

    async def _connect(self) -> None:
        self._check_open()
        sock = await connect(self._path)
        if self._closed:
            sock.close()
            self._check_open()
        connection = _Connection(sock, self._path, self._max_frame_size)
        self._nursery.start_soon(self._run_connection, connection)
        try:
            with trio.fail_after(_HELLO_TIMEOUT):
                await connection.answered.wait()
        except trio.TooSlowError:
            connection.channel.close()
            raise self._unreachable(f"it said nothing for {_HELLO_TIMEOUT:g} s") from None
        except trio.Cancelled:
            connection.channel.close()
            raise
        if not connection.channel.closed:
            self._connection = connection
        elif connection.is_greeted or connection.refusal is not None:
            raise self._unreachable(connection.why_closed)
        else:
            self._is_plain = True

    def _check_open(self) -> None:
        if self._closed:
            raise self._unreachable("this client was closed: its block has been left")

    async def _run_connection(self, connection: _Connection) -> None:
        try:
            await connection.run()
        finally:
            if self._connection is connection:
                self._connection = None

    # -- calls ------------------------------------------------------------------------------

    def submit(self, call: Call) -> None:
        """See Backend."""
        if call.stage is not Stage.NEW:
            raise RuntimeError(f"this call was submitted already: it is {call.stage.value}")
        call.id = next(self._ids)
        limit = self._max_frame_size
        if self._connection is not None:
            limit = self._connection.max_frame_size
        self._send(call, frames.with_header(FrameType.REQUEST, call.id, call.parts, limit))

    def _send(self, call: Call, parts: Parts) -> None:
        self._check_open()
        connection = self._connection
        call.deadline = trio.current_time() + call.timeout
        if connection is not None:
            call.deadline += _TIMEOUT_MARGIN
            connection.send(call, parts)
        elif self._is_plain:
            call.stage = Stage.RUNNING
            call.holder = plain = PlainCall(self._path, call, self._max_frame_size)
            self._plain_calls.add(plain)
            self._nursery.start_soon(self._run_plain, plain, parts)
        else:
            raise self._unreachable("the connection was lost")
        if call.deadline < self._next_sweep:
            self._next_sweep = call.deadline
            self._wake_sweeper()

    async def _run_plain(self, plain: PlainCall, parts: Parts) -> None:
        try:
            await plain.run(parts)
        finally:
            self._plain_calls.discard(plain)
        if not plain.is_answered and not plain.call.abandoned:
            self._is_plain = False  # perhaps one of ours will be there next

    def cancel(self, call: Call) -> None:
        """See Backend."""
        if call.stage is Stage.RUNNING:
            call.stage = Stage.ENDED
            call.abandoned = True
            call.holder.cancel(call)

    def credit(self, call: Call, size: int) -> None:
        """See Backend."""
        if call.stage is Stage.RUNNING:
            call.holder.credit(call, size)

    def _under_way(self) -> Iterator[Call]:
        if self._connection is not None:
            yield from self._connection.calls.values()
        for plain in self._plain_calls:
            yield plain.call

    # -- other requests ---------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        """See Backend."""
        result: dict[str, Any] = await self._request(frames.status)
        return result

    async def manage(self, operation: int, count: int) -> dict[str, Any]:
        """See Backend."""
        result: dict[str, Any] = await self._request(frames.manage, operation, count)
        return result

    async def stash(self, op: int, fields: Mapping[str, Any]) -> Any:
        """See Backend."""
        await self.ready()
        return await self._request(frames.stash, op, **fields)

    async def _request(self, encode: Callable[..., Parts], *args: Any, **kwargs: Any) -> Any:
        reply = Reply(_REQUEST_TIMEOUT)
        reply.id = next(self._ids)
        self._send(reply, encode(reply.id, *args, **kwargs))
        return await reply.wait(self)

    @contextlib.asynccontextmanager
    async def stash_stream(
        self, op: int, fields: Mapping[str, Any]
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """One operation of the stash that answers with a stream of values."""
        await self.ready()
        stream = DirtyStream(self, "", "", (), {}, math.inf)
        stream.id = next(self._ids)
        self._send(stream, frames.stash(stream.id, op, **fields))
        try:
            yield stream
        finally:
            stream._finished = True
            self.cancel(stream)

    # -- deadlines --------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Ends calls whose arbiter doesn't, until cancelled."""
        while True:
            now = trio.current_time()
            for call in [call for call in self._under_way() if call.deadline <= now]:
                self.cancel(call)
                call.fail(
                    DirtyTimeoutError(
                        f"no answer from the dirty arbiter at {self._path} "
                        f"within {call.timeout:g} s",
                        timeout=call.timeout,
                    )
                )
            self._next_sweep = min((call.deadline for call in self._under_way()), default=math.inf)
            with trio.move_on_at(self._next_sweep):
                self._sweeper = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._stop_waiting)

    def _wake_sweeper(self) -> None:
        if self._sweeper is not None:
            trio.lowlevel.reschedule(self._sweeper)
            self._sweeper = None

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._sweeper = None
        return trio.lowlevel.Abort.SUCCEEDED


class _Connection:
    """A connection to an arbiter that answers HELLO, or may do so.

    Attributes:
        answered: the HELLO was, by another (``is_greeted``), by an ERROR (``refusal``), or by the
            end of the connection.
        calls: under way, by id.
        max_frame_size: bytes of a payload; the lower of both sides' limits.
    """

    def __init__(self, sock: socket.socket, path: str, max_frame_size: int) -> None:
        self.channel = Channel(sock, self._on_frame, max_frame_size=max_frame_size)
        self.answered = trio.Event()
        self.is_greeted = False
        self.refusal: DirtyError | None = None
        self.calls: dict[int, Call] = {}
        self.max_frame_size = max_frame_size
        self._path = path
        self.channel.send(frames.hello({"role": "client", "pid": os.getpid()}))

    async def run(self) -> None:
        """Receives replies until the connection ends; calls that have none by then fail."""
        reason = CLOSED
        try:
            await self.channel.run()
            reason = self.why_closed
        except DirtyError as exc:
            reason = str(exc)
        finally:
            self.channel.close()
            self.answered.set()
            calls, self.calls = self.calls, {}
            for call in calls.values():
                call.stage = Stage.ENDED
                call.fail(unreachable(self._path, reason))

    @property
    def why_closed(self) -> str:
        """What the arbiter said, if anything, before it closed the connection."""
        return "it closed the connection" if self.refusal is None else str(self.refusal)

    def send(self, call: Call, parts: Parts) -> None:
        """Begins a call."""
        call.stage = Stage.RUNNING
        call.holder = self
        self.calls[call.id] = call
        self.channel.send(parts)

    def cancel(self, call: Call) -> None:
        """Nobody waits for the call any more."""
        del self.calls[call.id]
        self.channel.send(frames.cancel(call.id))

    def credit(self, call: Call, size: int) -> None:
        """``size`` bytes of what came for the call have been taken."""
        self.channel.send(frames.credit(call.id, size))

    def _on_frame(self, frame_type: int, call_id: int, payload: Payload) -> None:
        call = self.calls.get(call_id)
        if call is None:
            self._on_other_frame(frame_type, call_id, payload)
            return
        if frame_type != FrameType.CHUNK:
            call.stage = Stage.ENDED
            del self.calls[call_id]
        call.deliver(frame_type, payload)

    def _on_other_frame(self, frame_type: int, call_id: int, payload: Payload) -> None:
        # What belongs to no call is a reply to one that was cancelled, if it has an id.
        if frame_type == FrameType.HELLO:
            limit = frames.decode_hello(payload).get("max_frame_size")
            if type(limit) is int:
                self.max_frame_size = min(self.max_frame_size, limit)
            self.is_greeted = True
            self.answered.set()
        elif frame_type == FrameType.ERROR and call_id == 0:
            self.refusal = frames.decode_error(payload)


class Reply(Call):
    """A request that is answered by one frame, which holds a ``result``."""

    def __init__(self, timeout: float = math.inf) -> None:
        super().__init__("", "", [], timeout)
        self._task: trio.lowlevel.Task | None = trio.lowlevel.current_task()

    async def wait(self, backend: Remote) -> Any:
        """The result.

        Raises:
            DirtyError: what the ERROR holds, or why there was no answer.
        """

        def abort(_: object) -> trio.lowlevel.Abort:
            backend.cancel(self)
            return trio.lowlevel.Abort.SUCCEEDED

        frame_type, payload = await trio.lowlevel.wait_task_rescheduled(abort)
        if frame_type == FrameType.ERROR:
            raise frames.decode_error(payload)
        return frames.decode_result(payload)

    def deliver(self, frame_type: int, payload: Payload) -> None:
        """See Call."""
        if self._task is not None:
            trio.lowlevel.reschedule(self._task, outcome.Value((frame_type, payload)))
            self._task = None

    def fail(self, error: DirtyError) -> None:
        """See Call."""
        if self._task is not None:
            trio.lowlevel.reschedule(self._task, outcome.Error(error))
            self._task = None
