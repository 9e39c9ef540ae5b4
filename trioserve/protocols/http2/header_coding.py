# SPDX-License-Identifier: MIT
"""Header sections ↔ header blocks (HPACK, RFC 7541).

A block that changes no table means the same until a table changes. So both ways remember what they
have just done for as long as that: most requests and responses of a busy connection repeat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trioserve.protocols.http2.header_table import (
    ENTRY_OVERHEAD,
    STATIC_FIELDS,
    STATIC_NAMES,
    STATIC_TABLE,
    DynamicTable,
    HpackError,
    decode_string,
    encode_integer,
)

if TYPE_CHECKING:
    from trioserve.protocols.http2.engine import Fields
    from trioserve.types import Headers

__all__ = ["HeaderDecoder", "HeaderEncoder", "HeaderListTooLarge"]

#: SETTINGS_HEADER_TABLE_SIZE where nobody says another (RFC 9113 section 6.5.2).
_TABLE_SIZE: Final = 4096
_STATIC_COUNT: Final = len(STATIC_TABLE)
#: Blocks that are remembered each way, and up to which size of them and of their fields.
_REMEMBERED: Final = 16
_REMEMBERED_SIZE: Final = 256
_REMEMBERED_FIELDS: Final = 32
#: Bytes of an integer beyond its first: enough for 2**35.
_MAX_INTEGER_SIZE: Final = 5

#: Values that differ from response to response, or that nobody else may learn of by trying (RFC
#: 7541 section 7.1): they don't enter the table.
_NOT_INDEXED: Final = frozenset(
    {
        b"content-length",
        b"content-range",
        b"content-disposition",
        b"etag",
        b"last-modified",
        b"location",
        b"age",
        b"expires",
        b"x-request-id",
    }
)
_NEVER_INDEXED: Final = frozenset(
    {b"set-cookie", b"authorization", b"proxy-authorization", b"www-authenticate"}
)


class HeaderListTooLarge(Exception):
    """A header section is larger than anybody should send: the work of decoding it is the harm."""


class HeaderDecoder:
    """What a client's header blocks say.

    Args:
        max_size: bytes of a header section, as RFC 9113 section 6.5.2 counts them.
    """

    __slots__ = ("_known", "_max_size", "_table")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._table = DynamicTable(_TABLE_SIZE)
        self._known: dict[bytes, Headers] = {}

    def decode(self, block: bytes) -> Headers:
        """The fields of a block. The list is to be left as it is: it may be given again.

        Raises:
            HpackError: it breaks RFC 7541.
            HeaderListTooLarge: it says too much.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        table = self._table
        changes = table.changes
        try:
            fields = self._decode(block)
        except IndexError:
            raise HpackError("a header block ends in the middle of a field") from None
        if table.changes != changes:
            self._known.clear()
        elif len(block) <= _REMEMBERED_SIZE and len(fields) <= _REMEMBERED_FIELDS:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[block] = fields
        return fields

    def _decode(self, block: bytes) -> Headers:
        fields: Headers = []
        size = 0
        at = 0
        end = len(block)
        while at < end:
            first = block[at]
            if first & 0x80:  # section 6.1: an indexed field
                index, at = _integer(block, at, 7)
                field = self._field(index)
            elif first & 0xE0 == 0x20:  # section 6.3: a dynamic table size update
                if fields:
                    raise HpackError("a table size update after a field (RFC 7541 section 4.2)")
                limit, at = _integer(block, at, 5)
                if limit > _TABLE_SIZE:
                    raise HpackError(f"a table of {limit} bytes, {_TABLE_SIZE} are allowed")
                self._table.resize(limit)
                continue
            else:  # section 6.2: a literal, to be indexed or not
                is_indexed = first & 0x40
                index, at = _integer(block, at, 6 if is_indexed else 4)
                if index:
                    name = self._field(index)[0]
                else:
                    name, at = _string(block, at, end)
                value, at = _string(block, at, end)
                field = (name, value)
                if is_indexed:
                    self._table.add(field)
            size += len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
            if size > self._max_size:
                raise HeaderListTooLarge(f"a header section of more than {self._max_size} bytes")
            fields.append(field)
        return fields

    def _field(self, index: int) -> tuple[bytes, bytes]:
        if 0 < index <= _STATIC_COUNT:
            return STATIC_TABLE[index - 1]
        index -= _STATIC_COUNT + 1
        entries = self._table.entries
        if not 0 <= index < len(entries):
            raise HpackError("an index beyond both tables (RFC 7541 section 2.3.3)")
        return entries[index]


