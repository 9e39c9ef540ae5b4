# SPDX-License-Identifier: MIT
"""Raw frames to a real arbiter with real workers: what comes back, and who is kept out."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.dirty.raw_peer import PATIENCE, connected_to
from trioserve.dirty import BlockingDirtyClient, frames, open_dirty_client, open_dirty_pool
from trioserve.dirty.errors import (
    DirtyAppError,
    DirtyAppNotFoundError,
    DirtyConnectionError,
    DirtyOverloadedError,
    DirtyWorkerError,
)
from trioserve.dirty.frames import STREAM_WINDOW, FrameType, StashOp

if TYPE_CHECKING:
    import logging

    from trioserve.dirty import DirtyClient

ECHO = "tests.dirty.socket_apps:Echo"

#: The arbiter's process and its workers take two seconds to start, once for all tests.
slow = pytest.mark.slow


async def wait_for_event(client: DirtyClient, event: str, what: str) -> None:
    """Returns when an action has told this by the stash."""
    with trio.fail_after(PATIENCE):
        async with client.stash.watch("events", event) as changes:
            if await client.stash.get("events", event) == what:
                return
            async for change in changes:
                if change.value == what:
                    return


# -- without workers -------------------------------------------------------------------------


async def test_the_socket_has_mode_0600_in_a_directory_of_0700_and_both_go_with_the_pool() -> None:
    async with open_dirty_pool() as client:
        path = Path(client._backend.socket_path)  # type: ignore[attr-defined]
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(path.parent).st_mode) == 0o700
        with connected_to(str(path)) as peer:
            assert (await peer.say_hello())["pid"] == os.getpid()
    with pytest.raises(FileNotFoundError):
        os.stat(path.parent)


async def test_the_socket_lies_where_the_configuration_says(tmp_path: Path) -> None:
    path = f"{tmp_path}/here.sock"
    async with open_dirty_pool(dirty_socket=path):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        with connected_to(path) as peer:
            await peer.send(frames.status(1))
            assert isinstance(await peer.result(1), dict)
    assert os.listdir(tmp_path) == []


async def test_a_connection_of_another_user_is_closed_unheard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{tmp_path}/s"
    async with open_dirty_pool(dirty_socket=path):
        with monkeypatch.context() as patch:
            patch.setattr("trioserve.dirty.arbiter.peer_uid", lambda _: os.geteuid() + 1000)
            with connected_to(path) as stranger, pytest.raises(EOFError):
                await stranger.receive()
            patch.setattr("trioserve.dirty.arbiter.peer_uid", lambda _: 0)
            with connected_to(path) as root:
                await root.say_hello()
        with connected_to(path) as peer:
            await peer.say_hello()


async def test_a_bad_client_does_not_harm_others(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    async with open_dirty_pool(dirty_socket=path) as client:
        with connected_to(path) as good, connected_to(path) as bad, connected_to(path) as deaf:
            await good.say_hello()
            await deaf.send(frames.stash(1, StashOp.PUT, "t", "k", bytes(60_000)))
            question = b"".join(map(bytes, frames.stash(1, StashOp.GET, "t", "k")))
            with contextlib.suppress(BlockingIOError):
                while True:  # as many as its socket takes
                    deaf.send_nowait(question)
            await bad.send_bytes(b"garbage, garbage, garbage")
            await bad.receive()
            with pytest.raises(EOFError):
                await bad.receive()
            await good.send(frames.stash(1, StashOp.INCR, "t", "n"))
            assert await good.result(1) == 1
            assert await client.stash.get("t", "n") == 1


async def test_connections_beyond_a_limit_are_refused_with_a_word(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, records: list[logging.LogRecord]
) -> None:
    monkeypatch.setattr("trioserve.dirty.arbiter._MAX_CONNECTIONS", 3)
    path = str(tmp_path / "dirty.sock")
    async with open_dirty_pool("no.such:App", dirty_socket=path):
        with contextlib.ExitStack() as stack:
            peers = [stack.enter_context(connected_to(path)) for _ in range(3)]
            for peer in peers:
                await peer.say_hello()
            for _ in range(2):
                with connected_to(path) as late:
                    error = await late.error(0)
                    assert isinstance(error, DirtyOverloadedError)
                    assert str(error) == "3 connections are open already"
                    with pytest.raises(EOFError):
                        await late.receive()
            async with open_dirty_client(path) as client:
                with pytest.raises(DirtyConnectionError, match="3 connections are open"):
                    await client.status()
            blocking = stack.enter_context(BlockingDirtyClient(path))
            with pytest.raises(DirtyOverloadedError, match="3 connections are open"):
                await trio.to_thread.run_sync(blocking.status)
            peers[0].close()
            async with open_dirty_client(path) as client:
                while True:
                    with contextlib.suppress(DirtyConnectionError):
                        await client.status()
                        break
        said = [record for record in records if "are refused" in record.getMessage()]
        assert len(said) == 1


async def test_all_sessions_end_with_the_pool(tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    with trio.fail_after(PATIENCE):
        async with open_dirty_pool(dirty_socket=path):
            with connected_to(path) as idle, connected_to(path) as watching:
                await idle.say_hello()
                await watching.send(frames.stash(1, StashOp.WATCH, "t"))
                await watching.receive()
                await trio.testing.wait_all_tasks_blocked()


# -- with workers ----------------------------------------------------------------------------


@slow
async def test_a_conversation_in_raw_frames(arbiter_socket: str) -> None:
    with connected_to(arbiter_socket) as peer:
        assert (await peer.say_hello())["role"] == "arbiter"
        await peer.send(frames.request(1, ECHO, "echo", [1, "a"], {"k": None}))
        assert await peer.result(1) == [[1, "a"], {"k": None}]
        for action in ("count", "acount"):
            await peer.send(frames.request(2, ECHO, action, [3]))
            came = [await peer.receive() for _ in range(4)]
            assert [frame[:2] for frame in came] == [(FrameType.CHUNK, 2)] * 3 + [
                (FrameType.END, 2)
            ]
            assert [frames.decode_data(frame[2]) for frame in came[:3]] == [0, 1, 2]
        await peer.send(frames.request(3, ECHO, "fail"))
        error = await peer.error(3)
        assert isinstance(error, DirtyAppError)
        assert error.exception_type == "ValueError"
        assert "socket_apps.py" in error.traceback
        await peer.send(frames.request(4, "no:App", "run"))
        assert isinstance(await peer.error(4), DirtyAppNotFoundError)
        await peer.send(frames.request(5, ECHO, "aecho", [5]))
        assert await peer.result(5) == 5


@slow
async def test_arguments_that_are_no_values_are_the_workers_error_and_harm_nobody(
    arbiter_socket: str,
) -> None:
    request = b"".join(frames.request(1, ECHO, "echo", [1]))
    at = request.index(b"args") + 9  # where the list's first item begins
    broken = request[:at] + b"\xff" + request[at + 1 :]
    with connected_to(arbiter_socket) as peer:
        await peer.send_bytes(broken)
        assert "0xff" in str(await peer.error(1))
        await peer.send(frames.request(2, ECHO, "aecho", [2]))
        assert await peer.result(2) == 2


@slow
async def test_a_status_in_raw_frames(arbiter_socket: str) -> None:
    with connected_to(arbiter_socket) as peer:
        await peer.send(frames.status(9))
        status = await peer.result(9)
        assert isinstance(status, dict)
        assert status["worker_count"] == 2
        assert {worker["booted"] for worker in status["workers"]} == {True}
        assert ECHO in status["apps"]


@slow
@pytest.mark.parametrize("leaves", [False, True])
async def test_a_cancel_and_a_close_both_reach_the_action(
    arbiter_socket: str, leaves: bool
) -> None:
    event = f"raw-{leaves}"
    async with open_dirty_client(arbiter_socket) as client:
        with connected_to(arbiter_socket) as peer:
            if not leaves:
                await peer.say_hello()
            await peer.send(frames.request(1, ECHO, "hang", [event]))
            await wait_for_event(client, event, "started")
            if leaves:
                peer.close()
            else:
                await peer.send(frames.cancel(1))
                assert "cancelled" in str(await peer.error(1))
                await peer.send(frames.request(1, ECHO, "aecho", ["the id is free"]))
                assert await peer.result(1) == "the id is free"
            await wait_for_event(client, event, "cancelled")


@slow
@pytest.mark.parametrize("hello", [False, True])
async def test_a_generator_is_closed_when_its_caller_leaves(
    arbiter_socket: str, hello: bool
) -> None:
    event = f"left-{hello}"
    async with open_dirty_client(arbiter_socket) as client:
        with connected_to(arbiter_socket) as peer:
            if hello:
                await peer.say_hello()
            await peer.send(frames.request(1, ECHO, "rows_until_left", [event]))
            for number in range(5):
                _, _, data = await peer.receive()
                assert frames.decode_data(data) == number
        await wait_for_event(client, event, "closed")


@slow
async def test_a_stream_stops_at_its_window_and_goes_on_with_credit(arbiter_socket: str) -> None:
    size = 16 * 1024
    count = 5 * STREAM_WINDOW // 2 // size  # two windows and a half
    with connected_to(arbiter_socket) as peer:
        await peer.say_hello()
        await peer.send(frames.request(1, ECHO, "blocks", [count, size]))
        received = taken = 0
        while taken < STREAM_WINDOW:
            _, _, data = await peer.receive()
            received += 1
            taken += len(data) + frames.HEADER_SIZE
        # The worker answers this over the same stream of frames: chunks would stand before it.
        await peer.send(frames.request(2, ECHO, "pid"))
        assert isinstance(await peer.result(2), int)
        while received < count:
            await peer.send(frames.credit(1, taken))
            taken = 0
            while taken < STREAM_WINDOW and received < count:
                frame_type, request_id, data = await peer.receive()
                assert (frame_type, request_id) == (FrameType.CHUNK, 1)
                assert frames.decode_data(data)[:4] == received.to_bytes(4, "big")
                received += 1
                taken += len(data) + frames.HEADER_SIZE
        assert (await peer.receive())[:2] == (FrameType.END, 1)


@slow
async def test_a_plain_client_that_reads_slowly_gets_all_of_a_stream(arbiter_socket: str) -> None:
    with connected_to(arbiter_socket) as peer:
        await peer.send(frames.request(1, ECHO, "blocks", [100, 50_000]))
        for number in range(100):
            _, _, data = await peer.receive()
            assert frames.decode_data(data)[:4] == number.to_bytes(4, "big")
        assert (await peer.receive())[:2] == (FrameType.END, 1)


@slow
async def test_a_thousand_calls_under_way_on_one_connection_each_get_their_own_result(
    arbiter_socket: str,
) -> None:
    count = 1000
    with connected_to(arbiter_socket) as peer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                peer.send,
                *(frames.request(id, ECHO, ("echo", "aecho")[id % 2], [id]) for id in range(count)),
            )
            seen = set()
            for _ in range(count):
                _, request_id, data = await peer.receive()
                result = frames.decode_result(data)
                assert result == (request_id if request_id % 2 else [[request_id], {}])
                seen.add(request_id)
    assert len(seen) == count


@slow
async def test_a_large_payload_goes_both_ways(arbiter_socket: str) -> None:
    data = os.urandom(1 << 20) * 8
    with connected_to(arbiter_socket) as peer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, frames.request(1, ECHO, "aecho", [data]))
            assert await peer.result(1) == data


@slow  # starts a pool of its own
async def test_a_killed_worker_and_a_changed_number_of_workers_in_raw_frames(
    tmp_path: Path,
) -> None:
    path = f"{tmp_path}/s"
    async with open_dirty_pool(ECHO, dirty_socket=path, dirty_workers=1):
        with connected_to(path) as peer:
            await peer.send(frames.request(1, ECHO, "die"))
            error = await peer.error(1)
            assert isinstance(error, DirtyWorkerError)
            assert "SIGKILL" in str(error)
            await peer.send(frames.request(1, ECHO, "aecho", [1]))
            assert await peer.result(1) == 1
            await peer.send(frames.manage(2, 1, 1))
            assert await peer.result(2) == {
                "success": True,
                "operation": "add",
                "requested": 1,
                "spawned": 1,
                "total_workers": 2,
                "target_workers": 2,
            }
            await peer.send(frames.manage(3, 2, 5))
            removed = await peer.result(3)
            assert isinstance(removed, dict)
            assert (removed["removed"], removed["total_workers"]) == (1, 1)
            assert "last one" in removed["reason"]
            await peer.send(frames.manage(4, 3))
            assert "1 (add) or 2 (remove)" in str(await peer.error(4))
            await peer.send(frames.manage(5, 1, 0))
            assert "1 or more" in str(await peer.error(5))
