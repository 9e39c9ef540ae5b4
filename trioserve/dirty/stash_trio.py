# SPDX-License-Identifier: MIT
"""The Trio face of the stash: the same operations, awaited.

Nothing of Trio is imported here: waiting is the transport's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from trioserve.dirty import stash_operations as operations
from trioserve.dirty.errors import DirtyError
from trioserve.dirty.stash_operations import Pages, Request, as_method, check_watching
from trioserve.dirty.stash_watch import Change

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from trioserve.dirty.stash_operations import AsyncTransport

__all__ = ["AsyncStash", "AsyncStashTable"]

P = ParamSpec("P")
T = TypeVar("T")


def _method(
    operation: Callable[P, Request[T]],
) -> Callable[Concatenate[AsyncStash, P], Awaitable[T]]:
    async def method(self: AsyncStash, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.run(operation(*args, **kwargs))

    return as_method(method, operation)  # type: ignore[no-any-return]


def _of_table(
    operation: Callable[Concatenate[str, P], Request[T]],
) -> Callable[Concatenate[AsyncStashTable, P], Awaitable[T]]:
    async def method(self: AsyncStashTable, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.client.run(operation(self.name, *args, **kwargs))

    return as_method(method, operation, of_table=True)  # type: ignore[no-any-return]


class AsyncStash:
    """The whole stash, for Trio tasks; as many as like may use it at once.

    Args:
        transport: what carries the requests.

    Besides what each method says, all of them raise a StashError for an argument that can't be or a
    limit that refuses, and a DirtyConnectionError where the stash can't be reached.

    Cancellation: an operation that is cancelled while it is under way has been done, or not.
    """

    __slots__ = ("transport",)

    def __init__(self, transport: AsyncTransport) -> None:
        self.transport = transport

    async def run(self, request: Request[T]) -> T:
        """Carry out a request of stash_operations.py."""
        try:
            answer = await self.transport.stash(request.op, request.fields)
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

    def table(self, name: str) -> AsyncStashTable:
        """One table. Asks nothing: the table need not exist."""
        return AsyncStashTable(self, name)

    def items(self, table: str, pattern: str | None = None) -> AsyncIterator[tuple[Any, Any]]:
        """Keys with their values, oldest first, one trip a page: for ``async for``.

        See :class:`~trioserve.dirty.stash_operations.Pages` for what is seen of changes that are
        made meanwhile.
        """
        return self.paged(Pages("items", table, pattern))

    def paged(self, pages: Pages[T]) -> AsyncIterator[T]:
        """What is on all these pages."""
        return _Paged(self, pages)

    @asynccontextmanager
    async def watch(
        self, table: str, pattern: str | None = None
    ) -> AsyncIterator[AsyncIterator[Change]]:
        """Watch a table, or those of its keys that match a glob; it need not exist.

        Within the ``async with`` block, the iterator gives a :class:`Change` for each change that
        is made from the block's beginning on, and waits for it. It ends when the stash does.
        """
        request = operations.watch(table, pattern)
        async with self.transport.stash_stream(request.op, request.fields) as answers:
            check_watching(await anext(answers, None))
            yield _Changes(answers)


class AsyncStashTable:
    """One table, for Trio tasks; ``async for key in table`` goes through its keys.

    Args:
        client: the stash.
        name: the table's. It is made by the first put; until then it is as if it were empty.
    """

    __slots__ = ("client", "name")

    def __init__(self, client: AsyncStash, name: str) -> None:
        self.client = client
        self.name = name

    def __repr__(self) -> str:
        return f"<AsyncStashTable {self.name!r}>"

    put = _of_table(operations.put)
    get = _of_table(operations.get)
    delete = _of_table(operations.delete)
    keys = _of_table(operations.keys)
    size = _of_table(operations.size)
    clear = _of_table(operations.clear)
    info = _of_table(operations.info)
    ensure = _of_table(operations.ensure)
    exists = _of_table(operations.exists)
    incr = _of_table(operations.incr)
    compare_and_swap = _of_table(operations.compare_and_swap)
    setdefault = _of_table(operations.setdefault)
    pop = _of_table(operations.pop)
    update = _of_table(operations.update)
    expire = _of_table(operations.expire)
    ttl = _of_table(operations.ttl)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self.client.paged(Pages("keys", self.name))

    def values(self, pattern: str | None = None) -> AsyncIterator[Any]:
        """The values, oldest first, or those under keys that match a glob: for ``async for``."""
        return self.client.paged(Pages("values", self.name, pattern))

    def items(self, pattern: str | None = None) -> AsyncIterator[tuple[Any, Any]]:
        """Keys with their values, or those whose keys match a glob: for ``async for``."""
        return self.client.paged(Pages("items", self.name, pattern))

    def watch(
        self, pattern: str | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Watch this table: see :meth:`AsyncStash.watch`."""
        return self.client.watch(self.name, pattern)


# Classes, for Trio wants an async generator that is left early to be closed by hand.


class _Paged(AsyncIterator[T], Generic[T]):
    """What is on some pages; waits, and can be cancelled, once a page."""

    def __init__(self, client: AsyncStash, pages: Pages[T]) -> None:
        self._client = client
        self._pages = pages
        self._ready: deque[T] = deque()

    async def __anext__(self) -> T:
        while not self._ready:
            if self._pages.done:
                raise StopAsyncIteration
            page = await self._client.run(self._pages.request())
            self._ready.extend(page)
        return self._ready.popleft()


class _Changes(AsyncIterator[Change]):
    """Answers to WATCH as changes."""

    def __init__(self, answers: AsyncIterator[Any]) -> None:
        self._answers = answers

    async def __anext__(self) -> Change:
        return Change(*await anext(self._answers))
