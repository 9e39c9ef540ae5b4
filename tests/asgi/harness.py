# SPDX-License-Identifier: MIT
"""A server under test by each way that bytes reach it, and a client that sees every one of them.

What an application sees of its exchange is the same over HTTP/1.1 and HTTP/2: such tests run over
both (``both_versions`` and ``both_in_memory`` in conftest.py), with a client of the same face.

=========  ======================================  ============================================
kind       server's transport                      time
=========  ======================================  ============================================
memory     StreamTransport over a memory stream    virtual: a grace of 3 s takes milliseconds
epoll      SocketTransport over TCP (Linux)        real: periods are tiny, waits are for events
stream     StreamTransport over TCP (elsewhere)    real, as above
=========  ======================================  ============================================
"""

from __future__ import annotations

import contextlib
import functools
import socket
import struct
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import h11
import trio

import trioserve
from trioserve.testing import open_test_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from trioserve.types import ASGIApp, Receive, Send

__all__ = [
    "FAST_KINDS",
    "KINDS",
    "Harness",
    "Kind",
    "RawClient",
    "Response",
    "Version",
    "get",
    "ok",
    "open_harness",
    "read_body",
    "until",
]

Kind: TypeAlias = Literal["memory", "epoll", "stream"]
Version: TypeAlias = Literal["1.1", "2"]
KINDS: tuple[Kind, ...] = ("memory", "epoll", "stream")
FAST_KINDS: tuple[Kind, ...] = KINDS[:2]

#: The grace period of a server over real sockets: long enough for a busy machine to run the few
#: steps of a clean-up, short enough to be waited for.
REAL_GRACE = 0.15

#: No wait of a client is longer: a test that hangs fails here, and says where.
PATIENCE = 10

_LINGER_RESET = struct.pack("ii", 1, 0)


