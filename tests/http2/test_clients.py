# SPDX-License-Identifier: MIT
"""Real clients, over real sockets, in real time: curl, nghttp, h2load. And HTTP/1 beside them."""

from __future__ import annotations

import functools
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.connection.service import read_body, reply
from tests.http2 import frames
from tests.http2.client import Http2Client
from tests.server_clients import ask_once, dial, nothing_left, start
from tests.tools import find_tool
from tests.variants import variants
from trioserve.transports import ReadinessWatcher

if TYPE_CHECKING:
    from pathlib import Path

    from trioserve.types import Receive, Scope, Send

LARGE = b"".join(b"%07d\n" % number for number in range(250_000))


@pytest.fixture(params=variants(["socket", "stream"], fast=["socket"]), autouse=True)
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs over both transports."""
    if request.param == "stream":
        monkeypatch.setattr(ReadinessWatcher, "supported", False)
    elif not ReadinessWatcher.supported:
        pytest.skip("needs Linux's epoll")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Says which version it was asked in, or does what its path says."""
    path = scope["path"]
    if path == "/large":
        await reply(send, LARGE)
    elif path == "/early":
        await send({"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]})
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"early"})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})
    elif path == "/refuses":
        await reply(send, b"no", status=403)
    elif path == "/echo":
        await reply(send, await read_body(receive))
    else:
        await reply(send, f"HTTP/{scope['http_version']}".encode())


async def run(*command: str, timeout: float = 20) -> subprocess.CompletedProcess[bytes]:
    with trio.fail_after(timeout):
        return await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False
        )


def options(http2_engine: str, **more: Any) -> dict[str, Any]:
    return {"http2_engine": http2_engine, "graceful_timeout": 2, **more}


# -- curl -----------------------------------------------------------------------------------------


