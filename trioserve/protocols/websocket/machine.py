# SPDX-License-Identifier: MIT
"""Frames in and messages out, and back, on the sans-IO protocol of the library ``websockets``.

Pure: it is fed bytes and asked::

    receive_data(data)        as bytes come
    next_message() → Message  or None: more bytes are needed, or the WebSocket is over (``closed``)
    replies                   what is to be sent for what came: pongs, a Close

The rule of this file: a frame is taken when it is asked for, one at a time, so that a client can't
make more of one read than its application takes. A whole message in one plain frame, which most
are, is read and written here, and so are control frames. Compressed messages and those in fragments
are the library's, which is given whole frames. What can be wrong with a header is found before its
payload is waited for.
"""

from __future__ import annotations

import codecs
import io
from struct import Struct
from typing import TYPE_CHECKING, Final, TypeAlias

from websockets.frames import Opcode
from websockets.protocol import Protocol, Side

from trioserve.protocols.websocket.closing import (
    ABNORMAL,
    NO_STATUS,
    Closed,
    cut_reason,
    may_be_sent,
)
from trioserve.protocols.websocket.inflating import BoundedDeflate

try:
    from websockets.speedups import apply_mask
except ImportError:  # no wheel for this interpreter
    from websockets.utils import apply_mask

if TYPE_CHECKING:
    from websockets.frames import Frame
    from websockets.typing import LoggerLike

    from trioserve.protocols.websocket.compression import Deflate

__all__ = ["Message", "WebSocketMachine"]

Message: TypeAlias = str | bytes

#: FIN with an opcode of data, and nothing else in the first byte.
_PLAIN_TEXT: Final = 0x81
_PLAIN_BINARY: Final = 0x82
_MASKED: Final = 0x80
_COMPRESSED: Final = 0x40
_CONTROL: Final = 0x08
_CONTINUATION, _CLOSE, _PING, _PONG = 0x0, 0x8, 0x9, 0xA
_OPCODES: Final = frozenset({_CONTINUATION, 0x1, 0x2, _CLOSE, _PING, _PONG})
_MAX_CONTROL_SIZE: Final = 125
#: Bytes that a compressed frame may be larger than what it holds, however small that is.
_DEFLATE_OVERHEAD: Final = 16
#: Smaller pieces of an unfinished frame are put together as they come: an object for each would
#: need a hundred times their size.
_SMALL_SIZE: Final = 512

#: Frames that make no whole message, after which others have their turn: a read has ten thousand.
FRAMES_A_GO: Final = 128

_SHORT: Final = Struct("!BB").pack
_MEDIUM: Final = Struct("!BBH").pack
_LONG: Final = Struct("!BBQ").pack
_PROTOCOL_ERROR: Final = 1002
_INVALID_DATA: Final = 1007
_TOO_BIG: Final = 1009


