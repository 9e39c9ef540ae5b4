# SPDX-License-Identifier: MIT
"""Where the control socket lies: chosen by the server, found by the command.

With ``control_socket = "auto"`` it is ``trioserve-PID.sock`` in the first of these directories that
can be used, so that several servers don't meet:

1. ``$XDG_RUNTIME_DIR/trioserve``
2. ``/run/trioserve``, as systemd's ``RuntimeDirectory=trioserve`` makes it
3. ``/tmp/trioserve-UID``

Made with mode 0700 if it is not there. It must be a directory, no link to one, this user's, and
nobody else's to write to. The command looks into all three: a server that was started by the
service manager has other variables than a shell.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import stat
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trioserve.config import ControlOptions

__all__ = ["control_socket_path", "find_sockets", "other_directories"]

_log = logging.getLogger("trioserve.error")

#: Bytes of a socket's path: Linux takes 107, macOS 103.
_MAX_PATH_SIZE: Final = 103
_NAME: Final = re.compile(r"trioserve-(\d+)\.sock")
#: Seconds after which a socket that nobody listens to is not one that is about to be.
_DEAD_FOR: Final = 60.0
_CONNECT_TIMEOUT: Final = 1.0


def control_socket_path(config: ControlOptions) -> str | None:
    """Where this process listens for its operator; None: nowhere.

    Makes the directory of "auto", and removes from it what killed servers have left. Where there is
    no such directory, there is one line in the log, and no control socket.
    """
    if config.control_socket == "off":
        return None
    if config.control_socket != "auto":
        return config.control_socket
    name = f"trioserve-{os.getpid()}.sock"
    reasons = []
    for directory in _directories():
        path = os.path.join(directory, name)
        reason = _make(directory)
        if reason is None and len(os.fsencode(path)) > _MAX_PATH_SIZE:
            reason = "its path is too long"
        if reason is None:
            _remove_dead(directory)
            return path
        reasons.append(f"{directory}: {reason}")
    _log.warning(
        "there is no control socket, so trioservectl can't be used: %s", "; ".join(reasons)
    )
    return None


def find_sockets() -> list[tuple[int, str]]:
    """Process id and path of the control socket of each server of this user that runs."""
    found = {}
    for directory in _directories():
        if _what_is_wrong(directory) is None:
            found.update({path: pid for pid, path in _sockets(directory) if _is_alive(path)})
    return sorted((pid, path) for path, pid in found.items())


def _directories() -> Iterator[str]:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    # Under sudo it may be another user's, who could put a socket of their own there.
    if os.path.isabs(runtime) and _what_is_wrong(os.path.realpath(runtime)) is None:
        yield os.path.join(runtime, "trioserve")
    yield from other_directories()


def other_directories() -> tuple[str, ...]:
    """Those that are no matter of variables."""
    return "/run/trioserve", f"/tmp/trioserve-{os.geteuid()}"


def _make(directory: str) -> str | None:
    """Makes the directory unless it is there; why it can't be used, or None."""
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o700)
    except OSError as exc:
        return exc.strerror
    reason = _what_is_wrong(directory)
    if reason is None and not os.access(directory, os.W_OK | os.X_OK):
        return "it can't be written to"
    return reason


def _what_is_wrong(directory: str) -> str | None:
    try:
        info = os.lstat(directory)
    except OSError as exc:
        return exc.strerror
    if not stat.S_ISDIR(info.st_mode):
        return "it is no directory"
    if info.st_uid != os.geteuid():
        return f"it belongs to user {info.st_uid}"
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others may write to it"
    return None


def _sockets(directory: str) -> Iterator[tuple[int, str]]:
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match:
                yield int(match[1]), entry.path


def _remove_dead(directory: str) -> None:
    """Removes what killed servers have left: nobody listens, nor may be about to."""
    for _, path in _sockets(directory):
        with contextlib.suppress(OSError):
            info = os.lstat(path)
            if (
                stat.S_ISSOCK(info.st_mode)
                and time.time() - info.st_mtime > _DEAD_FOR
                and not _is_alive(path)
            ):
                os.unlink(path)


def _is_alive(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_TIMEOUT)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # somebody is there, and is busy, or not ours to talk to
            return True
    return True
