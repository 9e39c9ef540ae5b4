# SPDX-License-Identifier: MIT
"""Values to bytes: each writer appends to a list of pieces, which is joined once, at the end.

A value's writer is found in WRITERS by its type; what is not there is looked up once by its base
classes (``_writer_for``), by name for types whose modules a program may never load. The loops over
lists and dicts write the commonest types themselves, since a call costs as much as packing an int.

Nothing here says where a value that can't be sent stands: ``refusal`` finds that out afterwards.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from trioserve.dirty.errors import DirtyProtocolError
from trioserve.dirty.tlv_codes import (
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
    STR,
    Piece,
)
from trioserve.dirty.tlv_runs import SHORTEST_RUN, pack_run

#: What the writers may raise; the DirtyProtocolErrors among them don't know the value's place.
FAILURES: Final = (DirtyProtocolError, UnicodeEncodeError, struct.error, RecursionError)

pack_head = struct.Struct(">BI").pack
_pack_int = struct.Struct(">Bq").pack
_pack_float = struct.Struct(">Bd").pack
_SHORT: Final = 256
_STR_HEADS: Final = [pack_head(STR, size) for size in range(_SHORT)]
_NONE: Final = bytes((NONE,))
_TRUE: Final = bytes((BOOL, 1))
_FALSE: Final = bytes((BOOL, 0))


class Encoded:
    """A value that is encoded already; it is spliced into a message as it stands, unchecked.

    Args:
        data: one whole value, as ``encode`` or ``split`` give it.
    """

    __slots__ = ("data",)

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Encoded) and self.data == other.data

    def __repr__(self) -> str:
        return f"Encoded({len(self.data)} bytes)"


class Pieces(list[Piece]):
    """What a message is joined from."""

    #: Indexes of the pieces that are large enough to be sent without a copy.
    large: tuple[int, ...] | list[int] = ()

    def add(self, piece: Piece) -> None:
        """Appends a piece that may be large."""
        if len(piece) >= LARGE_SIZE:
            self.large = [*self.large, len(self)]
        self.append(piece)

    def joined(self) -> list[bytes | memoryview]:
        """The message: one part, or more where large values stand between."""
        if not self.large:
            return [b"".join(self)]
        parts: list[bytes | memoryview] = []
        start = 0
        for index in self.large:
            if start < index:
                parts.append(b"".join(self[start:index]))
            large = self[index]
            parts.append(large if isinstance(large, bytes) else memoryview(large))
            start = index + 1
        if start < len(self):
            parts.append(b"".join(self[start:]))
        return parts


#: Appends a value's encoding; the last argument is the number of containers around it.
Writer: TypeAlias = Callable[[Pieces, Any, int], None]


class _Keys(dict[str, bytes]):
    """Dict keys, encoded: most programs use a few, again and again."""

    _MAX_KEYS = 1024
    _MAX_KEY_SIZE = 64

    def __missing__(self, key: object) -> bytes:
        if not isinstance(key, str):
            raise DirtyProtocolError(f"a dict's keys must be str, not {type(key).__name__}")
        raw = key.encode()
        encoded = pack_head(STR, len(raw)) + raw
        if len(raw) <= self._MAX_KEY_SIZE:
            if len(self) >= self._MAX_KEYS:
                self.clear()
            self[str(key)] = encoded
        return encoded


encoded_keys = _Keys()


def open_container(value: Any, depth: int) -> int:
    """The number of items of a container, which is within the limits."""
    if depth >= MAX_DEPTH:
        raise DirtyProtocolError(
            f"more than {MAX_DEPTH} containers within each other (or one that holds itself)"
        )
    count = len(value)
    if count > MAX_ITEMS:
        raise DirtyProtocolError(
            f"a {type(value).__name__} of {count:,} items: at most {MAX_ITEMS:,} can be sent"
        )
    return count


def write_value(out: Pieces, value: Any, depth: int) -> None:
    """Appends any value's encoding."""
    kind = type(value)
    (WRITERS.get(kind) or _writer_for(kind))(out, value, depth)


def write_list(out: Pieces, values: list[Any] | tuple[Any, ...], depth: int) -> None:
    append = out.append
    count = open_container(values, depth)
    append(pack_head(LIST, count))
    if count >= SHORTEST_RUN:
        run = pack_run(values)
        if run is not None:
            out.add(run)
            return
    for value in values:
        kind = type(value)
        if kind is str:
            raw = value.encode()
            size = len(raw)
            if size < _SHORT:
                append(_STR_HEADS[size])
                append(raw)
            else:
                append(pack_head(STR, size))
                out.add(raw)
        elif kind is int:
            try:
                append(_pack_int(INT, value))
            except struct.error:
                write_int(out, value, depth)
        elif kind is float:
            append(_pack_float(FLOAT, value))
        elif value is None:
            append(_NONE)
        elif kind is bool:
            append(_TRUE if value else _FALSE)
        else:
            (WRITERS.get(kind) or _writer_for(kind))(out, value, depth + 1)


