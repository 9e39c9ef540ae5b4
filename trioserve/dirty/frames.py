# SPDX-License-Identifier: MIT
"""Frames of the dirty wire: 16 bytes of header and a payload of one value, or of none. Pure.

What the rest of the program needs of them, in one place:

=================  =================================================================================
frame_header.py    the header, the types
frame_writing.py   ``request``, ``response`` and so on: frames to be sent, as lists of bytes
frame_reader.py    FrameReader: frames out of what came
frame_parsing.py   ``decode_request`` and so on: payloads that came
=================  =================================================================================
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from trioserve.dirty.frame_header import (
    DEFAULT_MAX_FRAME_SIZE,
    HEADER_SIZE,
    Frame,
    FrameType,
    Payload,
)
from trioserve.dirty.frame_parsing import (
    Request,
    Trace,
    decode_credit,
    decode_data,
    decode_error,
    decode_hello,
    decode_manage,
    decode_request,
    decode_result,
    decode_tasks,
    read_call,
)
from trioserve.dirty.frame_reader import FrameReader
from trioserve.dirty.frame_writing import (
    Parts,
    cancel,
    chunk,
    credit,
    drain,
    end,
    error,
    frame,
    hello,
    manage,
    ping,
    pong,
    request,
    request_payload,
    response,
    revoke,
    stash,
    status,
    tasks,
    with_header,
)
from trioserve.dirty.tlv import peek_route

__all__ = [
    "DEFAULT_MAX_FRAME_SIZE",
    "HEADER_SIZE",
    "MANAGE_OPERATIONS",
    "MAX_CREDIT",
    "STREAM_WINDOW",
    "Frame",
    "FrameReader",
    "FrameType",
    "Parts",
    "Payload",
    "Request",
    "StashOp",
    "Trace",
    "cancel",
    "chunk",
    "credit",
    "decode_credit",
    "decode_data",
    "decode_error",
    "decode_hello",
    "decode_manage",
    "decode_request",
    "decode_result",
    "decode_tasks",
    "drain",
    "end",
    "error",
    "frame",
    "hello",
    "manage",
    "peek_route",
    "ping",
    "pong",
    "read_call",
    "request",
    "request_payload",
    "response",
    "revoke",
    "stash",
    "status",
    "tasks",
    "with_header",
]

#: Bytes of CHUNK payloads that may be sent of a stream before the first CREDIT comes.
STREAM_WINDOW: Final = 1024 * 1024
#: All the credit that a stream can have.
MAX_CREDIT: Final = 1 << 62

#: ``op`` of MANAGE by name.
MANAGE_OPERATIONS: Final = {"add": 1, "remove": 2}


class StashOp(IntEnum):
    """``op`` of STASH. gunicorn's, and from 32 on ours."""

    PUT = 1
    GET = 2
    DELETE = 3
    KEYS = 4
    CLEAR = 5
    INFO = 6
    ENSURE = 7
    DELETE_TABLE = 8
    TABLES = 9
    EXISTS = 10
    INCR = 32
    COMPARE_AND_SWAP = 33
    SETDEFAULT = 34
    POP = 35
    UPDATE = 36
    ITEMS = 37
    EXPIRE = 38
    WATCH = 39
