# SPDX-License-Identifier: MIT
"""The servers that can be measured, and the command line of each.

All run one worker process without an access log, and log nothing below a warning.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Server:
    """One server in one configuration.

    Attributes:
        name: how --servers and results.json call it.
        label: how the tables call it.
        module: run as `python -m module`.
        arguments: its command line; {bind}, {port} and {app} are filled in.
        keep_alive: the option that sets the keep-alive timeout in seconds, where a suite needs it.
    """

    name: str
    label: str
    module: str
    arguments: str
    keep_alive: str | None = None

    def command(self, python: str, app: str, port: int, *extra: str) -> list[str]:
        """Builds the argument vector that serves `app` on 127.0.0.1:`port`."""
        filled = self.arguments.format(bind=f"127.0.0.1:{port}", port=port, app=app)
        return [python, "-m", self.module, *extra, *filled.split()]


TRIOSERVE = "--bind {bind} --http %s --no-access-log --log-level warning {app}"
UVICORN = (
    "--host 127.0.0.1 --port {port} --http %s --loop %s --workers 1"
    " --no-access-log --log-level warning {app}"
)
HYPERCORN = "-k trio -w 1 --bind {bind} --log-level warning {app}"
GUNICORN = "-k asgi -w 1 --bind {bind} --no-control-socket --log-level warning {app}"
GRANIAN = (
    "--interface asgi --http 1 --no-ws --workers 1 --runtime-threads 1"
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
        Server("hypercorn-trio", "hypercorn -k trio", "hypercorn", HYPERCORN),
        Server("anycorn-trio", "anycorn -k trio", "anycorn", HYPERCORN),
        Server("gunicorn-asgi", "gunicorn -k asgi", "gunicorn", GUNICORN),
        Server("granian", "granian", "granian", GRANIAN),
    )
}
