# SPDX-License-Identifier: MIT
"""What ``--bind`` means, as values: parsing and printing of addresses, without touching a socket.

===================  =====================================  ==================================
bind form            parsed                                 meaning
===================  =====================================  ==================================
``127.0.0.1:8000``   ``TcpAddress("127.0.0.1", 8000)``      one IPv4 address
``[::1]:0``          ``TcpAddress("::1", 0)``               one IPv6 address, any free port
``localhost:8000``   ``TcpAddress("localhost", 8000)``      every address the name resolves to
``localhost``        ``TcpAddress("localhost", 8000)``      port 8000
``:8000``            ``TcpAddress("", 8000)``               all interfaces, IPv4 and IPv6
``unix:app.sock``    ``UnixAddress("app.sock")``            a socket file, relative to the cwd
``unix:///run/s``    ``UnixAddress("/run/s")``              a socket file (as is ``unix:/run/s``)
``unix:@name``       ``UnixAddress("@name")``               Linux's abstract namespace, no file
``fd://3``           ``FdAddress(3)``                       a listening socket that is inherited
===================  =====================================  ==================================

A bind address is what was asked for; a :class:`BoundAddress` is what a socket has got (a real
port instead of 0, one address instead of a name).
"""

from __future__ import annotations

import ipaddress
import re
import socket
import sys
from typing import Any, Literal, NoReturn

import attrs

from trioserve.errors import ConfigError

__all__ = [
    "DEFAULT_PORT",
    "BindAddress",
    "BoundAddress",
    "FdAddress",
    "TcpAddress",
    "UnixAddress",
    "format_bound",
    "parse_bind",
]

DEFAULT_PORT = 8000

# sizeof(sun_path) less its final NUL: unix(7) has 108 on Linux, the BSDs and macOS have 104.
_MAX_UNIX_PATH = 107 if sys.platform == "linux" else 103

# RFC 1123 section 2.1 labels, and the underscore that container networks put into names.
_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


@attrs.frozen
class TcpAddress:
    """A host (a name, an IPv4 or an unbracketed IPv6 address; "" = all interfaces) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"


@attrs.frozen
class UnixAddress:
    """The path of a Unix socket; with a leading ``@`` a name in Linux's abstract namespace."""

    path: str

    @property
    def is_abstract(self) -> bool:
        """True if there is no file: nothing to chmod, to find stale or to unlink."""
        return self.path.startswith("@")

    def __str__(self) -> str:
        return f"unix:{self.path}"


@attrs.frozen
class FdAddress:
    """The number of a file descriptor that is a listening socket already."""

    fd: int

    def __str__(self) -> str:
        return f"fd://{self.fd}"


BindAddress = TcpAddress | UnixAddress | FdAddress


@attrs.frozen
class BoundAddress:
    """Where a listening socket really is.

    Attributes:
        family: ``"tcp"`` (host and port are set) or ``"unix"`` (path is set).
        host: The numeric address; ``0.0.0.0`` or ``::`` where all interfaces are bound. A
            link-local IPv6 address has its zone behind a ``%``.
        port: The real port, never 0.
        path: The path of the socket file, or ``@name`` in Linux's abstract namespace.
        scheme: ``http`` or ``https``: what is spoken there.
    """

    family: Literal["tcp", "unix"]
    host: str | None = None
    port: int | None = None
    path: str | None = None
    scheme: str = "http"

    @property
    def url(self) -> str:
        """``http://127.0.0.1:43121``, ``https://[::1]:443`` or ``unix:/run/x.sock``."""
        if self.family == "unix":
            return f"unix:{self.path}"
        # RFC 6874 section 2: the % before a zone is itself percent-encoded in a URL.
        host = _bracketed(self.host or "").replace("%", "%25")
        return f"{self.scheme}://{host}:{self.port}"

    def __str__(self) -> str:
        return self.url


def format_bound(sockname: Any, family: int, *, scheme: str = "http") -> BoundAddress:
    """Turn what ``socket.getsockname()`` returned into a :class:`BoundAddress`.

    Args:
        sockname: (host, port), (host, port, flowinfo, scope_id), or a Unix path as str or bytes.
        family: ``socket.AF_INET``, ``AF_INET6`` or ``AF_UNIX``.
        scheme: ``http`` or ``https``.

    Raises:
        ValueError: The family is another one.
    """
    if family == socket.AF_UNIX:
        return BoundAddress(family="unix", path=_unix_path(sockname), scheme=scheme)
    if family == socket.AF_INET:
        host, port = sockname
        return BoundAddress(family="tcp", host=host, port=port, scheme=scheme)
    if family == socket.AF_INET6:
        host, port, _flowinfo, scope_id = sockname
        # Python leaves the zone out of the text; without it nobody can connect to the address.
        zone = f"%{scope_id}" if scope_id and "%" not in host else ""
        return BoundAddress(family="tcp", host=host + zone, port=port, scheme=scheme)
    raise ValueError(f"address family {family} is neither AF_INET, AF_INET6 nor AF_UNIX")


