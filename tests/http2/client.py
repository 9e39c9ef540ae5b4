# SPDX-License-Identifier: MIT
"""A client of HTTP/2 that sends whatever it is told to, and sees every frame that comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs
import hpack

from tests.http2 import frames

if TYPE_CHECKING:
    from tests.connection.service import Client

__all__ = ["Http2Client", "Response", "Verdict"]

Fields: TypeAlias = "list[tuple[bytes, bytes]]"


@attrs.define
class Response:
    """What came on one stream.

    Attributes:
        heads: each header section: interim, final, trailers.
        data: of the body.
        ended: the stream ended, as it should.
        reset: the code of a RST_STREAM, or None.
    """

    heads: list[Fields] = attrs.Factory(list)
    data: bytearray = attrs.Factory(bytearray)
    ended: bool = False
    reset: int | None = None

    @property
    def body(self) -> bytes:
        """What has come of it."""
        return bytes(self.data)

    @property
    def over(self) -> bool:
        """Nothing more comes."""
        return self.ended or self.reset is not None

    @property
    def _final(self) -> int:
        found = [at for at, head in enumerate(self.heads) if head[0][1][:1] != b"1"]
        assert found, f"no response came: {self}"
        return found[0]

    @property
    def status(self) -> int:
        """Of the final response."""
        return int(self.heads[self._final][0][1])

    @property
    def interim(self) -> list[int]:
        """The statuses that came before."""
        return [int(head[0][1]) for head in self.heads[: self._final]]

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Of the final response."""
        return dict(self.heads[self._final])

    @property
    def trailers(self) -> Fields | None:
        """The trailer section, or None."""
        rest = self.heads[self._final + 1 :]
        assert len(rest) < 2, rest
        return rest[0] if rest else None


@attrs.frozen
class Verdict:
    """How something was taken.

    Attributes:
        goaway: the code of the last GOAWAY, or None.
        resets: the code that each stream was reset with.
        closed: the connection has ended.
    """

    goaway: int | None
    resets: dict[int, int]
    closed: bool


