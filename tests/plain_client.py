# SPDX-License-Identifier: MIT
"""A blocking HTTP/1.1 client for tests that talk to real processes: h11 over a plain socket.

It shows what higher clients hide: interim responses, trailers, where a connection ends.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import attrs
import h11

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["PlainClient", "Reply", "connect", "get", "request"]

#: Seconds until a test fails whose server doesn't answer.
PATIENCE = 20.0


@attrs.frozen
class Reply:
    """A response.

    Attributes:
        headers, trailers: by lower-case name; of several fields with one name the last.
        interim: status and headers of each 1xx response before it.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    interim: list[tuple[int, dict[str, str]]]
    trailers: dict[str, str]

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()


class PlainClient:
    """One connection, kept alive between requests.

    Attributes:
        sock: the socket; its timeout is PATIENCE.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._h11 = h11.Connection(h11.CLIENT)

    def send(
        self,
        method: str,
        target: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        """Sends a whole request; Host and Content-Length are added."""
        fields = [("host", "test"), *headers]
        if body:
            fields.append(("content-length", str(len(body))))
        data = self._h11.send(h11.Request(method=method, target=target, headers=fields)) or b""
        if body:
            data += self._h11.send(h11.Data(data=body)) or b""
        self.sock.sendall(data + (self._h11.send(h11.EndOfMessage()) or b""))

    def begin(self) -> tuple[int, dict[str, str], list[tuple[int, dict[str, str]]]]:
        """The head of the next response: status, headers, and the interim responses before it."""
        interim: list[tuple[int, dict[str, str]]] = []
        event = self._next()
        while isinstance(event, h11.InformationalResponse):
            interim.append((event.status_code, _as_dict(event.headers)))
            event = self._next()
        assert isinstance(event, h11.Response), event
        return event.status_code, _as_dict(event.headers), interim

    def part(self) -> bytes | None:
        """The next bytes of the body; None at its end."""
        event = self._next()
        return bytes(event.data) if isinstance(event, h11.Data) else None

    def reply(self) -> Reply:
        """The next response, whole.

        Raises:
            h11.RemoteProtocolError: it is malformed, or cut short.
        """
        status, headers, interim = self.begin()
        body = bytearray()
        event = self._next()
        while isinstance(event, h11.Data):
            body += event.data
            event = self._next()
        assert isinstance(event, h11.EndOfMessage), event
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        return Reply(status, headers, bytes(body), interim, _as_dict(event.headers))

    def request(
        self,
        method: str,
        target: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Reply:
        """Sends a request and reads its response."""
        self.send(method, target, headers=headers, body=body)
        return self.reply()

    def _next(self) -> Any:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            self._h11.receive_data(self.sock.recv(65536))
        return event


def _as_dict(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {bytes(name).decode(): bytes(value).decode("latin-1") for name, value in headers}


@contextlib.contextmanager
def connect(address: int | str) -> Iterator[PlainClient]:
    """Connects to a port of 127.0.0.1, or to the path of a Unix socket."""
    family = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
    with socket.socket(family) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", address) if isinstance(address, int) else address)
        yield PlainClient(sock)


def request(
    address: int | str,
    method: str,
    target: str,
    *,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> Reply:
    """One request on a connection of its own."""
    with connect(address) as client:
        return client.request(method, target, headers=headers, body=body)


def get(address: int | str, target: str = "/") -> Reply:
    """A GET on a connection of its own."""
    return request(address, "GET", target)
