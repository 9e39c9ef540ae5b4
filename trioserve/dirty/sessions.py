# SPDX-License-Identifier: MIT
"""The arbiter's side of one client's connection.

A REQUEST is routed by its first keys and forwarded as it came; what comes back gets the client's
own id again. Nothing of arguments or results is decoded on the way.

Tasks, all in the nursery of ``run``: the connection's channel, and one for each STATUS and MANAGE
under way. Its end, however it comes, cancels all that the client still waited for.

What bounds what a client can make the arbiter hold: the pool's queues; HIGH_WATER of the channel,
beyond which the client's own frames are not read; and, for the results of calls that were under way
by then, ``max_unsent_size`` and the Backlog.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
from typing import TYPE_CHECKING, Any, Final

import trio

from trioserve.dirty import frames, tlv
from trioserve.dirty.calls import Call
from trioserve.dirty.channel import Channel
from trioserve.dirty.errors import (
    DirtyConnectionError,
    DirtyError,
    DirtyOverloadedError,
    DirtyProtocolError,
)
from trioserve.dirty.frames import MAX_CREDIT, STREAM_WINDOW, FrameType, StashOp

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping

    from trioserve.dirty.calls import Backend
    from trioserve.dirty.frames import Payload
    from trioserve.dirty.stash_watch import Watcher
    from trioserve.dirty.tables import StashTables

__all__ = ["Backlog", "Session"]

_log = logging.getLogger("trioserve.error")

#: Bytes of chunks passed on to a client that gives no credit, before the worker gets some.
_CREDIT_SIZE: Final = STREAM_WINDOW // 2
#: Bytes that may wait for a client that doesn't read (or one frame, if that may be longer), and for
#: all such clients; further results are dropped.
_MAX_UNSENT: Final = 64 << 20
_MAX_BACKLOG: Final = 256 << 20
#: STATUS and MANAGE requests of a client that may be under way.
_MAX_ANSWERS: Final = 64

_CHUNK: Final = FrameType.CHUNK


class Backlog:
    """What waits for all clients of an arbiter.

    Attributes:
        sessions: those that run.
        max_size: bytes. What would be more is dropped, but for the only result of a client.
    """

    def __init__(self, max_size: int = _MAX_BACKLOG) -> None:
        self.sessions: set[Session] = set()
        self.max_size = max_size

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return sum(session.channel.unsent_size for session in self.sessions)


class Session:
    """One client.

    Args:
        sock: its connection.
        backend: what runs its calls.
        tables: the stash.
        max_frame_size: bytes of a payload, either way.
        backlog: of the arbiter.

    Attributes:
        calls: those under way, by the ids that the client gave them.
        is_ours: whether the client knows frames that are ours: it has said HELLO.
        max_unsent_size: bytes that may wait for the client. What would be more is dropped: its call
            ends with DirtyOverloadedError.
    """

    def __init__(
        self,
        sock: socket.socket,
        backend: Backend,
        tables: StashTables,
        max_frame_size: int,
        backlog: Backlog | None = None,
    ) -> None:
        self.channel = Channel(sock, self._on_frame, max_frame_size=max_frame_size, bounded=True)
        self.channel.on_drained = self._on_drained
        self.backend = backend
        self.calls: dict[int, _Relayed] = {}
        self.is_ours = False
        self.max_frame_size = max_frame_size
        self.max_unsent_size = max(_MAX_UNSENT, max_frame_size)
        self._backlog = backlog or Backlog()
        self._tables = tables
        self._watches: dict[int, _Watch] = {}
        self._owing: set[_Relayed] = set()
        self._answers = 0
        self._nursery: trio.Nursery

    async def run(self) -> None:
        """Serves the client until it leaves.

        *Errors handled here*: a client that breaks the protocol, or doesn't read, loses its
        connection.
        """
        self._backlog.sessions.add(self)
        try:
            async with trio.open_nursery() as self._nursery:
                try:
                    await self.channel.run()
                except (DirtyProtocolError, DirtyConnectionError) as exc:
                    _log.warning("dirty: a client's connection was closed: %s", exc)
                self._nursery.cancel_scope.cancel()
        finally:
            self._backlog.sessions.discard(self)
            self.channel.close()
            for request_id in [*self.calls, *self._watches]:
                self._give_up(request_id)

    # -- a handler for each type ------------------------------------------------------------

    # What is wrong with a request is its answer, and ends nothing else. A DirtyProtocolError that
    # leaves _on_frame ends the connection: the channel says it to the client, and closes.

    def _on_frame(self, frame_type: int, request_id: int, payload: Payload) -> None:
        handler = _HANDLERS.get(frame_type)
        if handler is None:
            raise DirtyProtocolError(f"a client can't send a frame of type {frame_type:#04x}")
        if frame_type in _OPENING and (request_id in self.calls or request_id in self._watches):
            raise DirtyProtocolError(f"request id {request_id} is in use")
        try:
            handler(self, request_id, payload)
        except DirtyProtocolError as exc:
            if frame_type != FrameType.STATUS:
                tlv.split(payload)  # raises if it is no dict at all
            self._refuse(request_id, exc)
        except DirtyError as exc:
            self._refuse(request_id, exc)
        except Exception:  # the border of one request
            self._refuse(request_id, _internal_error())

    def _refuse(self, request_id: int, error: DirtyError) -> None:
        """Ends the request by this error."""
        self._give_up(request_id)
        self.channel.send(frames.error(request_id, error))

    def _give_up(self, request_id: int) -> None:
        """Ends what this request has begun, if anything, without a word to the client."""
        call = self.calls.pop(request_id, None)
        watch = self._watches.pop(request_id, None)
        try:
            if call is not None:
                self._owing.discard(call)
                self.backend.cancel(call)
            if watch is not None:
                watch.close()
        except Exception:  # the border of one request: the others are to end, too
            _log.exception("dirty: a client's request could not be ended")

    def _hello(self, request_id: int, payload: Payload) -> None:
        frames.decode_hello(payload)
        self.is_ours = True
        fields = {"role": "arbiter", "pid": os.getpid(), "max_frame_size": self.max_frame_size}
        self.channel.send(frames.hello(fields, request_id))

    def _request(self, request_id: int, payload: Payload) -> None:
        app_path, action, timeout, trace = frames.read_call(payload)
        call = _Relayed(self, request_id, app_path, action, payload, timeout, trace)
        self.calls[request_id] = call
        self.backend.submit(call)

    def _cancel(self, request_id: int, payload: Payload) -> None:
        if request_id in self.calls:
            self._refuse(request_id, DirtyError("the call was cancelled"))
        elif request_id in self._watches:
            self._give_up(request_id)
            self.channel.send(frames.end(request_id))

    def _credit(self, request_id: int, payload: Payload) -> None:
        size = frames.decode_credit(payload)
        call = self.calls.get(request_id)
        if call is not None:
            self.backend.credit(call, size)
            return
        watch = self._watches.get(request_id)
        if watch is not None:
            watch.add_credit(size)

    def _stash(self, request_id: int, payload: Payload) -> None:
        fields = tlv.split(payload)
        op, table = (tlv.decode(fields.pop(name, _NONE)) for name in ("op", "table"))
        if op == StashOp.WATCH:
            watch = _Watch(self, request_id)
            watch.watcher = self._tables.apply_watch(table, fields, watch.knock)
            self._watches[request_id] = watch
            watch.pump()
            return
        result = self._tables.apply(op, table, fields)
        self.channel.send(frames.response(request_id, result, self.max_frame_size))

    def _status(self, request_id: int, payload: Payload) -> None:
        if payload:
            raise DirtyProtocolError(f"STATUS has no payload, got {len(payload)} bytes")
        self._ask(request_id, self.backend.status)

    def _manage(self, request_id: int, payload: Payload) -> None:
        operation, count = frames.decode_manage(payload)
        self._ask(request_id, lambda: self.backend.manage(operation, count))

    def _ask(self, request_id: int, question: Callable[[], Awaitable[Any]]) -> None:
        if self._answers < _MAX_ANSWERS:
            self._answers += 1
            self._nursery.start_soon(self._answer, request_id, question)
            return
        error = DirtyOverloadedError(f"{_MAX_ANSWERS} requests of this client wait for an answer")
        self.channel.send(frames.error(request_id, error))

    async def _answer(self, request_id: int, question: Callable[[], Awaitable[Any]]) -> None:
        try:
            parts = frames.response(request_id, await question(), self.max_frame_size)
        except DirtyError as exc:
            parts = frames.error(request_id, exc)
        except Exception:  # the border of one request
            parts = frames.error(request_id, _internal_error())
        finally:
            self._answers -= 1
        self.channel.send(parts)

    # -- the way out ------------------------------------------------------------------------

    def _on_drained(self) -> None:
        owing, self._owing = self._owing, set()
        for call in owing:
            call.pay()
        for watch in list(self._watches.values()):
            watch.pump()

    def has_room(self, size: int) -> bool:
        """Whether ``size`` bytes more may wait for a client that does not read all at once."""
        return (
            self.channel.unsent_size + size <= self.max_unsent_size
            and self._backlog.size + size <= self._backlog.max_size
        )

    def will_owe(self, call: _Relayed) -> None:
        """The client's socket is full: the call's credit is due when it has taken all."""
        self._owing.add(call)

    @property
    def backlog_size(self) -> int:
        """Bytes that wait for all clients."""
        return self._backlog.size

    def end_call(self, request_id: int, call: _Relayed) -> None:
        """The call has ended: its id is free."""
        self.calls.pop(request_id, None)
        self._owing.discard(call)

    def end_watch(self, request_id: int) -> None:
        """The watch has ended: its id is free."""
        self._watches.pop(request_id, None)


def _internal_error() -> DirtyError:
    """The answer where we are at fault; to be called where the exception is handled."""
    _log.exception("dirty: a client's request failed")
    return DirtyError("the arbiter failed to handle this request: its log says how")


_NONE: Final = tlv.encode(None)
#: Frames that begin something under a new id.
_OPENING: Final = frozenset({FrameType.REQUEST, FrameType.STASH})

_HANDLERS: Mapping[int, Callable[[Session, int, Payload], None]] = {
    FrameType.HELLO: Session._hello,
    FrameType.REQUEST: Session._request,
    FrameType.CANCEL: Session._cancel,
    FrameType.CREDIT: Session._credit,
    FrameType.STASH: Session._stash,
    FrameType.STATUS: Session._status,
    FrameType.MANAGE: Session._manage,
}


class _Relayed(Call):
    """A call of a client of this arbiter."""

    __slots__ = ("_owed", "_request_id", "_session")

    def __init__(
        self,
        session: Session,
        request_id: int,
        app_path: str,
        action: str,
        payload: Payload,
        timeout: float | None,
        trace: frames.Trace | None,
    ) -> None:
        super().__init__(
            app_path, action, [payload], math.inf if timeout is None else timeout, trace
        )
        self._session = session
        self._request_id = request_id
        self._owed = 0

    def deliver(self, frame_type: int, payload: Payload) -> None:
        """See Call."""
        session = self._session
        channel = session.channel
        if channel.unsent_size and frame_type in _LARGE and not session.has_room(len(payload)):
            self._drop(frame_type)
            return
        channel.send(frames.with_header(frame_type, self._request_id, [payload], _ANY_SIZE))
        if frame_type != _CHUNK:
            session.end_call(self._request_id, self)
        elif not session.is_ours:
            # A client that gives no credit: what its socket takes is what it is given.
            self._owed += len(payload) + frames.HEADER_SIZE
            if self._owed >= _CREDIT_SIZE:
                if channel.unsent_size:
                    session.will_owe(self)
                else:
                    self.pay()

    def pay(self) -> None:
        """Gives the worker credit for what the client's socket has taken."""
        owed, self._owed = self._owed, 0
        self._session.backend.credit(self, owed)

    def _drop(self, frame_type: int) -> None:
        session = self._session
        if frame_type == _CHUNK:
            session.backend.cancel(self)
        self.fail(
            DirtyOverloadedError(
                f"the result was dropped: {session.channel.unsent_size:,} bytes wait for this "
                f"client already, and {session.backlog_size:,} for all clients. It is to read "
                "faster, or to make fewer calls at a time",
                app_path=self.app_path,
            )
        )

    def fail(self, error: DirtyError) -> None:
        """See Call."""
        self._session.channel.send(frames.error(self._request_id, error))
        self._session.end_call(self._request_id, self)


