# SPDX-License-Identifier: MIT
"""The blocking face of the stash: for threads, scripts and synchronous actions."""

from __future__ import annotations

from collections.abc import (
    Callable,
    ItemsView,
    Iterator,
    KeysView,
    MappingView,
    MutableMapping,
    ValuesView,
)
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from trioserve.dirty import stash_operations as operations
from trioserve.dirty.descriptions import shown
from trioserve.dirty.errors import DirtyError, StashKeyNotFoundError
from trioserve.dirty.stash_operations import NO_DEFAULT, Pages, Request, as_method, check_watching
from trioserve.dirty.stash_watch import Change, matcher

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from trioserve.dirty.stash_operations import BlockingTransport
    from trioserve.dirty.stash_storage import Key

__all__ = ["StashClient", "StashTable"]

P = ParamSpec("P")
T = TypeVar("T")


def _method(operation: Callable[P, Request[T]]) -> Callable[Concatenate[StashClient, P], T]:
    def method(self: StashClient, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(operation(*args, **kwargs))

    return as_method(method, operation)  # type: ignore[no-any-return]


def _of_table(
    operation: Callable[Concatenate[str, P], Request[T]],
) -> Callable[Concatenate[StashTable, P], T]:
    def method(self: StashTable, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.client.run(operation(self.name, *args, **kwargs))

    return as_method(method, operation, of_table=True)  # type: ignore[no-any-return]


class StashClient:
    """The whole stash.

    Args:
        transport: what carries the requests; as many threads may use the client at once as may
            use this.

    Besides what each method says, all of them raise a StashError for an argument that can't be or a
    limit that refuses, and a DirtyConnectionError where the stash can't be reached.
    """

    __slots__ = ("transport",)

    def __init__(self, transport: BlockingTransport) -> None:
        self.transport = transport

    def run(self, request: Request[T]) -> T:
        """Carry out a request of stash_operations.py."""
        try:
            answer = self.transport.stash(request.op, request.fields)
        except DirtyError as error:
            return request.failed(error)
        return answer if request.read is None else request.read(answer)

    put = _method(operations.put)
    get = _method(operations.get)
    delete = _method(operations.delete)
    keys = _method(operations.keys)
    clear = _method(operations.clear)
    info = _method(operations.info)
    ensure = _method(operations.ensure)
    exists = _method(operations.exists)
    delete_table = _method(operations.delete_table)
    tables = _method(operations.tables)
    incr = _method(operations.incr)
    compare_and_swap = _method(operations.compare_and_swap)
    setdefault = _method(operations.setdefault)
    pop = _method(operations.pop)
    update = _method(operations.update)
    expire = _method(operations.expire)
    ttl = _method(operations.ttl)

    def table(self, name: str) -> StashTable:
        """One table, as a mapping. Asks nothing: the table need not exist."""
        return StashTable(self, name)

    def items(self, table: str, pattern: str | None = None) -> Iterator[tuple[Any, Any]]:
        """Keys with their values, oldest first, one trip a page.

        See :class:`~trioserve.dirty.stash_operations.Pages` for what is seen of changes that are
        made meanwhile.
        """
        return self.paged(Pages("items", table, pattern))

    def paged(self, pages: Pages[T]) -> Iterator[T]:
        """What is on all these pages."""
        while not pages.done:
            yield from self.run(pages.request())

    @contextmanager
    def watch(self, table: str, pattern: str | None = None) -> Iterator[Iterator[Change]]:
        """Watch a table, or those of its keys that match a glob; it need not exist.

        Within the ``with`` block, the iterator gives a :class:`Change` for each change that is made
        from the block's beginning on, and waits for it. It ends when the stash does.
        """
        request = operations.watch(table, pattern)
        with self.transport.stash_stream(request.op, request.fields) as answers:
            check_watching(next(answers, None))
            yield (Change(*answer) for answer in answers)


class StashTable(MutableMapping[Any, Any]):
    """One table, as a dict that all processes share, with the stash's operations besides.

    Each method is one atomic operation, and one trip, but for those that go through all keys: these
    make one trip for each page. Nothing is kept here.

    Args:
        client: the stash.
        name: the table's. It is made by the first put; until then it is as if it were empty.
    """

    __slots__ = ("client", "name")

    def __init__(self, client: StashClient, name: str) -> None:
        self.client = client
        self.name = name

    def __repr__(self) -> str:
        return f"<StashTable {self.name!r}>"

    put = _of_table(operations.put)
    delete = _of_table(operations.delete)
    clear = _of_table(operations.clear)
    info = _of_table(operations.info)
    incr = _of_table(operations.incr)
    compare_and_swap = _of_table(operations.compare_and_swap)
    expire = _of_table(operations.expire)
    ttl = _of_table(operations.ttl)

    _size = _of_table(operations.size)

    def get(self, key: Key, default: Any = None) -> Any:
        """A copy of the stored value, or ``default`` if there is no such key or no such table."""
        return self.client.get(self.name, key, default)

    def pop(self, key: Key, default: Any = NO_DEFAULT) -> Any:
        """Remove a key, and return its value.

        Raises:
            StashKeyNotFoundError: there is no such key, and no ``default`` to return.
        """
        return self.client.pop(self.name, key, default)

    def setdefault(self, key: Key, default: Any = None, *, ttl: float | None = None) -> Any:
        """Store ``default`` (with ``ttl``) unless there is a value. Returns the value there is."""
        return self.client.setdefault(self.name, key, default, ttl=ttl)

    def __getitem__(self, key: Key) -> Any:
        return self.client.get(self.name, key, NO_DEFAULT)

    def __setitem__(self, key: Key, value: Any) -> None:
        self.put(key, value)

    def __delitem__(self, key: Key) -> None:
        if not self.delete(key):
            raise StashKeyNotFoundError(
                f"there is no key {shown(key)} in table {self.name!r}", table=self.name, key=key
            )

    def __contains__(self, key: object) -> bool:
        # None would ask for the table.
        return key is not None and self.client.exists(self.name, key)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return self._size()

    def __iter__(self) -> Iterator[Any]:
        return self.client.paged(Pages("keys", self.name))

    def keys(self, pattern: str | None = None) -> KeysView[Any]:
        """A live view of the keys, or of those that match a glob."""
        return _Keys(self, pattern)

    def values(self, pattern: str | None = None) -> ValuesView[Any]:
        """A live view of the values, or of those under keys that match a glob."""
        return _Values(self, pattern)

    def items(self, pattern: str | None = None) -> ItemsView[Any, Any]:
        """A live view of keys with their values, or of those whose keys match a glob."""
        return _Items(self, pattern)

    def popitem(self) -> tuple[Any, Any]:
        """Remove a key, the oldest if nobody else is quicker, and return it with its value.

        Raises:
            KeyError: there is none.
        """
        pages: Pages[Any] = Pages("keys", self.name, count=1)
        for key in self.client.paged(pages):
            with suppress(StashKeyNotFoundError):
                return key, self.pop(key)
        raise StashKeyNotFoundError(f"table {self.name!r} is empty", table=self.name)

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Store many values in one trip and one step: all, or none if a limit refuses.

        Args:
            other: a mapping, or pairs of key and value.
            **more: further keys, as names.
        """
        self.client.update(self.name, dict(other, **more))

    def watch(self, pattern: str | None = None) -> AbstractContextManager[Iterator[Change]]:
        """Watch this table: see :meth:`StashClient.watch`."""
        return self.client.watch(self.name, pattern)


class _View(MappingView):
    """Those keys of a table that match a pattern, or what is under them."""

    __slots__ = ("_matches", "_pattern", "_table")

    _what = ""

    def __init__(self, table: StashTable, pattern: str | None) -> None:
        super().__init__(table)
        self._table = table
        self._pattern = pattern
        self._matches = matcher(pattern)

    def __len__(self) -> int:
        if self._matches is None:
            return len(self._table)
        return sum(1 for _ in self._table.client.paged(self._pages("keys")))

    def __iter__(self) -> Iterator[Any]:
        return self._table.client.paged(self._pages(self._what))

    def _pages(self, what: str) -> Pages[Any]:
        return Pages(what, self._table.name, self._pattern)

    def _may_have(self, key: Any) -> bool:
        return self._matches is None or self._matches(key)


class _Keys(_View, KeysView[Any]):
    __slots__ = ()
    _what = "keys"

    def __contains__(self, key: object) -> bool:
        return self._may_have(key) and key in self._table


class _Values(_View, ValuesView[Any]):
    __slots__ = ()
    _what = "values"

    def __contains__(self, value: object) -> bool:
        return any(value == each for each in self)


class _Items(_View, ItemsView[Any, Any]):
    __slots__ = ()
    _what = "items"

    def __contains__(self, item: object) -> bool:
        match item:
            case (str() | int() | float() | bytes() as key, value) if self._may_have(key):
                with suppress(KeyError):
                    return bool(self._table[key] == value)
        return False