def _integer(block: bytes, at: int, prefix_bits: int) -> tuple[int, int]:
    """RFC 7541 section 5.1: the integer, and where it ends."""
    limit = (1 << prefix_bits) - 1
    value = block[at] & limit
    at += 1
    if value < limit:
        return value, at
    for shift in range(0, 7 * _MAX_INTEGER_SIZE, 7):
        byte = block[at]
        at += 1
        value += (byte & 127) << shift
        if byte < 128:
            return value, at
    raise HpackError("an integer of too many bytes (RFC 7541 section 5.1)")


def _string(block: bytes, at: int, end: int) -> tuple[bytes, int]:
    """RFC 7541 section 5.2: the string, and where it ends."""
    is_huffman = block[at] >= 128
    length, start = _integer(block, at, 7)
    at = start + length
    if at > end:
        raise HpackError("a string that is longer than its block (RFC 7541 section 5.2)")
    return decode_string(block[start:at], is_huffman=is_huffman), at


class HeaderEncoder:
    """Header blocks for a client.

    No Huffman code: it would cost more time than its bytes are worth, and what is said again is an
    index the second time.
    """

    __slots__ = ("_known", "_numbers", "_smallest", "_table")

    def __init__(self) -> None:
        self._table = DynamicTable(_TABLE_SIZE)
        self._numbers: dict[tuple[bytes, bytes], int] = {}  # field → its entry's number
        self._known: dict[tuple[tuple[bytes, bytes], ...], bytes] = {}
        self._smallest: int | None = None  # of the sizes since the last block; None = no change

    def resize(self, max_size: int) -> None:
        """The client allows a table of so many bytes (SETTINGS_HEADER_TABLE_SIZE)."""
        max_size = min(max_size, _TABLE_SIZE)
        if max_size != self._table.max_size:
            self._forget(self._table.resize(max_size))
            smallest = max_size if self._smallest is None else self._smallest
            self._smallest = min(smallest, max_size)

    def encode(self, fields: Fields) -> bytes:
        """The block of a header section."""
        if self._smallest is not None:
            return self._encode_updates(self._smallest) + self._encode(fields)
        key = tuple(fields)
        known = self._known.get(key)
        if known is not None:
            return known
        changes = self._table.changes
        block = self._encode(fields)
        if self._table.changes != changes:
            self._known.clear()
        elif len(block) <= _REMEMBERED_SIZE:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[key] = block
        return block

    def _encode_updates(self, smallest: int) -> bytes:
        """RFC 7541 section 4.2: the smallest size since the last block, and the one that holds."""
        self._known.clear()
        self._smallest = None
        final = self._table.max_size
        updates = (smallest, final) if smallest < final else (final,)
        return b"".join(encode_integer(size, 5, 0x20) for size in updates)

    def _encode(self, fields: Fields) -> bytes:
        return b"".join([self._encode_field(field) for field in fields])

    def _encode_field(self, field: tuple[bytes, bytes]) -> bytes:
        index = STATIC_FIELDS.get(field)
        if index is not None:
            return encode_integer(index, 7, 0x80)
        number = self._numbers.get(field)
        table = self._table
        if number is not None:
            return encode_integer(_STATIC_COUNT + 1 + table.added - number, 7, 0x80)
        name, value = field
        size = len(name) + len(value) + ENTRY_OVERHEAD
        if name in _NEVER_INDEXED:
            head = self._encode_name(name, 4, 0x10)
        elif name in _NOT_INDEXED or size > table.max_size // 4:
            head = self._encode_name(name, 4, 0)
        else:
            head = self._encode_name(name, 6, 0x40)
            self._forget(table.add(field))
            self._numbers[field] = table.added
        return head + encode_integer(len(value), 7, 0) + value

    @staticmethod
    def _encode_name(name: bytes, prefix_bits: int, flags: int) -> bytes:
        index = STATIC_NAMES.get(name)
        if index is not None:
            return encode_integer(index, prefix_bits, flags)
        return bytes((flags,)) + encode_integer(len(name), 7, 0) + name

    def _forget(self, evicted: list[tuple[bytes, bytes]]) -> None:
        if evicted:
            self._known.clear()
        for field in evicted:
            del self._numbers[field]  # no field is in the table twice
