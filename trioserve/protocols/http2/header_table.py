# SPDX-License-Identifier: MIT
"""HPACK's tables (RFC 7541 section 2.3), and how its integers and strings are written (section 5).

The static table and the Huffman code are the hpack library's. What is done here is done for speed:
both sides of a connection say the same again and again, and a header section that says only what
the tables hold costs one look-up (header_coding.py).
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from hpack.exceptions import HPACKDecodingError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ENTRY_OVERHEAD",
    "STATIC_FIELDS",
    "STATIC_NAMES",
    "STATIC_TABLE",
    "DynamicTable",
    "HpackError",
    "decode_string",
    "encode_integer",
]

#: Index 1 is the first.
STATIC_TABLE: Final[Sequence[tuple[bytes, bytes]]] = HeaderTable.STATIC_TABLE
STATIC_FIELDS: Final = {field: index for index, field in enumerate(STATIC_TABLE, 1)}
STATIC_NAMES: Final = {name: index for index, (name, _) in reversed([*enumerate(STATIC_TABLE, 1)])}
#: What an entry counts for beside its bytes (RFC 7541 section 4.1).
ENTRY_OVERHEAD: Final = 32

#: Bytes of a Huffman-coded string whose decoding is remembered.
_REMEMBERED_SIZE: Final = 128


class HpackError(Exception):
    """A header block can't be decoded: nothing after it could be, either."""


class DynamicTable:
    """First in, first out, as one side of one direction has it.

    Attributes:
        entries: the newest first.
        size: as RFC 7541 section 4.1 counts it.
        max_size: entries are evicted beyond it.
        added: how many entries there ever were; the newest has this number.
        changes: how often it was changed, in any way.
    """

    __slots__ = ("added", "changes", "entries", "max_size", "size")

    def __init__(self, max_size: int) -> None:
        self.entries: deque[tuple[bytes, bytes]] = deque()
        self.size = 0
        self.max_size = max_size
        self.added = 0
        self.changes = 0

    def add(self, field: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        """Adds an entry, which may be too large to stay; returns those that had to go."""
        self.entries.appendleft(field)
        self.added += 1
        self.changes += 1
        self.size += len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
        return self._evict()

    def resize(self, max_size: int) -> list[tuple[bytes, bytes]]:
        """Sets the limit; returns the entries that had to go."""
        self.max_size = max_size
        self.changes += 1
        return self._evict()

    def _evict(self) -> list[tuple[bytes, bytes]]:
        evicted = []
        while self.size > self.max_size:
            field = self.entries.pop()
            self.size -= len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
            evicted.append(field)
        return evicted


def encode_integer(value: int, prefix_bits: int, flags: int) -> bytes:
    """An integer after the flags of its first byte (RFC 7541 section 5.1)."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes((flags | value,))
    encoded = bytearray((flags | limit,))
    value -= limit
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def decode_string(data: bytes, *, is_huffman: bool) -> bytes:
    """A string literal's bytes (RFC 7541 section 5.2).

    Raises:
        HpackError: its Huffman code is wrong, or badly padded.
    """
    if not is_huffman:
        return data
    return _decode_known(data) if len(data) <= _REMEMBERED_SIZE else _decode(data)


def _decode(data: bytes) -> bytes:
    try:
        return decode_huffman(data)
    except HPACKDecodingError as exc:
        raise HpackError(f"bad Huffman code (RFC 7541 section 5.2): {exc}") from exc


_decode_known = lru_cache(maxsize=4096)(_decode)
