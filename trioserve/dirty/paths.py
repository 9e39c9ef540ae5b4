# SPDX-License-Identifier: MIT
"""Where the arbiter's socket lies, who may reach it, and how it is removed.

Without ``dirty_socket`` it is ``dirty.sock`` in a directory of its own, made for this process with
mode 0700. With it, the directory is the operator's; one in which anybody may replace files is
refused.

What keeps others out: the socket's mode (0600), and who is at the other end, which both sides look
at where the system tells (Linux, macOS, FreeBSD): the arbiter talks to its own user and to root, a
client to an arbiter of its own user or of root.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import time
from typing import TYPE_CHECKING, Final

from trioserve.dirty.errors import DirtyConnectionError, DirtyError
from trioserve.peers import is_stranger, peer_pid, peer_uid

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "SOCKET_NAME",
    "check_server",
    "is_stranger",
    "make_private_path",
    "open_listener",
    "peer_uid",
    "remove_if_dead",
    "remove_private_directory",
]

SOCKET_NAME: Final = "dirty.sock"
_PREFIX: Final = "trioserve-dirty-"
_BACKLOG: Final = 1024
#: Bytes of a socket's path: Linux takes 107, macOS 103.
_MAX_PATH_SIZE: Final = 103
#: Seconds to wait for another process that looks at the same directory; it needs some microseconds.
_LOCK_TIMEOUT: Final = 5.0
_PROBE_TIMEOUT: Final = 1.0
#: Seconds for which a private directory has been empty that nobody will use any more.
_EMPTY_FOR: Final = 3600.0


# -- the path -------------------------------------------------------------------------------


def make_private_path() -> str:
    """A socket path in a new directory of mode 0700: in $XDG_RUNTIME_DIR if that is this user's.

    What killed arbiters have left there is removed.

    Raises:
        DirtyError: no directory can be made.
    """
    import tempfile  # it is slow to import, and clients need it not

    base = _runtime_directory() or tempfile.gettempdir()
    _sweep_stale(base)
    if len(os.fsencode(base)) + len(f"/{_PREFIX}12345678/{SOCKET_NAME}") > _MAX_PATH_SIZE:
        base = "/tmp"
    try:
        return os.path.join(tempfile.mkdtemp(prefix=_PREFIX, dir=base), SOCKET_NAME)
    except OSError as exc:
        raise DirtyError(
            f"a directory for the dirty arbiter's socket can't be made in {base}: {exc.strerror}; "
            "set dirty_socket to a path in one that can be used"
        ) from exc


def _sweep_stale(base: str) -> None:
    """Removes what arbiters of this user have left that were killed together with their workers."""
    with contextlib.suppress(OSError), os.scandir(base) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and _is_ours(entry):
                _remove_if_stale(entry.path)


def _is_ours(entry: os.DirEntry[str]) -> bool:
    """Whether it is a directory, no link to one, that this user alone can put something into."""
    try:
        info = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    return (
        stat.S_ISDIR(info.st_mode)
        and info.st_uid == os.geteuid()
        and stat.S_IMODE(info.st_mode) == 0o700
    )


def _remove_if_stale(directory: str) -> None:
    path = os.path.join(directory, SOCKET_NAME)
    if os.path.lexists(path):
        remove_if_dead(path)
        return
    # It may be that of an arbiter which is about to make its socket.
    with contextlib.suppress(OSError):
        if time.time() - os.lstat(directory).st_mtime > _EMPTY_FOR:
            os.rmdir(directory)


def _runtime_directory() -> str | None:
    path = os.environ.get("XDG_RUNTIME_DIR", "")
    try:
        info = os.stat(path)
    except OSError:
        return None
    # Under sudo it may be another user's, who could put a socket of their own in our place.
    is_ours = info.st_uid == os.geteuid() and not info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return path if is_ours and os.path.isabs(path) and os.access(path, os.W_OK) else None


def remove_private_directory(path: str) -> None:
    """Removes the directory that ``make_private_path`` made, if it is one, and is empty."""
    directory = os.path.dirname(path)
    if os.path.basename(directory).startswith(_PREFIX):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


# -- the arbiter's end ----------------------------------------------------------------------


@contextlib.contextmanager
def open_listener(path: str, predecessor: int | None = None) -> Iterator[socket.socket]:
    """A listening socket at ``path``, for this user only, around the block.

    A stale socket, to which nobody listens, is replaced, and so is that of the predecessor, whose
    connections stay; it has the path again if it is still there after the block. Else the path is
    free then, but for what somebody else has put there.

    Args:
        predecessor: the process that this one replaces.

    Raises:
        DirtyError: the directory isn't there, anybody may replace files in it, the path is too
            long or taken by something else, or somebody listens there.
    """
    directory = os.path.dirname(os.path.abspath(path))
    _check_directory(directory)
    with _lock(directory):
        _remove_stale(path, predecessor)
        sock = _listen(path)
    with sock:
        bound = _identity(path)
        try:
            yield sock
        finally:
            # While it still listens: one that doesn't would be taken for stale, and replaced.
            if bound is not None and _identity(path) == bound:
                _give_up(path, None if predecessor is None else _aside(path, predecessor))


def _aside(path: str, pid: int) -> str:
    """Where the socket of the process that had ``path`` is kept, in case that it is needed."""
    return f"{path}.{pid}"


def _give_up(path: str, aside: str | None) -> None:
    with contextlib.suppress(OSError):
        if aside is not None and os.path.lexists(aside):
            with contextlib.suppress(DirtyError):
                _remove_stale(aside)
            with contextlib.suppress(FileNotFoundError):  # somebody listens there: the predecessor
                os.rename(aside, path)
                return
        os.unlink(path)


def _check_directory(directory: str) -> None:
    try:
        info = os.stat(directory)
    except OSError as exc:
        raise DirtyError(f"dirty_socket: {directory} can't be used: {exc.strerror}") from exc
    if not stat.S_ISDIR(info.st_mode):
        raise DirtyError(f"dirty_socket: {directory} is no directory")
    if info.st_mode & stat.S_IWOTH and not info.st_mode & stat.S_ISVTX:
        raise DirtyError(
            f"dirty_socket: anybody may replace files in {directory}; use a directory of mode 0700"
        )


@contextlib.contextmanager
def _lock(directory: str) -> Iterator[None]:
    """One process at a time: two could each take the socket of the other for stale.

    Where the directory can't be locked (some network file systems), it is not.

    Raises:
        DirtyError: another process holds the lock for longer than it can need.
    """
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        deadline = time.monotonic() + _LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise DirtyError(f"dirty_socket: another process locks {directory}") from None
                time.sleep(0.01)
                continue
            except OSError:
                pass
            break
        yield
    finally:
        os.close(fd)


def _listen(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound = False
    try:
        sock.bind(path)
        bound = True
        # Before it listens nobody can connect, so nobody comes in before this.
        os.chmod(path, 0o600)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as exc:
        sock.close()
        if bound:
            with contextlib.suppress(OSError):
                os.unlink(path)
        raise DirtyError(f"dirty_socket: {path} can't be bound: {exc}") from exc
    return sock


def _identity(path: str) -> tuple[int, int] | None:
    try:
        info = os.lstat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _remove_stale(path: str, predecessor: int | None = None) -> None:
    """Removes a socket to which nobody listens, or the predecessor. To be called with the lock.

    Raises:
        DirtyError: somebody does, or it is no socket.
    """
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise DirtyError(f"dirty_socket: {path} is there, and is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        except FileNotFoundError:
            return
        except OSError as exc:
            raise DirtyError(f"dirty_socket: {path} is in the way: {exc}") from exc
        if predecessor is not None and peer_pid(probe) == predecessor:
            with contextlib.suppress(FileNotFoundError):
                os.rename(path, _aside(path, predecessor))
            return
    raise DirtyError(f"dirty_socket: somebody listens at {path} already")


def remove_if_dead(path: str) -> None:
    """Removes what a killed arbiter has left, unless somebody listens there: its successor.

    Any number of processes may do so at once.
    """
    with contextlib.suppress(DirtyError, OSError):
        with _lock(os.path.dirname(os.path.abspath(path))):
            _remove_stale(path)
        remove_private_directory(path)


# -- who is at the other end ----------------------------------------------------------------


def check_server(sock: socket.socket, path: str) -> None:
    """Refuses an arbiter of somebody else, who has put a socket where ours should be.

    Raises:
        DirtyConnectionError: it belongs to neither this user nor root. (Root trusts everybody.)
    """
    uid = peer_uid(sock)
    if os.geteuid() != 0 and is_stranger(uid):
        raise DirtyConnectionError(
            f"the socket {path} belongs to user {uid}: an arbiter of this user ({os.geteuid()}) or "
            "of root is expected there",
            socket_path=path,
        )
