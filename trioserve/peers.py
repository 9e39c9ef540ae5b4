# SPDX-License-Identifier: MIT
"""Who is at the other end of a Unix stream, where the system tells (Linux, macOS, FreeBSD)."""

from __future__ import annotations

import os
import socket
import struct
import sys
from typing import Final

__all__ = ["is_stranger", "peer_pid", "peer_uid"]

#: LOCAL_PEERCRED: version, user, and a list of groups.
_LOCAL_PEERCRED: Final = (0, 1, struct.Struct("2Ih16I"))
#: By platform: the level and name of a socket option, and what it gives, the user second.
_PEER_OPTIONS: Final = {
    # SO_PEERCRED: process, user, group.
    "linux": (socket.SOL_SOCKET, getattr(socket, "SO_PEERCRED", 17), struct.Struct("i2I")),
    "darwin": _LOCAL_PEERCRED,
    "freebsd": _LOCAL_PEERCRED,
}


def peer_uid(sock: socket.socket) -> int | None:
    """The user at the other end of a connection; None where the system doesn't tell."""
    option = _PEER_OPTIONS.get(sys.platform.rstrip("0123456789"))
    if option is None:
        return None
    level, name, layout = option
    try:
        return int(layout.unpack(sock.getsockopt(level, name, layout.size))[1])
    except (OSError, struct.error):
        return None


def peer_pid(sock: socket.socket) -> int | None:
    """The process at the other end; of a server, the one that has begun to listen. On Linux."""
    if not sys.platform.startswith("linux"):
        return None
    level, name, layout = _PEER_OPTIONS["linux"]
    try:
        return int(layout.unpack(sock.getsockopt(level, name, layout.size))[0])
    except (OSError, struct.error):
        return None


def is_stranger(uid: int | None) -> bool:
    """Whether a client of this user is to be refused: it is neither this process's nor root."""
    return uid is not None and uid not in (os.geteuid(), 0)
