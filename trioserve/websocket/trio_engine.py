# SPDX-License-Identifier: MIT
"""The engine on trio-websocket's connection: the reference.

Tasks, in the nursery of ``open_trio_engine``: the library's reader, from ``start`` on; one that
waits for the pong of the last ping; one that closes. They are cancelled when the block is left.

The handshake is ours, so the library gets a connection that is open. What it lacks is put beside
it: permessage-deflate, and a Close frame that says what a client did wrong.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import trio
import trio_websocket
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection, Pong
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, Opcode, RsvBits
from wsproto.utilities import LocalProtocolError

from trioserve.errors import ClientDisconnectedError
from trioserve.protocols.websocket import ABNORMAL, Closed
from trioserve.transports import Peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from wsproto.events import Event
    from wsproto.extensions import Extension

    from trioserve.config import WebSocketOptions
    from trioserve.protocols.websocket import Deflate
    from trioserve.websocket.engine import Listener
    from trioserve.websocket.pipe import Pipe

__all__ = ["TrioEngine", "open_trio_engine"]

#: Bytes that the library reads at a time. It decompresses them whole, so this bounds a bomb.
_READ_SIZE: Final = 4096
_UNLIMITED: Final = 2**63 - 1
#: Bytes of messages that may wait for the application before nothing more is read.
_QUEUE_SIZE: Final = 64 * 1024


@contextlib.asynccontextmanager
async def open_trio_engine(
    pipe: Pipe, listener: Listener, options: WebSocketOptions, deflate: Deflate | None
) -> AsyncIterator[TrioEngine]:
    """See EngineFactory."""
    async with trio.open_nursery() as nursery:
        yield TrioEngine(pipe, listener, options, deflate, nursery)
        nursery.cancel_scope.cancel()


class _PipeStream(trio.abc.Stream):
    """A pipe as a Trio stream. Closing it leaves the pipe to whoever has it.

    Attributes:
        heard: see Engine.
        is_over: whether the library wants to read no more. It only looks after the next read.
        is_full: whether the messages that wait for the application are large enough.
    """

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._unread = b""
        self._closed = False
        self.heard = False
        self.is_over: Callable[[], bool] = bool
        self.is_full: Callable[[], bool] = bool
        self._room = trio.lowlevel.ParkingLot()

    def go_on(self) -> None:
        """A message was taken, or none will be."""
        self._room.unpark_all()

    def put_back(self, data: bytes) -> None:
        self._unread = data

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while self.is_full() and not self._closed:
            await self._room.park()
        while not self._unread:
            if self._closed or self.is_over():
                raise trio.ClosedResourceError
            data = await self._pipe.receive()
            if data:
                self._unread = data
                self.heard = True
            elif self._pipe.peer is not Peer.PRESENT:
                return b""
        size = max_bytes or len(self._unread)
        data, self._unread = self._unread[:size], self._unread[size:]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            waiting = self._pipe.write_all((bytes(data),))
            if waiting is not None:
                await waiting
        except ClientDisconnectedError as exc:
            raise trio.BrokenResourceError(str(exc)) from exc
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self._closed = True
        self._unread = b""
        self.go_on()
        self._pipe.interrupt()
        await trio.lowlevel.checkpoint()


class _Connection(Connection):
    """wsproto's connection; the client's errors become Close frames of ours.

    wsproto tells of one as if the client had closed the connection, but for its state: in that of a
    client's Close trio-websocket answers with its code. And a ping that comes after our own Close
    has no answer, where trio-websocket would trip over wsproto's refusal of one.
    """

    def send(self, event: Event) -> bytes:
        if isinstance(event, Pong) and self._state is not ConnectionState.OPEN:
            return b""
        return super().send(event)

    def events(self) -> Iterator[Event]:  # type: ignore[override]
        for event in super().events():
            if isinstance(event, CloseConnection) and self._state is ConnectionState.OPEN:
                self._state = ConnectionState.REMOTE_CLOSING
            yield event


class _Deflate(PerMessageDeflate):
    """With both sides' windows as they were agreed on.

    And with control frames passed by: the library takes one between two fragments for the end of
    their message.
    """

    def __init__(self, deflate: Deflate) -> None:
        super().__init__(
            deflate.client_no_context_takeover,
            deflate.client_max_window_bits,
            deflate.server_no_context_takeover,
            deflate.server_max_window_bits,
        )
        self._enabled = True
        self._control = False

    def frame_inbound_header(
        self, proto: Any, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        self._control = opcode.iscontrol()
        if self._control and not rsv.rsv1:
            return RsvBits(True, False, False)
        return super().frame_inbound_header(proto, opcode, rsv, payload_length)

    def frame_inbound_payload_data(self, proto: Any, data: bytes) -> bytes | CloseReason:
        return data if self._control else super().frame_inbound_payload_data(proto, data)

    def frame_inbound_complete(self, proto: Any, fin: bool) -> bytes | CloseReason | None:
        if self._control:
            return None
        rest = super().frame_inbound_complete(proto, fin)
        if self._decompressor is not None and self._decompressor.eof:
            self._decompressor = None  # a stream that has ended (RFC 7692 section 7.2.1)
        return rest


class TrioEngine:
    """See Engine, and this file's head."""

    def __init__(
        self,
        pipe: Pipe,
        listener: Listener,
        options: WebSocketOptions,
        deflate: Deflate | None,
        nursery: trio.Nursery,
    ) -> None:
        self._pipe = pipe
        self._listener = listener
        self._nursery = nursery
        self._stream = _PipeStream(pipe)
        extensions: list[Extension] = [] if deflate is None else [_Deflate(deflate)]
        self._library = trio_websocket.WebSocketConnection(
            self._stream,
            _Connection(ConnectionType.SERVER, extensions),  # type: ignore[arg-type]
            message_queue_size=options.websocket_max_queue,
            max_message_size=options.websocket_max_message_size or _UNLIMITED,
            receive_buffer_size=_READ_SIZE,
        )
        self._stream.is_over = lambda: not self._library._reader_running
        waiting = self._library._recv_channel._state.data
        self._stream.is_full = lambda: sum(map(len, waiting)) >= _QUEUE_SIZE
        self._ended = trio.Event()
        self._send_lock = trio.Lock()
        self._closing = False
        self._pinging = trio.CancelScope()  # the wait for a pong
        self._ping_count = 0
        self._told = False

    @property
    def heard(self) -> bool:
        """See Engine."""
        return self._stream.heard

    @heard.setter
    def heard(self, value: bool) -> None:
        self._stream.heard = value

    @property
    def stalled(self) -> bool:
        """See Engine."""
        statistics = self._library._recv_channel.statistics()
        return statistics.current_buffer_used > 0 or self._send_lock.locked()

    def start(self, data: bytes) -> None:
        """See Engine."""
        self._stream.put_back(data)
        self._nursery.start_soon(self._read)

    async def _read(self) -> None:
        with contextlib.suppress(LocalProtocolError):
            await self._library._reader_task()
        self._tell()

    def _tell(self) -> None:
        """The library's reader has ended, and so has the WebSocket."""
        if not self._told:
            self._told = True
            self._ended.set()
            reason = self._library.closed
            if reason is None:
                closed = Closed(ABNORMAL, "")
            else:
                closed = Closed(int(reason.code), reason.reason or "")
            self._listener.on_closed(closed)

    async def receive(self) -> str | bytes | None:
        """See Engine."""
        try:
            message = _bytes_or_text(await self._library.get_message())
            self._stream.go_on()
            return message
        except trio_websocket.ConnectionClosed:
            if not self._closing:
                self._tell()  # its reader is about to end
            return None

    def send(self, message: str | bytes) -> Awaitable[None]:
        """See Engine."""
        return self._send(message)

    async def _send(self, message: str | bytes) -> None:
        try:
            async with self._send_lock:
                await trio.lowlevel.checkpoint_if_cancelled()
                try:
                    # It compresses before it waits: what it has compressed must be sent.
                    await self._library.send_message(message)
                except trio.Cancelled:
                    self._pipe.abort()
                    raise
        except (trio_websocket.ConnectionClosed, LocalProtocolError) as exc:
            if not self._closing:
                self._tell()
            raise ClientDisconnectedError("the WebSocket is closed") from exc

    def ping(self, payload: bytes) -> None:
        """See Engine."""
        self._pinging.cancel()
        self._pinging = trio.CancelScope()
        self._ping_count += 1
        # The library wants each to be another.
        self._nursery.start_soon(self._ping, b"%s %d" % (payload, self._ping_count), self._pinging)

    async def _ping(self, payload: bytes, scope: trio.CancelScope) -> None:
        try:
            with scope, contextlib.suppress(trio_websocket.ConnectionClosed, LocalProtocolError):
                await self._library.ping(payload)
                self._listener.on_pong()
        finally:
            self._library._pings.pop(payload, None)

    def close(self, code: int, reason: str) -> None:
        """See Engine."""
        self._closing = True
        if self._library.closed is None:
            self._nursery.start_soon(self._close, code, reason)

    async def _close(self, code: int, reason: str) -> None:
        with contextlib.suppress(LocalProtocolError):
            await self._library.aclose(code, reason or None)

    async def finish(self) -> None:
        """See Engine."""
        await self._ended.wait()

    def on_activity(self) -> None:
        """See Engine."""
        if self._pipe.peer is Peer.LOST:
            self._pipe.interrupt()


def _bytes_or_text(message: str | bytes | bytearray) -> str | bytes:
    """A message of the library's, of the types that are promised."""
    return message if isinstance(message, str) else bytes(message)
