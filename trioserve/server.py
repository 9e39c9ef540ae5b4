# SPDX-License-Identifier: MIT
"""One HTTP server: lifespan ⊃ background ⊃ services ⊃ connections ⊃ listeners.

The nesting is the shutdown order: leaving a block ends what is inside it first. Tasks, by nursery:

===========  ==========================================================================
lifespan     the application, with the lifespan scope
background   what applications start by their extension's nursery
services     the readiness watcher, the reaper of deadlines, the handing over of connections
connections  a task a connection (and its successors, and a reader for a Trio stream), and with
             TLS, before it, a task a handshake
listeners    a task a listening socket, in ``serve``
===========  ==========================================================================

A stop cancels the listeners, ends idle connections, and gives the connections and the background
work ``graceful_timeout`` seconds in all.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any, Final

import trio

from trioserve.asgi.background import open_background
from trioserve.asgi.extension import NO_OPTIONS
from trioserve.asgi.lifespan import open_lifespan
from trioserve.asgi.scope import HttpScopes
from trioserve.asgi.tls_extension import tls_extension
from trioserve.connection import Connection, Http1Connection
from trioserve.context import ServerContext
from trioserve.listeners import ConnectionGate, Listener
from trioserve.logs import make_access_log
from trioserve.tls import Handshake
from trioserve.transports import ReadinessWatcher, SocketTransport, StreamTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from trioserve.addresses import BoundAddress
    from trioserve.config import Config
    from trioserve.connection.wire import Http1Wire
    from trioserve.metrics import Recorder
    from trioserve.protocols.http1 import RequestHead
    from trioserve.tls import TlsContexts
    from trioserve.types import ASGIApp

__all__ = ["Server", "open_server", "serve_until"]

_log = logging.getLogger("trioserve.error")

#: How long idle connections stay open once the server is stopping, in seconds.
DRAIN_DELAY: Final = 0.1
#: Seconds between two looks at the deadlines of all connections, at most.
SWEEP_INTERVAL: Final = 1.0


class Server:
    """Takes accepted sockets and streams and serves them; made by open_server.

    Attributes:
        connections: the open ones.
        handshakes: those under way, of connections to be.
    """

    def __init__(
        self,
        shared: ServerContext,
        nursery: trio.Nursery,
        watcher: ReadinessWatcher | None,
        tls: TlsContexts | None,
    ) -> None:
        self._shared = shared
        self._tls = tls
        self._nursery = nursery
        self._watcher = watcher
        self._completed: dict[Http1Connection, None] = {}
        self._handing_over = trio.lowlevel.ParkingLot()
        self._reaping = trio.lowlevel.ParkingLot()
        self.connections: set[Connection] = set()
        self.handshakes: set[Handshake] = set()

    # -- new connections --------------------------------------------------------------------

    def accept_socket(
        self,
        sock: socket.socket,
        peer_address: Any,
        *,
        address: BoundAddress,
        on_closed: Callable[[], None],
    ) -> None:
        """Serves a connected, non-blocking socket in a task of its own; never blocks.

        Args:
            peer_address: as ``socket.accept()`` gives it.
            address: where it was accepted; its scheme tells whether TLS is spoken there.
            on_closed: called once the socket is closed.
        """
        if sock.family == socket.AF_UNIX:
            client, server = None, (str(address.path), None)
        else:
            # IPv6 addresses are 4-tuples: host, port, flow label, scope.
            client, server = peer_address[:2], sock.getsockname()[:2]
        if address.scheme == "https":
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
            self.accept_tls_stream(stream, client=client, server=server, on_closed=on_closed)
            return
        transport: SocketTransport | StreamTransport
        if self._watcher is not None:
            transport = SocketTransport(sock, self._watcher, self._shared.write_timeout)
        else:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
            transport = self._read_ahead(stream)
        scopes = self._make_scopes(address.scheme, client, server)
        self._serve(transport, scopes, on_closed, protocol=None)

    def accept_stream(
        self,
        stream: trio.abc.Stream,
        *,
        scheme: str = "http",
        client: tuple[str, int] | None = ("testclient", 50000),
        server: tuple[str, int | None] | None = ("testserver", 80),
    ) -> None:
        """Serves any Trio stream in a task of its own."""
        scopes = self._make_scopes(scheme, client, server)
        self._serve(self._read_ahead(stream), scopes, lambda: None, protocol=None)

    def accept_tls_stream(
        self,
        stream: trio.abc.Stream,
        *,
        client: tuple[str, int] | None = ("testclient", 50000),
        server: tuple[str, int | None] | None = ("testserver", 443),
        on_closed: Callable[[], None] = lambda: None,
    ) -> None:
        """Sets TLS up over any Trio stream, and serves it, in a task of its own.

        Args:
            on_closed: called once the stream is closed, whether it became a connection or not.
        """
        if self._tls is None:
            raise RuntimeError("this server has no certificate, so it can't speak TLS")
        handshake = Handshake(stream, self._tls, client, self._shared.default_fields)
        self.handshakes.add(handshake)
        self._nursery.start_soon(self._run_handshake, handshake, client, server, on_closed)

    async def _run_handshake(
        self,
        handshake: Handshake,
        client: tuple[str, int] | None,
        server: tuple[str, int | None] | None,
        on_closed: Callable[[], None],
    ) -> None:
        secure = None
        try:
            secure = await handshake.run()
        finally:
            self.handshakes.discard(handshake)
            if secure is None:
                on_closed()
        if secure is None:
            return
        transport = self._read_ahead(secure)
        try:
            if self._shared.draining:
                # A connection that begins now doesn't wait for a request, but this one's is coming.
                await trio.sleep(DRAIN_DELAY)
        finally:
            # Also if this was cancelled: the connection is what closes the stream.
            scopes = self._make_scopes("https", client, server, {"tls": tls_extension(secure)})
            self._serve(transport, scopes, on_closed, protocol=secure.application_protocol)

    def _read_ahead(self, stream: trio.abc.Stream) -> StreamTransport:
        transport = StreamTransport(stream, self._shared.write_timeout, self._nursery.start_soon)
        self._nursery.start_soon(transport.run_reader)
        return transport

    def _make_scopes(
        self,
        scheme: str,
        client: tuple[str, int] | None,
        server: tuple[str, int | None] | None,
        extensions: Mapping[str, Any] = NO_OPTIONS,
    ) -> HttpScopes:
        """What the scopes of one connection have in common.

        Args:
            extensions: that it has and others have not.
        """
        shared = self._shared
        return HttpScopes(
            scheme,
            client,
            server,
            shared.config.root_path,
            shared.state,
            {**shared.extensions, **extensions},
        )

    def _serve(
        self,
        transport: SocketTransport | StreamTransport,
        scopes: HttpScopes,
        on_closed: Callable[[], None],
        *,
        protocol: str | None,
    ) -> None:
        """Begins a connection.

        Args:
            protocol: what ALPN has chosen; None where nobody could: then its first bytes tell.
        """

        recorder = self._shared.recorder
        if recorder is not None:
            recorder.begin_connection()

        def closed(connection: Connection) -> None:
            self.connections.discard(connection)
            if recorder is not None:
                recorder.end_connection()
            on_closed()

        def begin_http2(data: bytes = b"") -> None:
            from trioserve.connection.http2 import Http2Connection

            connection = Http2Connection(self._shared, transport, scopes, closed)
            self._add(connection)
            self._nursery.start_soon(connection.run, data)

        def change_to_http2(data: bytes) -> None:
            self.connections.discard(http1)
            begin_http2(data)

        def change_to_websocket(wire: Http1Wire, request: RequestHead) -> None:
            from trioserve.connection.websocket_http1 import WebSocketConnection

            self.connections.discard(http1)
            connection = WebSocketConnection(self._shared, wire, scopes, request, closed)
            self._add(connection)
            self._nursery.start_soon(connection.run)

        config = self._shared.config
        if protocol == "h2" or "h1" not in config.http_protocols:
            begin_http2()
            return
        by_preface = (
            scopes.scheme == "http"
            and "h2" in config.http_protocols
            and config.http2_cleartext != "off"
        )
        http1 = Http1Connection(
            self._shared,
            transport,
            scopes,
            closed,
            change_to_http2 if by_preface else None,
            change_to_websocket,
        )
        self._add(http1)
        self._nursery.start_soon(http1.run)

    def _add(self, connection: Connection) -> None:
        if not self.connections:
            self._reaping.unpark_all()
        self.connections.add(connection)

    # -- services ---------------------------------------------------------------------------

    def hand_over(self, connection: Http1Connection) -> None:
        """Has ``run_hand_overs`` look at a connection whose response is complete."""
        self._completed[connection] = None
        self._handing_over.unpark()

    async def run_hand_overs(self) -> None:
        """Starts a successor for connections whose application goes on after its response."""
        while True:
            if not self._completed:
                await self._handing_over.park()
            completed, self._completed = self._completed, {}
            for connection in completed:
                exchange = connection.successor_of()
                if exchange is not None:
                    self._nursery.start_soon(connection.run, exchange)

    async def run_reaper(self, timeouts: list[float]) -> None:
        """Ends the waits whose deadline has passed. Sleeps while there is no connection.

        Args:
            timeouts: all that a deadline can be made of. An expiry is late by at most a quarter of
                the smallest, and by at most SWEEP_INTERVAL.
        """
        interval = max(0.01, min(SWEEP_INTERVAL, *(timeout / 4 for timeout in timeouts)))
        while True:
            if not self.connections:
                await self._reaping.park()
            await trio.sleep(interval)
            if self._shared.recorder is not None:
                self._shared.recorder.settle()
            now = trio.current_time()
            # expire() wakes tasks but runs none, so the set stays as it is.
            for connection in self.connections:
                if connection.deadline <= now:
                    connection.expire()

    async def drain(self) -> None:
        """No connection goes on after its current exchange; idle ones end after a moment.

        The moment is for requests that are on their way while we stop: they are answered, with
        ``connection: close``, where closing at once would reset them.
        """
        self._shared.draining = True
        if not self.connections and not self.handshakes:
            return
        for connection in list(self.connections):
            connection.begin_drain()
        await trio.sleep(DRAIN_DELAY)
        for handshake in self.handshakes:
            handshake.drain()
        for connection in list(self.connections):
            connection.drain()


@contextlib.asynccontextmanager
async def open_server(
    app: ASGIApp,
    config: Config,
    extensions: Mapping[str, Any] = NO_OPTIONS,
    tls: TlsContexts | None = None,
    recorder: Recorder | None = None,
) -> AsyncIterator[Server]:
    """Everything of a server but its listeners.

    Leaving the block is the graceful stop: it drains for ``graceful_timeout``.

    Args:
        app: an ASGI 3 application.
        config: its settings.
        extensions: what else every scope's ``extensions`` have.
        tls: what it speaks TLS with, where it does.
        recorder: counts what it does, where somebody asks for figures.

    Raises:
        StartupError: the application's lifespan startup failed.

    *Cancellation*: exchanges under way are cancelled, then the lifespan is shut down in order.
    """
    watcher = ReadinessWatcher() if ReadinessWatcher.supported else None
    async with (
        open_lifespan(app, config) as state,
        open_background() as background,
        trio.open_nursery() as services,
    ):
        async with trio.open_nursery() as connections:
            shared = ServerContext(
                app,
                config,
                state,
                background,
                make_access_log(config),
                lambda _: None,
                extensions,
                recorder,
            )
            server = Server(shared, connections, watcher, tls)
            shared.hand_over = server.hand_over
            if watcher is not None:
                services.start_soon(watcher.run)
            services.start_soon(server.run_hand_overs)
            services.start_soon(
                server.run_reaper,
                [
                    shared.keep_alive_timeout,
                    shared.header_timeout,
                    shared.body_timeout,
                    *config.websocket_timeouts,
                ],
            )
            yield server
            deadline = trio.current_time() + config.graceful_timeout
            connections.cancel_scope.deadline = deadline
            await server.drain()
        background.cancel_scope.deadline = deadline
        if connections.cancel_scope.cancelled_caught:
            _log.warning(
                "graceful_timeout (%g s) is over: the requests under way were cancelled",
                config.graceful_timeout,
            )
        services.cancel_scope.cancel()


async def serve_until(
    stop: trio.Event,
    app: ASGIApp,
    config: Config,
    listeners: list[Listener],
    extensions: Mapping[str, Any] = NO_OPTIONS,
    tls: TlsContexts | None = None,
    recorder: Recorder | None = None,
    *,
    task_status: trio.TaskStatus[tuple[BoundAddress, ...]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves on ``listeners`` until ``stop`` is set, then stops gracefully and closes them.

    Raises:
        StartupError: the application's lifespan startup failed.
    """
    async with open_server(app, config, extensions, tls, recorder) as server:
        gate = ConnectionGate(config.max_connections)

        def on_connection(listener: Listener) -> Callable[[socket.socket, Any], None]:
            def accept(sock: socket.socket, peer_address: Any) -> None:
                server.accept_socket(
                    sock, peer_address, address=listener.address, on_closed=gate.leave
                )

            return accept

        async with trio.open_nursery() as accepting:
            for listener in listeners:
                accepting.start_soon(listener.serve, on_connection(listener), gate)
            task_status.started(tuple(listener.address for listener in listeners))
            await stop.wait()
            accepting.cancel_scope.cancel()
        for listener in listeners:
            listener.accept_pending(on_connection(listener), gate)
            listener.close()
