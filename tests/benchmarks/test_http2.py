# SPDX-License-Identifier: MIT
"""The HTTP/2 suites' own parts, over real sockets where there are any."""

from __future__ import annotations

import http.client
import importlib.util
import os
import ssl
import subprocess
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trioserve
from benchmarks.apps import holding, http2_alone, plaintext
from benchmarks.clients.http2_request import get_http2
from benchmarks.clients.http2_streams import Client
from benchmarks.core import certificates, http2
from benchmarks.core.comparison import MEAN_AND_MAX, load_table
from benchmarks.core.http2 import Http2Workload, running_http2
from benchmarks.core.load import LoadResult
from benchmarks.core.measure import Measurement
from benchmarks.core.processes import StartError
from benchmarks.core.servers import LIBRARIES, SERVERS
from tests.tools import find_tool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WORKLOAD = Http2Workload("plaintext", "Plain", "/", 8, bool, streams=16)
LIBRARIES_HERE = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(name) is None and os.environ.get("CI") != "true",
            reason=f"{name} is not installed",
        ),
    )
    for name in ("h2", "jh2")
]


@asynccontextmanager
async def alone(library: str, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A library's program on a port of its own."""
    handler = partial(http2_alone.serve, library)
    async with trio.open_nursery() as nursery:
        if context is None:
            serve: Any = partial(trio.serve_tcp, handler, 0, host="127.0.0.1")
        else:
            serve = partial(trio.serve_ssl_over_tcp, handler, 0, context, host="127.0.0.1")
        (listener, *_) = await nursery.start(serve)
        inner = getattr(listener, "transport_listener", listener)
        yield inner.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def trioserve_with(app: Any, **options: Any) -> AsyncIterator[int]:
    """The real server, and the port of it."""
    config = trioserve.Config(
        bind=["127.0.0.1:0"], lifespan="off", asgi_disconnect_grace_period=0, **options
    )
    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(trioserve.serve, app, config)
        yield int(address.url.rpartition(":")[2])
        nursery.cancel_scope.cancel()


# -- what is asked -------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES_HERE)
async def test_a_library_alone_answers_as_the_bodies_app_does(library: str) -> None:
    async with alone(library) as port:

        async def ask(path: str, body: bytes | None = None) -> bytes:
            return await trio.to_thread.run_sync(get_http2, port, path, body)

        assert await ask("/") == plaintext.BODY
        assert await ask("/download/0") == b""
        # More than the client's windows take at once, and than its settings let into a frame.
        assert len(await ask("/download/300000")) == 300_000
        assert await ask("/upload", bytes(300_000)) == b"300000"


async def test_a_library_alone_speaks_tls() -> None:
    find_tool("openssl")
    with certificates.certificate() as made:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(made.cert, made.key)
        context.set_alpn_protocols(["h2"])
        async with alone("h2", context) as port:
            ask = partial(trio.to_thread.run_sync, partial(get_http2, port, tls=True))
            assert await ask() == plaintext.BODY


async def test_a_server_that_speaks_no_http2_is_no_answer() -> None:
    async with trioserve_with(plaintext.app, http2_cleartext="off") as port:
        with pytest.raises((http.client.HTTPException, OSError)):
            await trio.to_thread.run_sync(get_http2, port)


async def test_streams_are_held_open_and_filled() -> None:
    async with trioserve_with(holding.app, http2_initial_window_size=50_000) as port:

        def hold() -> tuple[int, int, int]:
            client = Client(port)
            client.request()
            filled = client.open_streams(5, fill=True)
            other = Client(port)
            other.request()
            opened = other.open_streams(1_000, fill=False)
            client.socket.close()
            other.socket.close()
            return filled, opened, other.max_streams

        assert await trio.to_thread.run_sync(hold) == (5 * 50_000, 0, 100)


# -- how much of it ------------------------------------------------------------------------------


def test_a_pilot_finds_out_how_many_requests_go_in_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads: list[Any] = []

    def record(url: str, *, requests: int, body: Path | None, **_: Any) -> LoadResult:
        loads.append((url, requests, body and body.read_bytes()))
        return LoadResult(requests, 1000.0, None, None, 0, 1.0, 2.0)

    monkeypatch.setattr(http2, "run_h2load", record)
    WORKLOAD.load(8123, 2, None)
    WORKLOAD.load(8123, 4, 1500.0)
    url = "http://127.0.0.1:8123/"
    assert loads == [(url, 256, None), (url, 2000, None), (url, 6000, None)]
    upload = Http2Workload("up", "Up", "/up", 1, bool, post=b"body", tls=True)
    upload.load(8123, 4, 1.0)
    assert loads[-1] == ("https://127.0.0.1:8123/up", 32, b"body")


def test_a_pilot_that_fails_is_not_followed_by_more(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = LoadResult(1, 1000.0, None, None, 255, 1.0, 2.0)
    monkeypatch.setattr(http2, "run_h2load", lambda *_, **__: failed)
    assert WORKLOAD.load(8123, 2, None) is failed


def test_a_row_has_the_latencies_that_h2load_knows() -> None:
    ours = Measurement(1000, 500.0, 20.0, None, None, 0, 1.5, 9.0)
    table = load_table(
        WORKLOAD, [SERVERS["trioserve"]], [{"plaintext": {"trioserve": ours}}], MEAN_AND_MAX
    )
    assert list(table.columns[5:]) == ["mean ms", "max ms", "errors"]
    assert list(table.rows[0][5:]) == ["1.50", "9.00", "0"]


# -- what may be missing -------------------------------------------------------------------------


def test_without_jh2_its_rows_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    for server in (SERVERS["trioserve-jh2"], LIBRARIES["jh2-alone"]):
        with (
            pytest.raises(StartError, match="jh2 is not installed"),
            running_http2(server, "m:app"),
        ):
            pass


def test_without_openssl_there_is_no_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("openssl")

    monkeypatch.setattr(subprocess, "run", fail)
    with (
        pytest.raises(certificates.CertificateError, match="FileNotFoundError of openssl"),
        certificates.certificate(),
    ):
        pass
