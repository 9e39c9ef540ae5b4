# SPDX-License-Identifier: MIT
"""Arrays of numbers (type code 41): numpy's, the array module's, and typed memoryviews.

The dtype is numpy's string for it (``<f4``) and one of DTYPES, so that nothing a sender writes
there can name anything but plain numbers. A reader without numpy gets a memoryview with the same
items and shape; what no memoryview can show (half floats, complex numbers, datetime64) takes numpy.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Final

from trioserve.dirty.errors import DirtyProtocolError
from trioserve.dirty.tlv_check import counted, sized, skip
from trioserve.dirty.tlv_codes import (
    ARRAY,
    BYTES,
    INT,
    LIST,
    STR,
    Data,
    malformed,
)
from trioserve.dirty.tlv_write import (
    Pieces,
    write_list,
    write_sized,
    write_value,
)

if TYPE_CHECKING:
    from array import array

    import numpy as np

_NATIVE: Final = "<" if sys.byteorder == "little" else ">"
#: Item sizes by kind, as numpy has them, each with the letter of a memoryview's format ("": none).
_KINDS: Final = {
    "i": {2: "h", 4: "i", 8: "q"},
    "u": {2: "H", 4: "I", 8: "Q"},
    "f": {2: "", 4: "f", 8: "d"},
    "c": {8: "", 16: ""},
}
_TIME_UNITS: Final = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns")
#: Item size and format letter of each dtype that may be sent.
DTYPES: Final[dict[str, tuple[int, str]]] = (
    {"|b1": (1, "?"), "|i1": (1, "b"), "|u1": (1, "B")}
    | {
        f"{order}{kind}{size}": (size, letter)
        for order in "<>"
        for kind, letters in _KINDS.items()
        for size, letter in letters.items()
    }
    | {
        f"{order}{kind}8[{unit}]": (8, "")
        for order in "<>"
        for kind in "Mm"
        for unit in _TIME_UNITS
    }
)
#: The kinds of struct's letters. Their sizes are the platform's: the memoryview knows them.
_KINDS_OF_LETTERS: Final = (
    {"?": "b"}
    | dict.fromkeys("bhilqn", "i")
    | dict.fromkeys("BHILQN", "u")
    | dict.fromkeys("efd", "f")
    | dict.fromkeys(("Zf", "Zd"), "c")
)
#: As many as numpy 2 and memoryviews have.
MAX_DIMENSIONS: Final = 64


def write_memoryview(out: Pieces, view: memoryview, depth: int) -> None:
    """A flat view of bytes as bytes, any other as an array."""
    if view.format in ("B", "c") and view.ndim == 1:
        write_sized(out, BYTES, _flat(view))
    else:
        _write_view(out, view, depth)


def write_array(out: Pieces, value: array[Any], depth: int) -> None:
    _write_view(out, memoryview(value), depth)


def _write_view(out: Pieces, view: memoryview, depth: int) -> None:
    letters = view.format.lstrip("@=<>!")
    kind = _KINDS_OF_LETTERS.get(letters)
    order = {"<": "<", ">": ">", "!": ">"}.get(view.format[:1], _NATIVE)
    if view.itemsize == 1:
        order = "|"
    dtype = f"{order}{kind}{view.itemsize}"
    if dtype not in DTYPES:
        raise DirtyProtocolError(f"items of format {view.format!r} can't be sent")
    _write(out, dtype, view.shape or (), _flat(view), depth)


def write_ndarray(out: Pieces, value: np.ndarray[Any, Any], depth: int) -> None:
    import numpy as np

    dtype = value.dtype.str
    if dtype not in DTYPES:
        raise DirtyProtocolError(
            f"an array of dtype {value.dtype} can't be sent: only bool, int, uint, float, complex,"
            " datetime64 and timedelta64"
        )
    if isinstance(value, np.ma.MaskedArray):
        raise DirtyProtocolError("a masked array can't be sent: its mask would be lost")
    # As bytes, since numpy lends no buffer of datetime64.
    raw = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
    _write(out, dtype, value.shape, raw.data, depth)


def write_numpy_scalar(out: Pieces, value: np.generic, depth: int) -> None:
    """As the Python number (or str, or bytes) that it is."""
    plain = value.item()
    if type(plain) not in (bool, int, float, str, bytes) or value.dtype.kind in "Mm":
        raise DirtyProtocolError(f"a numpy scalar of dtype {value.dtype} can't be sent")
    write_value(out, plain, depth)


def _flat(view: memoryview) -> memoryview | bytes:
    """The items' bytes in C order; the view's own where they lie so."""
    # A view without items can't be cast.
    return view.cast("B") if view.c_contiguous and view.nbytes else view.tobytes()


def _write(
    out: Pieces, dtype: str, shape: tuple[int, ...], raw: memoryview | bytes, depth: int
) -> None:
    # An array counts as a container: its shape is one.
    out.append(bytes((ARRAY,)))
    write_sized(out, STR, dtype.encode())
    write_list(out, shape, depth)
    write_sized(out, BYTES, raw)


def check_array(data: Data, at: int, depth: int) -> int:
    return _layout(data, at, depth)[3]


def read_array(data: Data, at: int, depth: int) -> tuple[np.ndarray[Any, Any] | memoryview, int]:
    dtype, shape, start, stop = _layout(data, at - 1, depth)
    try:
        import numpy as np
    except ImportError:
        return _view(data, at - 1, dtype, shape, memoryview(data)[start:stop]), stop
    try:
        if start == stop:
            return np.empty(shape, dtype), stop
        array = np.frombuffer(data, "|u1" if dtype == "|b1" else dtype, math.prod(shape), start)
        # Either way the items get memory of their own, aligned and writable. A bool that is neither
        # 0 nor 1 would be undefined to numpy.
        if dtype == "|b1":
            return (array != 0).reshape(shape), stop
        return array.reshape(shape).copy(), stop
    except (ValueError, OverflowError) as exc:
        raise malformed(data, at - 1, f"an array that numpy can't hold: {exc!s:.100}") from None


def _layout(data: Data, at: int, depth: int) -> tuple[str, tuple[int, ...], int, int]:
    """An array's dtype and shape and where its items are; all of it checked."""
    start, stop = _sized_as(data, at + 1, STR, "an array's dtype")
    dtype = str(data[start:stop], "latin-1")
    if dtype not in DTYPES:
        raise malformed(data, start, f"{dtype!r:.100} is no dtype that can be sent")
    shape, at = _shape(data, stop, depth)
    start, stop = _sized_as(data, at, BYTES, "an array's items")
    size = math.prod(shape) * DTYPES[dtype][0]
    if size != stop - start:
        raise malformed(
            data,
            at,
            f"an array of dtype {dtype} and shape {list(shape)} has {size} bytes,"
            f" but {stop - start} came",
        )
    return dtype, shape, start, stop


