# SPDX-License-Identifier: MIT
"""The servers that can be measured, and the command line of each.

All run one worker process, but for those named otherwise, without an access log, and log nothing
below a warning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.core.certificates import Certificate


@dataclass(frozen=True, slots=True)
class Server:
    """One server in one configuration.

    Attributes:
        name: how --servers and results.json call it.
        label: how the tables call it.
        module: run as `python -m module`.
        arguments: its command line; {bind}, {port} and {app} are filled in.
        keep_alive: the option that sets the keep-alive timeout in seconds, where a suite needs it.
        tls: the options of TLS, where a suite needs it; {cert} and {key} are filled in.
    """

    name: str
    label: str
    module: str
    arguments: str
    keep_alive: str | None = None
    tls: str = "--certfile {cert} --keyfile {key}"

    def command(self, python: str, app: str, port: int, *extra: str) -> list[str]:
        """Builds the argument vector that serves `app` on 127.0.0.1:`port`."""
        filled = self.arguments.format(bind=f"127.0.0.1:{port}", port=port, app=app)
        return [python, "-m", self.module, *extra, *filled.split()]

    def with_tls(self, certificate: Certificate) -> Server:
        """The same server over TLS."""
        options = self.tls.format(cert=certificate.cert, key=certificate.key)
        return replace(self, arguments=f"{options} {self.arguments}")


TRIOSERVE = "--bind {bind} --http %s --no-access-log --log-level warning {app}"
UVICORN = (
    "--host 127.0.0.1 --port {port} --http %s --loop %s --workers 1"
    " --no-access-log --log-level warning {app}"
)
HYPERCORN = "-k %s -w 1 --bind {bind} --log-level warning {app}"
GUNICORN = "-k asgi -w 1 --bind {bind} --no-control-socket --log-level warning {app}"
GUNICORN_HTTP2 = "--http-protocols h2,h1 --http2-cleartext prior-knowledge "
GRANIAN = (
    "--interface asgi --http %s --%s --workers 1 --runtime-threads 1"
    " --host 127.0.0.1 --port {port} --no-access-log --log-level warning {app}"
)

SERVERS = {
    server.name: server
    for server in (
        Server(
            "trioserve",
            "trioserve",
            "trioserve",
            TRIOSERVE % "httptools",
            keep_alive="--keep-alive-timeout",
        ),
        Server("trioserve-h11", "trioserve --http h11", "trioserve", TRIOSERVE % "h11"),
        Server(
            "uvicorn-uvloop",
            "uvicorn, httptools, uvloop",
            "uvicorn",
            UVICORN % ("httptools", "uvloop"),
            keep_alive="--timeout-keep-alive",
        ),
        Server(
            "uvicorn-asyncio",
            "uvicorn, httptools, asyncio",
            "uvicorn",
            UVICORN % ("httptools", "asyncio"),
        ),
        Server("uvicorn-h11", "uvicorn, h11, asyncio", "uvicorn", UVICORN % ("h11", "asyncio")),
        Server("hypercorn-trio", "hypercorn -k trio", "hypercorn", HYPERCORN % "trio"),
        Server("anycorn-trio", "anycorn -k trio", "anycorn", HYPERCORN % "trio"),
        Server("gunicorn-asgi", "gunicorn -k asgi", "gunicorn", GUNICORN),
        Server("granian", "granian", "granian", GRANIAN % ("1", "no-ws")),
        # For HTTP/2 only, with those above that take both from one port.
        *(
            Server(
                f"trioserve-{engine}",
                f"trioserve --http2-engine {engine}",
                "trioserve",
                f"--http2-engine {engine} " + TRIOSERVE % "httptools",
            )
            for engine in ("h2", "jh2")
        ),
        *(
            Server(
                f"trioserve-{profile}",
                f"trioserve --http2-profile {profile}",
                "trioserve",
                f"--http2-profile {profile} " + TRIOSERVE % "httptools",
            )
            for profile in ("conservative", "high-concurrency")
        ),
        Server("hypercorn-uvloop", "hypercorn -k uvloop", "hypercorn", HYPERCORN % "uvloop"),
        Server("gunicorn-http2", "gunicorn -k asgi", "gunicorn", GUNICORN_HTTP2 + GUNICORN),
        Server(
            "granian-http2",
            "granian",
            "granian",
            GRANIAN % ("2", "no-ws"),
            tls="--ssl-certificate {cert} --ssl-keyfile {key}",
        ),
        # For WebSocket only, with those above that have one implementation of it, and always.
        Server(
            "trioserve-trio-websocket",
            "trioserve --websocket-engine trio-websocket",
            "trioserve",
            "--websocket-engine trio-websocket " + TRIOSERVE % "httptools",
        ),
        *(
            Server(
                f"uvicorn-{library}",
                f"uvicorn, {label}, uvloop",
                "uvicorn",
                f"--ws {option} " + UVICORN % ("httptools", "uvloop"),
            )
            for library, label, option in (
                ("websockets", "websockets sans-IO", "websockets-sansio"),
                ("wsproto", "wsproto", "wsproto"),
            )
        ),
        # Two worker processes of those above.
        Server(
            "trioserve-workers",
            "trioserve --workers 2",
            "trioserve",
            "--workers 2 " + TRIOSERVE % "httptools",
        ),
        Server(
            "uvicorn-workers",
            "uvicorn, httptools, uvloop, 2 workers",
            "uvicorn",
            (UVICORN % ("httptools", "uvloop")).replace("--workers 1", "--workers 2"),
        ),
        Server(
            "gunicorn-workers",
            "gunicorn -k asgi, 2 workers",
            "gunicorn",
            GUNICORN.replace("-w 1", "-w 2"),
        ),
        Server("granian-websocket", "granian", "granian", GRANIAN % ("1", "ws")),
    )
}

#: Libraries of HTTP/2 in the smallest program that answers: a ceiling for a server built on them.
LIBRARIES = {
    server.name: server
    for server in (
        Server(
            f"{library}-alone",
            f"{library} alone in a Trio loop",
            "benchmarks.apps.http2_alone",
            f"--port {{port}} {library}",
        )
        for library in ("h2", "jh2")
    )
}
