# SPDX-License-Identifier: MIT
"""Bytes to values: each reader takes the data, the place after the type code and the number of
containers around the value, and gives the value and the place after it.

The readers look at limits, but not at lengths. A slice beyond the end is a short one, at no cost
whatever length was forged, and the place after it lies beyond the end, so that the next reader
raises IndexError or struct.error, and the caller, who compares the last place with the data's
length, finds out at the latest. What was wrong then is tlv_check's to say.

Two tables: READERS for bytes, and VIEW_READERS for a message whose large values are to be copied
only once, out of the buffer it came in. Only their lists and dicts differ.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from trioserve.dirty.tlv_codes import (
    BIGINT,
    BOOL,
    BYTES,
    DICT,
    FLOAT,
    INT,
    LIST,
    MAX_DEPTH,
    MAX_ITEMS,
    NONE,
    STR,
    Data,
    Malformed,
)
from trioserve.dirty.tlv_runs import ITEM_SIZE, SHORTEST_RUN, run_code, unpack_run

#: What the readers may raise, besides the DirtyProtocolErrors of those of our own types.
FAULTS: Final = (
    Malformed,
    IndexError,
    KeyError,
    struct.error,
    UnicodeDecodeError,
    RecursionError,
)

Reader: TypeAlias = Callable[[Any, int, int], tuple[Any, int]]

read_size = struct.Struct(">I").unpack_from
read_head = struct.Struct(">BI").unpack_from
_read_int = struct.Struct(">q").unpack_from
read_double = struct.Struct(">d").unpack_from


_MAX_KEYS: Final = 1024
_MAX_KEY_SIZE: Final = 64
#: Dict keys by their encoding, head and all: who finds one here has checked it, too. Most programs
#: use a few, again and again.
_known_keys: dict[bytes, str] = {}


def read_key(data: bytes, at: int) -> tuple[str, int]:
    """The dict key at ``at``, where its type code is, and the place after it."""
    # As if it were shorter than 256 bytes; if it isn't, nothing is found.
    stop = at + 5 + data[at + 4]
    known = _known_keys.get(data[at:stop])
    if known is not None:
        return known, stop
    code, size = read_head(data, at)
    if code != STR:
        raise Malformed
    start = at + 5
    stop = start + size
    key = data[start:stop].decode()
    if size <= _MAX_KEY_SIZE and stop <= len(data):
        if len(_known_keys) >= _MAX_KEYS:
            _known_keys.clear()
        _known_keys[data[at:stop]] = key
    return key, stop


def read_count(data: Data, at: int, depth: int) -> int:
    count: int = read_size(data, at)[0]
    if count > MAX_ITEMS or depth >= MAX_DEPTH:
        raise Malformed
    return count


def read_none(data: Data, at: int, depth: int) -> tuple[None, int]:
    return None, at


def read_bool(data: Data, at: int, depth: int) -> tuple[bool, int]:
    return data[at] != 0, at + 1


def read_int(data: Data, at: int, depth: int) -> tuple[int, int]:
    return _read_int(data, at)[0], at + 8


def read_float(data: Data, at: int, depth: int) -> tuple[float, int]:
    return read_double(data, at)[0], at + 8


def read_bytes(data: Data, at: int, depth: int) -> tuple[bytes, int]:
    start = at + 4
    stop = start + read_size(data, at)[0]
    return bytes(data[start:stop]), stop  # bytes of bytes are no copy


def read_str(data: Data, at: int, depth: int) -> tuple[str, int]:
    start = at + 4
    stop = start + read_size(data, at)[0]
    return str(data[start:stop], "utf-8"), stop


def read_bigint(data: Data, at: int, depth: int) -> tuple[int, int]:
    start = at + 4
    stop = start + read_size(data, at)[0]
    return int.from_bytes(data[start:stop], "big", signed=True), stop


def read_list(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    count = read_count(data, at, depth)
    at += 4
    if count >= SHORTEST_RUN:
        code = run_code(data, at, count)
        if code is not None:
            return unpack_run(data, at, count, code), at + ITEM_SIZE * count
    items: list[Any] = []
    append = items.append
    for _ in range(count):
        code = data[at]
        if code == STR:
            start = at + 5
            at = start + read_size(data, at + 1)[0]
            append(data[start:at].decode())
        elif code == INT:
            append(_read_int(data, at + 1)[0])
            at += 9
        elif code == FLOAT:
            append(read_double(data, at + 1)[0])
            at += 9
        elif code == BOOL:
            append(data[at + 1] != 0)
            at += 2
        elif code == NONE:
            append(None)
            at += 1
        else:
            item, at = READERS[code](data, at + 1, depth + 1)
            append(item)
    return items, at


def read_dict(data: bytes, at: int, depth: int) -> tuple[dict[str, Any], int]:
    count = read_count(data, at, depth)
    at += 4
    entries: dict[str, Any] = {}
    get_known = _known_keys.get
    for _ in range(count):
        # As if the key were shorter than 256 bytes; if it isn't, nothing is found.
        stop = at + 5 + data[at + 4]
        key = get_known(data[at:stop])
        if key is None:
            key, stop = read_key(data, at)
        at = stop
        code = data[at]
        if code == STR:
            start = at + 5
            at = start + read_size(data, at + 1)[0]
            entries[key] = data[start:at].decode()
        elif code == INT:
            entries[key] = _read_int(data, at + 1)[0]
            at += 9
        elif code == FLOAT:
            entries[key] = read_double(data, at + 1)[0]
            at += 9
        elif code == BOOL:
            entries[key] = data[at + 1] != 0
            at += 2
        elif code == NONE:
            entries[key] = None
            at += 1
        else:
            entries[key], at = READERS[code](data, at + 1, depth + 1)
    if len(entries) != count:
        raise Malformed  # a key came twice
    return entries, at


def read_list_in_view(data: memoryview, at: int, depth: int) -> tuple[list[Any], int]:
    count = read_count(data, at, depth)
    at += 4
    if count >= SHORTEST_RUN:
        code = run_code(data, at, count)
        if code is not None:
            return unpack_run(data, at, count, code), at + ITEM_SIZE * count
    items: list[Any] = []
    for _ in range(count):
        item, at = VIEW_READERS[data[at]](data, at + 1, depth + 1)
        items.append(item)
    return items, at


def read_dict_in_view(data: memoryview, at: int, depth: int) -> tuple[dict[str, Any], int]:
    count = read_count(data, at, depth)
    at += 4
    entries: dict[str, Any] = {}
    for _ in range(count):
        if data[at] != STR:
            raise Malformed
        key, at = read_str(data, at + 1, depth)  # read_key's cache would want a copy
        entries[key], at = VIEW_READERS[data[at]](data, at + 1, depth + 1)
    if len(entries) != count:
        raise Malformed
    return entries, at


#: By type code. tlv.py adds those of our own types.
READERS: Final[dict[int, Reader]] = {
    NONE: read_none,
    BOOL: read_bool,
    INT: read_int,
    FLOAT: read_float,
    BYTES: read_bytes,
    STR: read_str,
    BIGINT: read_bigint,
    LIST: read_list,
    DICT: read_dict,
}
VIEW_READERS: Final = READERS | {LIST: read_list_in_view, DICT: read_dict_in_view}
