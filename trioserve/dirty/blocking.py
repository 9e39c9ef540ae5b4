# SPDX-License-Identifier: MIT
"""BlockingDirtyClient: the same calls for threads, WSGI applications and scripts. No Trio.

To the arbiter it is a plain peer, as gunicorn's client is: one call at a time on a connection, the
connection's close is the call's cancellation, the socket's buffer bounds a stream. Connections that
ended a call cleanly are kept for the next one, whichever thread makes it.

What is shared between threads are the list of idle connections and the ids, which are both used by
single atomic steps: no lock that a fork could find held.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import math
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Self

from trioserve.dirty import frames
from trioserve.dirty.app import current_call
from trioserve.dirty.arguments import checked_timeout, manage_fields
from trioserve.dirty.blocking_connection import BlockingConnection
from trioserve.dirty.errors import DirtyAppError, DirtyConnectionError
from trioserve.dirty.frames import FrameType

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from trioserve.dirty.frames import Parts, Payload
    from trioserve.dirty.stash import StashClient

__all__ = ["BlockingDirtyClient", "BlockingStream", "default_client"]

_REQUEST_TIMEOUT: Final = 30.0
#: Connections kept open while nobody uses them: as many threads may call in turn, each of them
#: without connecting anew.
_MAX_IDLE: Final = 64


class BlockingDirtyClient:
    """Calls actions of dirty apps and uses the stash; any number of threads may use it.

    Args:
        path: the arbiter's socket; None = that of ``TRIOSERVE_DIRTY_SOCKET``.
        timeout: seconds for calls that don't say it themselves; 0 or inf = none.
        max_frame_size: bytes of a message, either way.

    Raises:
        TypeError, ValueError: the timeout can't be.
        DirtyConnectionError: no path is given, and the environment names none.

    Each method raises a RuntimeError where it is called in a task of Trio or asyncio: it would
    block the loop, and all of its tasks with it.
    """

    def __init__(
        self,
        path: str | None = None,
        timeout: float = math.inf,
        max_frame_size: int = frames.DEFAULT_MAX_FRAME_SIZE,
    ) -> None:
        self.path = path or os.environ.get("TRIOSERVE_DIRTY_SOCKET") or ""
        if not self.path:
            raise DirtyConnectionError(
                "which arbiter? Give the path of its socket, or set TRIOSERVE_DIRTY_SOCKET"
            )
        self._timeout = checked_timeout(timeout)
        self._max_frame_size = max_frame_size
        self._ids = itertools.count(1)
        self._idle: list[BlockingConnection] = []
        self._closed = False
        self._stash: StashClient | None = None

    def execute(
        self, app_path: str, action: str, /, *args: Any, timeout: float | None = None, **kwargs: Any
    ) -> Any:
        """The result of one action: see DirtyClient.execute for arguments and errors."""
        seconds = self._seconds(timeout)
        request_id, parts = self._encode(app_path, action, args, kwargs, seconds)
        frame_type, payload = self._ask(request_id, parts, seconds)
        if frame_type == FrameType.RESPONSE:
            return frames.decode_result(payload)
        raise DirtyAppError(
            f"{action!r} of {app_path!r} is a generator: call it by stream(), not by execute()",
            app_path=app_path,
            action=action,
        )

    def stream(
        self, app_path: str, action: str, /, *args: Any, timeout: float | None = None, **kwargs: Any
    ) -> BlockingStream:
        """The items of a generator, as they come::

            with client.stream("models:Chat", "answer", question) as words:
                for word in words:
                    ...

        Leaving the block ends the generator. See DirtyClient.stream.
        """
        seconds = self._seconds(timeout)
        request_id, parts = self._encode(app_path, action, args, kwargs, seconds)
        return BlockingStream(self._exchange(request_id, parts, seconds))

    def status(self) -> dict[str, Any]:
        """See DirtyClient.status."""
        result: dict[str, Any] = self.request(frames.status)
        return result

    def manage(self, operation: str, count: int = 1) -> dict[str, Any]:
        """See DirtyClient.manage."""
        code, count = manage_fields(operation, count)
        result: dict[str, Any] = self.request(frames.manage, code, count)
        return result

    @property
    def stash(self) -> StashClient:
        """The tables that all processes share."""
        if self._stash is None:
            from trioserve.dirty.stash import StashClient

            self._stash = StashClient(_Transport(self))
        return self._stash

    def close(self) -> None:
        """Closes the connections: those in use when their calls end, the others at once."""
        self._closed = True
        while (connection := self._take_idle()) is not None:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- calls ------------------------------------------------------------------------------

    def _seconds(self, timeout: float | None) -> float:
        if timeout is None:
            return self._timeout
        return checked_timeout(timeout)

    def _encode(
        self, app_path: str, action: str, args: Any, kwargs: Any, timeout: float
    ) -> tuple[int, Parts]:
        state = current_call.get()
        payload = frames.request_payload(
            app_path,
            action,
            args,
            kwargs,
            timeout if timeout < math.inf else None,
            None if state is None else {"call": state.request_id, "worker": state.worker},
        )
        request_id = next(self._ids)
        return request_id, frames.with_header(
            FrameType.REQUEST, request_id, payload, self._max_frame_size
        )

    def request(self, encode: Callable[..., Parts], *args: Any, **kwargs: Any) -> Any:
        """The result of a request that one frame answers; ``encode`` makes it from an id."""
        request_id = next(self._ids)
        parts = encode(request_id, *args, **kwargs)
        frame_type, payload = self._ask(request_id, parts, _REQUEST_TIMEOUT)
        if frame_type == FrameType.RESPONSE:
            return frames.decode_result(payload)
        raise DirtyConnectionError(
            "part of a stream came where a result was expected", socket_path=self.path
        )

    @contextlib.contextmanager
    def request_stream(
        self, encode: Callable[..., Parts], *args: Any, **kwargs: Any
    ) -> Iterator[Iterator[Any]]:
        """The values of a request that a stream answers, in the block."""
        request_id = next(self._ids)
        parts = encode(request_id, *args, **kwargs)
        with self._exchange(request_id, parts, math.inf) as replies:
            yield (frames.decode_data(payload) for _, payload in replies)

    @contextlib.contextmanager
    def _exchange(
        self, request_id: int, parts: Parts, timeout: float
    ) -> Generator[Iterator[tuple[int, Payload]], None, None]:
        """One request, and its replies in the block."""
        _refuse_event_loop()
        deadline = time.monotonic() + timeout
        connection = self._send(parts, deadline, timeout)
        try:
            yield connection.replies(request_id, deadline, timeout)
        finally:
            self._put_back(connection)

    def _ask(self, request_id: int, parts: Parts, timeout: float) -> tuple[int, Payload]:
        """One request, and its first reply; others end with it."""
        _refuse_event_loop()
        deadline = time.monotonic() + timeout
        connection = self._send(parts, deadline, timeout)
        try:
            return connection.reply(request_id, deadline, timeout)
        finally:
            self._put_back(connection)

    def _put_back(self, connection: BlockingConnection) -> None:
        """Keeps the connection, if all replies have come; else closes it, which ends its call."""
        if connection.is_clean and not self._closed and len(self._idle) < _MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def _send(self, parts: Parts, deadline: float, timeout: float) -> BlockingConnection:
        """A connection that has taken the request."""
        while (connection := self._take_idle()) is not None:
            # The arbiter may have been started anew since this one was used, or at this moment. A
            # request that it did not take whole was not begun, and may be sent to another.
            if connection.is_alive():
                with contextlib.suppress(DirtyConnectionError):
                    connection.send(parts, deadline, timeout)
                    return connection
            connection.close()
        connection = BlockingConnection(self.path, self._max_frame_size, deadline)
        connection.send(parts, deadline, timeout)
        return connection

    def _take_idle(self) -> BlockingConnection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None


class BlockingStream:
    """The items of one stream; made by ``BlockingDirtyClient.stream``."""

    def __init__(
        self, call: contextlib.AbstractContextManager[Iterator[tuple[int, Payload]]]
    ) -> None:
        self._call = call
        self._replies: Iterator[tuple[int, Payload]] | None = None
        self._entered = False

    def __enter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a stream can be entered once: make another by client.stream(…)")
        self._entered = True
        self._replies = self._call.__enter__()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._replies = iter(())
        self._call.__exit__(*exc_info)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._replies is None:
            raise RuntimeError("a stream is used as: with client.stream(…) as items: …")
        frame_type, payload = next(self._replies)
        if frame_type == FrameType.RESPONSE:
            return frames.decode_result(payload)
        return frames.decode_data(payload)


class _Transport:
    """The stash's way to the arbiter."""

    def __init__(self, client: BlockingDirtyClient) -> None:
        self._client = client

    def stash(self, op: int, fields: Mapping[str, Any]) -> Any:
        return self._client.request(frames.stash, op, **fields)

    def stash_stream(
        self, op: int, fields: Mapping[str, Any]
    ) -> contextlib.AbstractContextManager[Iterator[Any]]:
        return self._client.request_stream(frames.stash, op, **fields)