class WebSocketMachine:
    """One WebSocket, the server's side, from the end of its handshake on.

    Args:
        max_size: bytes of a message that may come, decompressed.
        deflate: how messages are compressed; None = not at all.
        logger: is told of each frame by the library, at level DEBUG, and of the end.

    Attributes:
        replies: frames that are to be sent, in order; whoever sends them empties it.
        pongs: how many Pong frames have come.
        closed: how it ended, once the client has closed it or broken the protocol, or is lost.
            Nothing comes any more then.
        closing: it is over, or a Close frame of ours was made: no message may follow it.
        exhausted: next_message() has stopped for the sake of others; it is to be called again.
    """

    __slots__ = (
        "_buffer",
        "_compressed",
        "_decoder",
        "_deflate",
        "_max_size",
        "_missing",
        "_parts",
        "_pieces",
        "_pos",
        "_protocol",
        "_size",
        "_text",
        "closed",
        "closing",
        "exhausted",
        "pongs",
        "replies",
    )

    def __init__(self, max_size: int, deflate: Deflate | None, logger: LoggerLike) -> None:
        # Sizes are counted here: the library would count control frames, too.
        self._protocol = Protocol(Side.SERVER, max_size=None, logger=logger)
        self._deflate: BoundedDeflate | None = None
        if deflate is not None:
            self._deflate = BoundedDeflate(deflate)
            self._protocol.extensions = [self._deflate]
        self._max_size = max_size
        self._buffer = b""
        self._pos = 0  # where in the buffer the next frame begins
        self._pieces: list[bytes | bytearray] = []  # of a frame that isn't there in full
        self._missing = 0  # bytes of it that have not come
        self._parts: io.BytesIO | None = None  # of a message in fragments
        self._text = False
        self._compressed = False
        self._size = 0
        self._decoder: codecs.IncrementalDecoder | None = None
        self.replies: list[bytes] = []
        self.pongs = 0
        self.closed: Closed | None = None
        self.closing = False
        self.exhausted = False

    # -- what comes -------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Takes bytes from the client; of what comes after its end, nothing."""
        if self.closed is not None:
            return
        if self._missing > 0:
            self._add_piece(data)
            if self._missing > 0:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._buffer = data
        elif self._pos == len(self._buffer):
            self._buffer = data
        else:
            self._buffer = self._buffer[self._pos :] + data
        self._pos = 0

    def _add_piece(self, data: bytes) -> None:
        self._missing -= len(data)
        if len(data) >= _SMALL_SIZE:
            self._pieces.append(data)
            return
        last = self._pieces[-1]
        if isinstance(last, bytearray):
            last += data
        else:
            self._pieces.append(bytearray(data))

    def receive_eof(self) -> None:
        """The client sends nothing more; without a Close frame before, that is abnormal."""
        if self.closed is None:
            self._protocol.receive_eof()
            self._end(Closed(ABNORMAL, ""))

    def next_message(self) -> Message | None:
        """The next message that is there in full; None if none is, it is over, or ``exhausted``."""
        self.exhausted = False
        frames = 0
        while True:
            buffer, pos = self._buffer, self._pos
            available = len(buffer) - pos
            if available < 2 or self.closed is not None:
                return None
            first, second = buffer[pos], buffer[pos + 1]
            size = second & 0x7F
            start = pos + 2
            shortest = True
            if size >= 126:
                start += 2 if size == 126 else 8
                if available < start - pos:
                    return None
                least = 126 if size == 126 else 65536
                size = int.from_bytes(buffer[pos + 2 : start], "big")
                shortest = least <= size < 2**63
            plain = (
                second & _MASKED
                and first in (_PLAIN_BINARY, _PLAIN_TEXT)
                and self._parts is None
                and size <= self._max_size
                and shortest
            )
            if not plain and self._breaks_rules(first, second, size, shortest):
                return None
            end = start + 4 + size
            if end > len(buffer):
                self._keep(end)
                return None
            if end == len(buffer):  # an idle WebSocket keeps nothing of what came last
                self._buffer = b""
                self._pos = 0
            else:
                self._pos = end
            if plain:
                data = apply_mask(memoryview(buffer)[start + 4 : end], buffer[start : start + 4])
                return data if first == _PLAIN_BINARY else self._decode(data)
            if first & _CONTROL:
                self._on_control(
                    first & 0x0F, apply_mask(buffer[start + 4 : end], buffer[start : start + 4])
                )
            elif (message := self._give_to_library(first, buffer[pos:end])) is not None:
                return message
            frames += 1
            if frames == FRAMES_A_GO:
                self.exhausted = self.has_more
                return None

    def _keep(self, end: int) -> None:
        """A frame ends at ``end`` of the buffer, beyond what has come.

        Until it is there in full it is kept in pieces: joining them each time would make a large
        one cost its square.
        """
        self._pieces.append(self._buffer[self._pos :] if self._pos else self._buffer)
        self._missing = end - len(self._buffer)
        self._buffer = b""
        self._pos = 0

    @property
    def has_more(self) -> bool:
        """Bytes have come that were not looked at, or are the beginning of a frame's header."""
        return self._pos < len(self._buffer) and self.closed is None

    def _breaks_rules(self, first: int, second: int, size: int, shortest: bool) -> bool:
        """What a header alone shows to be wrong (RFC 6455 section 5.2)."""
        opcode = first & 0x0F
        continues = opcode == _CONTINUATION
        if not second & _MASKED:
            self._fail(_PROTOCOL_ERROR, "a client's frame must be masked (RFC 6455 section 5.1)")
        elif opcode not in _OPCODES:
            self._fail(_PROTOCOL_ERROR, f"opcode {opcode} is reserved (RFC 6455 section 5.2)")
        elif not shortest:
            self._fail(
                _PROTOCOL_ERROR,
                "a length is not in its shortest form, or not below 2**63 (RFC 6455 section 5.2)",
            )
        elif opcode & _CONTROL and (size > _MAX_CONTROL_SIZE or not first & 0x80):
            self._fail(
                _PROTOCOL_ERROR,
                "a control frame has 125 bytes at most, and no fragments (RFC 6455 section 5.5)",
            )
        elif first & 0x30 or (
            first & _COMPRESSED and (self._deflate is None or continues or opcode & _CONTROL)
        ):
            self._fail(_PROTOCOL_ERROR, "a reserved bit is set (RFC 6455 section 5.2)")
        elif opcode & _CONTROL:
            return False
        elif continues is (self._parts is None):
            self._fail(
                _PROTOCOL_ERROR,
                "a fragment continues no message (RFC 6455 section 5.4)"
                if continues
                else "a message begins within another's fragments (RFC 6455 section 5.4)",
            )
        elif size > self._most(self._compressed if continues else bool(first & _COMPRESSED)):
            self._fail(_TOO_BIG, f"a message is larger than {self._max_size} bytes")
        else:
            return False
        return True

    def _most(self, compressed: bool) -> int:
        """Bytes that the next frame of data may have."""
        room = self._max_size - self._size
        # Deflate makes what can't be compressed an eighth larger at worst (RFC 1951 section 3.2.6).
        return room + room // 8 + _DEFLATE_OVERHEAD if compressed else room

    # -- control frames ---------------------------------------------------------------------

    def _on_control(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self.replies.append(_SHORT(0x80 | _PONG, len(payload)) + payload)
        elif opcode == _PONG:
            self.pongs += 1
        else:
            self._on_close(payload)

    def _on_close(self, payload: bytes) -> None:
        """RFC 6455 section 5.5.1; it may come within a message in fragments, too (5.4)."""
        code, reason = NO_STATUS, ""
        if payload:
            code = int.from_bytes(payload[:2], "big")
            if len(payload) < 2 or not may_be_sent(code):
                self._fail(
                    _PROTOCOL_ERROR, "a Close frame has no valid code (RFC 6455 section 7.4)"
                )
                return
            try:
                reason = str(payload[2:], "utf-8")
            except UnicodeDecodeError:
                self._fail(_INVALID_DATA, "the reason of a Close frame is not UTF-8")
                return
        if not self.closing:
            self.replies.append(_SHORT(0x80 | _CLOSE, len(payload)) + payload)
        self._end(Closed(code, reason))

    # -- messages in fragments, and compressed ones -----------------------------------------

    def _give_to_library(self, first: int, frame: bytes) -> Message | None:
        protocol = self._protocol
        if first & 0x0F:
            self._compressed = bool(first & _COMPRESSED)
        if self._deflate is not None:
            self._deflate.room = self._max_size - self._size
        protocol.receive_data(frame)
        message = None
        for event in protocol.events_received():
            message = self._on_data(event)  # type: ignore[arg-type]
        self._take_replies()
        if protocol.parser_exc is not None:
            sent = protocol.close_sent
            self._end(Closed(int(sent.code), sent.reason) if sent else Closed(ABNORMAL, ""))
        return message

    def _on_data(self, frame: Frame) -> Message | None:
        data = bytes(frame.data)
        if frame.opcode is not Opcode.CONT:
            self._text = frame.opcode is Opcode.TEXT
            if frame.fin:
                return self._decode(data) if self._text else data
            self._parts = io.BytesIO()
            self._decoder = codecs.getincrementaldecoder("utf-8")() if self._text else None
        assert self._parts is not None
        self._size += len(data)
        # An object for each fragment would need many times their size. Decoding shows here what
        # is no UTF-8 before the rest has come; the text is made of the whole.
        if self._decoder is not None and self._decode(data, self._decoder, frame.fin) is None:
            return None
        self._parts.write(data)
        if not frame.fin:
            return None
        whole = self._parts.getvalue()
        self._parts, self._decoder, self._size = None, None, 0
        return str(whole, "utf-8") if self._text else whole

    def _decode(
        self, data: bytes, decoder: codecs.IncrementalDecoder | None = None, final: bool = True
    ) -> str | None:
        try:
            return str(data, "utf-8") if decoder is None else decoder.decode(data, final)
        except UnicodeDecodeError as exc:
            self._fail(_INVALID_DATA, f"{exc.reason} at position {exc.start}")
            return None

    def _fail(self, code: int, reason: str) -> None:
        """The client has broken the protocol (RFC 6455 section 7.1.7)."""
        self._protocol.fail(code, cut_reason(reason))
        self._take_replies()
        self._end(Closed(code, reason))

    def _end(self, closed: Closed) -> None:
        self.closed = closed
        self.closing = True

    def _take_replies(self) -> None:
        # An empty one is the library's word for the connection's end.
        self.replies += [reply for reply in self._protocol.data_to_send() if reply]

    # -- what is to be sent -----------------------------------------------------------------

    def encode(self, message: Message) -> tuple[bytes, bytes]:
        """A message's frame: its head, and its payload as it is, without a copy.

        Not once ``closing``.
        """
        if isinstance(message, str):
            first, data = _PLAIN_TEXT, message.encode("utf-8")
        else:
            first, data = _PLAIN_BINARY, message
        protocol = self._protocol
        if protocol.extensions:
            if first == _PLAIN_TEXT:
                protocol.send_text(data)
            else:
                protocol.send_binary(data)
            return b"", b"".join(protocol.data_to_send())
        size = len(data)
        if size < 126:
            return _SHORT(first, size), data
        if size < 65536:
            return _MEDIUM(first, 126, size), data
        return _LONG(first, 127, size), data

    def ping(self, payload: bytes) -> bytes:
        """A Ping frame; empty once it is closing."""
        if self.closing:
            return b""
        return _SHORT(0x89, len(payload)) + payload

    def close(self, code: int, reason: str) -> None:
        """Adds our Close frame to the replies, if none was made."""
        if not self.closing:
            self._protocol.send_close(code, reason)
            self._take_replies()
            self.closing = True

    def lose(self) -> None:
        """The client can't be reached any more."""
        if self.closed is None:
            self._end(Closed(ABNORMAL, ""))
