# SPDX-License-Identifier: MIT
"""WebSocket by hand (RFC 6455): the opening handshake, and frames that are made once.

No library: what it cost would be counted as the load generator's, and a server that uses the same
one would be measured against its own mistakes.
"""

from __future__ import annotations

import base64
import hashlib
import random
import socket

from benchmarks.clients.idle_connections import ClientError

SOCKET_TIMEOUT = 10.0
MAX_HEAD = 65_536
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#: Any key will do: it is there against caches, and its answer is looked at all the same.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = base64.b64encode(hashlib.sha1(KEY + GUID).digest())
# First bytes: with FIN, and without the bit that compression would set.
BINARY, CLOSE, PING, PONG = 0x82, 0x88, 0x89, 0x8A
MASKED = 0x80
#: One for all messages, so that they can be made before; no byte of it leaves a byte as it is.
MASK = b"\x37\xfa\x21\x3d"


def payload(size: int) -> bytes:
    """The message of that size, the same in every process and run: noise, all byte values."""
    return random.Random(size).randbytes(size)


def server_frame(data: bytes) -> bytes:
    """The whole binary message in one frame, as a server sends it (section 5.2)."""
    return _head(BINARY, len(data), 0) + data


def client_frame(data: bytes, kind: int = BINARY) -> bytes:
    """The same as a client sends it: masked."""
    mask = (MASK * (len(data) // 4 + 1))[: len(data)]
    masked = int.from_bytes(data) ^ int.from_bytes(mask)
    return _head(kind, len(data), MASKED) + MASK + masked.to_bytes(len(data))


def _head(kind: int, size: int, mask_bit: int) -> bytes:
    """The first 2, 4 or 10 bytes of a frame."""
    if size < 126:
        return bytes((kind, mask_bit | size))
    if size < 65_536:
        return bytes((kind, mask_bit | 126)) + size.to_bytes(2)
    return bytes((kind, mask_bit | 127)) + size.to_bytes(8)


def connect(port: int, path: str) -> socket.socket:
    """Opens a WebSocket to 127.0.0.1:`port`; the socket blocks, for SOCKET_TIMEOUT at most.

    Raises:
        OSError: no connection, or no answer in time.
        ClientError: the answer is none that opens a WebSocket, or it has an extension.
    """
    connection = socket.create_connection(("127.0.0.1", port), SOCKET_TIMEOUT)
    try:
        # A frame that waits for the acknowledgement of another would be measured as the server's.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        handshake(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def handshake(connection: socket.socket, path: str) -> None:
    """Asks for a WebSocket; errors are those of connect()."""
    connection.sendall(
        b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n" % (path.encode(), KEY)
    )
    check_answer(_read_head(connection))


def check_answer(head: bytes) -> None:
    """Looks at a response's head as section 4.1 tells a client to.

    Raises:
        ClientError: see connect().
    """
    lines = head.split(b"\r\n")
    status = lines[0].split(b" ")[1:2]
    if status != [b"101"]:
        found = status[0].decode("latin-1") if status else "none"
        raise ClientError(f"no WebSocket: status {found}, expected 101")
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    if fields.get(b"sec-websocket-accept") != ACCEPT:
        raise ClientError("no WebSocket: Sec-WebSocket-Accept does not fit the key")
    if fields.get(b"sec-websocket-extensions"):
        raise ClientError("an extension that was not offered")


def _read_head(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(4096)
        if not piece:
            raise ClientError(f"closed in the handshake, after {len(received)} bytes")
        received += piece
        if len(received) > MAX_HEAD:
            raise ClientError(f"a response's head of more than {MAX_HEAD:,} bytes")
    head, _, rest = received.partition(b"\r\n\r\n")
    if rest and head.split(b" ")[1:2] == [b"101"]:
        raise ClientError(f"{len(rest)} bytes before the first message")
    return head


def expect(connection: socket.socket, wanted: bytes) -> None:
    """Reads as many bytes and compares them.

    Raises:
        OSError: they did not come in time.
        ClientError: closed before, or something else came.
    """
    received = bytearray()
    while len(received) < len(wanted):
        piece = connection.recv(len(wanted) - len(received))
        if not piece:
            raise ClientError(f"closed after {len(received)} bytes of {len(wanted)}")
        received += piece
    if received != wanted:
        at = next(at for at, byte in enumerate(wanted) if byte != received[at])
        raise ClientError(f"a wrong message: byte {at} of the frame's {len(wanted)} differs")