_default: BlockingDirtyClient | None = None
_default_lock = threading.Lock()


def default_client() -> BlockingDirtyClient:
    """The client of this process for the arbiter that ``TRIOSERVE_DIRTY_SOCKET`` names.

    Raises:
        DirtyConnectionError: the environment names none.
    """
    global _default
    path = os.environ.get("TRIOSERVE_DIRTY_SOCKET")
    client = _default
    if client is not None and client.path == path:
        return client
    with _default_lock:
        if _default is None or _default.path != path:
            close_default_client()
            _default = BlockingDirtyClient(path)
        return _default


def close_default_client() -> None:
    """Closes the connections that nobody uses now, if there is such a client."""
    if _default is not None:
        _default.close()


atexit.register(close_default_client)


def _refuse_event_loop() -> None:
    """Blocking an event loop for a call is a mistake, and a deadlock where the pool lives in it."""
    lowlevel = sys.modules.get("trio.lowlevel")
    if lowlevel is not None and lowlevel.in_trio_run():
        raise RuntimeError(
            "this would block the event loop: in Trio tasks, await the methods of a DirtyClient "
            "(trioserve.dirty.get_client(), open_dirty_client())"
        )
    asyncio_events = sys.modules.get("asyncio.events")
    if asyncio_events is not None and asyncio_events._get_running_loop() is not None:
        raise RuntimeError(
            "this would block the event loop: in asyncio tasks, await asyncio.to_thread(…)"
        )
