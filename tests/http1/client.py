# SPDX-License-Identifier: MIT
"""A client that reads replies strictly: h11 parses each, and nothing between them is skipped.

One task sends, another reads: a server may answer, and close, before it has all that we send.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import h11
import trio

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Answer", "Client", "MalformedAnswerError"]

#: What the server needs to take a piece before the next is sent: it wakes in one step of the
#: loop and may be scheduled behind us in it.
STEPS_A_PIECE = 2


class MalformedAnswerError(Exception):
    """What came is no well-formed HTTP/1.1 response, or is only a part of one."""


@dataclass(slots=True)
class Answer:
    """One final response, and the 1xx that came before it."""

    status: int
    reason: bytes
    version: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    interim: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, event: h11.Response, interim: list[int]) -> Self:
        """The answer that begins with this event."""
        headers = [(bytes(name), bytes(value)) for name, value in event.headers]
        version = bytes(event.http_version)
        return cls(event.status_code, bytes(event.reason), version, headers, interim=interim)

    def values(self, name: bytes) -> list[bytes]:
        """The values of the fields of this lower-case name."""
        return [value for key, value in self.headers if key == name]

    @property
    def options(self) -> set[bytes]:
        """The connection options, in lower case."""
        lists = (value.lower().split(b",") for value in self.values(b"connection"))
        return {option.strip() for options in lists for option in options}


class Client:
    """One connection to the server under test.

    Attributes:
        port: Our port, by which the application knows us.
        continued: Set once a 100 Continue has come.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._pending = b""
        self.port: int = stream.socket.getsockname()[1]
        self.continued = trio.Event()

    async def send(self, data: bytes, piece_size: int) -> None:
        """Send in pieces. A server that has closed is no error: its replies say why."""
        try:
            for start in range(0, len(data), piece_size):
                await self._stream.send_all(data[start : start + piece_size])
                for _ in range(STEPS_A_PIECE):
                    await trio.lowlevel.checkpoint()
        except trio.BrokenResourceError:
            return

    async def send_eof(self) -> None:
        """End our side of the connection."""
        try:
            await self._stream.send_eof()
        except trio.BrokenResourceError:
            return

    async def answer(self, *, head: bool = False) -> Answer | None:
        """The next response; None where the connection ends before its first byte.

        Raises:
            MalformedAnswerError: It is not well-formed, or the connection ends within it.
        """
        parser = h11.Connection(h11.CLIENT)
        method = "HEAD" if head else "GET"
        parser.send(h11.Request(method=method, target="/", headers=[("host", "h")]))
        parser.send(h11.EndOfMessage())
        try:
            return await self._parse(parser)
        except h11.RemoteProtocolError as error:
            raise MalformedAnswerError(f"{error}: {bytes(self._pending[:60])!r}") from error

    async def _parse(self, parser: h11.Connection) -> Answer | None:
        data = self._pending or await self._receive()
        if not data:
            return None
        answer: Answer | None = None
        interim: list[int] = []
        while True:
            parser.receive_data(data)
            event = parser.next_event()
            while event is not h11.NEED_DATA:
                if isinstance(event, h11.InformationalResponse):
                    interim.append(event.status_code)
                    if event.status_code == 100:
                        self.continued.set()
                elif isinstance(event, h11.Response):
                    answer = Answer.of(event, interim)
                elif isinstance(event, h11.Data) and answer is not None:
                    answer.body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    self._pending = parser.trailing_data[0]
                    return answer
                event = parser.next_event()
            data = await self._receive()

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        rest, self._pending = self._pending, b""
        while data := await self._receive():
            rest += data
        return rest

    async def _receive(self) -> bytes:
        """The next bytes; none at EOF. A reset is an end like any other."""
        try:
            return bytes(await self._stream.receive_some(65536))
        except trio.BrokenResourceError:
            return b""
