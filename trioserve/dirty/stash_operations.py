# SPDX-License-Identifier: MIT
"""Each stash operation, once: what it asks for, and what the answer means.

An operation is a function that returns a :class:`Request`; nothing is sent here. The faces are made
from these functions: blocking (stash_blocking.py) and Trio (stash_trio.py), for the whole stash and
for one table. So all of them have the same methods, with these docstrings.

A *transport* carries a request to the tables. Each face wants one of its kind.
"""

from __future__ import annotations

import enum
import functools
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from trioserve.dirty import tlv
from trioserve.dirty.descriptions import shown
from trioserve.dirty.errors import (
    DirtyError,
    StashError,
    StashKeyNotFoundError,
    StashTableNotFoundError,
)
from trioserve.dirty.frames import StashOp
from trioserve.dirty.stash_fields import check_fields, checked_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from trioserve.dirty.stash_storage import Key

T = TypeVar("T")


class Marker(enum.Enum):
    """Arguments that no stored value can be equal to."""

    MISSING = enum.auto()
    NO_DEFAULT = enum.auto()

    def __repr__(self) -> str:
        return self.name


#: "No such key", in compare_and_swap.
MISSING: Final = Marker.MISSING

#: "Raise an error", where a default might be.
NO_DEFAULT: Final = Marker.NO_DEFAULT


class BlockingTransport(Protocol):
    """Carries requests to the tables, for threads."""

    def stash(self, op: int, fields: Mapping[str, Any]) -> Any:
        """The result, decoded. Raises what the operation raises, and what the way there does."""
        ...

    def stash_stream(
        self, op: int, fields: Mapping[str, Any]
    ) -> AbstractContextManager[Iterator[Any]]:
        """The results of an operation that has many, as they come; leaving ends the operation."""
        ...


class AsyncTransport(Protocol):
    """Carries requests to the tables, for Trio tasks. As the blocking one."""

    async def stash(self, op: int, fields: Mapping[str, Any]) -> Any: ...

    def stash_stream(
        self, op: int, fields: Mapping[str, Any]
    ) -> AbstractAsyncContextManager[AsyncIterator[Any]]: ...


class Request(Generic[T]):
    """One trip.

    Args:
        op, fields: what a transport takes.
        read: makes the result from the answer; None if it is the answer.
        default: the result if there is no such key; NO_DEFAULT if that is an error.

    Raises:
        StashError: table, key or ttl can't be.
    """

    __slots__ = ("default", "fields", "op", "read")

    def __init__(
        self,
        op: StashOp,
        fields: dict[str, Any],
        read: Callable[[Any], T] | None = None,
        default: Any = NO_DEFAULT,
    ) -> None:
        check_fields(fields)
        self.op = op
        self.fields = fields
        self.read = read
        self.default = default

    def failed(self, error: DirtyError) -> T:
        """What the operation returns after all, or raises."""
        error = _as_stash_error(error, self.fields)
        if self.default is NO_DEFAULT or not isinstance(error, KeyError):
            raise error
        result: T = self.default
        return result


def _as_stash_error(error: DirtyError, fields: Mapping[str, Any]) -> DirtyError:
    # gunicorn's arbiter has classes for these two, and then sends plain DirtyErrors.
    if type(error) is DirtyError:
        table, key = fields["table"], fields.get("key")
        if error.message == f"Key not found: {key}":
            return StashKeyNotFoundError(error.message, table=table, key=key)
        if error.message == f"Table not found: {table}":
            return StashTableNotFoundError(error.message, table=table)
    return error


#: None as a value: a field that is None itself is left out of a frame.
_NONE: Final = tlv.Encoded(tlv.encode(None))


def _nothing(_: Any) -> None:
    return None


# -- gunicorn's operations ------------------------------------------------------------------


def put(table: str, key: Key, value: Any, *, ttl: float | None = None) -> Request[None]:
    """Store a value; the table is made if need be.

    Args:
        table: the table's name.
        key: a str, a number or bytes; as in a dict, ``1`` and ``1.0`` are one key.
        value: whatever can be sent. The stash keeps a copy.
        ttl: seconds after which the key is gone. None, the default, is never, even where an older
            value of the key had a ttl.
    """
    fields = {"table": table, "key": key, "value": value}
    if ttl is not None:
        fields["ttl"] = ttl
    return Request(StashOp.PUT, fields, _nothing)


