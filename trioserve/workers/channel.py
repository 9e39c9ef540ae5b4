# SPDX-License-Identifier: MIT
"""The messages of one worker over its socket, the same at both ends.

Tasks, in the nursery of ``run``: one writes what was posted; the other, ``run`` itself, reads until
the end of the stream. Neither end ever waits for the other: posting takes no time, and beyond
MAX_WAITING messages it says no.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import trio

from trioserve.workers.messages import MessageReader, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Channel"]

#: Messages that may wait to be written.
MAX_WAITING: Final = 256
_READ_SIZE: Final = 65536


class Channel:
    """One end of a conversation; see messages.py for what is said.

    Args:
        stream: closed when ``run`` ends.
        on_message: called with each message; must not block.
    """

    def __init__(
        self, stream: trio.abc.Stream, on_message: Callable[[dict[str, Any]], object]
    ) -> None:
        self._stream = stream
        self._on_message = on_message
        self._posted, self._to_write = trio.open_memory_channel[bytes](MAX_WAITING)
        self._is_written = trio.Event()

    def post(self, message: Mapping[str, Any]) -> bool:
        """Has a message written; whether there was room for it, and somebody to read it."""
        try:
            self._posted.send_nowait(encode(message))
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    async def finish(self) -> None:
        """Takes nothing more, and returns once what was posted is written, or can't be."""
        self._posted.close()
        await self._is_written.wait()

    async def run(self) -> None:
        """Returns at the end of the stream.

        Raises:
            MessageError: what came can't be understood.
        """
        reader = MessageReader()
        async with self._stream, trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            while data := await self._read():
                for message in reader.feed(data):
                    self._on_message(message)
            nursery.cancel_scope.cancel()

    async def _read(self) -> bytes | bytearray:
        try:
            return await self._stream.receive_some(_READ_SIZE)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    async def _write(self) -> None:
        try:
            with self._to_write:
                async for data in self._to_write:
                    await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the reader sees the end
        finally:
            self._is_written.set()
