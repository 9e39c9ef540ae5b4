# SPDX-License-Identifier: MIT
"""DirtyClient with an arbiter that knows no frames of ours, as gunicorn's.

The real one is met in interop/; here it does what a real one can't be made to do.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.dirty.fake_arbiter import answer_hello, listening, plain
from tests.dirty.raw_peer import PATIENCE, RawPeer
from trioserve.dirty import frames, open_dirty_client, open_dirty_pool
from trioserve.dirty.errors import (
    DirtyAppError,
    DirtyConnectionError,
    DirtyError,
    DirtyTimeoutError,
)
from trioserve.dirty.frames import STREAM_WINDOW, Frame, FrameType

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from trioserve.dirty import DirtyClient

APP = "a:App"


async def echo(peer: RawPeer, frame: Frame) -> None:
    """Answers a REQUEST by its arguments, anything else by nothing."""
    frame_type, request_id, payload = frame
    result = frames.decode_request(payload).args if frame_type == FrameType.REQUEST else {}
    await peer.send(frames.response(request_id, result))


async def test_each_call_has_a_connection_to_itself(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    seen: list[int] = []
    all_here = trio.Event()

    async def serve(peer: RawPeer, frame: Frame) -> None:
        seen.append(frame[0])
        if len(seen) == 10:
            all_here.set()
        await all_here.wait()
        await echo(peer, frame)

    async with listening(path, plain(serve)) as connections, open_dirty_client(path) as client:

        async def call(number: int) -> None:
            assert await client.execute(APP, "run", number) == [number]

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for number in range(10):
                    nursery.start_soon(call, number)
        assert set(seen) == {FrameType.REQUEST}
        assert connections.count == 11  # and the one that said HELLO
        await trio.testing.wait_all_tasks_blocked()
        assert connections.open == 0


async def test_status_manage_and_the_stash_work_as_well(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    async with listening(path, plain(echo)), open_dirty_client(path) as client:
        assert await client.status() == {}
        assert await client.manage("add") == {}
        assert await client.stash.get("t", "k") == {}


async def test_an_error_is_the_arbiters(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"

    async def refuse(peer: RawPeer, frame: Frame) -> None:
        await peer.send(frames.error(frame[1], DirtyAppError("no", action="run")))

    async with listening(path, plain(refuse)), open_dirty_client(path) as client:
        with pytest.raises(DirtyAppError, match="no") as caught:
            await client.execute(APP, "run")
        assert caught.value.action == "run"
        with pytest.raises(DirtyError):
            async with client.stash.watch("t"):
                pass


async def test_a_cancelled_call_closes_its_connection(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    closed = trio.Event()
    came = trio.Event()

    async def hang(peer: RawPeer, frame: Frame) -> None:
        came.set()
        with pytest.raises(EOFError):
            await peer.receive()
        closed.set()

    async with listening(path, plain(hang)), open_dirty_client(path) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.execute, APP, "run")
            await came.wait()
            nursery.cancel_scope.cancel()
        with trio.fail_after(PATIENCE):
            await closed.wait()


async def test_a_timeout_closes_the_connection(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = f"{tmp_path}/s"
    closed = trio.Event()

    async def hang(peer: RawPeer, frame: Frame) -> None:
        with pytest.raises(EOFError):
            await peer.receive()
        closed.set()

    async with listening(path, plain(hang)), open_dirty_client(path) as client:
        start = trio.current_time()
        with pytest.raises(DirtyTimeoutError, match="within 3 s"):
            await client.execute(APP, "run", timeout=3)
        assert trio.current_time() - start == 3
        await closed.wait()


async def test_a_reader_that_is_slow_stops_the_arbiter_and_not_its_own_memory(
    tmp_path: Path,
) -> None:
    path = f"{tmp_path}/s"
    chunk = bytes(10_000)
    count = 400  # 4 MB
    sent = 0

    async def stream(peer: RawPeer, frame: Frame) -> None:
        nonlocal sent
        for _ in range(count):
            await peer.send(frames.chunk(frame[1], chunk))
            sent += 1
        await peer.send(frames.end(frame[1]))

    async with (
        listening(path, plain(stream)),
        open_dirty_client(path) as client,
        client.stream(APP, "run") as items,
    ):
        received = 0
        async for item in items:
            assert item == chunk
            received += 1
            if received % 40 == 1:
                await trio.testing.wait_all_tasks_blocked()
                ahead = sum(len(payload) for _, payload in items._arrived)
                assert ahead < STREAM_WINDOW + 256 * 1024
                assert sent < count or received > count / 2
        assert received == count


async def test_a_stream_that_is_left_closes_its_connection(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"

    async def stream(peer: RawPeer, frame: Frame) -> None:
        while True:
            await peer.send(frames.chunk(frame[1], bytes(10_000)))

    async with listening(path, plain(stream)) as connections, open_dirty_client(path) as client:
        async with client.stream(APP, "run") as items:
            await anext(items)
        with pytest.raises(DirtyAppError, match="is a generator"):
            await client.execute(APP, "run")
        with trio.fail_after(PATIENCE):
            while connections.open:
                await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"".join(frames.response(77, 1)), "a reply to request 77 came for request"),
        (b"garbage, garbage, garbage", 'begins with "GD"'),
        (b"", "it closed the connection"),
        (b"GD\x01", "it closed the connection"),
    ],
    ids=["another id", "garbage", "nothing", "half a header"],
)
async def test_a_reply_that_is_none_is_a_connection_error(
    tmp_path: Path, reply: bytes, expected: str
) -> None:
    path = f"{tmp_path}/s"

    async def confuse(peer: RawPeer, frame: Frame) -> None:
        await peer.send_bytes(reply)
        raise EOFError  # which closes

    async with listening(path, plain(confuse)), open_dirty_client(path) as client:
        for _ in range(2):
            with pytest.raises(DirtyConnectionError, match=expected) as caught:
                await client.execute(APP, "run")
            assert caught.value.socket_path == path


async def test_a_connection_that_is_closed_before_its_request_was_read_is_an_error(
    tmp_path: Path,
) -> None:
    path = f"{tmp_path}/s"

    async def slam(peer: RawPeer) -> None:
        await peer.receive_bytes(16 + 5)  # the header, and a little more
        raise EOFError

    async with listening(path, slam), open_dirty_client(path) as client:
        for size in (10, 10_000_000):
            with pytest.raises(DirtyConnectionError, match=r"reset by peer|Broken pipe"):
                await client.execute(APP, "run", bytes(size))


async def test_one_of_ours_that_takes_its_place_is_noticed_when_a_call_has_failed(
    tmp_path: Path,
) -> None:
    path = f"{tmp_path}/s"
    async with open_dirty_client(path) as client:
        async with listening(path, plain(echo)):
            assert await client.execute(APP, "run", 1) == [1]
        with pytest.raises(DirtyConnectionError, match="Connection refused"):
            await client.execute(APP, "run")
        async with open_dirty_pool(dirty_socket=path):
            await client.stash.put("t", "k", 1)
            async with client.stash.watch("t") as changes:  # with CREDIT and CANCEL
                await client.stash.incr("t", "k")
                assert (await anext(changes)).value == 2


async def test_one_of_ours_that_is_just_ending_is_taken_for_a_plain_one_for_one_call_only(
    tmp_path: Path,
) -> None:
    path = f"{tmp_path}/s"

    async def end(peer: RawPeer) -> None:
        await peer.receive()

    async with open_dirty_client(path) as client:
        async with listening(path, end):
            with pytest.raises(DirtyConnectionError):
                await client.status()
        os.unlink(path)

        async def serve(peer: RawPeer) -> None:
            await answer_hello(peer)
            _, request_id, _ = await peer.receive()
            await peer.send(frames.response(request_id, {"ours": True}))

        async with listening(path, serve):
            assert await client.status() == {"ours": True}


async def test_calls_under_way_fail_when_the_block_is_left(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    came = trio.Event()

    async def hang(peer: RawPeer, frame: Frame) -> None:
        came.set()
        await trio.sleep_forever()

    async def call(client: DirtyClient) -> None:
        with pytest.raises(DirtyConnectionError, match="closed under the call"):
            await client.execute(APP, "run")

    async with (
        listening(path, plain(hang)),
        trio.open_nursery() as nursery,
        open_dirty_client(path) as client,
    ):
        nursery.start_soon(call, client)
        await came.wait()


async def ours(peer: RawPeer) -> None:
    await answer_hello(peer)
    while True:
        frame_type, request_id, payload = await peer.receive()
        if frame_type == FrameType.REQUEST:
            await echo(peer, (frame_type, request_id, payload))


@pytest.mark.parametrize("serve", [ours, plain(echo)], ids=["ours", "plain"])
@pytest.mark.parametrize("steps", range(16))
async def test_a_cancellation_at_any_moment_leaves_the_client_as_it_was(
    tmp_path: Path, serve: Callable[[RawPeer], Awaitable[None]], steps: int
) -> None:
    path = f"{tmp_path}/s"

    async def cancel_later(scope: trio.CancelScope) -> None:
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    async with listening(path, serve) as connections, open_dirty_client(path) as client:
        for _ in range(2):  # the first has to connect
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_later, nursery.cancel_scope)
                nursery.start_soon(client.execute, APP, "run", "cancelled")
                async with client.stream(APP, "run", "cancelled") as items:
                    await anext(items)
            assert await client.execute(APP, "run", steps) == [steps]
        with trio.fail_after(PATIENCE):
            while connections.open > (serve is ours):
                await trio.testing.wait_all_tasks_blocked()
