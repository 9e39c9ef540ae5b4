# SPDX-License-Identifier: MIT
"""A WebSocket client that sends whatever it is told to, over either version of HTTP."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

import attrs

from tests.http2 import frames as http2
from tests.http2.client import Http2Client

from .frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, Frame, close_payload, frame, split_frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.connection.service import Client

__all__ = ["KEY", "Answer", "WebSocketClient", "make_client"]

KEY: Final = base64.b64encode(b"sixteen bytes ok").decode()


@attrs.frozen
class Answer:
    """What a handshake was answered with.

    Attributes:
        body: of a denial; empty where the handshake was accepted.
    """

    status: int
    headers: dict[bytes, bytes]
    body: bytes = b""


class WebSocketClient(ABC):
    """One WebSocket.

    Attributes:
        raw: the connection's client.
        pongs: payloads of the pongs that came.
        pings: of the pings.
        answers_pings: pings are answered as they come.
    """

    def __init__(self, raw: Client) -> None:
        self.raw = raw
        self.pongs: list[bytes] = []
        self.pings: list[bytes] = []
        self.answers_pings = True
        self._buffer = bytearray()
        self._frames: list[Frame] = []

    # -- of either version ------------------------------------------------------------------

    @abstractmethod
    async def ask(self, target: str = "/", *fields: tuple[str, str], data: bytes = b"") -> None:
        """Sends the handshake, with ``data`` right behind it."""

    @abstractmethod
    async def answer(self) -> Answer:
        """What it is answered with."""

    @abstractmethod
    async def send_bytes(self, data: bytes) -> None:
        """Sends bytes of frames, as far as it goes."""

    @abstractmethod
    async def receive(self) -> bytes:
        """Bytes of frames; b"" at the end."""

    @abstractmethod
    async def send_eof(self) -> None:
        """Ends our side, without a word."""

    @abstractmethod
    async def leave(self, *, reset: bool = False) -> None:
        """Goes without a word."""

    @property
    @abstractmethod
    def was_reset(self) -> bool:
        """The server has ended it otherwise than in order. Only seen by HTTP/2's."""

    # -- the same over both -----------------------------------------------------------------

    async def open(
        self, target: str = "/", *fields: tuple[str, str], data: bytes = b"", deflate: bool = False
    ) -> Answer:
        """The whole handshake, which must be accepted."""
        if deflate:
            fields = (*fields, ("sec-websocket-extensions", "permessage-deflate"))
        await self.ask(target, *fields, data=data)
        answer = await self.answer()
        assert answer.status in (101, 200), answer
        return answer

    async def send_frame(self, opcode: int, payload: bytes = b"", **options: object) -> None:
        """Sends one frame; see frames.frame."""
        await self.send_bytes(frame(opcode, payload, **options))  # type: ignore[arg-type]

    async def send(self, message: str | bytes) -> None:
        """Sends a message in one frame."""
        if isinstance(message, str):
            await self.send_frame(TEXT, message.encode())
        else:
            await self.send_frame(BINARY, message)

    async def frame(self) -> Frame | None:
        """The next frame of any kind; None at the end."""
        while not self._frames:
            data = await self.receive()
            if not data:
                assert not self._buffer, f"it ended within a frame: {bytes(self._buffer)!r}"
                return None
            self._buffer += data
            self._frames += split_frames(self._buffer)
        return self._frames.pop(0)

    async def next_frame(self) -> Frame | None:
        """The next frame that is no ping or pong; those are noted, and pings answered."""
        while (found := await self.frame()) is not None:
            if found.opcode == PONG:
                self.pongs.append(found.payload)
            elif found.opcode == PING:
                self.pings.append(found.payload)
                if self.answers_pings:
                    await self.send_frame(PONG, found.payload)
            else:
                return found
        return None

    async def message(self) -> str | bytes:
        """The next message, which must come."""
        found = await self.next_frame()
        assert found is not None, "it ended without a message"
        assert found.opcode in (TEXT, BINARY), found
        kind, data = found.opcode, bytearray(found.payload)
        while not found.fin:
            found = await self.next_frame()
            assert found is not None
            assert found.opcode == CONT, found
            data += found.payload
        return data.decode() if kind == TEXT else bytes(data)

    async def echo(self, message: str | bytes) -> str | bytes:
        """Sends a message; the next that comes."""
        await self.send(message)
        return await self.message()

    async def closing(self) -> Frame:
        """The server's Close frame, which must come next."""
        found = await self.next_frame()
        assert found is not None, "it ended without a Close frame"
        assert found.opcode == CLOSE, found
        return found

    async def close(self, code: int = 1000, reason: str = "") -> Frame:
        """The closing handshake from our side; the server's Close frame."""
        await self.send_frame(CLOSE, close_payload(code, reason))
        return await self.closing()

    async def ended(self) -> bool:
        """Whether nothing but pings and pongs came until the end."""
        return await self.next_frame() is None

    async def ping(self, payload: bytes = b"are you there") -> bytes:
        """Sends a ping; the payload of the next pong."""
        count = len(self.pongs)
        await self.send_frame(PING, payload)
        while len(self.pongs) == count:
            found = await self.frame()
            assert found is not None, "it ended without a pong"
            if found.opcode == PONG:
                self.pongs.append(found.payload)
            else:
                assert found.opcode == PING, found
        return self.pongs[-1]


