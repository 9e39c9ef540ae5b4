# SPDX-License-Identifier: MIT
"""HTTP/2 for core/rounds.py: its workloads, made by h2load, and servers over TLS."""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.clients.http2_request import get_http2
from benchmarks.core.load import LoadResult, run_h2load
from benchmarks.core.processes import RunningServer, StartError, running
from benchmarks.core.rounds import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.core.certificates import Certificate
    from benchmarks.core.servers import Server

# Requests, a connection, of the first load, which finds out how fast a server is.
PILOT = 32


@dataclass(frozen=True, slots=True)
class Http2Workload(Workload):
    """A Workload over HTTP/2.

    h2load is told a number of requests, not of seconds: it then closes when all responses are
    there, which every server survives. What a close in the middle does is looked at separately.

    Attributes:
        streams: requests at a time, on each of the connections.
        tls: HTTP/2 is agreed on by ALPN; else the client just begins with it.
    """

    streams: int = 1
    tls: bool = False

    def fetch(self, port: int) -> bytes:
        """See Workload."""
        return get_http2(port, self.path, self.post, tls=self.tls)

    def load(self, port: int, seconds: int, per_second: float | None) -> LoadResult:
        """See Workload. As long as nobody knows how fast the server is, a pilot tells."""
        with self._posted() as body:
            if per_second is None:
                pilot = self._load(port, PILOT * self.connections, seconds, body)
                if pilot.errors:
                    return pilot
                per_second = pilot.per_second
            requests = max(PILOT * self.connections, round(per_second * seconds))
            return self._load(port, requests, seconds, body)

    def cut_off(self, port: int, seconds: int) -> None:
        """Loads and leaves in the middle: h2load's own way when it is told a time."""
        self._h2load(port, seconds=seconds)

    def _load(self, port: int, requests: int, seconds: int, body: Path | None) -> LoadResult:
        return self._h2load(port, requests=requests, seconds=seconds, body=body)

    def _h2load(
        self, port: int, *, seconds: int, requests: int | None = None, body: Path | None = None
    ) -> LoadResult:
        scheme = "https" if self.tls else "http"
        return run_h2load(
            f"{scheme}://127.0.0.1:{port}{self.path}",
            connections=self.connections,
            streams=self.streams,
            requests=requests,
            seconds=seconds,
            body=body,
        )

    @contextlib.contextmanager
    def _posted(self) -> Iterator[Path | None]:
        """The body in a file, where h2load wants it."""
        if self.post is None:
            yield None
            return
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.post)
            file.flush()
            yield Path(file.name)


@contextlib.contextmanager
def running_http2(
    server: Server, app: str, certificate: Certificate | None = None, *extra: str
) -> Iterator[RunningServer]:
    """Serves `app` over HTTP/2 for the length of the block.

    Args:
        certificate: makes it TLS.

    Raises:
        StartError: see running(); or the library is not installed.
    """
    if server.name.startswith(("trioserve-jh2", "jh2")) and not importlib.util.find_spec("jh2"):
        raise StartError("jh2 is not installed")
    if certificate is not None:
        server = server.with_tls(certificate)
    request = partial(get_http2, tls=certificate is not None)
    with running(server, app, *extra, request=request) as target:
        yield target
