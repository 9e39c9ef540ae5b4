# SPDX-License-Identifier: MIT
"""Values ↔ bytes, as the dirty wire has them. Pure.

A value is one byte of type code and a body. Lengths and counts are uint32; all numbers big-endian.

====  ==========================  =================================================================
code  Python type                 body
====  ==========================  =================================================================
00    None
01    bool                        1 byte, true unless 0
05    int of 64 bits              int64
06    float                       IEEE 754 double
10    bytes                       length, raw
11    str                         length, UTF-8
20    list                        count, values
21    dict                        count, then key (a value of code 11) and value each; no key twice
40    int beyond 64 bits          length, two's complement
41    array                       dtype (code 11), shape (code 20, of ints), items (code 10)
42    datetime, date              length, ISO 8601 as ``isoformat`` writes it; a date has no ``T``
43    Decimal                     length, ``str(value)``
44    UUID                        16 bytes
45    set, frozenset              1 byte (0 set, 1 frozenset), count, values
====  ==========================  =================================================================

Codes below 40 are gunicorn's, and what they hold is, byte for byte, what it sends.

What is encoded as what: a subclass as its base (an IntEnum is an int, a namedtuple a list). A tuple
is a list. bytearrays and flat memoryviews of bytes are bytes; other memoryviews, ``array.array``
and numpy arrays are arrays; numpy scalars are Python numbers. A time keeps its offset from UTC, not
its zone's name, nor ``fold``. An array's dtype is one of tlv_arrays.DTYPES (bool, int, uint, float,
complex, datetime64, timedelta64, either byte order); it is read as a numpy array of its own memory
where numpy is installed, and as a memoryview where it isn't. A dict's keys are str. Nothing is
pickled.

Limits, in both directions: 64 containers within each other (arrays count), 1,048,576 items each. A
message's size is limited by its frame (frames.py).

The parts: tlv_write, tlv_read and tlv_check for the common types, tlv_runs for long lists of
numbers, tlv_extras and tlv_arrays for the codes from 40 on; they are put together here.
"""

from __future__ import annotations

from typing import Any

from trioserve.dirty.tlv_arrays import (
    check_array,
    read_array,
    write_array,
    write_memoryview,
    write_ndarray,
    write_numpy_scalar,
)
from trioserve.dirty.tlv_check import CHECKERS, begins_large, counted, explain, key_end, skip
from trioserve.dirty.tlv_codes import (
    ARRAY,
    DICT,
    LARGE_SIZE,
    MAX_DEPTH,
    MAX_ITEMS,
    STR,
    Data,
    malformed,
)
from trioserve.dirty.tlv_extras import (
    CHECKERS_OF_EXTRAS,
    READERS_OF_EXTRAS,
    WRITERS_OF_EXTRAS,
)
from trioserve.dirty.tlv_read import FAULTS, READERS, VIEW_READERS, read_count, read_key, read_str
from trioserve.dirty.tlv_write import (
    FAILURES,
    LATE_WRITERS,
    WRITERS,
    Encoded,
    Pieces,
    refusal,
    write_value,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_ITEMS",
    "Encoded",
    "decode",
    "decode_from",
    "encode",
    "encode_parts",
    "peek_route",
    "split",
]

for _readers in (READERS, VIEW_READERS):
    _readers.update(READERS_OF_EXTRAS)
    _readers[ARRAY] = read_array
CHECKERS.update(CHECKERS_OF_EXTRAS)
CHECKERS[ARRAY] = check_array
WRITERS[memoryview] = write_memoryview
LATE_WRITERS.update(WRITERS_OF_EXTRAS)
LATE_WRITERS.update(
    {
        "array.array": write_array,
        "numpy.ndarray": write_ndarray,
        "numpy.generic": write_numpy_scalar,
    }
)


def encode(value: Any) -> bytes:
    """Encodes one value.

    Raises:
        DirtyProtocolError: something in it can't be sent; the message has the path to it, its type
            and the limit, if it is one.
    """
    return b"".join(_write(value))


def encode_parts(value: Any) -> list[bytes | memoryview]:
    """As ``encode``, in parts to be sent one after the other.

    Bytes, strs, arrays and spliced values of 16 KiB or more are parts of their own. They are not
    copied: what is changeable must not change until it is sent.
    """
    return _write(value).joined()


def _write(value: Any) -> Pieces:
    pieces = Pieces()
    try:
        write_value(pieces, value, 0)
    except FAILURES as exc:
        raise refusal(value, "value") from exc
    return pieces


def decode(data: bytes | bytearray | memoryview) -> Any:
    """Decodes exactly one value.

    Args:
        data: a view, if it is one, is of bytes. Nothing of the result refers to it.

    Raises:
        DirtyProtocolError: it is none, or more; whatever came, nothing else is raised.
    """
    return decode_from(data, 0, 0)