class Http2Client:
    """One connection, whose preface was sent.

    Attributes:
        frames: all that have come.
        streams: what came on each.
        closed: nothing more comes.
        auto: answers SETTINGS, and gives credit for what comes.
    """

    def __init__(self, raw: Client, *, auto: bool = True) -> None:
        self.raw = raw
        self.auto = auto
        self.frames: list[frames.Frame] = []
        self.streams: dict[int, Response] = {}
        self.closed = False
        self._buffer = bytearray()
        self._decoder = hpack.Decoder()
        self._decoder.max_header_list_size = 2**20
        self._fragments = bytearray()
        self._next_id = 1

    async def send(self, *parts: bytes) -> None:
        """Sends frames, as one piece; as far as it goes."""
        await self.raw.try_to_send(b"".join(parts))

    async def request(
        self, path: str = "/", *fields: tuple[str, str], method: str = "GET", body: bytes = b""
    ) -> Response:
        """A whole request, and its response."""
        return await self.response(await self.ask(path, *fields, method=method, body=body))

    async def ask(
        self, path: str = "/", *fields: tuple[str, str], method: str = "GET", body: bytes = b""
    ) -> int:
        """Sends a whole request; returns its stream's id."""
        stream_id = await self.open(path, *fields, method=method, end_stream=not body)
        if body:
            await self.send(frames.data(stream_id, body, end_stream=True))
        return stream_id

    async def open(
        self,
        path: str = "/",
        *fields: tuple[str, str],
        method: str = "POST",
        end_stream: bool = False,
    ) -> int:
        """Sends a request's head; returns its stream's id."""
        stream_id, self._next_id = self._next_id, self._next_id + 2
        head = frames.get(path, *fields, method=method)
        await self.send(frames.headers(stream_id, head, end_stream=end_stream))
        return stream_id

    async def pump(self) -> bool:
        """Takes what comes next; False at the end."""
        data = await self.raw.receive()
        if not data:
            self.closed = True
            return False
        self._buffer += data
        replies = []
        for frame in frames.split_frames(self._buffer):
            self.frames.append(frame)
            self._note(frame)
            if not self.auto:
                continue
            if frame.type == frames.SETTINGS and not frame.flags & frames.ACK:
                replies.append(frames.frame(frames.SETTINGS, frames.ACK, 0))
            elif frame.type == frames.DATA and frame.payload:
                replies.append(frames.window_update(0, len(frame.payload)))
                if not frame.ends:
                    replies.append(frames.window_update(frame.stream_id, len(frame.payload)))
        if replies:
            await self.send(*replies)
        return True

    def _note(self, frame: frames.Frame) -> None:
        if frame.type in (frames.HEADERS, frames.CONTINUATION):
            self._fragments += frame.payload
            stream = self.streams.setdefault(frame.stream_id, Response())
            assert not stream.ended, f"HEADERS after the end of stream {frame.stream_id}"
            if frame.flags & frames.END_HEADERS:
                fields = self._decoder.decode(bytes(self._fragments), raw=True)
                stream.heads.append([(bytes(name), bytes(value)) for name, value in fields])
                self._fragments.clear()
        elif frame.type == frames.DATA:
            assert frame.stream_id in self.streams, f"DATA without HEADERS: {frame}"
            stream = self.streams[frame.stream_id]
            assert not stream.ended, f"DATA after the end of stream {frame.stream_id}"
            stream.data += frame.payload
        elif frame.type == frames.RST_STREAM:
            self.streams.setdefault(frame.stream_id, Response()).reset = frame.code
        if frame.ends:
            self.streams[frame.stream_id].ended = True

    async def response(self, stream_id: int) -> Response:
        """What came on a stream, once it is over; what there is of it if the connection ended."""
        while not (stream_id in self.streams and self.streams[stream_id].over):
            if not await self.pump():
                break
        return self.streams.setdefault(stream_id, Response())

    async def until_frame(self, kind: int, stream_id: int | None = None) -> frames.Frame:
        """The first frame of a kind that has come or comes; on a stream, if one is named."""
        found = await self.until_frame_or_end(kind, stream_id)
        assert found is not None, f"no frame of type {kind} in {self.frames}"
        return found

    async def until_frame_or_end(
        self, kind: int, stream_id: int | None = None
    ) -> frames.Frame | None:
        """The same; None if the connection ended without it."""
        at = 0
        while True:
            for frame in self.frames[at:]:
                if frame.type == kind and stream_id in (None, frame.stream_id):
                    return frame
            at = len(self.frames)
            if not await self.pump():
                return None

    @property
    def body_size(self) -> int:
        """Bytes of all bodies that have come."""
        return sum(len(stream.data) for stream in self.streams.values())

    async def until_body(self, size: int) -> None:
        """Until so many bytes of all bodies have come."""
        while self.body_size < size:
            assert await self.pump(), f"the end after {self.body_size} bytes, not {size}"

    async def sync(self) -> bool:
        """Until the server has answered all that was sent so far; False if it has ended instead."""
        mark = len(self.frames).to_bytes(8, "big")
        await self.send(frames.ping(mark))
        return await self._until_ack(mark)

    async def _until_ack(self, mark: bytes) -> bool:
        at = 0
        while True:
            for frame in self.frames[at:]:
                if frame.type == frames.PING and frame.flags & frames.ACK and frame.payload == mark:
                    return True
            at = len(self.frames)
            if not await self.pump():
                return False

    async def rest(self) -> None:
        """All that comes until the end."""
        while await self.pump():
            pass

    def of_type(self, kind: int) -> list[frames.Frame]:
        """The frames of a kind that have come."""
        return [frame for frame in self.frames if frame.type == kind]

    @property
    def credit(self) -> dict[int, int]:
        """Bytes of credit that were given, by stream; 0 = the connection's."""
        credit: dict[int, int] = {}
        for frame in self.of_type(frames.WINDOW_UPDATE):
            credit[frame.stream_id] = credit.get(frame.stream_id, 0) + frame.increment
        return credit

    @property
    def settings(self) -> dict[int, int]:
        """What the server's first SETTINGS frame says."""
        first = self.frames[0]
        assert first.type == frames.SETTINGS, first
        return {
            int.from_bytes(first.payload[at : at + 2], "big"): int.from_bytes(
                first.payload[at + 2 : at + 6], "big"
            )
            for at in range(0, len(first.payload), 6)
        }

    async def verdict(self, *parts: bytes) -> Verdict:
        """Sends frames and says how they were taken."""
        await self.send(*parts)
        # Twice: a GOAWAY may come behind the first answer.
        if not (await self.sync() and await self.sync()):
            await self.raw.leave()
        goaways = self.of_type(frames.GOAWAY)
        return Verdict(
            goaways[-1].code if goaways else None,
            {key: stream.reset for key, stream in self.streams.items() if stream.reset is not None},
            self.closed,
        )

    async def leave(self, *, reset: bool = False) -> None:
        """Closes the connection."""
        await self.raw.leave(reset=reset)
