# SPDX-License-Identifier: MIT
"""Files that responses are made of."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, BinaryIO, Final

import trio

from trioserve.errors import AppProtocolError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["measure_file", "open_to_send", "read_pieces"]

_READ_SIZE: Final = 256 * 1024


def _open_regular_file(path: str) -> BinaryIO:
    """Opens a file to be sent; a pipe or a device might block for ever, or never end.

    Raises:
        OSError: it can't be opened, or is no regular file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no regular file", path)
    return os.fdopen(fd, "rb")


def measure_file(file: BinaryIO, offset: int | None, count: int | None) -> tuple[int, int]:
    """Where to begin in an open file, and how many bytes there are to be sent.

    Args:
        file: with a descriptor.
        offset: of the first byte; None = where the file stands.
        count: bytes at the most; None = all.

    Raises:
        AppProtocolError: it is closed, a pipe, or without a descriptor.
    """
    try:
        start = file.tell() if offset is None else offset
        size = max(0, os.fstat(file.fileno()).st_size - start)
    except (OSError, ValueError) as exc:
        raise AppProtocolError(f"{file!r} can't be sent: {exc}") from exc
    return start, size if count is None else min(size, count)


def _read(file: BinaryIO, size: int, offset: int) -> bytes:
    """Part of an open file, which may be another request's, too: so no seek() and read().

    Raises:
        AppProtocolError: it can't be read.
    """
    try:
        return os.pread(file.fileno(), size, offset)
    except (OSError, ValueError) as exc:
        raise AppProtocolError(f"{file!r} can't be sent: {exc}") from exc


def open_to_send(path: str) -> BinaryIO:
    """Opens a file that an application names.

    Raises:
        AppProtocolError: it can't be. To an application an OSError of send() would mean that the
            client has left.
    """
    try:
        return _open_regular_file(path)
    except (OSError, ValueError) as exc:
        raise AppProtocolError(f"the file of a pathsend can't be opened: {exc}") from exc


async def read_pieces(file: BinaryIO, start: int, size: int) -> AsyncGenerator[bytes, None]:
    """``size`` bytes of a file from ``start`` on, read in a thread: a disk may take its time.

    Raises:
        AppProtocolError: it can't be read, or has become shorter.
    """
    at = start
    while at < start + size:
        wanted = min(_READ_SIZE, start + size - at)
        data = await trio.to_thread.run_sync(_read, file, wanted, at)
        if not data:
            raise AppProtocolError(f"a file that was being sent got shorter than {size} bytes")
        at += len(data)
        yield data