_LARGE: Final = frozenset({FrameType.RESPONSE, FrameType.CHUNK})
#: The header's own limit: what a worker may send has been checked where it came.
_ANY_SIZE: Final = (1 << 32) - 1


class _Watch:
    """A client that watches a table: changes go out as chunks, as its credit allows."""

    watcher: Watcher

    def __init__(self, session: Session, request_id: int) -> None:
        self._session = session
        self._request_id = request_id
        self._credit = STREAM_WINDOW
        self._ended = False
        self._token = trio.lowlevel.current_trio_token()

    def knock(self) -> None:
        """There is something to take; from any thread."""
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self.pump, idempotent=True)

    def pump(self) -> None:
        """Sends what there is."""
        channel = self._session.channel
        # What can't be sent yet waits in the watcher's own queue, which counts what it loses.
        while not self._ended and self._credit > 0 and not channel.unsent_size:
            closed = self.watcher.closed  # asked first: what came before the end is taken below
            changes = self.watcher.take()
            for change in changes:
                parts = frames.chunk(self._request_id, list(change), _ANY_SIZE)
                self._credit -= sum(map(len, parts)) if self._session.is_ours else 0
                channel.send(parts)
            if not changes:
                if closed:
                    self._end()
                    channel.send(frames.end(self._request_id))
                return

    def add_credit(self, size: int) -> None:
        """The client has taken ``size`` bytes."""
        self._credit = min(self._credit + size, MAX_CREDIT)
        self.pump()

    def close(self) -> None:
        """The client wants no more of it."""
        self._end()
        self.watcher.close()

    def _end(self) -> None:
        self._ended = True
        self._session.end_watch(self._request_id)