def decode_from(data: bytes | bytearray | memoryview, at: int, depth: int) -> Any:
    """Decodes the value that begins at ``at`` and must end where the data ends.

    Args:
        data: as in ``decode``.
        at: the place of the type code.
        depth: the number of containers around the value.
    """
    if type(data) is not bytes:
        data = _readable(data)
    readers = READERS if type(data) is bytes else VIEW_READERS
    try:
        value, stop = readers[data[at]](data, at + 1, depth)
        if stop == len(data):
            return value
    except FAULTS:
        pass  # the error is made outside, so that it does not carry this one along
    raise explain(data, at, depth)


def _readable(data: bytes | bytearray | memoryview) -> Data:
    """The data as bytes, by a copy, unless it holds large values: those are to be copied once."""
    if len(data) < LARGE_SIZE:
        return bytes(data)
    view = memoryview(data)
    return view if begins_large(view) else bytes(view)


def split(data: bytes | bytearray | memoryview) -> dict[str, bytes | memoryview]:
    """Takes a dict apart without building its values.

    Returns:
        Each key with its value's encoding, which is valid: ``decode`` will give a value (if it
        needs no numpy that is missing). A slice of the data: bytes of bytes, a view of a view.

    Raises:
        DirtyProtocolError: the data isn't exactly one dict.
    """
    if isinstance(data, bytearray):
        data = memoryview(data)
    elif isinstance(data, bytes) and len(data) <= _SKIMMED_SIZE and _ARRAY_HEAD not in data:
        entries = _split_small(data)
        if entries is not None:
            return entries
    try:
        return _split_checked(data)
    except RecursionError:
        raise explain(data) from None


_DICT_SIZE = 5
#: What is read is not kept; but it should not be much, nor load numpy.
_SKIMMED_SIZE = 64 * 1024
_ARRAY_HEAD = bytes((ARRAY, STR, 0, 0, 0))


def _split_small(data: bytes) -> dict[str, bytes | memoryview] | None:
    """The values' encodings by reading them, which is faster than to walk over them.

    Returns:
        None if anything is wrong.
    """
    entries: dict[str, bytes | memoryview] = {}
    try:
        if data[0] != DICT:
            return None
        count = read_count(data, 1, 0)
        at = _DICT_SIZE
        for _ in range(count):
            key, start = read_key(data, at)
            _, at = READERS[data[start]](data, start + 1, 1)
            entries[key] = data[start:at]
    except FAULTS:
        return None
    return entries if at == len(data) and len(entries) == count else None


def _split_checked(data: Data) -> dict[str, bytes | memoryview]:
    if not data or data[0] != DICT:
        raise malformed(data, 0, "expected a dict (type code 0x21)")
    count, at = counted(data, 0, 0, "a dict", 6)
    entries: dict[str, bytes | memoryview] = {}
    for _ in range(count):
        start = key_end(data, at)
        key = str(data[at + 5 : start], "utf-8")
        if key in entries:
            raise malformed(data, at, f"the key {key!r:.100} comes twice in one dict")
        at = skip(data, start, 1)
        entries[key] = data[start:at]
    if at != len(data):
        raise malformed(data, at, f"{len(data) - at} bytes come after the value")
    return entries


_APP_PATH = b"\x11\x00\x00\x00\x08app_path\x11"
_ACTION = b"\x11\x00\x00\x00\x06action\x11"
#: What is looked at of a view: a route is far shorter.
_PEEKED = 4096
_MAX_ROUTES = 1024
#: App path and action by the bytes from the first key to the end of the action.
_known_routes: dict[bytes, tuple[str, str]] = {}


def peek_route(data: bytes | bytearray | memoryview) -> tuple[str, str] | None:
    """App path and action of a REQUEST's payload, if they are its first two keys.

    Returns:
        None where they come in another order, or something is wrong: decode it to find out. What
        comes after them has not been looked at.
    """
    route = read_route(data if type(data) is bytes else bytes(memoryview(data)[:_PEEKED]))
    return route and route[0]


def read_route(data: bytes) -> tuple[tuple[str, str], int] | None:
    """As ``peek_route``, with the place after the action."""
    try:
        # As if both were shorter than 256 bytes; if they aren't, nothing is found.
        stop = _DICT_SIZE + len(_APP_PATH) + 4
        stop += data[stop - 1]
        stop += len(_ACTION) + 4
        stop += data[stop - 1]
        route = _known_routes.get(data[_DICT_SIZE:stop])
        if route is not None and data[0] == DICT:
            return route, stop
        return _read_new_route(data)
    except FAULTS:
        return None


def _read_new_route(data: bytes) -> tuple[tuple[str, str], int] | None:
    start = _DICT_SIZE + len(_APP_PATH)
    if data[0] != DICT or data[_DICT_SIZE:start] != _APP_PATH:
        return None
    app_path, stop = read_str(data, start, 1)
    start = stop + len(_ACTION)
    if data[stop:start] != _ACTION:
        return None
    action, stop = read_str(data, start, 1)
    if stop > len(data):
        return None
    if stop < _PEEKED:
        if len(_known_routes) >= _MAX_ROUTES:
            _known_routes.clear()
        _known_routes[data[_DICT_SIZE:stop]] = app_path, action
    return (app_path, action), stop
