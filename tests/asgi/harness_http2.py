# SPDX-License-Identifier: MIT
"""The harness's client over HTTP/2: the same face, so that one suite holds both versions.

Requests are given as HTTP/1.1's bytes, whole or in parts, and go out as frames; responses come back
in the order of their requests. What is HTTP/1.1's own (the bytes of a response, pipelining) isn't
there: tests of it are not for both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11
import trio

from tests.http2 import frames
from tests.http2.client import Http2Client

from .harness import PATIENCE, RawClient, Response

if TYPE_CHECKING:
    from tests.http2.client import Response as Http2Response

__all__ = ["Http2RawClient"]

_NOT_IN_HTTP2 = {b"host", b"connection", b"transfer-encoding"}


class _Pipe:
    """What Http2Client needs of a connection."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self.was_reset = False

    async def try_to_send(self, data: bytes) -> None:
        with trio.fail_after(PATIENCE):
            await self.stream.send_all(data)

    async def receive(self) -> bytes:
        with trio.fail_after(PATIENCE):
            try:
                return bytes(await self.stream.receive_some(65536))
            except trio.BrokenResourceError:
                self.was_reset = True
                return b""


class Http2RawClient(RawClient):
    """See this file's head."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        super().__init__(stream)
        self._client = Http2Client(_Pipe(stream))  # type: ignore[arg-type]
        self._begun = False
        self._parser = h11.Connection(h11.SERVER)
        self._stream_id = 0  # of the request that is being sent
        self._last_id = -1
        self._due: list[int] = []

    async def send(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            await self._client.send(frames.PREFACE, frames.settings())
        while data:
            self._parser.receive_data(data)
            data = b""
            while (event := self._parser.next_event()) is not h11.NEED_DATA:
                await self._pass_on(event)
                if isinstance(event, h11.EndOfMessage):
                    data = self._parser.trailing_data[0]
                    self._parser = h11.Connection(h11.SERVER)
                    break

    async def _pass_on(self, event: object) -> None:
        if isinstance(event, h11.Request):
            self._last_id += 2
            self._stream_id = self._last_id
            fields = [
                (bytes(name).decode("latin-1"), bytes(value).decode("latin-1"))
                for name, value in event.headers
                if bytes(name) not in _NOT_IN_HTTP2
            ]
            names = {bytes(name) for name, _ in event.headers}
            has_body = bool(names & {b"content-length", b"transfer-encoding"})
            head = frames.get(event.target.decode(), *fields, method=event.method.decode())
            await self._client.send(frames.headers(self._stream_id, head, end_stream=not has_body))
            self._due.append(self._stream_id)
            if not has_body:
                self._stream_id = 0
        elif isinstance(event, h11.Data):
            await self._client.send(frames.data(self._stream_id, bytes(event.data)))
        elif isinstance(event, h11.EndOfMessage) and self._stream_id:
            await self._client.send(frames.data(self._stream_id, end_stream=True))
            self._stream_id = 0

    async def response(self, *, head: bool = False) -> Response:
        """The response to the oldest request that has none yet.

        Raises:
            h11.RemoteProtocolError: it was cut off, or none came.
        """
        got = await self._client.response(self._due.pop(0))
        if not got.ended:
            raise h11.RemoteProtocolError(f"no whole response came, but {got!r}")
        return _as_response(got)

    async def rest(self) -> bytes:
        raise NotImplementedError("the bytes of a connection are HTTP/1.1's")

    async def receive_until(self, marker: bytes) -> bytes:
        """Until a body has the marker."""
        while not any(marker in stream.data for stream in self._client.streams.values()):
            assert await self._client.pump(), f"the server ended before {marker!r}"
        return b""


def _as_response(got: Http2Response) -> Response:
    def plain(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        return [field for field in fields if field[0] != b":status"]

    interim = [
        (status, plain(fields)) for status, fields in zip(got.interim, got.heads, strict=False)
    ]
    final = h11.Response(status_code=got.status, headers=list(got.headers.items())[1:])
    response = Response(final, interim)
    response.body = got.body
    response.trailers = got.trailers or []
    return response