def _sized_as(data: Data, at: int, code: int, what: str) -> tuple[int, int]:
    _expect(data, at, code, what)
    return sized(data, at, what)


def _expect(data: Data, at: int, code: int, what: str) -> None:
    if at >= len(data) or data[at] != code:
        came = f"0x{data[at]:02x}" if at < len(data) else "the data ends"
        raise malformed(data, at, f"expected {what} (type code 0x{code:02x}), got {came}")


def _shape(data: Data, at: int, depth: int) -> tuple[tuple[int, ...], int]:
    """An array's shape and the place after it."""
    _expect(data, at, LIST, "an array's shape")
    count, at = counted(data, at, depth, "an array's shape", 9)
    if count > MAX_DIMENSIONS:
        raise malformed(data, at, f"{count} dimensions: the limit is {MAX_DIMENSIONS}")
    shape = []
    for _ in range(count):
        _expect(data, at, INT, "a dimension")
        stop = skip(data, at, depth)
        dimension = int.from_bytes(data[at + 1 : stop], "big", signed=True)
        if dimension < 0:
            raise malformed(data, at, f"a dimension of {dimension}")
        shape.append(dimension)
        at = stop
    return tuple(shape), at


def _view(data: Data, at: int, dtype: str, shape: tuple[int, ...], raw: memoryview) -> memoryview:
    """The items without numpy; of no items only the format is kept."""
    size, letter = DTYPES[dtype]
    if not letter:
        raise malformed(data, at, f"an array of dtype {dtype}: to read it takes numpy")
    items = bytearray(raw)
    if dtype[0] not in ("|", _NATIVE):
        for place in range(size):
            items[place::size] = bytes(raw[size - 1 - place :: size])
    view: Any = memoryview(items)  # any, since typeshed wants literal formats
    typed: memoryview = view.cast(letter, shape) if items else view.cast(letter)
    return typed
