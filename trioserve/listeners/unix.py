# SPDX-License-Identifier: MIT
"""Unix listening sockets, and the files that stand for them.

A socket file outlives a server that was killed. Such a dead file is removed; what somebody
listens on, and what is no socket, is left alone with an error.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from typing import TYPE_CHECKING

import attrs

from trioserve.errors import BindError

if TYPE_CHECKING:
    from trioserve.addresses import UnixAddress

__all__ = ["SocketFile", "listen_unix"]


@attrs.frozen
class SocketFile:
    """One certain file: not whatever has its path later."""

    path: str
    device: int
    inode: int

    @classmethod
    def at(cls, path: str) -> SocketFile:
        """The file that has this path now, kept as an absolute path: an app may chdir.

        Raises:
            OSError: There is none, or it can't be looked at.
        """
        status = os.lstat(path)
        return cls(os.path.abspath(path), status.st_dev, status.st_ino)

    def unlink_if_ours(self) -> None:
        """Remove the file, unless it is gone, replaced by another, or not ours to remove."""
        with contextlib.suppress(OSError):
            if SocketFile.at(self.path) == self:
                os.unlink(self.path)


def listen_unix(
    address: UnixAddress, *, backlog: int, mode: int
) -> tuple[socket.socket, SocketFile | None]:
    """Listen on a Unix address; the file, if it has one, has the mode before anybody can connect.

    Two servers that start on one dead file at the same instant may both find it dead; the later
    one has it then. Nothing short of a lock file could prevent that.

    Raises:
        BindError: Somebody listens there, or a file that is no socket is in the way.
        OSError: Anything else: the directory is missing, no permission …
    """
    with contextlib.ExitStack() as on_failure:
        sock = on_failure.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        if address.is_abstract:
            file = None
            sock.bind("\0" + address.path[1:])
        else:
            _remove_dead_file(address)
            sock.bind(address.path)
            file = SocketFile.at(address.path)
            on_failure.callback(file.unlink_if_ours)
            # Until listen() every connect is refused, so that nobody comes in by the umask's mode.
            os.chmod(address.path, mode)
        sock.listen(backlog)
        on_failure.pop_all()
        return sock, file


def _remove_dead_file(address: UnixAddress) -> None:
    try:
        file = SocketFile.at(address.path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(os.lstat(address.path).st_mode):
        raise BindError(
            f"can't bind {address}: a file that is no socket is there; "
            "remove it yourself or choose another path"
        )
    if not _is_dead(address.path):
        raise BindError(
            f"can't bind {address}: another process, or another bind of this server, "
            "listens there; stop it or choose another path"
        )
    file.unlink_if_ours()


def _is_dead(path: str) -> bool:
    """True if nobody listens; a connect to a Unix socket never has to wait to say so."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except BlockingIOError:  # listens, and its queue is full
            return False
    return False
