# SPDX-License-Identifier: MIT
"""How a client that knows says that it speaks HTTP/2 (RFC 9113 section 3.4)."""

from __future__ import annotations

from typing import Final

__all__ = ["PREFACE", "begins_like_preface"]

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: As much of it as HTTP/1.1 would take for a whole head. Who says this speaks HTTP/2, whatever
#: comes next: no request of HTTP/1 looks so.
_HEAD: Final = b"PRI * HTTP/2.0\r\n\r\n"


def begins_like_preface(data: bytes | bytearray) -> bool | None:
    """Whether a connection that began with ``data`` speaks HTTP/2; None if it can't be told yet."""
    if data[:18] == _HEAD:
        return True
    return None if _HEAD.startswith(data) else False
