# SPDX-License-Identifier: MIT
"""The ASGI connection scope of an HTTP request.

Source: ASGI HTTP & WebSocket message format, spec version 2.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from trioserve.protocols.http1 import RequestHead
    from trioserve.types import Scope

__all__ = ["ASGI_VERSIONS", "HttpScopes"]

ASGI_VERSIONS: Final = {"version": "3.0", "spec_version": "2.5"}
_HTTP_VERSIONS: Final = ("1.0", "1.1")


class HttpScopes:
    """Makes the scopes of one connection.

    Args:
        scheme: "http" or "https".
        client, server: ``(host, port)``; a Unix socket's server is ``(path, None)`` and its client
            None, since ASGI has no other word for it.
        root_path: where the application is mounted; as uvicorn has it, ``path`` begins with it.
        state: the lifespan's state; each scope gets a shallow copy.
        extensions: for each minor version of HTTP/1 what the connection can do; a copy goes
            into each scope.
    """

    __slots__ = ("client", "extensions", "root_path", "scheme", "server", "state")

    def __init__(
        self,
        scheme: str,
        client: tuple[str, int] | None,
        server: tuple[str, int | None] | None,
        root_path: str,
        state: dict[str, Any],
        extensions: tuple[dict[str, Any], dict[str, Any]],
    ) -> None:
        self.scheme = scheme
        self.client = client
        self.server = server
        self.root_path = root_path
        self.state = state
        self.extensions = extensions

    def make(self, request: RequestHead) -> Scope:
        """The scope of ``request``; nothing in it is shared with another request but the app's
        own state.
        """
        raw_path = request.raw_path
        path = raw_path.decode("ascii")
        if "%" in path:
            path = unquote(path)  # bytes that are no UTF-8 become U+FFFD; raw_path has them
        if self.root_path and path != "*":
            path = self.root_path + path
            raw_path = self.root_path.encode() + raw_path
        minor_version = request.minor_version
        return {
            "type": "http",
            "asgi": ASGI_VERSIONS.copy(),
            "http_version": _HTTP_VERSIONS[minor_version],
            "method": request.method,
            "scheme": self.scheme,
            "path": path,
            "raw_path": raw_path,
            "query_string": request.query,
            "root_path": self.root_path,
            "headers": request.headers.copy(),
            "client": self.client,
            "server": self.server,
            "state": self.state.copy(),
            "extensions": self.extensions[minor_version].copy(),
        }
