# SPDX-License-Identifier: MIT
"""How much a client may ask of us that is of no use to it.

Every attack of the kind (CVE-2019-9511 to 9518, CVE-2023-44487, CVE-2024-27316 and their kin) sends
frames that are cheap to make and cost the server work, or memory: PING, SETTINGS, PRIORITY, empty
DATA, a header section in a thousand pieces, streams opened only to be reset. So such frames are
paid for from a budget, which fills by the second and by what useful clients do: take responses.

==================  ======================================================================
budget              figures
==================  ======================================================================
control frames      500 at once, 100 more a second, 2 for each DATA frame that we sent (unless the
                    client's window cut it) or 1 for each KiB of it, 10 for each response. Paid
                    for: PING, SETTINGS (once for each ten settings), PRIORITY, PRIORITY_UPDATE,
                    WINDOW_UPDATE, RST_STREAM, GOAWAY, unknown types, DATA without a byte, and
                    streams beyond what the client may open
resets              200 at once, 20 more a second, 1 for each response: streams that the client
                    resets while their request is served, or has us reset by what it sends
a header section    32 CONTINUATION frames; twice the announced size, compressed
==================  ======================================================================

Beyond: GOAWAY with ENHANCE_YOUR_CALM (RFC 9113 section 10.5).

Since every frame passes here, so does the rule that the first one is SETTINGS (section 3.4).
"""

from __future__ import annotations

from typing import Final

from trioserve.protocols.http2.errors import ErrorCode, Http2ConnectionError
from trioserve.protocols.negotiation import PREFACE

__all__ = ["FrameMeter"]

MAX_CONTROL_FRAMES: Final = 500
CONTROL_FRAMES_PER_SECOND: Final = 100
MAX_RESETS: Final = 200
RESETS_PER_SECOND: Final = 20
MAX_CONTINUATIONS: Final = 32

_CONTROL_PER_RESPONSE: Final = 10
_CONTROL_PER_DATA: Final = 2
_BYTES_PER_CONTROL: Final = 1024
#: Bytes of ten settings.
_SETTINGS_SIZE: Final = 60

_FRAME_HEADER_SIZE: Final = 9
_DATA, _HEADERS, _SETTINGS, _CONTINUATION = 0x0, 0x1, 0x4, 0x9
_ACK: Final = 0x1
_END_STREAM, _END_HEADERS, _PADDED = 0x1, 0x4, 0x8
_NAMES: Final = {2: "PRIORITY", 3: "RST_STREAM", 4: "SETTINGS", 6: "PING", 8: "WINDOW_UPDATE"}


class _Budget:
    """Tokens that fill up by the second."""

    __slots__ = ("_at", "_left", "_most", "_per_second")

    def __init__(self, most: float, per_second: float, now: float) -> None:
        self._most = most
        self._per_second = per_second
        self._left = most
        self._at = now

    def earn(self, amount: float) -> None:
        self._left = min(self._most, self._left + amount)

    def pay(self, now: float, amount: int = 1) -> bool:
        """Takes so many; False if there aren't."""
        if self._left < amount:
            self.earn((now - self._at) * self._per_second)
            self._at = now
            if self._left < amount:
                return False
        self._left -= amount
        return True


