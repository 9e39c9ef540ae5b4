# SPDX-License-Identifier: MIT
"""Starts a server on its own core, waits until it answers, and ends it whatever happens."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from benchmarks.core import cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from benchmarks.core.servers import Server

READY_TIMEOUT = 20.0
STOP_TIMEOUT = 3.0
REQUEST_TIMEOUT = 10.0


class StartError(Exception):
    """A server did not come to answer requests.

    The message names no paths, so it may stand in a report; `log` is the last line that the server
    wrote, for the terminal only.
    """

    def __init__(self, reason: str, log: str = "") -> None:
        super().__init__(reason)
        self.log = log


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that has answered at least one request.

    Attributes:
        started_in: seconds from exec to the end of the first successful response.
    """

    server: Server
    port: int
    process: subprocess.Popen[bytes]
    started_in: float

    @property
    def pid(self) -> int:
        return self.process.pid

    def died(self) -> bool:
        """Tells whether the process that was started has ended."""
        return self.process.poll() is not None


@contextlib.contextmanager
def running(
    server: Server,
    app: str,
    *extra: str,
    request: Callable[[int], object] | None = None,
    side: Callable[[], AbstractContextManager[None]] = cores.server_side,
) -> Iterator[RunningServer]:
    """Serves `app` for the length of the block.

    Args:
        server: which server, in which configuration.
        app: import string of the ASGI app, importable from the working directory.
        extra: further options of the server's command line.
        request: makes one request to a port, with get()'s errors; by default get() itself.
        side: on which cores it runs.

    Raises:
        StartError: it ended, or answered nothing but errors, within READY_TIMEOUT.
    """
    port = free_port()
    with tempfile.TemporaryFile() as log:
        began = time.perf_counter()
        with side():
            # A session of its own: one killpg reaches the workers too.
            process = subprocess.Popen(
                server.command(sys.executable, app, port, *extra),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            ready = _wait_until_ready(process, port, log, began + READY_TIMEOUT, request or get)
            yield RunningServer(server, port, process, ready - began)
        finally:
            stop(process)


def free_port() -> int:
    """Asks the kernel for a TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def get(port: int, path: str = "/", method: str = "GET", body: bytes | None = None) -> bytes:
    """Makes one request on a connection of its own and returns the response's body.

    Raises:
        OSError, http.client.HTTPException: no connection, no response, or a status beyond 200.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_TIMEOUT)
    with contextlib.closing(connection):
        connection.request(method, path, body)
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise http.client.HTTPException(f"status {response.status} to {method} {path}")
        return content


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and its session: asked first, killed STOP_TIMEOUT later at the latest."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT)
    # Even when the parent has gone: a worker may have outlived it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_TIMEOUT)


def _wait_until_ready(
    process: subprocess.Popen[bytes],
    port: int,
    log: IO[bytes],
    deadline: float,
    request: Callable[[int], object],
) -> float:
    """Polls with whole requests; returns the moment the first one succeeded."""
    problem: Exception | None = None
    while time.perf_counter() < deadline:
        code = process.poll()
        if code is not None:
            raise StartError(f"did not start (exit code {code})", last_line(log))
        try:
            request(port)
        except (OSError, http.client.HTTPException) as exc:
            problem = exc
            time.sleep(0.001)
        else:
            return time.perf_counter()
    raise StartError(f"not ready in {READY_TIMEOUT:.0f} s ({problem})", last_line(log))


def last_line(log: IO[bytes], size: int = 2000) -> str:
    """What a process wrote last; for the terminal only."""
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - size))
    return log.read().decode(errors="replace").strip().rpartition("\n")[2]
