# SPDX-License-Identifier: MIT
"""Log files that several processes append to, and that may be renamed under them.

Each record is one write(2) with O_APPEND: lines of several processes follow each other whole, in
any file system but NFS. What was renamed goes on being written to until ``reopen``.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from trioserve.errors import ConfigError

__all__ = ["LogFile", "open_log_file"]

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
_MODE: Final = 0o644


class LogFile:
    """A text stream as a ``StreamHandler`` needs one, without a buffer.

    Attributes:
        path: Absolute.
        encoding: UTF-8; what it lacks is the writer's to escape.
    """

    encoding: Final = "utf-8"

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self._fd = os.open(self.path, _FLAGS, _MODE)

    def write(self, text: str) -> int:
        """Appends ``text``, in one write unless the disk runs full in the midst of it.

        Raises:
            OSError: It can't be written.
        """
        rest = memoryview(text.encode(self.encoding))
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        return len(text)

    def flush(self) -> None:
        """Nothing: nothing is held back."""

    def reopen(self) -> None:
        """Opens the path anew: after a rename that is a new file. Needs the handler's lock.

        Raises:
            OSError: It can't be opened; the file of before goes on being used.
        """
        fd = os.open(self.path, _FLAGS, _MODE)
        os.close(self._fd)
        self._fd = fd

    def give(self, uid: int, gid: int) -> None:
        """Makes it the file of a user and a group; -1 leaves one as it is. Devices stay root's.

        Raises:
            OSError: It isn't allowed.
        """
        if stat.S_ISREG(os.fstat(self._fd).st_mode):
            os.fchown(self._fd, uid, gid)

    def close(self) -> None:
        """May be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def open_log_file(setting: str, path: str) -> LogFile:
    """Opens, and makes, the file of a setting.

    Raises:
        ConfigError: It can't be opened. Names the setting, the path and the reason.
    """
    try:
        return LogFile(path)
    except OSError as exc:
        raise ConfigError(f"{setting} {path!r}: can't be opened: {exc.strerror}") from exc
