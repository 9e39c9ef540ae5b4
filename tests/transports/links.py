# SPDX-License-Identifier: MIT
"""Connected pairs: a transport on the server's side, a plain socket on the client's.

======  ==================================================
kind    transport
======  ==================================================
socket  SocketTransport, watched by a ReadinessWatcher
stream  StreamTransport over trio.SocketStream
tls     the same, over a TlsStream over that
======  ==================================================

All are over TCP, whose buffers can be made small so that a client which doesn't read is felt at
once. Time is virtual where a test asks for the ``clock`` fixture of conftest.py: TCP on the
loopback delivers while the sender's call runs, so a clock that jumps when all is quiet is safe.
"""

from __future__ import annotations

import contextlib
import math
import socket
import struct
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs
import trio

from tests.tls.authority import contexts
from tests.tls.client import TlsClientStream
from trioserve.tls import TlsStream
from trioserve.transports import ReadinessWatcher, SocketTransport, StreamTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from trioserve.transports import Transport

__all__ = [
    "KINDS",
    "LARGE",
    "SMALL",
    "Kind",
    "Link",
    "finish",
    "open_link",
    "read_all",
    "reset_on_close",
    "set_buffers",
    "tcp_pair",
]

Kind: TypeAlias = Literal["socket", "stream", "tls"]
KINDS: Final[tuple[Kind, ...]] = ("socket", "stream", "tls")

#: A size of kernel buffers that is soon full.
SMALL: Final = 8192
#: 2 MB, no part like another.
LARGE: Final = b"".join(b"%07d\n" % number for number in range(250_000))
#: Seconds of the test's clock: what hangs fails, and says where.
PATIENCE: Final = 20


def set_buffers(sock: socket.socket, size: int) -> None:
    """Makes the kernel hold about this much each way (Linux doubles it, and has a least)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def reset_on_close(sock: socket.socket) -> None:
    """Closing then sends a reset instead of an end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def tcp_pair(buffer_size: int = 0) -> tuple[socket.socket, socket.socket]:
    """A client's and a server's socket, connected and non-blocking.

    Args:
        buffer_size: of all four kernel buffers; 0 = the system's default.
    """
    with socket.socket() as listener:
        if buffer_size:
            set_buffers(listener, buffer_size)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        client = socket.socket()
        if buffer_size:
            set_buffers(client, buffer_size)
        client.connect(listener.getsockname())
        server, _ = listener.accept()
    for sock in (client, server):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client, server


@attrs.frozen
class Link:
    """A transport and its client.

    Attributes:
        sock: the transport's own socket.
        client_sock: the client's.
        activity: has an item for each call of on_activity.
    """

    transport: Transport
    client: trio.abc.HalfCloseableStream
    sock: socket.socket
    client_sock: socket.socket
    activity: list[None]

    async def client_leaves(self, *, reset: bool = False) -> None:
        """The client closes its socket."""
        if reset:
            reset_on_close(self.client_sock)
            await trio.aclose_forcefully(self.client)  # TLS says goodbye otherwise
        await self.client.aclose()


@contextlib.asynccontextmanager
async def open_link(
    kind: Kind, *, write_timeout: float = math.inf, buffer_size: int = 0
) -> AsyncIterator[Link]:
    """A transport with what must run for it; everything is closed after the block."""
    client, server = tcp_pair(buffer_size)
    ours: trio.abc.HalfCloseableStream
    ours = trio.SocketStream(trio.socket.from_stdlib_socket(client))
    async with trio.open_nursery() as nursery:
        transport: SocketTransport | StreamTransport
        if kind == "socket":
            watcher = ReadinessWatcher()
            nursery.start_soon(watcher.run)
            transport = SocketTransport(server, watcher, write_timeout)
        else:
            theirs = trio.SocketStream(trio.socket.from_stdlib_socket(server))
            stream: trio.abc.Stream = theirs
            if kind == "tls":
                secure = TlsClientStream(ours)
                stream = await _shake_hands(theirs, secure)
                ours = secure
            transport = StreamTransport(stream, write_timeout)
            nursery.start_soon(transport.run_reader)
        activity: list[None] = []
        transport.on_activity = lambda: activity.append(None)
        link = Link(transport, ours, server, client, activity)
        try:
            with trio.fail_after(PATIENCE):
                yield link
        finally:
            await finish(transport.close())
            server.close()
            await trio.aclose_forcefully(ours)
        nursery.cancel_scope.cancel()


async def _shake_hands(theirs: trio.abc.Stream, client: TlsClientStream) -> TlsStream:
    server = TlsStream(theirs, contexts().current(0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.do_handshake)
        await server.do_handshake()
    return server


async def finish(waiting: Awaitable[None] | None) -> None:
    """Awaits what a method that may have nothing to wait for returned."""
    if waiting is not None:
        await waiting


async def read_all(client: trio.abc.ReceiveStream) -> tuple[bytes, bool]:
    """All bytes until the end, and whether that was a reset."""
    data = bytearray()
    while True:
        try:
            more = await client.receive_some(65536)
        except trio.BrokenResourceError:
            return bytes(data), True
        if not more:
            return bytes(data), False
        data += more
