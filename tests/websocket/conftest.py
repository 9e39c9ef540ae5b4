# SPDX-License-Identifier: MIT
"""One suite over both engines and both carriers, and over the transports that carry them."""

from __future__ import annotations

import contextlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import trio
import trio.testing

from tests.clocked import Clocked, use_their_clocks
from tests.connection.service import Kind, Service, open_service
from tests.variants import variants
from trioserve.transports import ReadinessWatcher

from .client import WebSocketClient, make_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trioserve.types import ASGIApp

ENGINES: Final = ("websockets", "trio-websocket")
#: transport, version of HTTP, engine. A clock that waits for the kernel makes sockets slow.
WAYS: Final = [
    (kind, version, engine)
    for engine in ENGINES
    for version in ("1.1", "2")
    for kind in ("memory", "socket", "tls")
    if kind != "tls" or version == "1.1"
]
_FAST: Final = [
    ("memory", "1.1", "websockets"),
    ("socket", "1.1", "websockets"),
    ("memory", "2", "websockets"),
    ("memory", "1.1", "trio-websocket"),
]


class Running:
    """A server, and clients of the version of HTTP that is under test."""

    def __init__(self, service: Service, version: str) -> None:
        self.service = service
        self._version = version

    def client(self, buffer_size: int = 0) -> WebSocketClient:
        """On a new connection, whose handshake is yet to be sent."""
        return make_client(self._version, self.service.connect(buffer_size))

    async def gone(self) -> None:
        """Until nothing is left of the only WebSocket."""
        service = self.service
        if self._version == "1.1":
            await service.all_closed()
            return
        (connection,) = service.server.connections
        while connection._streams:  # type: ignore[attr-defined]  # noqa: ASYNC110
            await trio.sleep(0.1)

    async def open(self, target: str = "/", **options: Any) -> WebSocketClient:
        """With the handshake accepted."""
        client = self.client()
        await client.open(target, **options)
        return client


class Serving(Clocked):
    """``async with serving(app, **options) as server``: a Running."""

    def __init__(self, kind: Kind, version: str, engine: str) -> None:
        self.kind: Kind = kind
        self.version = version
        self.engine = engine
        threshold = 0 if kind == "memory" else 0.005
        self.clock = trio.testing.MockClock(autojump_threshold=threshold)

    @contextlib.asynccontextmanager
    async def __call__(self, app: ASGIApp, **options: Any) -> AsyncIterator[Running]:
        options.setdefault("websocket_engine", self.engine)
        async with open_service(self.kind, app, **options) as service:
            yield Running(service, self.version)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    use_their_clocks(items, Path(__file__).parent)


def _make(way: tuple[Kind, str, str]) -> Serving:
    kind, version, engine = way
    if kind == "socket" and not ReadinessWatcher.supported:
        pytest.skip("needs Linux's epoll")
    if engine == "websockets" and find_spec("websockets") is None:
        pytest.skip("websockets is not installed")
    return Serving(kind, version, engine)


def _name(way: tuple[Kind, str, str]) -> str:
    return "-".join(way)


@pytest.fixture(params=variants(WAYS, fast=_FAST), ids=lambda way: _name(way))
def serving(request: pytest.FixtureRequest) -> Serving:
    """Each test that asks for this runs over each way."""
    return _make(request.param)


@pytest.fixture(
    params=variants([way for way in WAYS if way[0] != "memory"], fast=_FAST),
    ids=lambda way: _name(way),
)
def serving_sockets(request: pytest.FixtureRequest) -> Serving:
    """The same for what a memory stream can't do: be full, or be reset."""
    return _make(request.param)
