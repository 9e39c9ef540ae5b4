# SPDX-License-Identifier: MIT
"""Listening sockets that somebody else opened: a parent process, or systemd."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from trioserve.addresses import FdAddress
from trioserve.errors import BindError, ConfigError
from trioserve.listeners.accepting import Listener

if TYPE_CHECKING:
    from collections.abc import MutableMapping


__all__ = ["adopt", "adopt_fd", "systemd_listen_fds"]

# sd_listen_fds(3): SD_LISTEN_FDS_START.
_FIRST_SYSTEMD_FD = 3


def adopt(fd: int, scheme: str, *, is_shared: bool) -> Listener:
    """Return a listener for a descriptor that a parent process of ours has passed on.

    The descriptor itself is closed: from here on the listener is all there is of it.

    Args:
        fd: A listening socket.
        scheme: ``http`` or ``https``.
        is_shared: Other processes accept from it, too.

    Raises:
        BindError: As adopt_fd does.
    """
    sock = adopt_fd(FdAddress(fd))
    os.close(fd)
    return Listener(sock, scheme=scheme, is_shared=is_shared)


def adopt_fd(address: FdAddress) -> socket.socket:
    """Return a socket of our own for an inherited descriptor that is listening.

    It is a duplicate: the descriptor itself stays open and its giver's, so that one may be used
    twice and closing ours closes nobody else's. Neither is inherited by processes we start.

    Raises:
        BindError: It is not open, no socket, no TCP or Unix stream socket, or not listening.
    """
    try:
        fd = os.dup(address.fd)
        os.set_inheritable(address.fd, False)
    except OSError as exc:
        raise BindError(
            f"can't bind {address}: no such descriptor is open; "
            "the process that starts trioserve has to pass it on"
        ) from exc
    try:
        sock = socket.socket(fileno=fd)
    except OSError as exc:
        os.close(fd)
        raise BindError(f"can't bind {address}: the descriptor is no socket") from exc
    if (fault := _fault(sock)) is not None:
        sock.close()
        raise BindError(f"can't bind {address}: {fault}")
    return sock


def _fault(sock: socket.socket) -> str | None:
    if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        return "the socket is neither TCP nor Unix"
    if sock.type != socket.SOCK_STREAM:
        return "it is no stream socket (with systemd: ListenStream=)"
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "the socket is not listening (with systemd: Accept=no)"
    return None


def systemd_listen_fds(
    environ: MutableMapping[str, str] = os.environ,
) -> tuple[str, ...]:
    """Return the bind forms of the sockets that systemd passed on: ``("fd://3", …)``, or ``()``.

    The variables are removed, whatever they say, so that child processes don't take them for
    theirs. A second call thus returns ``()``.

    Source: sd_listen_fds(3).

    Raises:
        ConfigError: LISTEN_PID is this process, and LISTEN_FDS is no number.
    """
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    for name in ("LISTEN_FDNAMES", "LISTEN_PIDFDID"):
        environ.pop(name, None)
    if pid != str(os.getpid()):
        return ()
    if not (count.isascii() and count.isdigit() and len(count) < 7):
        raise ConfigError(f"LISTEN_FDS must be the number of passed sockets, not {count!r}")
    return tuple(f"fd://{_FIRST_SYSTEMD_FD + index}" for index in range(int(count)))