def get(table: str, key: Key, default: Any = None) -> Request[Any]:
    """A copy of the stored value, or ``default`` if there is no such key or no such table."""
    return Request(StashOp.GET, {"table": table, "key": key}, None, default)


def delete(table: str, key: Key) -> Request[bool]:
    """Remove a key. Returns whether it was there."""
    return Request(StashOp.DELETE, {"table": table, "key": key})


def keys(table: str, pattern: str | None = None) -> Request[list[Any]]:
    """The keys, oldest first, as a list; none if there is no such table.

    Args:
        table: the table's name.
        pattern: a glob that keys are to match (``*``, ``?``, ``[…]``; case counts).
    """
    return Request(StashOp.KEYS, _with(table, pattern=pattern))


def clear(table: str) -> Request[None]:
    """Remove all keys of a table; the table stays."""
    return Request(StashOp.CLEAR, {"table": table}, _nothing)


def info(table: str) -> Request[dict[str, Any]]:
    """What a table is like: ``size`` (how many keys), ``table`` (its name), ``bytes``.

    Raises:
        StashTableNotFoundError: there is no such table.
    """
    return Request(StashOp.INFO, {"table": table})


def size(table: str) -> Request[int]:
    """How many keys a table has; 0 if there is no such table."""
    return Request(StashOp.INFO, {"table": table}, lambda answer: answer["size"], 0)


def ensure(table: str) -> Request[None]:
    """Make a table, unless it is there."""
    return Request(StashOp.ENSURE, {"table": table}, _nothing)


def exists(table: str, key: Key | None = None) -> Request[bool]:
    """Whether a table is there, or a key in it."""
    return Request(StashOp.EXISTS, _with(table, key=key))


def delete_table(table: str) -> Request[bool]:
    """Remove a table with all its keys. Returns whether it was there."""
    return Request(StashOp.DELETE_TABLE, {"table": table})


def tables() -> Request[list[str]]:
    """The names of all tables, oldest first."""
    return Request(StashOp.TABLES, {"table": ""})


# -- ours -----------------------------------------------------------------------------------


def incr(
    table: str, key: Key, amount: float = 1, *, initial: float = 0, ttl: float | None = None
) -> Request[Any]:
    """Add to a number, and return the sum. However many do it at once, nothing is lost.

    Args:
        table: the table's name.
        key: if it is not there, it is made: with ``initial``, to which ``amount`` is added.
        amount: an int or a float, negative ones included.
        initial: see ``key``.
        ttl: for a key that is made. One that is there keeps its own.

    Raises:
        StashError: what is stored is no int or float.
    """
    fields = _with(table, ttl=ttl) | {"key": key, "amount": amount}
    if initial != 0 or type(initial) is not int:
        fields["initial"] = initial
    return Request(StashOp.INCR, fields)


def compare_and_swap(
    table: str, key: Key, expected: Any, new: Any, *, ttl: float | None = None
) -> Request[bool]:
    """Store ``new`` if the stored value is ``expected``. Returns whether it was.

    Values are compared as they are stored, in encoded form: 1, 1.0 and True are three values, and
    so are two dicts of different order. What a get has returned is equal to what is stored, unless
    there are sets in it.

    Args:
        table: the table's name.
        key: the key.
        expected: MISSING stands for "no such key": then the key is made.
        new: MISSING removes the key.
        ttl: as for put; but without one, the key keeps the one it has.
    """
    fields = _with(table, ttl=ttl) | {"key": key}
    if expected is not MISSING:
        fields["expected"] = _NONE if expected is None else expected
    if new is not MISSING:
        fields["new"] = _NONE if new is None else new
    return Request(StashOp.COMPARE_AND_SWAP, fields)


def setdefault(
    table: str, key: Key, default: Any = None, *, ttl: float | None = None
) -> Request[Any]:
    """Store ``default`` (with ``ttl``) unless there is a value. Returns the value there is then."""
    return Request(StashOp.SETDEFAULT, _with(table, ttl=ttl) | {"key": key, "value": default})


