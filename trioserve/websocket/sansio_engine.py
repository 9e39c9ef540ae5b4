# SPDX-License-Identifier: MIT
"""The engine on a pure machine (protocols/websocket/machine.py): a shell that does the IO.

No task of its own. Whoever waits for a message reads the pipe; while nobody does, the pipe tells of
what has come (``on_activity``), and it is taken right there: pings are answered and a Close frame
is seen while the application is busy. Messages wait in a queue then, and once that is full nothing
more is read: a slow application slows its own client.

Control frames are posted, since nobody waits for them. They keep their place behind messages that
wait for a slow client.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Final

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
#: Bytes that are taken in one go while nobody waits, before other connections have their turn.
TAKE_SIZE: Final = 256 * 1024
#: Replies that are kept while messages wait for a slow client. A ping may stay unanswered where a
#: later one is answered (RFC 6455 section 5.5.3).
KEPT_REPLIES: Final = 16
_UNLIMITED: Final = 2**63 - 1
#: The library logs each connection's end, which is ours to tell.
_silent: Final = logging.Logger("trioserve.websockets", logging.CRITICAL + 1)
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
            self._reading = True
            try:
                data = await pipe.receive()
            finally:
                self._reading = False
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
            while not self.stalled and (message := machine.next_message()) is not None:
                if not machine.closing:
                    self._queue.append(message)
                    self._queue_size += len(message)
            if self.stalled:
                return
            data = self._pipe.take()
            if data is None:
                return
            self._feed(data)
            taken += len(data)
            if taken >= TAKE_SIZE:
                self._pipe.remind()
                return

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
        if self._blocked:
            del replies[:-KEPT_REPLIES]
            return
        data = b"".join(replies)
        replies.clear()
        if not self._pipe.post(data):
            # It asks for answers, and doesn't read them.
            self._machine.lose()
            self._pipe.abort()

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
            if not self._blocked and self._machine.replies:
                self._settle()

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
            if machine.closed is None:
                self._reading = True
                try:
                    data = await self._pipe.receive()
                finally:
                    self._reading = False
                self._feed(data)
        self._settle()
