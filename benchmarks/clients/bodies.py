# SPDX-License-Identifier: MIT
"""One huge body over one connection, without holding it: what the memory suite sends and reads."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = memoryview(bytes(1 << 18))
SOCKET_TIMEOUT = 20.0
# For one whole transfer: a gibibyte in 3 minutes is 6 MiB/s.
TRANSFER_TIMEOUT = 180.0


class TransferError(Exception):
    """The server closed early, answered wrongly, or was too slow."""


def download(port: int, path: str, size: int) -> None:
    """Reads a response of exactly `size` bytes of body and drops it.

    Raises:
        TransferError: another status or Content-Length, an early end, or TRANSFER_TIMEOUT passed.
        OSError: connection refused or reset, or no byte for SOCKET_TIMEOUT.
    """
    deadline = time.monotonic() + TRANSFER_TIMEOUT
    buffer = bytearray(len(PIECE))
    with socket.create_connection(("127.0.0.1", port), SOCKET_TIMEOUT) as connection:
        connection.sendall(_head("GET", path))
        length, received = _read_head(connection)
        if length != size:
            raise TransferError(f"expected Content-Length {size}, got {length}")
        left = size - len(received)
        while left > 0:
            count = connection.recv_into(buffer)
            if count == 0:
                raise TransferError(f"response ends {left} bytes before its end")
            left -= count
            _check(deadline)


def upload(port: int, path: str, size: int) -> None:
    """Posts `size` bytes with Content-Length; the server must answer with that number.

    Raises:
        TransferError: another answer, or TRANSFER_TIMEOUT passed.
        OSError: connection refused or reset, or no progress for SOCKET_TIMEOUT.
    """
    deadline = time.monotonic() + TRANSFER_TIMEOUT
    with socket.create_connection(("127.0.0.1", port), SOCKET_TIMEOUT) as connection:
        connection.sendall(_head("POST", path, size))
        for piece in _pieces(size):
            connection.sendall(piece)
            _check(deadline)
        length, body = _read_head(connection)
        while len(body) < length:
            received = connection.recv(4096)
            if not received:
                raise TransferError("response ends early")
            body += received
        if body != str(size).encode():
            raise TransferError(f"sent {size} bytes, the app saw {body!r}")


def parse_head(head: bytes) -> tuple[int, int]:
    """Reads status and Content-Length (-1 when absent) of a response's head."""
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1])
    for line in lines[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return status, int(value)
    return status, -1


def _head(method: str, path: str, size: int | None = None) -> bytes:
    length = "" if size is None else f"Content-Length: {size}\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}\r\n".encode()


def _pieces(size: int) -> Iterator[memoryview]:
    for start in range(0, size, len(PIECE)):
        yield PIECE[: min(len(PIECE), size - start)]


def _read_head(connection: socket.socket) -> tuple[int, bytes]:
    """Returns the Content-Length of a 200 and what has come of the body already."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(4096)
        if not piece:
            raise TransferError("closed before the response")
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    status, length = parse_head(head)
    if status != 200:
        raise TransferError(f"status {status}")
    return length, body


def _check(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TransferError(f"not done in {TRANSFER_TIMEOUT:.0f} s")
