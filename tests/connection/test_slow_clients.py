# SPDX-License-Identifier: MIT
"""Clients that don't read, and applications that don't: nothing piles up, nobody else waits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from trioserve.transports.stream_transport import READ_AHEAD_SIZE

from .service import Kind, get, open_service, post, read_body, reply

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send

MIB = 1024 * 1024
PART = b"x" * 65536
SMALL = 16384


def resident_bytes() -> int:
    """What this process holds of memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Download:
    """Sends without end; knows how much of it was taken, and how it ended."""

    def __init__(self, size: int = 100 * MIB) -> None:
        self.size = size
        self.taken = 0
        self.error: OSError | None = None
        self.ended = trio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/download":
            await reply(send, b"other")
            return
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while self.taken < self.size:
                await send({"type": "http.response.body", "body": PART, "more_body": True})
                self.taken += len(PART)
            await send({"type": "http.response.body"})
        except OSError as exc:
            self.error = exc
            with pytest.raises(OSError, match="disconnected"):
                await send({"type": "http.response.body"})
        finally:
            self.ended.set()


async def test_what_a_client_does_not_read_is_not_gathered_and_others_go_on(
    tcp_kind: Kind, clock: trio.abc.Clock
) -> None:
    app = Download()
    async with open_service(tcp_kind, app, write_timeout=10) as service:
        slow, other = service.connect(SMALL), service.connect()
        before = resident_bytes()
        await slow.send(get("/download"))
        for _ in range(20):
            assert (await other.request(get())).body == b"other"
        assert app.taken < MIB
        assert resident_bytes() - before < 8 * MIB
        assert not app.ended.is_set()


async def test_a_client_that_reads_nothing_is_given_up_after_write_timeout(
    tcp_kind: Kind, clock: trio.abc.Clock
) -> None:
    app = Download()
    async with open_service(tcp_kind, app, write_timeout=10) as service:
        client = service.connect(SMALL)
        await client.send(get("/download"))
        await app.ended.wait()
        # The kernel may take a little more in its own time, and that is progress.
        assert 10 <= trio.current_time() < 60
        assert app.error is not None
        assert "read nothing for 10 s" in str(app.error)
        await service.all_closed()
        assert service.closed == 1


async def test_without_write_timeout_a_client_may_read_nothing_for_ever(
    tcp_kind: Kind, clock: trio.abc.Clock
) -> None:
    app = Download()
    async with open_service(tcp_kind, app, write_timeout=0) as service:
        client = service.connect(SMALL)
        await client.send(get("/download"))
        await trio.sleep(60)
        assert not app.ended.is_set()
        await client.leave(reset=True)
        await app.ended.wait()
        assert app.error is not None


@pytest.mark.slow  # 100 MiB
async def test_a_large_download_arrives_whole_and_holds_no_memory(tcp_kind: Kind) -> None:
    app = Download()
    async with open_service(tcp_kind, app) as service:
        client = service.connect()
        before = resident_bytes()
        await client.send(get("/download", "Connection: close"))
        size = 0
        while data := await client.receive():
            size += len(data)
        assert size > 100 * MIB
        assert resident_bytes() - before < 16 * MIB


@pytest.mark.slow  # the kernel's own timers take part
async def test_requests_of_a_client_that_reads_no_response_are_not_gathered(
    tcp_kind: Kind, clock: trio.abc.Clock
) -> None:
    served = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal served
        served += 1
        await reply(send, b"x" * 1000)

    async with open_service(tcp_kind, app, write_timeout=10) as service:
        client = service.connect(SMALL)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.try_to_send, get() * 100_000)
            await trio.sleep(5)
            assert served < 2_000  # the rest is the client's, or the kernel's
            assert service.connections == 1
            await service.all_closed()
            nursery.cancel_scope.cancel()


async def test_a_body_that_the_application_does_not_read_stays_with_the_client(
    tcp_kind: Kind, clock: trio.abc.Clock
) -> None:
    go_on = trio.Event()
    size = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal size
        await go_on.wait()
        size = len(await read_body(receive))
        await reply(send)

    async with open_service(tcp_kind, app) as service:
        client = service.connect(SMALL)
        sent = 0

        async def upload() -> None:
            nonlocal sent
            await client.send(post(b"", length=4 * MIB))
            while sent < 4 * MIB:
                await client.send(PART)
                sent += len(PART)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload)
            await trio.sleep(30)
            assert sent <= 2 * READ_AHEAD_SIZE + 16 * SMALL
            go_on.set()
            assert (await client.response()).status == 200
        assert size == 4 * MIB
