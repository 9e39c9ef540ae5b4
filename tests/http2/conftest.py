# SPDX-License-Identifier: MIT
from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.asgi.conftest import Errors, propagating_logs
from tests.clocked import Clocked, use_their_clocks
from tests.connection.service import open_service
from tests.http2 import frames
from tests.http2.client import Http2Client
from tests.http2_engines import http2_engine
from tests.variants import variants
from trioserve.transports import ReadinessWatcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from tests.connection.service import Kind, Service
    from trioserve.types import ASGIApp

__all__ = ["http2_engine", "propagating_logs"]


class Server:
    """A running server, and how to reach it.

    Attributes:
        service: what it runs in.
    """

    def __init__(self, service: Service) -> None:
        self.service = service

    async def connect(
        self, *settings: tuple[int, int], auto: bool = True, buffer_size: int = 0
    ) -> Http2Client:
        """A new connection: preface and SETTINGS are sent, the server's SETTINGS have come."""
        client = self.connect_raw(auto=auto, buffer_size=buffer_size)
        await client.send(frames.PREFACE, frames.settings(*settings))
        await client.until_frame(frames.SETTINGS)
        return client

    def connect_raw(self, *, auto: bool = True, buffer_size: int = 0) -> Http2Client:
        """A new connection, on which nothing was sent."""
        return Http2Client(self.service.connect(buffer_size), auto=auto)


class Serving(Clocked):
    """``async with serving(app, **options) as server``, over one engine and one kind of carrier.

    Attributes:
        kind: of the carrier: see tests/connection/service.py. TLS would be one more.
        engine: the setting.
        clock: virtual time.
    """

    clock: trio.testing.MockClock

    def __init__(self, kind: Kind, engine: str) -> None:
        self.kind = kind
        self.engine = engine
        # Over TCP it waits a little for the kernel before it jumps.
        self.clock = trio.testing.MockClock(autojump_threshold=0 if kind == "memory" else 0.005)

    def __call__(self, app: ASGIApp, **options: object) -> AbstractAsyncContextManager[Server]:
        return self._open(app, **options)

    @contextlib.asynccontextmanager
    async def _open(self, app: ASGIApp, **options: Any) -> AsyncIterator[Server]:
        options = {"http2_engine": self.engine, **options}
        async with open_service(self.kind, app, **options) as service:
            yield Server(service)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    use_their_clocks(items, Path(__file__).parent)


@pytest.fixture(params=variants(["memory", "socket", "stream"], fast=["memory", "socket"]))
def serving(
    request: pytest.FixtureRequest, http2_engine: str, monkeypatch: pytest.MonkeyPatch
) -> Serving:
    """Over each engine and each kind of carrier."""
    return _serving(request.param, http2_engine, monkeypatch)


@pytest.fixture
def in_memory(http2_engine: str) -> Serving:
    """Over each engine, for what doesn't depend on the carrier."""
    return Serving("memory", http2_engine)


@pytest.fixture(params=variants(["socket", "stream"], fast=["socket"]))
def over_tcp(
    request: pytest.FixtureRequest, http2_engine: str, monkeypatch: pytest.MonkeyPatch
) -> Serving:
    """For what a memory stream can't do: be full, or be reset."""
    return _serving(request.param, http2_engine, monkeypatch)


def _serving(kind: Kind, engine: str, monkeypatch: pytest.MonkeyPatch) -> Serving:
    if kind == "stream":
        monkeypatch.setattr(ReadinessWatcher, "supported", False)
    elif kind == "socket" and not ReadinessWatcher.supported:
        pytest.skip("needs Linux's epoll")
    return Serving(kind, engine)


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Errors:
    return Errors(caplog)
