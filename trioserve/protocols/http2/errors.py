# SPDX-License-Identifier: MIT
"""What a peer did wrong over HTTP/2, and what it costs: its connection or one of its streams."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ErrorCode", "Http2ConnectionError", "MalformedRequest"]


class ErrorCode(IntEnum):
    """RFC 9113 section 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Http2ConnectionError(Exception):
    """The connection can't go on (RFC 9113 section 5.4.1): GOAWAY with ``code``, then the close.

    Attributes:
        code: for the GOAWAY frame.
        reason: one sentence: what came and what was expected.
        announced: the GOAWAY is among what the engine has to send already.
    """

    def __init__(self, code: ErrorCode, reason: str, *, announced: bool = False) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code = code
        self.reason = reason
        self.announced = announced


class MalformedRequest(Exception):
    """A request that is none (RFC 9113 section 8.1.1): its stream is reset, PROTOCOL_ERROR."""
