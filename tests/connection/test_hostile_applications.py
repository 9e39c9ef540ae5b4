# SPDX-License-Identifier: MIT
"""Applications that would stop everybody else, if the server let them."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel
import trio.testing

import trioserve
from trioserve.testing import open_test_server

if TYPE_CHECKING:
    from pathlib import Path

    from trioserve.types import Receive, Scope, Send

START = {"type": "http.response.start", "status": 200, "headers": []}
PATIENCE = 10


async def reply(send: Send, body: bytes = b"ok") -> None:
    await send(START)
    await send({"type": "http.response.body", "body": body})


class Endless:
    """Answers "/" at once; at any other path it goes on for ever, in one of several ways."""

    def __init__(self) -> None:
        self.begun = trio.Event()
        self.ended = trio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/":
            await reply(send)
            return
        self.begun.set()
        try:
            await getattr(self, scope["path"][1:])(receive, send)
        finally:
            self.ended.set()

    async def large_bodies(self, receive: Receive, send: Send) -> None:
        await send(START)
        while True:
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})

    async def empty_bodies(self, receive: Receive, send: Send) -> None:
        await send(START)
        while True:
            await send({"type": "http.response.body", "body": b"", "more_body": True})

    async def receives(self, receive: Receive, send: Send) -> None:
        while True:
            await receive()

    async def sends_to_nobody(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        while True:
            try:
                await send(START)
            except OSError:
                continue
            except trioserve.AppProtocolError:
                await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("HEAD", "/large_bodies"),
        ("GET", "/empty_bodies"),
        ("GET", "/receives"),
        ("GET", "/sends_to_nobody"),
    ],
)
async def test_an_application_without_end_stops_nobody_else_and_ends_with_its_client(
    method: str, path: str
) -> None:
    app = Endless()
    with trio.fail_after(PATIENCE):
        async with open_test_server(
            app, lifespan="off", asgi_disconnect_grace_period=0.05
        ) as server:
            client = server.connect()
            await client.send_request(method, path)
            await app.begun.wait()
            assert (await server.request("GET", "/")).body == b"ok"
            await client.aclose()
            assert (await server.request("GET", "/")).body == b"ok"
            await app.ended.wait()


async def test_nothing_comes_between_the_parts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(1_000_000))
    errors: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, {"type": "http.response.pathsend", "path": str(path)})
            # Two steps: it has begun by now (Trio shuffles the tasks of one), and a thread that
            # opens the file, and a dozen that read it, are far from done.
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            try:
                await send({"type": "http.response.body", "body": b"between"})
            except trioserve.AppProtocolError as exc:
                errors.append(str(exc))

    async with open_test_server(app, lifespan="off") as server:
        response = await server.request("GET", "/")
    assert response.body == bytes(1_000_000)
    assert len(errors) == 1
    assert "while a file of its body is being sent" in errors[0]


async def test_a_pipe_is_no_file_to_be_sent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.pathsend", "path": str(tmp_path / "pipe")})

    with trio.fail_after(PATIENCE):
        async with open_test_server(app, lifespan="off") as server:
            assert (await server.request("GET", "/")).status == 500


@pytest.mark.parametrize("error", [GeneratorExit, BaseException, MemoryError])
async def test_whatever_an_application_raises_ends_its_request_only(
    error: type[BaseException],
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/":
            await reply(send)
        raise error

    async with open_test_server(app, lifespan="off") as server:
        assert (await server.request("GET", "/bad")).status == 500
        assert (await server.request("GET", "/")).status == 200


async def test_a_task_that_waits_for_a_body_hears_when_its_application_has_returned() -> None:
    heard: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def listen() -> None:
            heard.append((await receive())["type"])

        scope["extensions"]["trioserve"]["nursery"].start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()

    async with open_test_server(app, lifespan="off") as server:
        client = server.connect()
        head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n"
        await client.stream.send_all(head)
        assert b" 500 " in bytes(await client.stream.receive_some())
        await trio.testing.wait_all_tasks_blocked()
        assert heard == ["http.disconnect"]
        await client.aclose()


async def serve_on_tcp(nursery: trio.Nursery, app: Any, **options: Any) -> int:
    config = trioserve.Config(bind="127.0.0.1:0", lifespan="off", access_log=False, **options)
    (address,) = await nursery.start(trioserve.serve, app, config)
    port = address.port
    assert isinstance(port, int)
    return port


async def test_a_response_that_is_out_is_complete_whatever_is_cancelled_by_then() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/second":
            await reply(send, b"second")
            return
        with trio.CancelScope() as scope_of_the_app:
            scope_of_the_app.cancel()
            await reply(send, bytes(66_000))

    request = b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n"
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            port = await serve_on_tcp(nursery, app)
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(request % b"/large" + request % b"/second")
                received = bytearray()
                while not received.endswith(b"second"):
                    data = await stream.receive_some()
                    assert data, bytes(received[-200:])
                    received += data
            nursery.cancel_scope.cancel()


@pytest.mark.slow  # a reader is only slow in real time
async def test_a_slow_reader_is_not_taken_for_one_that_does_not_read() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        while True:
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            port = await serve_on_tcp(nursery, app, write_timeout=0.4)
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setblocking(False)
            async with trio.SocketStream(trio.socket.from_stdlib_socket(sock)) as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                began = trio.current_time()
                while trio.current_time() - began < 3:
                    assert await stream.receive_some(32768)
                    await trio.sleep(0.02)
            nursery.cancel_scope.cancel()