def get(target: str = "/", *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A request's bytes, without a body."""
    lines = [f"{method} {target} HTTP/{version}", "Host: test", *headers, "", ""]
    return "\r\n".join(lines).encode()


class Response:
    """One response off the wire."""

    def __init__(self, event: h11.Response, interim: list[tuple[int, Any]]) -> None:
        self.status = event.status_code
        self.headers = {bytes(name): bytes(value) for name, value in event.headers}
        self.body = b""
        self.interim = interim
        self.trailers: list[tuple[bytes, bytes]] = []


class RawClient:
    """One connection. What was received and not yet read as a response is in ``pending``."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self.pending = b""
        self.was_reset = False

    async def send(self, data: bytes) -> None:
        with trio.fail_after(PATIENCE):
            await self.stream.send_all(data)

    async def _receive(self) -> bytes:
        with trio.fail_after(PATIENCE):
            try:
                return bytes(await self.stream.receive_some(65536))
            except trio.BrokenResourceError:
                self.was_reset = True
                return b""

    async def receive_until(self, marker: bytes) -> bytes:
        """All that came up to the marker; it stays pending."""
        while marker not in self.pending:
            data = await self._receive()
            assert data, f"the server ended before {marker!r}: {self.pending!r}"
            self.pending += data
        return self.pending

    async def rest(self) -> bytes:
        """All bytes until the server's end; ``was_reset`` tells which kind of end it was."""
        data, self.pending = self.pending, b""
        while more := await self._receive():
            data += more
        return data

    async def response(self, *, head: bool = False) -> Response:
        """The next response, strictly parsed.

        Raises:
            h11.RemoteProtocolError: it is malformed or was cut off.
        """
        parser = h11.Connection(h11.CLIENT)
        request = h11.Request(method="HEAD" if head else "GET", target="/", headers=[("host", "t")])
        parser.send(request)
        parser.send(h11.EndOfMessage())
        response: Response | None = None
        interim: list[tuple[int, Any]] = []
        if self.pending:
            parser.receive_data(self.pending)
            self.pending = b""
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(await self._receive())
            elif isinstance(event, h11.InformationalResponse):
                interim.append((event.status_code, list(event.headers)))
            elif isinstance(event, h11.Response):
                response = Response(event, interim)
            elif isinstance(event, h11.Data):
                assert response is not None
                response.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert response is not None
                response.trailers = list(event.headers)
                self.pending = parser.trailing_data[0]
                return response
            else:
                raise h11.RemoteProtocolError(f"no response came, but {event!r}")

    async def request(self, target: str = "/", *headers: str, method: str = "GET") -> Response:
        """One request without a body, and its response."""
        await self.send(get(target, *headers, method=method))
        return await self.response(head=method == "HEAD")

    async def send_eof(self) -> None:
        """Ends our side only."""
        await self.stream.send_eof()

    async def leave(self) -> None:
        """Closes the connection in order: the server sees an end."""
        await self.stream.aclose()

    async def reset(self) -> None:
        """Breaks the connection: the server sees a reset. Without a socket it is a close."""
        if isinstance(self.stream, trio.SocketStream):
            self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        await self.stream.aclose()


class Harness:
    """A running server of one kind.

    Attributes:
        version: that its clients speak.
        grace: its asgi_disconnect_grace_period, in seconds of its clock.
    """

    def __init__(
        self, kind: Kind, version: Version, grace: float, connect: Callable[[], Any]
    ) -> None:
        self.kind = kind
        self.version = version
        self.grace = grace
        self._connect = connect
        self._clients: list[RawClient] = []

    async def connect(self) -> RawClient:
        """A new connection, closed with the server if not before."""
        stream = await self._connect()
        client = RawClient(stream) if self.version == "1.1" else _http2_client(stream)
        self._clients.append(client)
        return client

    async def close_clients(self) -> None:
        """Every client leaves."""
        for client in self._clients:
            await client.leave()

    async def request(self, target: str = "/", *headers: str, method: str = "GET") -> Response:
        """One request on a connection of its own."""
        client = await self.connect()
        response = await client.request(target, *headers, method=method)
        await client.leave()
        return response


def _http2_client(stream: trio.abc.HalfCloseableStream) -> RawClient:
    from .harness_http2 import Http2RawClient

    return Http2RawClient(stream)


@contextlib.asynccontextmanager
async def open_harness(
    kind: Kind, app: ASGIApp, version: Version = "1.1", **options: Any
) -> AsyncIterator[Harness]:
    """Serves ``app`` for the block; a lifespan is only run where it is asked for.

    A server on sockets is cancelled at the end of the block, one in memory stops gracefully.
    """
    options = {"lifespan": "off", "access_log": False, **options}
    if kind == "memory":
        async with open_test_server(app, **options) as server:

            async def connect() -> trio.abc.HalfCloseableStream:
                return server.connect().stream

            grace = options.get("asgi_disconnect_grace_period", 3.0)
            harness = Harness(kind, version, grace, connect)
            try:
                yield harness
            finally:
                await harness.close_clients()
        return
    options.setdefault("asgi_disconnect_grace_period", REAL_GRACE)
    options.setdefault("bind", ["127.0.0.1:0"])
    config = trioserve.Config(**options)
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(trioserve.serve, app, config)
        dial = functools.partial(trio.open_tcp_stream, "127.0.0.1", addresses[0].port)
        harness = Harness(kind, version, config.asgi_disconnect_grace_period, dial)
        try:
            yield harness
        finally:
            await harness.close_clients()
        nursery.cancel_scope.cancel()


# -- applications -----------------------------------------------------------------------------


async def read_body(receive: Receive) -> bytes:
    """The whole request body."""
    body = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request", message
        part: bytes = message["body"]
        body += part
        if not message["more_body"]:
            return body


async def ok(send: Send, body: bytes = b"ok", *headers: tuple[bytes, bytes]) -> None:
    """A whole response."""
    await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def until(condition: Callable[[], object]) -> None:
    """Lets other tasks run until the condition holds.

    For what has no event to wait for; virtual time doesn't pass meanwhile.
    """
    with trio.fail_after(PATIENCE):
        while not condition():
            await trio.lowlevel.checkpoint()
