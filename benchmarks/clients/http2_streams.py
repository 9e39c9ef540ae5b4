# SPDX-License-Identifier: MIT
"""HTTP/2 connections with streams that stay open, held by a process of their own.

Run as the clients of idle_connections.py are, with two more arguments: streams a connection (0: the
connection is only opened), and whether each is filled with a body until no window has room for
more. A PING's answer tells that the server has seen all of it, before `ready` is written.

Frames are made by hand (RFC 9113 section 4.1): six thousand streams are to be opened in no time.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING

from benchmarks.clients.idle_connections import SOCKET_TIMEOUT, ClientError, is_open

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0x0, 0x1, 0x4, 0x6, 0x7, 0x8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
MAX_STREAMS, WINDOW = 0x3, 0x4
DEFAULT_WINDOW = 65_535
FRAME_SIZE = 16_384
#: `:method POST`, `:scheme http`, `:path /` of the static table (RFC 7541 appendix A), and
#: `:authority localhost` as a literal that isn't remembered.
POST_FIELDS = b"\x83\x86\x84\x01\x09localhost"
GET_FIELDS = b"\x82" + POST_FIELDS[1:]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Makes one frame."""
    size = len(payload)
    return struct.pack(">BHBBL", size >> 16, size & 0xFFFF, kind, flags, stream) + payload


class Client:
    """One connection, by prior knowledge."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), SOCKET_TIMEOUT)
        # Small writes one after the other: each would wait for the last one's acknowledgement.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self.max_streams = sys.maxsize
        self.stream_window = self.connection_window = DEFAULT_WINDOW
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0))
        self._ping()

    def request(self) -> None:
        """Makes a GET and waits for its response; a server has done all for a first one then."""
        self.socket.sendall(frame(HEADERS, END_STREAM | END_HEADERS, 1, GET_FIELDS))
        for kind, flags, stream, _ in self._frames():
            if stream == 1 and kind in (DATA, HEADERS) and flags & END_STREAM:
                return

    def open_streams(self, count: int, *, fill: bool) -> int:
        """Begins `count` POSTs, as many as are allowed at most; returns how many bytes of body."""
        count = min(count, self.max_streams)
        left = self.connection_window if fill else 0
        sent = 0
        for stream in range(3, 3 + 2 * count, 2):
            parts = [frame(HEADERS, END_HEADERS, stream, POST_FIELDS)]
            size = min(self.stream_window, left)
            left -= size
            sent += size
            parts += [
                frame(DATA, 0, stream, bytes(min(FRAME_SIZE, size - at)))
                for at in range(0, size, FRAME_SIZE)
            ]
            self.socket.sendall(b"".join(parts))
        self._ping()
        return sent

    def _ping(self) -> None:
        """Waits until the server has handled all that was sent."""
        self.socket.sendall(frame(PING, 0, 0, b"a a a a "))
        for kind, flags, _, _ in self._frames():
            if kind == PING and flags & ACK:
                return

    def _frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Yields what comes: type, flags, stream, payload."""
        while True:
            while len(self._received) < 9 or len(self._received) < 9 + self._length():
                piece = self.socket.recv(65536)
                if not piece:
                    raise ClientError("closed by the server")
                self._received += piece
            size = 9 + self._length()
            kind, flags, stream = struct.unpack_from(">BBL", self._received, 3)
            payload = self._received[9:size]
            self._received = self._received[size:]
            self._note(kind, flags, stream, payload)
            yield kind, flags, stream, payload

    def _length(self) -> int:
        return int.from_bytes(self._received[:3], "big")

    def _note(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Settings and windows; a client that is refused anything has nothing to measure."""
        if kind == SETTINGS and not flags & ACK:
            values = dict(struct.iter_unpack(">HL", payload))
            self.max_streams = values.get(MAX_STREAMS, self.max_streams)
            self.stream_window = values.get(WINDOW, self.stream_window)
            self.socket.sendall(frame(SETTINGS, ACK, 0))
        elif kind == WINDOW_UPDATE and stream == 0:
            self.connection_window += int.from_bytes(payload, "big")
        elif kind == GOAWAY:
            raise ClientError(f"GOAWAY, error {int.from_bytes(payload[4:8], 'big')}")


def main(port: int, count: int, streams: int, *, fill: bool) -> int:
    """Runs the child's side; returns its exit code."""
    clients = []
    for number in range(count):
        try:
            client = Client(port)
            client.request()
            if streams:
                client.open_streams(streams, fill=fill)
        except (OSError, ClientError) as exc:
            print(f"connection {number + 1} of {count}: {exc}", file=sys.stderr)
            return 1
        client.socket.setblocking(False)
        clients.append(client)
    print("ready", flush=True)
    sys.stdin.read()
    print(sum(is_open(client.socket) for client in clients), flush=True)
    return 0


if __name__ == "__main__":
    port, count, streams = map(int, sys.argv[1:4])
    sys.exit(main(port, count, streams, fill=sys.argv[4] == "fill"))
