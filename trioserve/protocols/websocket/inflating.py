# SPDX-License-Identifier: MIT
"""permessage-deflate of the library ``websockets``, with a decompression of ours.

The library's stops for good where a client ends its deflate stream (RFC 7692 section 7.2.1 allows
it in any block): later messages come out empty, and their bytes are kept for ever.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from trioserve.protocols.websocket.compression import MEMORY_LEVEL

if TYPE_CHECKING:
    from trioserve.protocols.websocket.compression import Deflate

__all__ = ["BoundedDeflate"]

#: What a sender takes off the end of each message (RFC 7692 section 7.2.1).
_EMPTY_BLOCK: Final = b"\x00\x00\xff\xff"
#: Ends of a stream in one frame. Each costs a copy of what follows, so there can't be many.
_MAX_ENDS: Final = 8
_MOST_ROOM: Final = 2**63 - 2


class BoundedDeflate(PerMessageDeflate):
    """What was agreed on, at work.

    Attributes:
        room: bytes that the message under way may still decompress to. Whoever gives a frame to
            decode says so first.
    """

    def __init__(self, deflate: Deflate) -> None:
        super().__init__(
            remote_no_context_takeover=deflate.client_no_context_takeover,
            local_no_context_takeover=deflate.server_no_context_takeover,
            remote_max_window_bits=deflate.client_max_window_bits,
            local_max_window_bits=deflate.server_max_window_bits,
            compress_settings={"memLevel": MEMORY_LEVEL},
        )
        self.room = 0

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """A frame of data, decompressed if its message is compressed.

        Raises:
            PayloadTooBig: it decompresses to more than there is room for.
            ProtocolError: it is no deflate stream.
        """
        if frame.opcode is not Opcode.CONT:
            self.decode_cont_data = frame.rsv1
            if frame.rsv1 and self.remote_no_context_takeover:
                self._begin()
        if not self.decode_cont_data:
            return frame
        try:
            data = self._inflate(bytes(frame.data) + (_EMPTY_BLOCK if frame.fin else b""))
        except zlib.error as exc:
            raise ProtocolError(f"a message can't be decompressed: {exc}") from exc
        if frame.fin and self.remote_no_context_takeover:
            del self.decoder
        return Frame(frame.opcode, data, frame.fin)

    def _begin(self) -> None:
        self.decoder = zlib.decompressobj(wbits=-self.remote_max_window_bits)

    def _inflate(self, data: bytes) -> bytes:
        parts: list[bytes] = []
        room = min(self.room, _MOST_ROOM)
        for _ in range(_MAX_ENDS + 1):
            # A byte more than there is room for: zlib takes 0 for no limit, and what it would
            # have held back came with that byte.
            part = self.decoder.decompress(data, room + 1)
            room -= len(part)
            if room < 0:
                raise PayloadTooBig(None, self.room)
            parts.append(part)
            if not self.decoder.eof:
                return b"".join(parts)
            data = self.decoder.unused_data
            self._begin()
            if data == _EMPTY_BLOCK:  # it stands behind a block that some clients leave out
                return b"".join(parts)
        raise ProtocolError(f"a deflate stream ends more than {_MAX_ENDS} times in one frame")
