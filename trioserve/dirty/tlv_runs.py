# SPDX-License-Identifier: MIT
"""Lists that hold nothing but floats, or nothing but ints: vectors, token ids, series.

Each item takes nine bytes, the type code and eight more, so a struct of many ``xd`` (a pad byte and
a double) reads and writes a block of them in one call; only the pad bytes' place is left to
fill or to check, which one slice with a step of nine does.
"""

from __future__ import annotations

import functools
import struct
from typing import TYPE_CHECKING, Any, Final

from trioserve.dirty.tlv_codes import FLOAT, INT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trioserve.dirty.tlv_codes import Data

#: Shorter lists are not worth the look at each item's type.
SHORTEST_RUN: Final = 8
ITEM_SIZE: Final = 9
_BLOCK: Final = 128
_LETTERS: Final = {INT: "xq", FLOAT: "xd"}
_CODES: Final[dict[type, int]] = {int: INT, float: FLOAT}


# At most 2 times 128 structs come to be, of 4 KiB or less each.
@functools.cache
def _block(code: int, count: int) -> struct.Struct:
    return struct.Struct(">" + _LETTERS[code] * count)


def pack_run(values: Sequence[Any]) -> bytearray | None:
    """The items' encoding; None if they are not all floats, or all ints of 64 bits.

    Subclasses, bool among them, count as other types.
    """
    kind = type(values[0])
    code = _CODES.get(kind)
    if code is None or type(values[-1]) is not kind or len(set(map(type, values))) != 1:
        return None
    count = len(values)
    packed = bytearray(ITEM_SIZE * count)
    try:
        for start in range(0, count, _BLOCK):
            block = values[start : start + _BLOCK]
            _block(code, len(block)).pack_into(packed, ITEM_SIZE * start, *block)
    except struct.error:
        return None  # an int beyond 64 bits
    packed[::ITEM_SIZE] = bytes((code,)) * count
    return packed


def run_code(data: Data, at: int, count: int) -> int | None:
    """INT or FLOAT if that is what ``count`` items from ``at`` on all are, and are whole."""
    code = data[at]
    stop = at + ITEM_SIZE * count
    if code not in _LETTERS or stop > len(data):
        return None
    return code if bytes(data[at:stop:ITEM_SIZE]).count(code) == count else None


def unpack_run(data: Data, at: int, count: int, code: int) -> list[Any]:
    """The items that run_code has found to be a run."""
    items: list[Any] = []
    for start in range(0, count, _BLOCK):
        block = _block(code, min(_BLOCK, count - start))
        items += block.unpack_from(data, at + ITEM_SIZE * start)
    return items
