# SPDX-License-Identifier: MIT
"""Values beyond gunicorn's: date and time, Decimal, UUID, sets. tlv.py has the table.

Their modules are imported by who reads such a value, not with this module: most never do.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from trioserve.dirty.errors import DirtyProtocolError
from trioserve.dirty.tlv_check import Checker, counted, sized, skip, whole
from trioserve.dirty.tlv_codes import DATETIME, DECIMAL, SET, UUID, Data, malformed
from trioserve.dirty.tlv_read import READERS, VIEW_READERS, Reader
from trioserve.dirty.tlv_write import (
    Encoded,
    Pieces,
    Writer,
    open_container,
    write_sized,
    write_value,
)

if TYPE_CHECKING:
    import datetime
    import decimal
    import uuid

#: Items of one set that may share a hash. By chance a few do.
_MAX_COLLISIONS: Final = 256

_pack_set_head = struct.Struct(">BBI").pack


def write_datetime(out: Pieces, value: datetime.datetime, depth: int) -> None:
    import datetime

    if value != value:  # pandas' NaT: a datetime, and no date
        raise DirtyProtocolError(f"{value!r} is no time that can be sent")
    # A subclass may write more than it reads: the class's own, then.
    write_sized(out, DATETIME, datetime.datetime.isoformat(value).encode())


def write_date(out: Pieces, value: datetime.date, depth: int) -> None:
    import datetime

    write_sized(out, DATETIME, datetime.date.isoformat(value).encode())


def read_datetime(data: Data, at: int, depth: int) -> tuple[datetime.datetime | datetime.date, int]:
    import datetime

    start, stop = sized(data, at - 1, "a datetime")
    try:
        text = str(data[start:stop], "ascii")
        kind = datetime.datetime if "T" in text else datetime.date
        return kind.fromisoformat(text), stop
    except ValueError as exc:
        raise malformed(data, at - 1, f"no ISO 8601 date or time: {exc!s:.100}") from None


def write_decimal(out: Pieces, value: decimal.Decimal, depth: int) -> None:
    write_sized(out, DECIMAL, str(value).encode())


def read_decimal(data: Data, at: int, depth: int) -> tuple[decimal.Decimal, int]:
    import decimal

    start, stop = sized(data, at - 1, "a Decimal")
    # A context of its own: in one that doesn't trap, text that is no number gives a NaN.
    strict = decimal.Context(traps=[decimal.InvalidOperation])
    try:
        return decimal.Decimal(str(data[start:stop], "ascii"), strict), stop
    except (ValueError, ArithmeticError):
        raise malformed(data, at - 1, "a Decimal that is no number") from None


def write_uuid(out: Pieces, value: uuid.UUID, depth: int) -> None:
    out.append(bytes((UUID,)) + value.bytes)


def read_uuid(data: Data, at: int, depth: int) -> tuple[uuid.UUID, int]:
    import uuid

    stop = whole(data, at, 16, "a UUID")
    return uuid.UUID(bytes=bytes(data[at:stop])), stop


def write_set(out: Pieces, values: set[Any] | frozenset[Any], depth: int) -> None:
    count = open_container(values, depth)
    out.append(_pack_set_head(SET, isinstance(values, frozenset), count))
    for value in values:
        if isinstance(value, tuple | Encoded):
            raise DirtyProtocolError(
                f"a {type(value).__name__} in a set: it would arrive as a list, which no set holds"
            )
        write_value(out, value, depth + 1)


def read_set(data: Data, at: int, depth: int) -> tuple[set[Any] | frozenset[Any], int]:
    kind = set if data[at] == 0 else frozenset
    start = at - 1
    count, at = counted(data, at, depth, "a set", 1)
    readers = VIEW_READERS if isinstance(data, memoryview) else READERS
    items = []
    for _ in range(count):
        item, at = readers[data[at]](data, at + 1, depth + 1)
        items.append(item)
    try:
        refuse_collisions(data, start, items)
        return kind(items), at
    except (TypeError, ValueError) as exc:
        raise malformed(data, start, f"a set of what no set can hold: {exc!s:.100}") from None


def refuse_collisions(data: Data, at: int, items: list[Any]) -> None:
    """Stops a set that was made to be slow.

    Each item with the same hash is compared with all those before it, and the hashes of numbers and
    UUIDs can be chosen by the sender. (Those of str and bytes can't.)
    """
    if len(items) <= _MAX_COLLISIONS:
        return
    most = max(Counter(map(hash, items)).values())
    if most > _MAX_COLLISIONS:
        raise malformed(data, at, f"a set of which {most} items have the same hash")


def check_set(data: Data, at: int, depth: int) -> int:
    count, stop = counted(data, at + 1, depth, "a set", 1)
    for _ in range(count):
        stop = skip(data, stop, depth + 1)
    read_set(data, at + 1, depth)
    return stop


def _check_by_reading(reader: Reader) -> Checker:
    def check(data: Data, at: int, depth: int) -> int:
        return reader(data, at + 1, depth)[1]

    return check


READERS_OF_EXTRAS: Final[dict[int, Reader]] = {
    DATETIME: read_datetime,
    DECIMAL: read_decimal,
    UUID: read_uuid,
    SET: read_set,
}
CHECKERS_OF_EXTRAS: Final[dict[int, Checker]] = {
    DATETIME: _check_by_reading(read_datetime),
    DECIMAL: _check_by_reading(read_decimal),
    UUID: _check_by_reading(read_uuid),
    SET: check_set,
}
WRITERS_OF_EXTRAS: Final[dict[str, Writer]] = {
    "datetime.datetime": write_datetime,
    "datetime.date": write_date,
    "decimal.Decimal": write_decimal,
    "uuid.UUID": write_uuid,
    "builtins.set": write_set,
    "builtins.frozenset": write_set,
}
