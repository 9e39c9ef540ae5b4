# SPDX-License-Identifier: MIT
"""What stash operations take: which fields, of what kind, in which form.

A field is in one of three forms: the bytes of a STASH frame, an argument of a method of
:class:`~trioserve.dirty.tables.StashTables`, or, with a caller in this process, a Python value. Two
tables say how to get from the first and the last to the second. They differ in those that stay
encoded: what is stored.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from trioserve.dirty import tlv
from trioserve.dirty.descriptions import shown
from trioserve.dirty.errors import StashError
from trioserve.dirty.frames import StashOp
from trioserve.dirty.tlv_check import counted, skip
from trioserve.dirty.tlv_codes import LIST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from trioserve.dirty.stash_storage import Key

__all__ = [
    "OPERATIONS",
    "Operation",
    "arguments_from_values",
    "arguments_from_wire",
    "check_fields",
    "check_number",
    "checked_key",
    "checked_ttl",
    "operation_for",
]


class Operation(NamedTuple):
    """The fields of an operation, besides ``table``, and the method that does it.

    Attributes:
        needed, possible: the fields that must be there, and that may.
        stored: those of them that stay encoded.
    """

    method: str
    needed: frozenset[str]
    possible: frozenset[str]
    stored: frozenset[str]

    def check(self, table: object, fields: Iterable[str]) -> None:
        """Raise a StashError if a field is missing, or unknown: it might be meant to matter."""
        check_table(table)
        given = frozenset(fields)
        if given >= self.needed and given <= self.needed | self.possible:
            return
        wanted = [*sorted(self.needed), *(f"[{name}]" for name in sorted(self.possible))]
        raise StashError(
            f"stash operation {self.method} has the fields {', '.join(['table', *wanted])}; "
            f"these came: {', '.join(['table', *sorted(given)])}"
        )


def _operation(op: StashOp, fields: str = "", possible: str = "") -> tuple[int, Operation]:
    needed, others = frozenset(fields.split()), frozenset(possible.split())
    return int(op), Operation(op.name.lower(), needed, others, (needed | others) & _STORED)


_STORED: Final = frozenset(("value", "expected", "new", "items"))

#: By code. WATCH is a stream, and not among them.
OPERATIONS: Final[Mapping[int, Operation]] = dict(
    (
        _operation(StashOp.PUT, "key", "value ttl"),
        _operation(StashOp.GET, "key"),
        _operation(StashOp.DELETE, "key"),
        _operation(StashOp.KEYS, "", "pattern"),
        _operation(StashOp.CLEAR),
        _operation(StashOp.INFO, "", "key"),
        _operation(StashOp.ENSURE),
        _operation(StashOp.DELETE_TABLE),
        _operation(StashOp.TABLES),
        _operation(StashOp.EXISTS, "", "key"),
        _operation(StashOp.INCR, "key", "amount initial ttl"),
        _operation(StashOp.COMPARE_AND_SWAP, "key", "expected new ttl"),
        _operation(StashOp.SETDEFAULT, "key", "value ttl"),
        _operation(StashOp.POP, "key"),
        _operation(StashOp.UPDATE, "items", "ttl"),
        _operation(StashOp.ITEMS, "", "pattern cursor count values"),
        _operation(StashOp.EXPIRE, "key", "ttl"),
    )
)

WATCH: Final = _operation(StashOp.WATCH, "", "pattern")[1]


def operation_for(op: object, table: object, fields: Iterable[str]) -> Operation:
    """The operation of this code, if it has these fields; all may be whatever a peer has sent.

    Raises:
        StashError: there is none, it has not, or the table's name is none.
    """
    operation = OPERATIONS.get(op) if isinstance(op, int) and op is not True else None
    if operation is None:
        raise StashError(f"stash operation {shown(op)} is unknown")
    operation.check(table, fields)
    return operation


# -- the forms of a field -------------------------------------------------------------------


def arguments_from_wire(fields: Mapping[str, bytes | memoryview]) -> dict[str, Any]:
    """Fields of a frame, each as the bytes of its TLV form, as arguments."""
    arguments = {}
    for name, data in fields.items():
        convert: Callable[[Any], Any] = _FROM_WIRE.get(name, tlv.decode)
        arguments[name] = convert(data)
    return arguments


def arguments_from_values(operation: Operation, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fields that a caller in this process gives, as arguments."""
    if not operation.stored:
        return fields
    arguments = dict(fields)
    for name in operation.stored:
        if name in arguments:
            arguments[name] = _FROM_VALUE[name](arguments[name])
    return arguments


