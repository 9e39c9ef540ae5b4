# SPDX-License-Identifier: MIT
"""A connection and its streams, cancelled at each of their awaits in turn: nothing is left."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.connection.service import open_service, read_body
from tests.http2 import frames
from tests.http2.client import Http2Client
from tests.http2.frames import block, data, headers, rst_stream, window_update
from tests.transports.cancelling import cancelled_at, cancelled_at_each_await
from trioserve.connection.http2 import Http2Connection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.http2.conftest import Serving
    from trioserve.types import Receive, Scope, Send


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads, answers in parts, and awaits a little of its own."""
    await trio.lowlevel.checkpoint()
    body = await read_body(receive) if scope["path"] != "/unread" else b"unread"
    await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await trio.lowlevel.checkpoint()
    await send({"type": "http.response.body", "body": b"x" * 150_000})
    await send({"type": "http.response.trailers", "headers": [(b"a", b"b")]})
    await trio.lowlevel.checkpoint()


async def several(client: Http2Client) -> None:
    ids = [await client.ask(), await client.ask(method="POST", body=b"body")]
    for stream_id in ids:
        await client.response(stream_id)
    await client.request()


async def upload(client: Http2Client) -> None:
    stream_id = await client.open("/", ("expect", "100-continue"))
    await client.pump()
    await client.send(data(stream_id, b"half"))
    await client.send(data(stream_id, b"half"), headers(stream_id, block(("x", "y"))))
    await client.response(stream_id)
    await client.raw.send_eof()


async def slow_download(client: Http2Client) -> None:
    client.auto = False
    stream_id = await client.ask()
    for _ in range(4):
        await client.pump()
        await client.send(window_update(0, 60_000), window_update(stream_id, 60_000))
    await client.send(rst_stream(await client.ask()))


async def upload_that_nobody_reads(client: Http2Client) -> None:
    stream_id = await client.open("/unread")
    await client.send(data(stream_id, b"half"))
    await client.response(stream_id)


async def breach(client: Http2Client) -> None:
    await client.open()
    await client.sync()
    await client.send(data(0, b"x"))
    await client.rest()


async def goaway(client: Http2Client) -> None:
    await client.request()
    await client.send(frames.goaway())
    await client.rest()


CONVERSATIONS = [several, upload, slow_download, upload_that_nobody_reads, breach, goaway]
#: How a client sees a connection that ends in the middle of it.
ENDED = (AssertionError, trio.BrokenResourceError, trio.ClosedResourceError)
#: What is cancelled: the connection as a whole, its writer with it; or a stream.
TASKS = ["run", "_run_stream"]


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", TASKS)
async def test_a_task_that_is_cancelled_anywhere_leaves_nothing(
    serving: Serving,
    conversation: Callable[[Http2Client], Awaitable[None]],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = getattr(Http2Connection, name)

    async def once(number: int) -> bool:
        tasks = trio.lowlevel.current_statistics().tasks_living
        descriptors = len(os.listdir("/proc/self/fd"))
        cancelled = False

        async def run_and_cancel(*args: Any) -> None:
            nonlocal cancelled
            if cancelled:
                await run(*args)
            else:
                cancelled = await cancelled_at(number, run, *args)

        monkeypatch.setattr(Http2Connection, name, run_and_cancel)
        options: dict[str, Any] = {"http2_engine": serving.engine}
        options |= dict.fromkeys(
            ("asgi_disconnect_grace_period", "write_timeout", "keep_alive_timeout"), 5.0
        )
        async with open_service(serving.kind, app, **options) as service:
            client = Http2Client(service.connect())
            with trio.move_on_after(20), contextlib.suppress(*ENDED):
                await client.send(frames.PREFACE, frames.settings())
                await client.until_frame_or_end(frames.SETTINGS)
                await conversation(client)
            await client.leave()
            await service.all_closed()
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert len(os.listdir("/proc/self/fd")) == descriptors
        return cancelled

    assert await cancelled_at_each_await(once) >= 1


async def test_a_file_that_is_being_sent_is_closed_when_its_request_is_cancelled(
    in_memory: Serving, tmp_path: Path
) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(1_000_000))

    async def files(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": str(path)})

    in_memory.clock.autojump_threshold = 0.01  # a thread opens the file
    async with in_memory(files, write_timeout=5, asgi_disconnect_grace_period=1) as server:
        before = len(os.listdir("/proc/self/fd"))
        client = await server.connect(auto=False)
        stream_id = await client.ask()
        await client.until_body(65_535)
        assert len(os.listdir("/proc/self/fd")) == before + 1
        await client.send(rst_stream(stream_id))
        await trio.sleep(3)
        assert len(os.listdir("/proc/self/fd")) == before
