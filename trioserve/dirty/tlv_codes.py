# SPDX-License-Identifier: MIT
"""The type codes of the dirty wire and its limits; tlv.py has the table of the layouts."""

from __future__ import annotations

from typing import Final, TypeAlias

from trioserve.dirty.errors import DirtyProtocolError

NONE: Final = 0x00
BOOL: Final = 0x01
INT: Final = 0x05
FLOAT: Final = 0x06
BYTES: Final = 0x10
STR: Final = 0x11
LIST: Final = 0x20
DICT: Final = 0x21

# Ours: gunicorn leaves the codes from 40 on free.
BIGINT: Final = 0x40
ARRAY: Final = 0x41
DATETIME: Final = 0x42
DECIMAL: Final = 0x43
UUID: Final = 0x44
SET: Final = 0x45

#: Containers that may stand within each other, the outermost counted.
MAX_DEPTH: Final = 64
#: Items of one list, dict or set.
MAX_ITEMS: Final = 1 << 20
#: From this many bytes on a value is not copied into the message, but stands beside it.
LARGE_SIZE: Final = 16 * 1024

#: What a message may be read from. A view is one of bytes (format ``B``, one dimension).
Data: TypeAlias = bytes | memoryview
#: What a message is made of.
Piece: TypeAlias = bytes | bytearray | memoryview


class Malformed(Exception):
    """A reader met something wrong; tlv_check says what. It never leaves the codec."""


def malformed(data: Data, at: int, what: str) -> DirtyProtocolError:
    """The error for bytes that are no value; ``raw_data`` shows a few of them."""
    return DirtyProtocolError(f"{what} (at byte {at})", raw_data=bytes(data[at : at + 20]))
