# SPDX-License-Identifier: MIT
"""A server without listeners, and clients that are connected to it by hand.

======  ==============================  ====================================================
kind    server's transport              what the client has
======  ==============================  ====================================================
memory  StreamTransport                 a memory stream, which takes whatever is sent
socket  SocketTransport over TCP        a socket, whose buffers can be made small
stream  StreamTransport over TCP        the same: what serves where there is no epoll
tls     StreamTransport over TLS        the same
======  ==============================  ====================================================

Time is virtual for all of them (the ``clock`` fixture): see tests/transports/links.py.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs
import h11
import trio
import trio.testing

from tests.tls.authority import contexts
from tests.tls.client import TlsClientStream
from tests.transports.links import reset_on_close, tcp_pair
from trioserve.addresses import format_bound
from trioserve.config import Config
from trioserve.server import Server, open_server

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from trioserve.types import ASGIApp, Receive, Scope, Send

__all__ = [
    "KINDS",
    "Client",
    "Kind",
    "Response",
    "Service",
    "chunk",
    "get",
    "open_service",
    "post",
    "read_body",
    "reply",
    "text_app",
]

Kind: TypeAlias = Literal["memory", "socket", "stream", "tls"]
KINDS: Final[tuple[Kind, ...]] = ("memory", "socket", "stream", "tls")

#: Seconds, real and virtual: longer than anything that a test waits for.
PATIENCE: Final = (30, 1000)


def get(target: str = "/", *fields: str) -> bytes:
    """A request without a body."""
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: h", *fields, "", ""]).encode()


def post(body: bytes, *fields: str, target: str = "/", length: int | None = None) -> bytes:
    """A request with Content-Length, which may promise more than ``body``."""
    size = len(body) if length is None else length
    lines = [f"POST {target} HTTP/1.1", "Host: h", f"Content-Length: {size}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@attrs.define
class Response:
    """A response as a client reads it."""

    status: int
    headers: dict[bytes, bytes]
    interim: list[int]
    body: bytes = b""

    @property
    def closes(self) -> bool:
        """It says that the connection ends with it."""
        return self.headers.get(b"connection") == b"close"


class Client:
    """The client's end of one connection.

    Attributes:
        pending: what has come and belongs to no response that was read.
        sock: None in memory.
    """

    def __init__(
        self, stream: trio.abc.HalfCloseableStream, sock: socket.socket | None = None
    ) -> None:
        self.stream = stream
        self.sock = sock
        self.pending = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def try_to_send(self, data: bytes) -> None:
        """Sends as far as it goes."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.send(data)

    async def receive(self) -> bytes:
        """What comes next; b"" at the end, whichever it is."""
        try:
            return bytes(await self.stream.receive_some(65536))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    async def response(self, *, head: bool = False) -> Response:
        """The next response, strictly parsed."""
        parser = h11.Connection(h11.CLIENT)
        method = "HEAD" if head else "GET"
        parser.send(h11.Request(method=method, target="/", headers=[("host", "h")]))
        parser.send(h11.EndOfMessage())
        data, self.pending = self.pending, b""
        response: Response | None = None
        interim: list[int] = []
        while True:
            parser.receive_data(data or await self.receive())
            while (event := parser.next_event()) is not h11.NEED_DATA:
                match event:
                    case h11.InformationalResponse(status_code=status):
                        interim.append(status)
                    case h11.Response(status_code=status, headers=headers):
                        response = Response(status, dict(headers), interim)
                    case h11.Data(data=part) if response is not None:
                        response.body += part
                    case h11.EndOfMessage() if response is not None:
                        self.pending = parser.trailing_data[0]
                        return response
                    case _:
                        raise AssertionError(f"no response, but {event!r}")
            data = b""

    async def request(self, data: bytes) -> Response:
        await self.send(data)
        return await self.response()

    async def rest(self) -> bytes:
        """All that comes until the end."""
        data, self.pending = self.pending, b""
        while more := await self.receive():
            data += more
        return data

    async def send_eof(self) -> None:
        await self.stream.send_eof()

    async def leave(self, *, reset: bool = False) -> None:
        if reset and self.sock is not None:
            reset_on_close(self.sock)
        await self.stream.aclose()


class Service:
    """A running server.

    Attributes:
        closed: how many connections over TCP have been closed.
        clients: all that ever connected.
    """

    def __init__(self, kind: Kind, server: Server) -> None:
        self.kind = kind
        self.server = server
        self.closed = 0
        self.clients: list[Client] = []

    def connect(self, buffer_size: int = 0) -> Client:
        """A new connection, over TCP with kernel buffers of that size."""
        if self.kind == "memory":
            ours, theirs = trio.testing.memory_stream_pair()
            self.server.accept_stream(theirs)
            return self._add(Client(ours))
        client, server = tcp_pair(buffer_size)
        self.server.accept_socket(
            server,
            client.getsockname(),
            address=format_bound(server.getsockname(), server.family, scheme=self._scheme),
            on_closed=self._count,
        )
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(client))
        secure = TlsClientStream(stream) if self.kind == "tls" else stream
        return self._add(Client(secure, client))

    @property
    def _scheme(self) -> str:
        return "https" if self.kind == "tls" else "http"

    def _add(self, client: Client) -> Client:
        self.clients.append(client)
        return client

    def _count(self) -> None:
        self.closed += 1

    async def all_closed(self) -> None:
        """Waits until no connection is open; time passes meanwhile."""
        while self.connections:  # noqa: ASYNC110  the server has no event for a test to wait for
            await trio.sleep(0.1)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self.server.connections)


@contextlib.asynccontextmanager
async def open_service(
    kind: Kind, app: ASGIApp, *, clients_leave: bool = True, **options: Any
) -> AsyncIterator[Service]:
    """Serves ``app`` for the block; leaving it is the graceful stop.

    Args:
        clients_leave: the clients close at the end of the block, else only after the stop.
        options: the configuration's; ``recorder`` is the server's.
    """
    recorder = options.pop("recorder", None)
    config = Config().with_changes(**{"lifespan": "off", "access_log": False, **options})
    service: Service | None = None
    try:
        # A client that says nothing doesn't begin TLS, either: the same timeout is to find it.
        timeout = config.header_timeout
        tls = contexts(tls_handshake_timeout=timeout) if kind == "tls" else None
        async with open_server(app, config, tls=tls, recorder=recorder) as server:
            service = Service(kind, server)
            virtual = isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock)
            with trio.fail_after(PATIENCE[virtual]):
                yield service
            if clients_leave:
                await _leave(service)
    finally:
        if service is not None:
            await _leave(service)


async def _leave(service: Service) -> None:
    for client in service.clients:
        await trio.aclose_forcefully(client.stream)


async def reply(send: Send, body: bytes = b"", status: int = 200) -> None:
    """A whole response."""
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive: Receive) -> bytes:
    """The whole body; what has come of it where the client left."""
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


async def text_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body, and answers with the path and the body."""
    body = await read_body(receive)
    await reply(send, scope["path"].encode() + b" " + body)
