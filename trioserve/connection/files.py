# SPDX-License-Identifier: MIT
"""Files that responses are made of."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

__all__ = ["open_regular_file"]


def open_regular_file(path: str) -> BinaryIO:
    """Opens a file to be sent; a pipe or a device might block for ever, or never end.

    Raises:
        OSError: it can't be opened, or is no regular file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no regular file", path)
    return os.fdopen(fd, "rb")
