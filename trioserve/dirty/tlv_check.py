# SPDX-License-Identifier: MIT
"""Where values end, and what is wrong with bytes that are none.

``skip`` walks over a value without building it, looks at everything the readers leave unchecked,
and says what it expected, what came and where. It serves ``split``, and ``decode`` after a
reader has failed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, TypeAlias

from trioserve.dirty.errors import DirtyProtocolError
from trioserve.dirty.tlv_codes import (
    ARRAY,
    BIGINT,
    BOOL,
    BYTES,
    DICT,
    FLOAT,
    INT,
    LARGE_SIZE,
    LIST,
    MAX_DEPTH,
    MAX_ITEMS,
    NONE,
    SET,
    STR,
    UUID,
    Data,
    malformed,
)
from trioserve.dirty.tlv_read import read_head, read_size
from trioserve.dirty.tlv_runs import ITEM_SIZE, SHORTEST_RUN, run_code

#: Takes the data, the place of the type code and the number of containers around the value; gives
#: the place after the value.
Checker: TypeAlias = Callable[[Data, int, int], int]

_NAMES: Final = {
    NONE: "None",
    BOOL: "a bool",
    INT: "an int",
    FLOAT: "a float",
    BYTES: "a bytes value",
    STR: "a str",
    LIST: "a list",
    DICT: "a dict",
    BIGINT: "a large int",
}

#: Of what has no length.
_SIZES: Final = {NONE: 1, BOOL: 2, INT: 9, FLOAT: 9}


def skip(data: Data, at: int, depth: int) -> int:
    """The place after the value at ``at``; everything in it is checked.

    Raises:
        DirtyProtocolError: there is no value.
    """
    # The commonest first, as if nothing were wrong with them.
    try:
        code = data[at]
        if code == STR:
            start = at + 5
            stop = start + read_size(data, at + 1)[0]
            if stop <= len(data):
                str(data[start:stop], "utf-8")
                return int(stop)
        else:
            stop = at + _SIZES.get(code, 0)
            if at < stop <= len(data):
                return int(stop)
    except (IndexError, struct.error, UnicodeDecodeError):
        pass
    if at >= len(data):
        raise malformed(data, at, "expected a value, but the data ends")
    checker = CHECKERS.get(data[at])
    if checker is None:
        raise malformed(data, at, f"0x{data[at]:02x} is no type code")
    return checker(data, at, depth)


def explain(data: Data, at: int = 0, depth: int = 0) -> DirtyProtocolError:
    """The error for data that should be exactly one value from ``at`` on, but is not."""
    try:
        stop = skip(data, at, depth)
    except DirtyProtocolError as exc:
        return exc
    except RecursionError:
        return malformed(data, at, "nested too deeply for what the caller has left of the stack")
    return malformed(data, stop, f"{len(data) - stop} bytes come after the value")


def whole(data: Data, at: int, size: int, what: str) -> int:
    """The place ``size`` bytes on, if that many are left."""
    left = len(data) - at
    if size > left:
        raise malformed(data, at, f"{what} needs {size} bytes, {left} are left")
    return at + size


def sized(data: Data, at: int, what: str) -> tuple[int, int]:
    """Start and end of the bytes of a value that has a length after its type code."""
    start = whole(data, at, 5, f"{what}'s length")
    size: int = read_size(data, at + 1)[0]
    return start, whole(data, start, size, what)


def counted(data: Data, at: int, depth: int, what: str, item_size: int) -> tuple[int, int]:
    """The number of a container's items and the place of the first.

    Args:
        data, at, depth: as in ``skip``.
        what: the container's name, for errors.
        item_size: what an item takes at least.
    """
    if depth >= MAX_DEPTH:
        raise malformed(data, at, f"more than {MAX_DEPTH} containers within each other")
    start = whole(data, at, 5, f"{what}'s count")
    count: int = read_size(data, at + 1)[0]
    if count > MAX_ITEMS:
        raise malformed(data, at, f"{what} of {count:,} items: the limit is {MAX_ITEMS:,}")
    if count * item_size > len(data) - start:
        left = len(data) - start
        raise malformed(data, at, f"{what} of {count:,} items can't be in the {left} bytes left")
    return count, start


def _check_fixed(data: Data, at: int, depth: int) -> int:
    return whole(data, at, _SIZES[data[at]], _NAMES[data[at]])


def _check_sized(data: Data, at: int, depth: int) -> int:
    return sized(data, at, _NAMES[data[at]])[1]


def _check_str(data: Data, at: int, depth: int) -> int:
    start, stop = sized(data, at, "a str")
    try:
        str(data[start:stop], "utf-8")
    except UnicodeDecodeError as exc:
        raise malformed(data, start + exc.start, f"a str that is no UTF-8: {exc.reason}") from None
    return stop


def _check_list(data: Data, at: int, depth: int) -> int:
    count, at = counted(data, at, depth, "a list", 1)
    if count >= SHORTEST_RUN and run_code(data, at, count) is not None:
        return at + ITEM_SIZE * count
    for _ in range(count):
        at = skip(data, at, depth + 1)
    return at


def _check_dict(data: Data, at: int, depth: int) -> int:
    count, at = counted(data, at, depth, "a dict", 6)
    keys: set[bytes] = set()
    for _ in range(count):
        start = at
        at = key_end(data, at)
        key = bytes(data[start:at])
        if key in keys:
            name = str(key[5:], "utf-8")
            raise malformed(data, start, f"the key {name!r:.100} comes twice in one dict")
        keys.add(key)
        at = skip(data, at, depth + 1)
    return at


def key_end(data: Data, at: int) -> int:
    """The place after a dict's key."""
    if at < len(data) and data[at] != STR:
        what = _NAMES.get(data[at], f"type code 0x{data[at]:02x}")
        raise malformed(data, at, f"a dict's keys must be str, not {what}")
    return skip(data, at, 0)


#: By type code. tlv.py adds those of our own types.
CHECKERS: Final[dict[int, Checker]] = {
    NONE: _check_fixed,
    BOOL: _check_fixed,
    INT: _check_fixed,
    FLOAT: _check_fixed,
    BYTES: _check_sized,
    STR: _check_str,
    BIGINT: _check_sized,
    LIST: _check_list,
    DICT: _check_dict,
}

_PROBED = 64
#: Of containers and arrays, the sizes of what stands before their items.
_STEPS: Final = _SIZES | {LIST: 5, DICT: 5, SET: 6, ARRAY: 1, UUID: 17}


def begins_large(data: memoryview, at: int = 0) -> bool:
    """Whether one of the first values of a message is large bytes (an array's, too).

    A container's items follow its count, so nothing need be nested here to go from one to the next.
    """
    size = len(data)
    for _ in range(_PROBED):
        if at + 5 > size:
            return False
        code, length = read_head(data, at)
        if code in _STEPS:
            at += _STEPS[code]
        elif code == BYTES and length >= LARGE_SIZE:
            return True
        else:
            at += 5 + length
    return False
