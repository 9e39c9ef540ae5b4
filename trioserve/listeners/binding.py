# SPDX-License-Identifier: MIT
"""From bind addresses to listening sockets: all of them, or none and one clear error."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import trio

from trioserve.addresses import BindAddress, FdAddress, TcpAddress, UnixAddress, parse_bind
from trioserve.errors import BindError
from trioserve.listeners.accepting import Listener
from trioserve.listeners.inherited import adopt, adopt_fd
from trioserve.listeners.unix import listen_unix

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

__all__ = ["BindOptions", "open_listeners", "open_twins"]

NOTHING: Mapping[tuple[str, str], list[int]] = {}

# How many ports more are tried if one that is free on the first address of a bind is taken on
# another.
_PORT_RETRIES = 10

# The machine has no such address: IPv6 is off, as in many a container, yet /etc/hosts has ::1.
_NOT_HERE = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


class BindOptions(Protocol):
    """What of the configuration is needed to bind (``trioserve.config.ListenerOptions`` fits)."""

    @property
    def bind(self) -> tuple[str, ...]:
        """The addresses, in the forms of :mod:`trioserve.addresses`."""

    @property
    def backlog(self) -> int:
        """How many completed connections may wait in the kernel's queue of each socket."""

    @property
    def unix_socket_mode(self) -> int:
        """The permission bits of socket files."""


@asynccontextmanager
async def open_listeners(
    options: BindOptions,
    *,
    scheme: str = "http",
    insecure_bind: Sequence[str] = (),
    inherited: Mapping[tuple[str, str], list[int]] = NOTHING,
    reuse_port: bool = False,
) -> AsyncIterator[list[Listener]]:
    """Listen on every address of ``options.bind``, and of another list; close them all at exit.

    A name, or a bind to all interfaces, may give several listeners; their order is that of
    ``options.bind``, then of ``insecure_bind``. With port 0 the listeners of one bind get one port.
    Of a name's several addresses those that this machine does not have (no IPv6) are left out. A
    socket file is unlinked at exit if it is still the one that was made here.

    Args:
        options: Addresses, backlog and mode of socket files.
        scheme: ``http`` or ``https``: what is spoken at ``options.bind``.
        insecure_bind: addresses where it is ``http``.
        inherited: (bind address, scheme) → descriptors of sockets that an older server has bound
            there; such an address is not bound anew. Those of other addresses are closed.
        reuse_port: Let ``open_twins`` bind the same TCP addresses again.

    Raises:
        ConfigError: A bind address can't be parsed.
        BindError: One can't be bound: it names the address, the reason and what to do. Those that
            were bound before it are closed.

    Cancellation: while a name is resolved; sockets that were bound are closed.
    """
    addresses = [(text, parse_bind(text), scheme) for text in options.bind]
    addresses += [(text, parse_bind(text), "http") for text in insecure_bind]
    with ExitStack() as stack:
        listeners: list[Listener] = []
        for text, address, spoken in addresses:
            opened = _inherit(spoken, inherited.get((text, spoken), []))
            for listener in opened or await _listen(address, options, spoken, reuse_port):
                listener.bind = text
                stack.callback(listener.close)
                listeners.append(listener)
        _close_others(inherited, {(text, spoken) for text, _, spoken in addresses})
        yield listeners


def open_twins(listeners: Sequence[Listener], backlog: int) -> list[Listener]:
    """Listen once more where TCP listeners do that were opened with ``reuse_port``.

    The kernel spreads connections over all sockets of an address. Unix sockets can't be bound
    twice: of those the same socket is there once more.

    Raises:
        BindError: An address can't be bound again.
    """
    twins: list[Listener] = []
    with ExitStack() as on_failure:
        for one in listeners:
            if one.address.family == "unix":
                sock = one.socket.dup()
            else:
                target = _Target(one.socket.family, one.socket.getsockname())
                try:
                    sock = _tcp_socket(target, backlog, reuse_port=True)
                except OSError as exc:
                    reason = exc.strerror or exc
                    raise BindError(f"can't bind {one.address} once more: {reason}") from exc
            twin = Listener(sock, backlog=backlog, scheme=one.address.scheme, bind=one.bind)
            on_failure.callback(twin.close)
            twins.append(twin)
        on_failure.pop_all()
    return twins


def _inherit(scheme: str, descriptors: Sequence[int]) -> list[Listener]:
    return [adopt(fd, scheme, is_shared=False) for fd in descriptors]


def _close_others(
    inherited: Mapping[tuple[str, str], list[int]], wanted: set[tuple[str, str]]
) -> None:
    """Who connects to an address that is not served any more is to be refused, not to wait."""
    for key, descriptors in inherited.items():
        if key not in wanted:
            for fd in descriptors:
                os.close(fd)