def pop(table: str, key: Key, default: Any = NO_DEFAULT) -> Request[Any]:
    """Remove a key, and return its value.

    Raises:
        StashKeyNotFoundError: there is no such key or table, and no ``default`` to return.
    """
    return Request(StashOp.POP, {"table": table, "key": key}, None, default)


def update(table: str, items: Mapping[Any, Any], *, ttl: float | None = None) -> Request[None]:
    """Store many values in one trip and one step: all, or none if a limit refuses.

    Args:
        table: the table's name.
        items: keys and values.
        ttl: as for put, for each of them.
    """
    if not isinstance(items, Mapping):
        raise StashError(f"items is a mapping of keys to values, not {type(items).__name__}")
    for key in items:
        checked_key(key)
    flat = [part for item in items.items() for part in item]
    return Request(StashOp.UPDATE, _with(table, ttl=ttl) | {"items": flat}, _nothing)


def expire(table: str, key: Key, ttl: float | None) -> Request[bool]:
    """Let a key be gone in ``ttl`` seconds, or, with None, never. Returns whether it is there."""
    return Request(StashOp.EXPIRE, _with(table, ttl=ttl) | {"key": key})


def ttl(table: str, key: Key) -> Request[float | None]:
    """How many seconds a key has left; None if it has no end.

    Raises:
        StashKeyNotFoundError: there is no such key or table.
    """
    return Request(StashOp.INFO, {"table": table, "key": key}, lambda answer: answer["ttl"])


# -- operations of many trips, or of many answers -------------------------------------------


class Pages(Generic[T]):
    """All keys of a table, page by page: ask with :meth:`request` until :attr:`done`.

    A key that is there all the time comes once; one that is made or removed meanwhile, once or not
    at all; each with its value at the time of its page.

    Args:
        what: ``keys``, ``values``, or ``items``: pairs of both.
        table: the table's name.
        pattern: a glob that the keys are to match, or None.
        count: how many a page is to have at most; None leaves it to the arbiter.
    """

    def __init__(
        self, what: str, table: str, pattern: str | None = None, count: int | None = None
    ) -> None:
        self._select = _SELECT[what]
        self._fields = _with(table, pattern=pattern, count=count) | {"values": what != "keys"}
        self.done = False

    def request(self) -> Request[list[T]]:
        """What asks for the next page."""
        return Request(StashOp.ITEMS, self._fields, self._read)

    def _read(self, answer: Any) -> list[T]:
        cursor, *page = answer
        self.done = cursor is None
        self._fields = self._fields | {"cursor": cursor}
        return self._select(page)


_SELECT: Final[dict[str, Callable[[list[Any]], list[Any]]]] = {
    "keys": lambda page: page,
    "values": lambda page: page[1::2],
    "items": lambda page: list(zip(page[::2], page[1::2], strict=True)),
}


def watch(table: str, pattern: str | None = None) -> Request[Any]:
    """Be told of changes, see :class:`~trioserve.dirty.stash_watch.Change`."""
    return Request(StashOp.WATCH, _with(table, pattern=pattern))


def check_watching(first: Any) -> None:
    """Raise a StashError unless this is how a stream of changes begins."""
    if not isinstance(first, list | tuple) or list(first[:1]) != ["watching"]:
        raise StashError(f"expected word from the arbiter that it watches; got {shown(first)}")


# -- making faces ---------------------------------------------------------------------------


def _with(table: str, **more: Any) -> dict[str, Any]:
    """These fields, without those that are None."""
    fields: dict[str, Any] = {"table": table}
    fields.update({name: value for name, value in more.items() if value is not None})
    return fields


def as_method(function: Any, operation: Callable[..., Any], *, of_table: bool = False) -> Any:
    """Give a method the name, docstring and signature of an operation.

    Args:
        function: takes ``self`` and the operation's arguments.
        operation: one of the functions above.
        of_table: the operation's first argument, the table, is not the method's.
    """
    functools.update_wrapper(function, operation)
    signature = inspect.signature(operation)
    self = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    rest = list(signature.parameters.values())[of_table:]
    function.__signature__ = signature.replace(parameters=[self, *rest])
    return function