async def curl(url: str, *arguments: str) -> bytes:
    done = await run(
        find_tool("curl"), "-sS", "--max-time", "15", "--http2-prior-knowledge", *arguments, url
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


async def test_curl_gets(http2_engine: str) -> None:
    async with trio.open_nursery() as nursery:
        address = await start(nursery, app, **options(http2_engine))
        url = f"http://127.0.0.1:{address.port}"
        shown = await curl(url, "-i")
        assert shown.startswith(b"HTTP/2 200 \r\n")
        assert shown.endswith(b"\r\n\r\nHTTP/2")
        assert await curl(url + "/large") == LARGE
        assert (await curl(url, "-I")).startswith(b"HTTP/2 200 \r\n")
        shown = await curl(url + "/early", "-i")
        assert shown.startswith(b"HTTP/2 103 \r\nlink: </a>; rel=preload\r\n\r\nHTTP/2 200 \r\n")
        assert b"early" in shown
        nursery.cancel_scope.cancel()


async def test_curl_uploads(http2_engine: str, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    async with trio.open_nursery() as nursery:
        address = await start(nursery, app, **options(http2_engine))
        url = f"http://127.0.0.1:{address.port}"
        assert await curl(url + "/echo", "--data-binary", f"@{path}") == LARGE
        assert await curl(url + "/echo", "-T", str(path)) == LARGE
        # Refused before it is sent: the response comes whole, whatever curl makes of the reset.
        done = await run(
            find_tool("curl"), "-sS", "-m", "15", "--http2-prior-knowledge", "-w", "%{http_code}",
            "-T", str(path), url + "/refuses",
        )  # fmt: skip
        assert done.stdout == b"no403"
        nursery.cancel_scope.cancel()


# -- nghttp ---------------------------------------------------------------------------------------


async def test_nghttp_gets_and_sees_a_clean_end(http2_engine: str) -> None:
    async with trio.open_nursery() as nursery:
        address = await start(nursery, app, **options(http2_engine))
        url = f"http://127.0.0.1:{address.port}"
        done = await run(find_tool("nghttp"), "-v", "-t", "15", url + "/early", url + "/large")
        out = done.stdout.decode(errors="replace")
        assert done.returncode == 0, out
        assert re.search(r":status: 103", out)
        assert re.search(r"x-sum: 1", out)
        assert "[ERROR]" not in out
        assert "RST_STREAM" not in out
        nursery.cancel_scope.cancel()


@pytest.mark.slow  # two megabytes through nghttp's own pace
async def test_nghttp_uploads_with_padding_and_continuations(
    http2_engine: str, tmp_path: Path
) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    async with trio.open_nursery() as nursery:
        address = await start(nursery, app, **options(http2_engine))
        done = await run(
            find_tool("nghttp"), "-t", "15", "-d", str(path), "-b", "200", "--continuation",
            "--expect-continue", "-p", "200", "-w", "20", "-W", "20",
            f"http://127.0.0.1:{address.port}/echo",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout == LARGE
        nursery.cancel_scope.cancel()


# -- h2load ---------------------------------------------------------------------------------------


@pytest.mark.slow  # five thousand requests
async def test_h2load_gets_all_its_answers(http2_engine: str) -> None:
    async with nothing_left(), trio.open_nursery() as nursery:
        address = await start(nursery, app, **options(http2_engine))
        url = f"http://127.0.0.1:{address.port}/"
        done = await run(find_tool("h2load"), "-n", "5000", "-c", "20", "-m", "50", url, timeout=60)
        assert b"5000 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout, done.stdout
        assert b"5000 2xx" in done.stdout
        nursery.cancel_scope.cancel()


@pytest.mark.slow  # twenty times a hundred connections
async def test_h2load_that_goes_in_mid_flight_leaves_nothing(http2_engine: str) -> None:
    """A hundred connections at a time, killed with requests of all kinds of age: twenty times."""
    served = 0
    enough = trio.Event()

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal served
        served += 1
        if served % 100 == 0:
            enough.set()
        if served % 3 == 0:
            await trio.sleep(0.01)
        await app(scope, receive, send)

    async with nothing_left(90), trio.open_nursery() as nursery:
        address = await start(
            nursery,
            counting,
            **options(http2_engine, asgi_disconnect_grace_period=0.1, backlog=512),
        )
        url = f"http://127.0.0.1:{address.port}"
        command = [find_tool("h2load"), "-n", "1000000", "-c", "100", "-m", "10"]
        for number in range(20):
            enough = trio.Event()
            path = ("/", "/large")[number % 2]
            async with trio.open_nursery() as clients:
                process = await clients.start(
                    functools.partial(
                        trio.run_process,
                        [*command, url + path],
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                        check=False,
                    )
                )
                await enough.wait()
                process.kill()
            if number % 5 == 4:
                assert (await ask_once(address)).endswith(b"HTTP/1.1")
        done = await run(find_tool("h2load"), "-n", "100", "-c", "5", "-m", "5", url + "/")
        assert b"100 succeeded" in done.stdout
        nursery.cancel_scope.cancel()


# -- both versions on one port ------------------------------------------------------------------


async def test_both_versions_are_spoken_on_one_port(http2_engine: str) -> None:
    async with trio.open_nursery() as nursery:
        address = await start(nursery, app, **options(http2_engine))
        url = f"http://127.0.0.1:{address.port}"
        assert (await ask_once(address)).endswith(b"HTTP/1.1")
        assert await curl(url) == b"HTTP/2"
        done = await run(find_tool("curl"), "-sS", "--http1.1", url)
        assert done.stdout == b"HTTP/1.1"
        # An upgrade to h2c is one that RFC 9113 has given up: the answer is HTTP/1.1's.
        done = await run(find_tool("curl"), "-sS", "--http2", url)
        assert done.stdout == b"HTTP/1.1"
        nursery.cancel_scope.cancel()


class Plain:
    """A connected stream as the raw client wants it."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream

    async def try_to_send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def receive(self) -> bytes:
        try:
            return bytes(await self.stream.receive_some(65536))
        except trio.BrokenResourceError:
            return b""


async def test_a_preface_that_goes_wrong_is_answered_as_http_2_wants_it(
    http2_engine: str,
) -> None:
    async with trio.open_nursery() as nursery:
        address = await start(nursery, app, **options(http2_engine))
        async with await dial(address) as stream:
            client = Http2Client(Plain(stream), auto=False)  # type: ignore[arg-type]
            await client.send(frames.PREFACE[:18], b"GO\r\n\r\n")
            await client.rest()
            assert client.frames[0].type == frames.SETTINGS
            assert client.of_type(frames.GOAWAY)[-1].code == 1
        async with await dial(address) as stream:
            await stream.send_all(b"PRI * HTTP/1.1\r\nHost: test\r\n\r\n")
            assert (await stream.receive_some(65536)).startswith(b"HTTP/1.1 400 ")
        nursery.cancel_scope.cancel()


async def test_http_2_may_be_switched_off(http2_engine: str) -> None:
    async with trio.open_nursery() as nursery:
        for switch in ({"http2_cleartext": "off"}, {"http_protocols": ("h1",)}):
            address = await start(nursery, app, **options(http2_engine, **switch))
            async with await dial(address) as stream:
                await stream.send_all(frames.PREFACE + frames.settings())
                assert (await stream.receive_some(65536)).startswith(b"HTTP/1.1 505 ")
        nursery.cancel_scope.cancel()