class FrameMeter:
    """Looks at the headers of the frames that come, before they cost more than that.

    Args:
        max_header_block_size: bytes of a compressed header section.
        now: seconds of any clock.

    """

    __slots__ = (
        "_begun",
        "_block_size",
        "_continuations",
        "_control",
        "_frame_type",
        "_head",
        "_in_block",
        "_left",
        "_max_block_size",
        "_resets",
    )

    def __init__(self, max_header_block_size: int, now: float) -> None:
        self._control = _Budget(MAX_CONTROL_FRAMES, CONTROL_FRAMES_PER_SECOND, now)
        self._resets = _Budget(MAX_RESETS, RESETS_PER_SECOND, now)
        self._max_block_size = max_header_block_size
        self._left = len(PREFACE)  # bytes until the next frame's header
        self._head = b""
        self._begun = False
        self._continuations = 0
        self._block_size = 0
        self._in_block = False  # by the frames' headers
        self._frame_type = -1  # of the last frame whose header has come

    @property
    def in_header_block(self) -> bool:
        """A header section has begun, and not all of its last frame is there."""
        return self._in_block or (self._left > 0 and self._frame_type in (_HEADERS, _CONTINUATION))

    def feed(self, data: bytes, now: float) -> None:
        """Meters bytes that came.

        Raises:
            Http2ConnectionError: ENHANCE_YOUR_CALM; or PROTOCOL_ERROR, the first frame is another
                than SETTINGS.
        """
        at = self._left
        size = len(data)
        if self._head:
            data = self._head + data
            size = len(data)
            self._head = b""
        if not self._begun and at + _FRAME_HEADER_SIZE <= size:
            self._begun = True
            if data[at + 3] != _SETTINGS or data[at + 4] & _ACK:
                raise Http2ConnectionError(
                    ErrorCode.PROTOCOL_ERROR, "the first frame is SETTINGS (RFC 9113 section 3.4)"
                )
        while at + _FRAME_HEADER_SIZE <= size:
            length = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            self._frame_type = data[at + 3]
            self._note(self._frame_type, data[at + 4], length, now)
            at += _FRAME_HEADER_SIZE + length
        if at < size:
            self._head = data[at:]
            self._left = 0
        else:
            self._left = at - size

    def _note(self, frame_type: int, flags: int, length: int, now: float) -> None:
        if frame_type == _DATA:
            if length > (flags & _PADDED and 1) or flags & _END_STREAM:
                return
            what = "empty DATA"
        elif frame_type == _HEADERS:
            self._continuations = 0
            self._block_size = 0
            self._note_block(flags, length)
            return
        elif frame_type == _CONTINUATION:
            self._continuations += 1
            self._note_block(flags, length)
            return
        else:
            what = _NAMES.get(frame_type, "control")
        # Each setting costs as much as a frame of another type, and a client has seven.
        cost = 1 + length // _SETTINGS_SIZE if frame_type == _SETTINGS else 1
        if not self._control.pay(now, cost):
            raise _calm(f"too many {what} frames")

    def note_waste(self, now: float, what: str) -> None:
        """The client has sent something else that is of no use to it.

        Raises:
            Http2ConnectionError: ENHANCE_YOUR_CALM.
        """
        if not self._control.pay(now):
            raise _calm(f"too many {what}")

    def _note_block(self, flags: int, length: int) -> None:
        self._block_size += length
        self._in_block = not flags & _END_HEADERS
        if self._continuations > MAX_CONTINUATIONS:
            raise _calm(f"a header section in more than {MAX_CONTINUATIONS} CONTINUATION frames")
        if self._block_size > self._max_block_size:
            raise _calm(f"a header section of more than {self._max_block_size} bytes")

    def note_reset(self, now: float) -> None:
        """The client has reset a stream whose request was being served, or had us reset one.

        Raises:
            Http2ConnectionError: ENHANCE_YOUR_CALM.
        """
        if not self._resets.pay(now):
            raise _calm("too many streams that were opened only to be reset")

    def note_response(self) -> None:
        """A response is complete."""
        self._resets.earn(1)
        self._control.earn(_CONTROL_PER_RESPONSE)

    def note_sent(self, size: int, *, cut: bool) -> None:
        """A DATA frame was sent; the client may allow as much anew, on its stream and in all.

        Args:
            size: bytes of it.
            cut: it could have been larger, had the client allowed more.
        """
        earned = size / _BYTES_PER_CONTROL
        self._control.earn(earned if cut else max(_CONTROL_PER_DATA, earned))


def _calm(reason: str) -> Http2ConnectionError:
    return Http2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, f"{reason} (RFC 9113 section 10.5)")