def _pairs(items: object) -> dict[Key, bytes]:
    """``[key, value, key, value, …]`` with the values encoded. Of two equal keys the last wins."""
    if not isinstance(items, list) or len(items) % 2:
        raise StashError(_NO_PAIRS)
    return {
        checked_key(key): tlv.encode(value)
        for key, value in zip(items[::2], items[1::2], strict=True)
    }


def _pairs_on_the_wire(data: bytes | memoryview) -> dict[Key, bytes]:
    """The same from the list's encoded form, in which the values are left as they are."""
    if not data or data[0] != LIST:
        raise StashError(_NO_PAIRS)
    count, at = counted(data, 0, 0, "items", 1)
    if count % 2:
        raise StashError(_NO_PAIRS)
    pairs = {}
    for _ in range(count // 2):
        middle = skip(data, at, 1)
        end = skip(data, middle, 1)
        pairs[checked_key(tlv.decode(data[at:middle]))] = bytes(data[middle:end])
        at = end
    return pairs


_NO_PAIRS: Final = "items is a list of a key, its value, a key, its value and so on"

_FROM_WIRE: Final[dict[str, Callable[[Any], Any]]] = {
    "value": bytes,
    "expected": bytes,
    "new": bytes,
    "items": _pairs_on_the_wire,
}

_FROM_VALUE: Final[dict[str, Callable[[Any], Any]]] = {
    "value": tlv.encode,
    "expected": tlv.encode,
    "new": tlv.encode,
    "items": _pairs,
}


# -- what an argument may be ----------------------------------------------------------------


def check_table(table: object) -> None:
    """Raise a StashError unless it can be a table's name."""
    if not isinstance(table, str):
        raise StashError(f"a table's name is a str, not {type(table).__name__}")


def check_fields(fields: Mapping[str, Any]) -> None:
    """Raise a StashError if a caller's fields can't be: before they are sent, as after it."""
    # Nearly all are strs; a call to find that out costs as much as a tenth of the operation.
    if type(fields["table"]) is not str:
        check_table(fields["table"])
    key = fields.get("key", "")
    if type(key) is not str:
        checked_key(key)
    if "ttl" in fields:
        checked_ttl(fields["ttl"])


def checked_key(key: object) -> Key:
    """The key, as it is after a way over the wire.

    Raises:
        StashError: it can't be one.
    """
    if type(key) is str:
        return key
    if not isinstance(key, str | int | float | bytes):
        raise StashError(f"a key is a str, a number or bytes, not {type(key).__name__}")
    if key != key:
        raise StashError("a key can't be NaN, which is not equal to itself")
    plain: Key = tlv.decode(tlv.encode(key))
    return plain


def checked_ttl(ttl: object) -> float:
    """A time to live.

    Raises:
        StashError: it is no number of seconds above 0.
    """
    if isinstance(ttl, int | float) and not isinstance(ttl, bool) and 0 < ttl < math.inf:
        try:
            return float(ttl)
        except OverflowError:
            pass
    raise StashError(
        f"a ttl is in seconds, a number above 0 that a float can hold, not {shown(ttl)}"
    )


def check_number(value: object, where: str) -> None:
    """Raise a StashError unless the value is an int or a float; a bool is neither."""
    if type(value) is not int and type(value) is not float:
        raise StashError(f"{where} is to be a number, and is {type(value).__name__}")
