# SPDX-License-Identifier: MIT
"""Many idle keep-alive connections, held by a process of their own.

The child opens them one after the other, each with one request, then writes `ready`. When its
standard input ends it looks which of them are still open, writes how many, and exits. An error ends
it with one line on stderr.
"""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

READY_TIMEOUT = 60.0
FINISH_TIMEOUT = 20.0
SOCKET_TIMEOUT = 10.0
# Well below the number of ephemeral ports of one address (28,000 by default on Linux).
PER_ADDRESS = 5_000
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class ClientError(Exception):
    """The connections could not be opened, or not in time."""


class Holder:
    """The parent's side: connections that are open until `count_open` or the end of its block."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def wait_until_ready(self) -> None:
        """Returns when each connection has had its response.

        Raises:
            ClientError: the child failed, or took longer than READY_TIMEOUT.
        """
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], READY_TIMEOUT)[0]:
            raise ClientError(f"connections not open in {READY_TIMEOUT:.0f} s")
        if self._process.stdout.readline() != b"ready\n":
            _, words = self._process.communicate(timeout=FINISH_TIMEOUT)
            last = words.decode(errors="replace").strip().rpartition("\n")[2]
            raise ClientError(last or "the client ended")

    def count_open(self) -> int:
        """Ends the child; returns how many connections the server had not closed."""
        answer, _ = self._process.communicate(timeout=FINISH_TIMEOUT)
        return int(answer)


@contextlib.contextmanager
def holding(port: int, count: int, *more: str, module: str = __name__) -> Iterator[Holder]:
    """Holds `count` idle connections to 127.0.0.1:`port` for the length of the block.

    Args:
        module: the child's, which is given the port, the count and what else there is.

    Raises:
        ClientError: see Holder.wait_until_ready.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, str(port), str(count), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    # Leaving Popen's block closes the pipes and reaps.
    with process:
        try:
            holder = Holder(process)
            holder.wait_until_ready()
            yield holder
        finally:
            process.kill()


def open_connection(port: int, number: int) -> socket.socket:
    """Opens one connection, from an address that still has ports, and makes one request."""
    connection = socket.socket()
    connection.settimeout(SOCKET_TIMEOUT)
    connection.bind((f"127.0.0.{1 + number // PER_ADDRESS}", 0))
    connection.connect(("127.0.0.1", port))
    connection.sendall(REQUEST)
    received = b""
    while not received.endswith(b"Hello, world!"):
        piece = connection.recv(4096)
        if not piece:
            raise ClientError("closed before the whole response")
        received += piece
    connection.setblocking(False)
    return connection


def is_open(connection: socket.socket) -> bool:
    """Tells whether the server has neither closed nor reset the connection."""
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def main(port: int, count: int) -> int:
    """Runs the child's side; returns its exit code."""
    connections = []
    for number in range(count):
        try:
            connections.append(open_connection(port, number))
        except (OSError, ClientError) as exc:
            print(f"connection {number + 1} of {count}: {exc}", file=sys.stderr)
            return 1
    print("ready", flush=True)
    sys.stdin.read()
    print(sum(map(is_open, connections)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
