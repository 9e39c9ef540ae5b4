# SPDX-License-Identifier: MIT
"""Files that responses are made of."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

from trioserve.errors import AppProtocolError

__all__ = ["measure_file", "open_to_send"]


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
