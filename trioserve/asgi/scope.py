# SPDX-License-Identifier: MIT
"""The ASGI connection scope of an HTTP request, or of the WebSocket that it begins.

Source: ASGI HTTP & WebSocket message format, spec version 2.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote

from trioserve.asgi.extension import NO_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioserve.types import Headers, Scope

__all__ = ["ASGI_VERSIONS", "HttpScopes"]

ASGI_VERSIONS: Final = {"version": "3.0", "spec_version": "2.5"}


class Head(Protocol):
    """A request's head, of any version of HTTP."""

    headers: Headers

    @property
    def method(self) -> str:
        """Case-sensitive."""

    @property
    def raw_path(self) -> bytes:
        """Before percent-decoding, without the query."""

    @property
    def query(self) -> bytes:
        """The bytes after the first "?"."""


class HttpScopes:
    """Makes the scopes of one connection.

    Args:
        scheme: "http" or "https".
        client, server: ``(host, port)``; a Unix socket's server is ``(path, None)`` and its client
            None, since ASGI has no other word for it.
        root_path: where the application is mounted; as uvicorn has it, ``path`` begins with it.
        state: the lifespan's state; each scope gets a shallow copy.
        extensions: what all of its requests have.
    """

    __slots__ = ("client", "extensions", "root_path", "scheme", "server", "state")

    def __init__(
        self,
        scheme: str,
        client: tuple[str, int] | None,
        server: tuple[str, int | None] | None,
        root_path: str,
        state: dict[str, Any],
        extensions: Mapping[str, Any],
    ) -> None:
        self.scheme = scheme
        self.client = client
        self.server = server
        self.root_path = root_path
        self.state = state
        self.extensions = extensions

    def make(self, request: Head, http_version: str, extensions: dict[str, Any]) -> Scope:
        """The scope of ``request``.

        Args:
            request: its head.
            http_version: "1.0", "1.1" or "2".
            extensions: what its connection can do. The dict is this scope's own from now on.

        Nothing in it is shared with another request but the app's own state.
        """
        raw_path = request.raw_path
        path = raw_path.decode("ascii")
        if "%" in path:
            path = unquote(path)  # bytes that are no UTF-8 become U+FFFD; raw_path has them
        if self.root_path and path != "*":
            path = self.root_path + path
            raw_path = self.root_path.encode() + raw_path
        return {
            "type": "http",
            "asgi": ASGI_VERSIONS.copy(),
            "http_version": http_version,
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
            "extensions": extensions,
        }

    def make_websocket(
        self,
        request: Head,
        http_version: str,
        extensions: dict[str, Any],
        subprotocols: list[str],
    ) -> Scope:
        """The scope of a WebSocket that begins with ``request``; see ``make``."""
        scope = self.make(request, http_version, extensions)
        del scope["method"]
        scope["type"] = "websocket"
        scope["scheme"] = "wss" if self.scheme == "https" else "ws"
        scope["subprotocols"] = subprotocols
        extensions["websocket.http.response"] = NO_OPTIONS
        return scope