async def _listen(
    address: BindAddress, options: BindOptions, scheme: str, reuse_port: bool
) -> list[Listener]:
    """The one border where what the system says becomes a BindError."""
    backlog = options.backlog
    try:
        if isinstance(address, FdAddress):
            return [Listener(adopt_fd(address), backlog=backlog, scheme=scheme)]
        if isinstance(address, UnixAddress):
            sock, file = listen_unix(address, backlog=backlog, mode=options.unix_socket_mode)
            return [Listener(sock, backlog=backlog, scheme=scheme, socket_file=file)]
        sockets = _listen_tcp(await _resolve(address), backlog, reuse_port)
        return [Listener(sock, backlog=backlog, scheme=scheme) for sock in sockets]
    except socket.gaierror as exc:
        raise BindError(
            f"can't bind {address}: the name does not resolve ({exc.strerror}); "
            "check its spelling, or write the IP address"
        ) from exc
    except OSError as exc:
        raise BindError(f"can't bind {_name(address, exc)}: {_explain(address, exc)}") from exc


@attrs.frozen
class _Target:
    """One socket address of a TCP bind."""

    family: int
    sockaddr: tuple[Any, ...]

    def with_port(self, port: int) -> _Target:
        return _Target(self.family, (self.sockaddr[0], port, *self.sockaddr[2:]))

    def __str__(self) -> str:
        return str(TcpAddress(self.sockaddr[0], self.sockaddr[1]))


async def _resolve(address: TcpAddress) -> list[_Target]:
    if not address.host:
        return [
            _Target(socket.AF_INET, ("0.0.0.0", address.port)),
            _Target(socket.AF_INET6, ("::", address.port, 0, 0)),
        ]
    found = await trio.socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    # The same address twice is common: /etc/hosts often lists 127.0.0.1 on two lines.
    return list(dict.fromkeys(_Target(family, sockaddr) for family, _, _, _, sockaddr in found))


def _listen_tcp(targets: list[_Target], backlog: int, reuse_port: bool) -> list[socket.socket]:
    """Listen on all targets with one port; a port that is only free on some is no luck yet."""
    retries = _PORT_RETRIES if len(targets) > 1 and targets[0].sockaddr[1] == 0 else 0
    for _ in range(retries):
        try:
            return _listen_tcp_once(targets, backlog, reuse_port)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
    return _listen_tcp_once(targets, backlog, reuse_port)


def _listen_tcp_once(targets: list[_Target], backlog: int, reuse_port: bool) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    port = targets[0].sockaddr[1]
    missing: OSError | None = None
    with ExitStack() as on_failure:
        for target in targets:
            try:
                made = _tcp_socket(target.with_port(port), backlog, reuse_port=reuse_port)
                sock = on_failure.enter_context(made)
            except OSError as exc:
                if len(targets) == 1 or exc.errno not in _NOT_HERE:
                    raise
                missing = exc
                continue
            port = sock.getsockname()[1]
            sockets.append(sock)
        if not sockets and missing is not None:
            raise missing
        on_failure.pop_all()
    return sockets


def _tcp_socket(target: _Target, backlog: int, *, reuse_port: bool) -> socket.socket:
    with ExitStack() as on_failure:
        try:
            sock = on_failure.enter_context(socket.socket(target.family, socket.SOCK_STREAM))
            # A restart must not wait for the TIME_WAIT of the last run's connections.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if target.family == socket.AF_INET6:
                # [::] is IPv6 only on every machine, whatever its bindv6only says.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(target.sockaddr)
            sock.listen(backlog)
        except OSError as exc:
            exc.filename = str(target)  # for _name: which of a name's addresses it was
            raise
        on_failure.pop_all()
        return sock


_TCP_REASONS = {
    errno.EADDRINUSE: "another process, or another bind of this server, listens there; "
    "stop it or choose another port",
    errno.EACCES: "permission denied; ports below 1024 need root or the capability "
    "CAP_NET_BIND_SERVICE: choose one from 1024 up, or give it that",
    errno.EADDRNOTAVAIL: "this machine has no such address; bind one that it has, "
    "127.0.0.1, or all of them by leaving the host out",
    errno.EAFNOSUPPORT: "this machine does not speak this address family (is IPv6 off?); "
    "bind an address of the other one",
}
_UNIX_REASONS = {
    errno.ENOENT: "the directory {directory} does not exist; create it",
    errno.ENOTDIR: "{directory} is no directory; choose another path",
    errno.EACCES: "permission denied in {directory}; make it writable for this user",
    errno.EROFS: "{directory} is on a read-only file system; choose another path",
    errno.EADDRINUSE: "another process, or another bind of this server, listens there; "
    "stop it or choose another path",
}


def _name(address: BindAddress, exc: OSError) -> str:
    """The address as it was written, and the one it stands for where that is another."""
    if isinstance(address, UnixAddress) or exc.filename in (None, str(address)):
        return str(address)
    return f"{address} ({exc.filename})"


def _explain(address: BindAddress, exc: OSError) -> str:
    reason = exc.strerror or str(exc)
    if isinstance(address, UnixAddress):
        directory = os.path.dirname(os.path.abspath(address.path))
        known = _UNIX_REASONS.get(exc.errno or 0)
        return known.format(directory=directory) if known else reason
    return _TCP_REASONS.get(exc.errno or 0, reason)
