# SPDX-License-Identifier: MIT
"""Run an application over in-memory streams, in the same Trio loop as its test.

Everything but the sockets is the real server: lifespan, parsing, deadlines, disconnect grace. With
pytest-trio's ``autojump_clock`` a grace period of three seconds takes milliseconds. ::

    async def test_hello(autojump_clock):
        async with open_test_server(app) as server:
            response = await server.request("GET", "/")
            assert response.status == 200

For what a whole response can't show (half a request, a client that leaves) there is
``server.connect()``: the client's end of a stream, to send and receive bytes on.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import attrs
import h11
import trio
import trio.testing

from trioserve.config import Config
from trioserve.server import Server, open_server
from trioserve.tls import open_contexts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from typing import TypeAlias

    from trioserve.metrics import Recorder
    from trioserve.types import ASGIApp, Headers

    MemoryStream: TypeAlias = trio.StapledStream[
        trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream
    ]

__all__ = ["TestClient", "TestResponse", "TestServer", "open_test_server"]


@attrs.frozen
class TestResponse:
    """A response as a client sees it.

    Attributes:
        status: of the final response.
        headers: names lower-cased, in the wire's order.
        body: whole, without framing.
        interim: ``(status, headers)`` of each 1xx response that came before.
        trailers: the fields of the trailer section.
    """

    __test__ = False

    status: int
    headers: Headers
    body: bytes
    interim: list[tuple[int, Headers]]
    trailers: Headers

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header, or None."""
        return next((value for key, value in self.headers if key == name), None)


class TestClient:
    """One HTTP/1.1 connection, kept alive between requests.

    Attributes:
        stream: the client's end.
    """

    __test__ = False

    def __init__(self, stream: MemoryStream) -> None:
        self.stream = stream
        self._h11 = h11.Connection(h11.CLIENT)

    async def send_request(
        self,
        method: str,
        target: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        """Sends a whole request; Host and Content-Length are added where they are not given."""
        fields = list(headers)
        names = {name.lower() for name, _ in fields}
        if "host" not in names:
            fields.insert(0, ("host", "testserver"))
        if body and not names & {"content-length", "transfer-encoding"}:
            fields.append(("content-length", str(len(body))))
        data = self._h11.send(h11.Request(method=method, target=target, headers=fields)) or b""
        if body:
            data += self._h11.send(h11.Data(data=body)) or b""
        data += self._h11.send(h11.EndOfMessage()) or b""
        await self.stream.send_all(data)

    async def receive_response(self) -> TestResponse:
        """The next response, whole.

        Raises:
            h11.RemoteProtocolError: it is malformed, was cut short by the connection's end, or
                the connection ended without one.
        """
        interim: list[tuple[int, Headers]] = []
        event = await self._next_event()
        while isinstance(event, h11.InformationalResponse):
            interim.append((event.status_code, list(event.headers)))
            event = await self._next_event()
        if isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("the connection ended, and no response came")
        assert isinstance(event, h11.Response), event
        body = bytearray()
        end = await self._next_event()
        while isinstance(end, h11.Data):
            body += end.data
            end = await self._next_event()
        assert isinstance(end, h11.EndOfMessage), end
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        return TestResponse(
            event.status_code, list(event.headers), bytes(body), interim, list(end.headers)
        )

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> TestResponse:
        """Sends a request and waits for its response."""
        await self.send_request(method, target, headers=headers, body=body)
        return await self.receive_response()

    async def _next_event(self) -> Any:
        while True:
            event = self._h11.next_event()
            if event is not h11.NEED_DATA:
                return event
            try:
                data = await self.stream.receive_some()
            except trio.BrokenResourceError:
                data = b""
            self._h11.receive_data(bytes(data))

    async def aclose(self) -> None:
        """The client leaves."""
        await self.stream.aclose()


class TestServer:
    """A running server without sockets.

    Attributes:
        server: the real one.
    """

    __test__ = False

    def __init__(self, server: Server) -> None:
        self.server = server

    def connect(self) -> TestClient:
        """A new connection, as ("testclient", 50000) to ("testserver", 80)."""
        ours, theirs = trio.testing.memory_stream_pair()
        self.server.accept_stream(theirs)
        return TestClient(ours)

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> TestResponse:
        """One request on a connection of its own."""
        client = self.connect()
        try:
            return await client.request(method, target, headers=headers, body=body)
        finally:
            await client.aclose()


@contextlib.asynccontextmanager
async def open_test_server(
    app: ASGIApp,
    config: Config | None = None,
    *,
    recorder: Recorder | None = None,
    **options: Any,
) -> AsyncIterator[TestServer]:
    """Starts the application up, serves it for the block, drains and shuts it down.

    Args:
        config: or its fields as keywords; ``access_log`` is off unless it is asked for.
        recorder: counts what the server does.

    Raises:
        StartupError: the application's lifespan startup failed.

    An exception of the block comes out as it is, not in the exception groups of the server's
    nurseries: a failing test shows its own error, and may skip itself.
    """
    if config is None:
        config = Config(**{"access_log": False, **options})
    failure: BaseException | None = None
    try:
        async with open_server(app, config, tls=open_contexts(config), recorder=recorder) as server:
            try:
                yield TestServer(server)
            except BaseException as exc:
                failure = exc
                raise
    except BaseExceptionGroup as group:
        if failure is None or not _holds_only(failure, group):
            raise
    # Out of the handler, so that the group doesn't become its context.
    if failure is not None:
        raise failure


def _holds_only(failure: BaseException, group: BaseException) -> bool:
    # A nursery rebuilds the groups that pass it, so it's their leaves that are the same.
    return {*map(id, _leaves(group))} <= {*map(id, _leaves(failure))}


def _leaves(exc: BaseException) -> Iterator[BaseException]:
    if isinstance(exc, BaseExceptionGroup):
        for inner in exc.exceptions:
            yield from _leaves(inner)
    else:
        yield exc