class Http1WebSocket(WebSocketClient):
    """RFC 6455's."""

    async def ask(self, target: str = "/", *fields: tuple[str, str], data: bytes = b"") -> None:
        lines = [
            f"GET {target} HTTP/1.1",
            "host: test",
            "upgrade: websocket",
            "connection: Upgrade",
            f"sec-websocket-key: {KEY}",
            "sec-websocket-version: 13",
            *(f"{name}: {value}" for name, value in fields),
        ]
        await self.raw.send("\r\n".join([*lines, "", ""]).encode() + data)

    async def answer(self) -> Answer:
        while b"\r\n\r\n" not in self.raw.pending:
            data = await self.raw.receive()
            assert data, f"no answer came: {self.raw.pending!r}"
            self.raw.pending += data
        if not self.raw.pending.startswith(b"HTTP/1.1 101 "):
            response = await self.raw.response()
            return Answer(response.status, response.headers, response.body)
        head, _, self.raw.pending = self.raw.pending.partition(b"\r\n\r\n")
        _, *lines = head.split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        return Answer(101, {name.lower(): value for name, value in headers.items()})

    async def send_bytes(self, data: bytes) -> None:
        await self.raw.try_to_send(data)

    async def receive(self) -> bytes:
        if self.raw.pending:
            data, self.raw.pending = self.raw.pending, b""
            return data
        return await self.raw.receive()

    async def send_eof(self) -> None:
        await self.raw.send_eof()

    async def leave(self, *, reset: bool = False) -> None:
        await self.raw.leave(reset=reset)

    @property
    def was_reset(self) -> bool:
        return False


class Http2WebSocket(WebSocketClient):
    """RFC 8441's. Other streams can be opened on ``http2``."""

    def __init__(self, raw: Client) -> None:
        super().__init__(raw)
        self.http2 = Http2Client(raw)
        self.stream_id = 0
        self._taken = 0

    async def ask(self, target: str = "/", *fields: tuple[str, str], data: bytes = b"") -> None:
        first = []
        if not self.stream_id:
            first = [http2.PREFACE, http2.settings()]
        self.stream_id, self.http2._next_id = self.http2._next_id, self.http2._next_id + 2
        block = http2.block(
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":authority", "test"),
            (":path", target),
            ("sec-websocket-version", "13"),
            *fields,
        )
        head = http2.headers(self.stream_id, block, end_stream=False)
        await self.http2.send(*first, head, *([http2.data(self.stream_id, data)] if data else []))

    async def answer(self) -> Answer:
        streams = self.http2.streams
        while self.stream_id not in streams or not streams[self.stream_id].heads:
            assert await self.http2.pump(), "no answer came"
        stream = streams[self.stream_id]
        if stream.status == 200:
            return Answer(200, stream.headers)
        await self.http2.response(self.stream_id)
        return Answer(stream.status, stream.headers, stream.body)

    async def send_bytes(self, data: bytes) -> None:
        pieces: Sequence[bytes] = [
            http2.data(self.stream_id, data[at : at + 16384]) for at in range(0, len(data), 16384)
        ]
        await self.http2.send(*pieces)

    async def receive(self) -> bytes:
        stream = self.http2.streams[self.stream_id]
        while len(stream.data) == self._taken:
            if stream.over or not await self.http2.pump():
                return b""
        data = bytes(stream.data[self._taken :])
        self._taken = len(stream.data)
        return data

    async def send_eof(self) -> None:
        await self.http2.send(http2.data(self.stream_id, end_stream=True))

    async def leave(self, *, reset: bool = False) -> None:
        await self.http2.send(http2.rst_stream(self.stream_id))

    @property
    def was_reset(self) -> bool:
        return self.http2.streams[self.stream_id].reset not in (None, 0)


def make_client(version: str, raw: Client) -> WebSocketClient:
    """A client that speaks HTTP "1.1" or "2"."""
    return Http1WebSocket(raw) if version == "1.1" else Http2WebSocket(raw)