def write_dict(out: Pieces, mapping: dict[str, Any], depth: int) -> None:
    append = out.append
    append(pack_head(DICT, open_container(mapping, depth)))
    # Line by line as in write_list: a call an item would cost half as much again.
    for key, value in mapping.items():
        append(encoded_keys[key])
        kind = type(value)
        if kind is str:
            raw = value.encode()
            size = len(raw)
            if size < _SHORT:
                append(_STR_HEADS[size])
                append(raw)
            else:
                append(pack_head(STR, size))
                out.add(raw)
        elif kind is int:
            try:
                append(_pack_int(INT, value))
            except struct.error:
                write_int(out, value, depth)
        elif kind is float:
            append(_pack_float(FLOAT, value))
        elif value is None:
            append(_NONE)
        elif kind is bool:
            append(_TRUE if value else _FALSE)
        else:
            (WRITERS.get(kind) or _writer_for(kind))(out, value, depth + 1)


def write_none(out: Pieces, value: None, depth: int) -> None:
    out.append(_NONE)


def write_bool(out: Pieces, value: bool, depth: int) -> None:
    out.append(_TRUE if value else _FALSE)


def write_int(out: Pieces, value: int, depth: int) -> None:
    try:
        out.append(_pack_int(INT, value))
    except struct.error:
        # One bit more than the magnitude has: the sign's.
        raw = value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
        write_sized(out, BIGINT, raw)


def write_float(out: Pieces, value: float, depth: int) -> None:
    out.append(_pack_float(FLOAT, value))


def write_str(out: Pieces, value: str, depth: int) -> None:
    raw = str.encode(value)
    size = len(raw)
    if size < _SHORT:
        out.append(_STR_HEADS[size] + raw)
    else:
        write_sized(out, STR, raw)


def write_bytes(out: Pieces, value: bytes, depth: int) -> None:
    write_sized(out, BYTES, value)


def write_bytearray(out: Pieces, value: bytearray, depth: int) -> None:
    write_sized(out, BYTES, memoryview(value))


def write_encoded(out: Pieces, value: Encoded, depth: int) -> None:
    out.add(value.data)


def write_sized(out: Pieces, code: int, raw: bytes | memoryview) -> None:
    """Appends code, length and bytes."""
    out.append(pack_head(code, len(raw)))
    out.add(raw)


WRITERS: Final[dict[type, Writer]] = {
    type(None): write_none,
    bool: write_bool,
    int: write_int,
    float: write_float,
    str: write_str,
    bytes: write_bytes,
    bytearray: write_bytearray,
    list: write_list,
    tuple: write_list,
    dict: write_dict,
    Encoded: write_encoded,
}

#: Writers of types from modules that are not imported for their sake, by ``module.class``.
LATE_WRITERS: Final[dict[str, Writer]] = {}

_MAX_SUBCLASSES = 1024


def _writer_for(kind: type) -> Writer:
    """The writer of a type that is not in WRITERS: that of the first base class with one."""
    for base in kind.__mro__:
        writer = WRITERS.get(base) or LATE_WRITERS.get(f"{base.__module__}.{base.__qualname__}")
        if writer is not None:
            # A program that makes classes on the fly must not grow the table for ever.
            if len(WRITERS) < _MAX_SUBCLASSES:
                WRITERS[kind] = writer
            return writer
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    raise DirtyProtocolError(f"a value of type {module}{kind.__qualname__} can't be sent")


def refusal(value: Any, name: str, depth: int = 0) -> DirtyProtocolError:
    """The error for a value that could not be written: what is wrong with it, and where.

    Args:
        value: what ``write_value(…, value, depth)`` failed on.
        name: what the path to the culprit begins with.
        depth: the same.
    """
    try:
        found = _find_culprit(value, name, depth)
    except RecursionError:
        found = f"{name}: nested too deeply for what the caller has left of the stack"
    return DirtyProtocolError(found or f"{name} changed while it was being encoded")


def _find_culprit(value: Any, path: str, depth: int) -> str | None:
    """A path and what is wrong there; None if nothing is."""
    children: Any = ()
    try:
        if isinstance(value, list | tuple | set | frozenset | dict):
            open_container(value, depth)
        if isinstance(value, list | tuple):
            children = ((item, f"{path}[{index}]") for index, item in enumerate(value))
        elif isinstance(value, dict):
            for key in value:
                encoded_keys[key]
            children = ((item, f"{path}[{key!r:.100}]") for key, item in value.items())
        else:
            write_value(Pieces(), value, depth)
    except UnicodeEncodeError as exc:
        return f"{path}: a str with {exc.object[exc.start : exc.end]!r:.20}, which UTF-8 can't hold"
    except struct.error:
        return f"{path}: a value of 4 GiB or more"
    except DirtyProtocolError as exc:
        return f"{path}: {exc}"
    for child, place in children:
        found = _find_culprit(child, place, depth + 1)
        if found is not None:
            return found
    return None
