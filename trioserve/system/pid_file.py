# SPDX-License-Identifier: MIT
"""The process's id in a file, for scripts that send it signals.

Whoever can change the file can have root kill any process. So what is read is trusted only where
nobody but this user and root could have written it, and what is written never follows a symbolic
link: a new file is put in the place of the old one, in one step.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
from typing import TYPE_CHECKING, Final, NoReturn

from trioserve.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PidFile", "open_pid_file"]

_log = logging.getLogger("trioserve.error")

_MODE: Final = 0o644
#: Nobody's pid is longer; what is longer is no pid file.
_MOST_BYTES: Final = 32


class PidFile:
    """A file that holds this process's id.

    Attributes:
        path: Absolute.
    """

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._pid = os.getpid()

    def hand_over(self, pid: int) -> None:
        """Writes the id of a successor into it, which is left alone from now on.

        For a successor that can't write the file anew (by ``open_pid_file(…, predecessor)``) since
        this process has given up the privileges to: it goes through the descriptor that was opened
        before that.

        *Errors handled here*: a write that fails is logged.
        """
        try:
            if self._is_ours():
                text = b"%d\n" % pid
                os.pwrite(self._fd, text, 0)
                os.ftruncate(self._fd, len(text))
        except OSError as exc:
            _log.error("pid_file %s: can't be rewritten: %s", self.path, exc.strerror)

    def _is_ours(self) -> bool:
        """Whether the file that this process has written still holds this process's id.

        There may be another in its place by now, which the descriptor doesn't lead to.
        """
        if os.getpid() != self._pid:  # a fork of this process has no part in it
            return False
        return _parse(os.pread(self._fd, _MOST_BYTES, 0)) == self._pid

    def _remove(self) -> None:
        if not self._is_ours():
            return
        try:
            if os.path.samestat(os.lstat(self.path), os.fstat(self._fd)):
                os.unlink(self.path)
        except FileNotFoundError:
            return
        except OSError as exc:
            self._empty(exc.strerror)

    def _empty(self, reason: str | None) -> None:
        """The privileges to remove it may be gone. An empty file names nobody."""
        try:
            os.ftruncate(self._fd, 0)
        except OSError:  # it was handed over by a process that had them
            _log.warning("pid_file %s: stays, since it can't be removed: %s", self.path, reason)
        else:
            _log.info("pid_file %s: emptied, since it can't be removed: %s", self.path, reason)


@contextlib.contextmanager
def open_pid_file(path: str | None, *, predecessor: int | None = None) -> Iterator[PidFile | None]:
    """Around the block, ``path`` holds the id of this process, with mode 0644.

    At the end it is removed, if it still is this process's: a successor that has written its own id
    keeps it. Where the directory doesn't allow that any more, it is emptied.

    Args:
        path: None: there is no file.
        predecessor: The process that this one replaces, whose id may be in the file. Where this one
            lacks the privileges to replace the file, it waits for ``hand_over`` of that one.

    Raises:
        ConfigError: Another process lives whose id is in the file; the place can't be trusted (its
            directory is anybody's to write to, without the sticky bit; the file is a symbolic link,
            no plain file, or another user's); or the file can't be written.

    *Not guaranteed*: an id that the system has given to another process since counts as a living
    one.
    """
    if path is None:
        yield None
        return
    path = os.path.abspath(path)
    try:
        _check_directory(path)
        _check_holder(path, predecessor)
        fd = _write(path) if predecessor is None else _write_or_wait(path, predecessor)
    except OSError as exc:
        raise ConfigError(f"pid_file {path!r}: can't be written: {exc.strerror}") from exc
    file = PidFile(path, fd)
    try:
        yield file
    finally:
        file._remove()
        os.close(fd)


def _check_directory(path: str) -> None:
    directory = os.path.dirname(path)
    mode = os.stat(directory).st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        _refuse(
            path,
            f"anybody may replace files in {directory}, which has no sticky bit; "
            "take a directory that only the server's user can write to",
        )


def _check_holder(path: str, predecessor: int | None) -> None:
    """Whether the file that is there, if any, may be replaced."""
    try:
        # O_NONBLOCK: a FIFO in its place must not hold the start up.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError:
        if os.path.islink(path):
            _refuse(path, "it is a symbolic link; remove it, or name the file it leads to")
        raise
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            _refuse(path, "it is no plain file")
        # Root's, since the one before this one was that once, before it gave up its privileges.
        if status.st_uid != os.geteuid() and (status.st_uid or predecessor is None):
            _refuse(
                path,
                f"it belongs to user {status.st_uid}, this process is user {os.geteuid()}, and "
                "won't trust it; remove it",
            )
        content = os.read(fd, _MOST_BYTES)
    finally:
        os.close(fd)
    holder = _parse(content)
    if holder is None and content.strip():
        _refuse(path, f"it is there and holds no process id but {content!r}; remove it")
    # Our own id: a container that starts again gives the same ones.
    if holder is None or holder in (os.getpid(), predecessor):
        return
    if _lives(holder):
        _refuse(
            path,
            f"process {holder}, whose id it holds, is running; stop that first, or remove the "
            "file if that is another program",
        )
    _log.warning("pid_file %s: process %d has ended without removing it; replaced", path, holder)


def _parse(content: bytes) -> int | None:
    text = content.strip()
    # 0 and negative numbers are groups of processes to kill(2).
    return int(text) if text.isdigit() and 0 < int(text) < 2**31 else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _write(path: str) -> int:
    """Writes the file; returns a descriptor of it."""
    temporary = f"{path}.{secrets.token_hex(8)}"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, _MODE)
    try:
        os.fchmod(fd, _MODE)  # whatever the umask
        os.write(fd, b"%d\n" % os.getpid())
        os.replace(temporary, path)
    except BaseException:
        os.close(fd)
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return fd


def _write_or_wait(path: str, predecessor: int) -> int:
    """Writes the file; or returns a descriptor of the predecessor's, which will write there."""
    try:
        return _write(path)
    except PermissionError:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        if _parse(os.pread(fd, _MOST_BYTES, 0)) == predecessor:
            return fd
        os.close(fd)
        raise


def _refuse(path: str, reason: str) -> NoReturn:
    raise ConfigError(f"pid_file {path!r}: {reason}")
