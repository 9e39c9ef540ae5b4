# SPDX-License-Identifier: MIT
"""The engine on a pure machine (protocols/websocket/machine.py): a shell that does the IO.

No task of its own. Whoever waits for a message reads the pipe; while nobody does, the pipe tells of
what has come (``on_activity``), and it is taken right there: pings are answered and a Close frame
is seen while the application is busy. Messages wait in a queue then, and once that is full nothing
more is read: a slow application slows its own client.

Control frames are posted, since nobody waits for them: they go between the messages that wait for a
slow client. A Close frame goes after them all.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Final

import trio

from trioserve.errors import ClientDisconnectedError
from trioserve.protocols.websocket.machine import WebSocketMachine
from trioserve.transports import Peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from trioserve.config import WebSocketOptions
    from trioserve.protocols.websocket import Deflate
    from trioserve.protocols.websocket.machine import Message
    from trioserve.websocket.engine import Listener
    from trioserve.websocket.pipe import Pipe

__all__ = ["SansIOEngine", "open_sansio_engine"]

#: Bytes of messages that may wait for the application before nothing more is read.
QUEUE_SIZE: Final = 64 * 1024
#: Up to this size a frame is one piece: cheaper than two.
JOIN_SIZE: Final = 16 * 1024
#: Bytes that are taken in one go while nobody waits, before others have their turn.
TAKE_SIZE: Final = 64 * 1024
_UNLIMITED: Final = 2**63 - 1
#: The library logs each connection's end, which is ours to tell.
_silent: Final = logging.Logger("trioserve.websockets", logging.CRITICAL + 1)
#: The first byte of a Close frame.
_CLOSE: Final = 0x88
_LOST: Final = Peer.LOST
_PRESENT: Final = Peer.PRESENT


@contextlib.asynccontextmanager
async def open_sansio_engine(
    pipe: Pipe, listener: Listener, options: WebSocketOptions, deflate: Deflate | None
) -> AsyncIterator[SansIOEngine]:
    """See EngineFactory."""
    yield SansIOEngine(pipe, listener, options, deflate)


class SansIOEngine:
    """See Engine, and this file's head."""

    __slots__ = (
        "_blocked",
        "_close_frame",
        "_idle",
        "_listener",
        "_machine",
        "_max_queue",
        "_pipe",
        "_queue",
        "_queue_size",
        "_reading",
        "_started",
        "_told",
        "heard",
    )

    def __init__(
        self, pipe: Pipe, listener: Listener, options: WebSocketOptions, deflate: Deflate | None
    ) -> None:
        self._pipe = pipe
        self._listener = listener
        self._machine = WebSocketMachine(
            options.websocket_max_message_size or _UNLIMITED, deflate, _silent
        )
        self._max_queue = options.websocket_max_queue
        self._queue: deque[Message] = deque()
        self._queue_size = 0
        self._blocked = 0  # messages that wait for the client
        self._close_frame = b""  # waits for them
        self._idle: trio.lowlevel.ParkingLot | None = None  # for the end of another task's read
        self._reading = False
        self._started = False
        self._told = False
        self.heard = False

    def start(self, data: bytes) -> None:
        """See Engine."""
        self._started = True
        self._machine.receive_data(data)
        self.on_activity()

    # -- what comes -------------------------------------------------------------------------

    async def receive(self) -> Message | None:
        """See Engine."""
        machine = self._machine
        pipe = self._pipe
        while True:
            if self._queue or machine.has_more:
                pipe.skip(0)  # small messages yield, too
                if (pause := pipe.pause()) is not None:
                    await pause
            if self._queue:
                message: Message | None = self._queue.popleft()
                self._queue_size -= len(message)  # type: ignore[arg-type]
                if not self._queue:
                    # A pong, or a Close frame, may stand behind what nobody had room for.
                    self.on_activity()
                return message
            if machine.closing:
                return None
            message = machine.next_message()
            if machine.replies or machine.pongs or machine.closed is not None:
                self._settle()
            if message is not None:
                return message
            if machine.closed is not None:
                return None
            if machine.exhausted:
                await trio.lowlevel.checkpoint()
            else:
                await self._read()

    async def _read(self) -> None:
        self._reading = True
        try:
            data = await self._pipe.receive()
        finally:
            self._reading = False
            if self._idle is not None:
                self._idle.unpark_all()
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        if data:
            self.heard = True
            self._machine.receive_data(data)
        elif self._pipe.peer is not _PRESENT:
            self._machine.receive_eof()

    @property
    def stalled(self) -> bool:
        """See Engine."""
        return bool(self._queue) or self._machine.has_more or self._blocked > 0

    @property
    def _is_full(self) -> bool:
        return len(self._queue) >= self._max_queue or self._queue_size >= QUEUE_SIZE

    def on_activity(self) -> None:
        """See Engine."""
        machine = self._machine
        if self._pipe.peer is _LOST:
            machine.lose()
        if self._started and not self._reading:
            self._take()
        self._settle()

    def _take(self) -> None:
        machine = self._machine
        taken = 0
        while machine.closed is None:
            while not self._is_full and (message := machine.next_message()) is not None:
                if not machine.closing:
                    self._queue.append(message)
                    self._queue_size += len(message)
            if self._is_full:
                return
            if machine.exhausted or taken >= TAKE_SIZE:
                self._pipe.remind()
                return
            data = self._pipe.take()
            if data is None:
                return
            self._feed(data)
            taken += len(data)

    def _settle(self) -> None:
        """Acts on what the machine has found beside messages."""
        machine = self._machine
        if machine.replies:
            self._reply()
        if machine.pongs:
            machine.pongs = 0
            self._listener.on_pong()
        if machine.closed is not None and not self._told:
            self._told = True
            self._listener.on_closed(machine.closed)
            # Another task may wait here for what won't come.
            self._pipe.interrupt()

    def _reply(self) -> None:
        replies = self._machine.replies
        if self._machine.closing:
            self._close_frame += b"".join(one for one in replies if one[0] == _CLOSE)
            replies[:] = [one for one in replies if one[0] != _CLOSE]
        if replies:
            if self._pipe.post(b"".join(replies)):
                replies.clear()
            else:  # until there is room, the last one stands for all (RFC 6455 section 5.5.3)
                del replies[:-1]
        if self._close_frame and not self._blocked:
            self._pipe.post(self._close_frame, urgent=True)
            self._close_frame = b""

    # -- what is to be sent -----------------------------------------------------------------

    def send(self, message: Message) -> Awaitable[None] | None:
        """See Engine."""
        machine = self._machine
        if machine.closing:
            raise ClientDisconnectedError("the WebSocket is closed")
        head, payload = machine.encode(message)
        if self._queue or machine.has_more:
            # More is to be answered at once: the answers leave together.
            waiting = self._pipe.write_soon((head, payload))
        elif len(payload) <= JOIN_SIZE:
            waiting = self._pipe.write(head + payload)
        else:
            waiting = self._pipe.write_all((head, payload))
        return None if waiting is None else self._wait(waiting)

    async def _wait(self, waiting: Awaitable[None]) -> None:
        self._blocked += 1
        try:
            await waiting
        finally:
            self._blocked -= 1
            if self._close_frame or self._machine.replies:
                self._reply()

    def ping(self, payload: bytes) -> None:
        """See Engine."""
        if frame := self._machine.ping(payload):
            self._machine.replies.append(frame)
            self._settle()

    def close(self, code: int, reason: str) -> None:
        """See Engine."""
        self._machine.close(code, reason)
        self._queue.clear()
        self._queue_size = 0
        self._pipe.interrupt()  # a task that waits for a message hears of it
        self.on_activity()  # a full queue may have kept the client's Close from being read

    async def finish(self) -> None:
        """See Engine."""
        machine = self._machine
        while machine.closed is None:
            while machine.next_message() is not None:
                pass
            self._settle()
            if machine.exhausted:
                await trio.lowlevel.checkpoint()
            elif self._reading:  # a task that the application has left behind
                if self._idle is None:
                    self._idle = trio.lowlevel.ParkingLot()
                await self._idle.park()
            elif machine.closed is None:
                await self._read()
        self._settle()