def parse_bind(text: str) -> BindAddress:
    """Parse one ``--bind`` value; ``str()`` of the result is a bind form of the same address.

    Raises:
        ConfigError: The text is none of the forms in this module's table. The message quotes it
            and says what was expected, with the likely right form where there is one.
    """
    if not text:
        _refuse(text, "it is empty; expected host:port, unix:path or fd://N")
    if text in ("unix", "fd"):  # as a host it could not be written with its port
        _refuse(text, "something is missing; expected unix:path or fd://N")
    if text.startswith("unix:"):
        return _parse_unix(text)
    if text.startswith("fd:"):
        return _parse_fd(text)
    if "://" in text:
        _refuse(text, "a TCP address has no scheme; expected host:port")
    if text.startswith("["):
        return _parse_bracketed(text)
    return _parse_host_port(text)


def _parse_unix(text: str) -> UnixAddress:
    path = text.removeprefix("unix:")
    if path.startswith("///"):
        path = "/" + path.lstrip("/")
    elif path.startswith("//"):
        _refuse(text, f'a URL has three slashes before a path: "unix:///{path[2:]}"')
    if path in ("", "@", "/"):
        _refuse(text, "the path is missing; expected unix:path")
    if "\0" in path:
        _refuse(text, "there is a NUL in the path")
    try:  # as os.fsencode does it, but the same on every machine
        size = len(path.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as exc:
        _refuse(text, "the path has a lone surrogate, which no file name can have", exc)
    if size > _MAX_UNIX_PATH:
        _refuse(text, f"the path has {size} bytes, a Unix socket's has {_MAX_UNIX_PATH} at most")
    return UnixAddress(path)


def _parse_fd(text: str) -> FdAddress:
    digits = text.removeprefix("fd:").removeprefix("//")
    if not text.startswith("fd://") or not _is_number(digits) or len(digits) > 9:
        _refuse(text, "expected fd://N with the number of an inherited descriptor, as in fd://3")
    return FdAddress(int(digits))


def _parse_bracketed(text: str) -> TcpAddress:
    host, bracket, rest = text[1:].partition("]")
    if not bracket:
        _refuse(text, 'the closing "]" is missing; expected [address]:port')
    if rest and not rest.startswith(":"):
        _refuse(text, f'after "]" comes ":port", not "{rest}"')
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError as exc:
        _refuse(text, f'what is in brackets is no IPv6 address ("{host}")', exc)
    return TcpAddress(str(address), _parse_port(text, rest[1:]) if rest else DEFAULT_PORT)


def _parse_host_port(text: str) -> TcpAddress:
    if _is_number(text):
        _refuse(text, f'a number alone may be a host or a port; for all interfaces write ":{text}"')
    if text.count(":") > 1:
        hint = f'; write "[{text}]:{DEFAULT_PORT}"' if _is_ipv6(text) else ""
        _refuse(text, f"an IPv6 address stands in brackets, as in [::1]:{DEFAULT_PORT}{hint}")
    host, colon, port = text.partition(":")
    if host:
        _check_host(text, host)
    return TcpAddress(host, _parse_port(text, port) if colon else DEFAULT_PORT)


def _parse_port(text: str, digits: str) -> int:
    if not digits:
        _refuse(text, 'the port is missing after ":"')
    if not _is_number(digits) or len(digits) > 5 or int(digits) > 65535:
        _refuse(text, f'the port must be a number from 0 (any free one) to 65535, not "{digits}"')
    return int(digits)


def _check_host(text: str, host: str) -> None:
    if host == "*":
        _refuse(text, f'for all interfaces leave the host out, as in ":{DEFAULT_PORT}"')
    if not host.isascii():
        _refuse(text, 'the host has characters outside ASCII; write its "xn--" form')
    if not host.strip("0123456789."):
        try:
            ipaddress.IPv4Address(host)
        except ValueError as exc:
            _refuse(text, f'"{host}" is no IPv4 address (four numbers from 0 to 255)', exc)
        return
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        _refuse(text, f'"{host}" is neither a host name nor an IP address')


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _unix_path(sockname: str | bytes) -> str:
    if isinstance(sockname, bytes):
        sockname = sockname.decode("utf-8", "surrogateescape")
    # Linux marks an abstract name by a NUL in front; people write "@" for it.
    return "@" + sockname[1:] if sockname.startswith("\0") else sockname


def _refuse(text: str, reason: str, cause: Exception | None = None) -> NoReturn:
    raise ConfigError(f"bind {text!r}: {reason}") from cause
