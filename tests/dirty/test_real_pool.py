# SPDX-License-Identifier: MIT
"""Calls to real worker processes: what comes back, of which class, and what it says."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.dirty.real_pool import APPS, PATIENCE, Gate, RealPool, is_gone, open_pool
from trioserve.dirty import (
    BlockingDirtyClient,
    DirtyAppError,
    DirtyAppNotFoundError,
    DirtyError,
    DirtyProtocolError,
    DirtyTimeoutError,
    frames,
    open_dirty_client,
    open_dirty_pool,
)
from trioserve.dirty.frames import FrameReader, FrameType

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.slow  # each pool starts real processes: a Python with Trio each

WORK, OTHER, SWITCHBOARD = f"{APPS}:Work", f"{APPS}:Other", f"{APPS}:Switchboard"


@pytest.fixture
async def pool() -> AsyncIterator[RealPool]:
    async with open_pool("Work", "Other", "Switchboard", workers=1, threads=2) as pool:
        yield pool


@contextlib.asynccontextmanager
async def both_clients(pool: RealPool) -> AsyncIterator[list[Any]]:
    """The client beside the pool, and one behind its socket: they are to behave alike."""
    async with open_dirty_client(pool.path) as remote:
        yield [pool.client, remote]


# -- what comes back ------------------------------------------------------------------------


async def test_actions_of_all_kinds_are_called_and_streamed(pool: RealPool) -> None:
    async with both_clients(pool) as clients:
        for client in clients:
            for action in ("echo", "aecho"):
                result = await client.execute(WORK, action, 1, "two", key=[None])
                assert result == {"args": [1, "two"], "kwargs": {"key": [None]}}
            for action in ("items", "aitems"):
                async with client.stream(WORK, action, 1000) as items:
                    assert [item async for item in items] == list(range(1000))


async def test_a_stream_of_a_plain_action_is_its_result_and_execute_of_a_generator_is_an_error(
    pool: RealPool,
) -> None:
    async with both_clients(pool) as clients:
        for client in clients:
            for action in ("echo", "aecho"):
                async with client.stream(WORK, action, 1) as items:
                    assert [item async for item in items] == [{"args": [1], "kwargs": {}}]
            for action, count in [("items", 10**9), ("aitems", 10**9), ("items", 0), ("aitems", 0)]:
                with pytest.raises(DirtyAppError, match="is a generator: call it by stream"):
                    await client.execute(WORK, action, count)
            # They have been ended, and the connection is as good as before.
            assert await client.execute(WORK, "add", 1, 2) == 3
    await pool.until_idle()


async def test_an_app_that_dispatches_by_itself_is_called_with_any_name(pool: RealPool) -> None:
    assert await pool.client.execute(SWITCHBOARD, "whatever", 1) == ["whatever", 1]
    async with pool.client.stream(SWITCHBOARD, "numbers", 3) as items:
        assert [item async for item in items] == [0, 1, 2]
    for name in ("init", "close", "_secret"):
        with pytest.raises(DirtyAppError, match="can't be called"):
            await pool.client.execute(SWITCHBOARD, name)


async def test_state_stays_in_the_worker_and_each_app_has_its_own(pool: RealPool) -> None:
    assert [await pool.client.execute(WORK, "increment") for _ in range(3)] == [1, 2, 3]
    assert await pool.client.execute(OTHER, "increment") == 1


async def test_many_concurrent_calls_on_one_client_get_their_own_replies(pool: RealPool) -> None:
    async with both_clients(pool) as clients:
        for client in clients:
            results: dict[int, Any] = {}

            async def call(number: int, client: Any = client, results: Any = results) -> None:
                action = "same" if number % 2 else "asame"
                results[number] = await client.execute(WORK, action, [number, "x" * number])

            async with trio.open_nursery() as nursery:
                for number in range(300):
                    nursery.start_soon(call, number)
            assert results == {number: [number, "x" * number] for number in range(300)}


async def test_two_streams_and_calls_share_a_client_without_mixing(pool: RealPool) -> None:
    async with both_clients(pool) as clients:
        for client in clients:

            async def read(action: str, client: Any = client) -> None:
                async with client.stream(WORK, action, 2000) as items:
                    assert [item async for item in items] == list(range(2000))

            async with trio.open_nursery() as nursery:
                for action in ("items", "aitems", "aitems", "items"):
                    nursery.start_soon(read, action)
                for number in range(50):
                    assert await client.execute(WORK, "asame", number) == number


async def test_a_late_reply_of_a_timed_out_call_is_not_read_by_the_next(
    pool: RealPool, gate: Gate
) -> None:
    async with both_clients(pool) as clients:
        for client in clients:
            late: list[Any] = []
            for action in ("visit", "avisit", "visit"):
                with pytest.raises(DirtyTimeoutError):
                    await client.execute(WORK, action, gate.path, action, timeout=0.05)
                visit = await gate.visit()
                late.append(visit)
                await visit.release("the late reply")
                assert await client.execute(WORK, "asame", "mine") == "mine"
                await visit.gone()
            assert [await client.execute(WORK, "same", n) for n in range(20)] == list(range(20))
    await pool.until_idle()


# -- values ---------------------------------------------------------------------------------


async def test_large_ints_and_deep_values_are_carried_or_refused_clearly(pool: RealPool) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    async with both_clients(pool) as clients:
        for client in clients:
            for action in ("same", "asame"):
                for number in (2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**64, 10**500):
                    assert await client.execute(WORK, action, number) == number
                with pytest.raises(DirtyProtocolError, match="more than 64 containers"):
                    await client.execute(WORK, action, deep)
            with pytest.raises(DirtyProtocolError, match="more than 64 containers") as caught:
                await client.execute(WORK, "deep", 100_000)
            assert str(caught.value).startswith(f"'deep' of '{WORK}' gave a result that can't be")
            assert await client.execute(WORK, "deep", 50) is not None


async def test_a_result_that_cannot_be_sent_is_an_error_that_says_so(pool: RealPool) -> None:
    async with both_clients(pool) as clients:
        for client in clients:
            for action in ("unsendable", "aunsendable"):
                with pytest.raises(DirtyProtocolError, match="gave a result that can't be sent"):
                    await client.execute(WORK, action)
            async with client.stream(WORK, "unsendable_item") as items:
                assert await anext(items) == 1
                with pytest.raises(DirtyProtocolError, match="gave an item that can't be sent"):
                    await anext(items)
            with pytest.raises(DirtyProtocolError, match="object can't be sent"):
                await client.execute(WORK, "same", object())
    await pool.until_idle()
    assert len(pool.ready_pids) == 1


async def test_messages_beyond_the_frame_size_are_refused_and_break_nothing() -> None:
    async with open_pool("Work", max_frame_size=1 << 17) as pool, both_clients(pool) as clients:
        (pid,) = pool.ready_pids
        for client in clients:
            for action in ("same", "asame"):
                with pytest.raises(DirtyProtocolError, match="dirty_max_frame_size"):
                    await client.execute(WORK, action, b"x" * (1 << 17))
            with pytest.raises(DirtyProtocolError, match="dirty_max_frame_size"):
                await client.execute(WORK, "large", 1 << 17)
            async with client.stream(WORK, "items", 1, 1 << 17) as items:
                with pytest.raises(DirtyProtocolError, match="dirty_max_frame_size"):
                    await anext(items)
            assert len(await client.execute(WORK, "large", 1 << 16)) == 1 << 16
        assert await pool.client.execute(WORK, "pid") == pid
        assert pool.arbiter.pool.is_expected(WORK)
        assert not pool.arbiter.pool._calls


async def test_large_values_go_both_ways(pool: RealPool) -> None:
    data = os.urandom(5_000_000)
    async with both_clients(pool) as clients:
        for client in clients:
            for action in ("same", "asame"):
                assert await client.execute(WORK, action, data) == data


# -- errors ---------------------------------------------------------------------------------


async def test_an_actions_exception_arrives_with_its_type_and_its_traceback_as_a_note(
    pool: RealPool,
) -> None:
    async with both_clients(pool) as clients:
        for client in clients:
            with pytest.raises(DirtyAppError) as caught:
                await client.execute(WORK, "fail", "it broke")
            error = caught.value
            assert type(error) is DirtyAppError
            assert str(error) == f"'fail' of '{WORK}' raised ValueError: it broke"
            assert (error.exception_type, error.app_path, error.action) == (
                "ValueError",
                WORK,
                "fail",
            )
            assert "raise ValueError(message)" in error.traceback
            (note,) = error.__notes__
            assert note.startswith("In the worker:\nTraceback (most recent call last):")
            assert note.endswith("ValueError: it broke")
            with pytest.raises(DirtyAppError) as caught:
                await client.execute(WORK, "afail")
            assert caught.value.exception_type == f"{APPS}.OwnError"


async def test_an_exception_in_the_middle_of_a_stream_comes_after_the_items_before_it(
    pool: RealPool,
) -> None:
    async with both_clients(pool) as clients:
        for client in clients:
            for action in ("fail_in_the_middle", "afail_in_the_middle"):
                async with client.stream(WORK, action, 3) as items:
                    assert [await anext(items) for _ in range(3)] == [0, 1, 2]
                    with pytest.raises(DirtyAppError, match="KeyError") as caught:
                        await anext(items)
                    with pytest.raises(StopAsyncIteration):
                        await anext(items)
                assert "in the middle" in caught.value.__notes__[0]


async def test_a_stream_is_entered_once(pool: RealPool) -> None:
    async with open_dirty_client(pool.path) as remote:
        for client in (pool.client, remote):
            stream = client.stream(WORK, "items", 3)
            async with stream as items:
                assert [item async for item in items] == [0, 1, 2]
                with pytest.raises(RuntimeError, match="can be entered once"):
                    await stream.__aenter__()
            with pytest.raises(RuntimeError, match="can be entered once"):
                async with stream:
                    pass
    with BlockingDirtyClient(pool.path) as blocking_client:
        blocking = blocking_client.stream(WORK, "items", 3)

        def read_twice() -> None:
            with blocking as items:
                assert list(items) == [0, 1, 2]
            with pytest.raises(RuntimeError, match="can be entered once"), blocking:
                pass

        await trio.to_thread.run_sync(read_twice)
    await pool.until_idle()


async def test_whatever_an_action_raises_ends_its_call_and_not_its_worker(pool: RealPool) -> None:
    (pid,) = pool.ready_pids
    names = ["SystemExit", "KeyboardInterrupt", "BaseException", "SilentError", "LeavingError"]
    for action in ("leave_by", "aleave_by"):
        for name in names:
            with trio.fail_after(PATIENCE), pytest.raises(DirtyAppError) as caught:
                await pool.client.execute(WORK, action, name)
            assert caught.value.exception_type.endswith(name)
        with pytest.raises(DirtyAppError, match=r"bad \\udc80 text") as caught:
            await pool.client.execute(WORK, action, "surrogates")
        assert caught.value.exception_type.endswith(r"Odd\udc80Error")
        assert f"in {action}" in caught.value.traceback
    with trio.fail_after(PATIENCE), pytest.raises(DirtyAppError, match="started: LeavingError"):
        await pool.client.execute(WORK, "unbindable")
    with pytest.raises(DirtyAppError, match="StopIteration"):
        await pool.client.execute(WORK, "leave_by", "StopIteration")
    assert await pool.client.execute(WORK, "pid") == pid
    # No thread was lost, either: there are two.
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(pool.client.execute, WORK, "sleep", 0.01)


async def test_an_action_whose_cleanup_fails_beside_its_cancellation_ends_alone(
    pool: RealPool, gate: Gate
) -> None:
    (pid,) = pool.ready_pids
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.client.execute, WORK, "fail_when_cancelled", gate.path)
        await gate.visit()
        nursery.cancel_scope.cancel()
    await pool.until_idle()
    assert await pool.client.execute(WORK, "pid") == pid


async def test_what_is_no_action_is_refused_whoever_asks(pool: RealPool) -> None:
    refused = ["init", "close", "workers", "stashes", "_private", "__init__", "__call__", "_secret"]
    refused += ["constant", "on_instance", "count", "nothing", "", "echo\0", "ech"]
    async with both_clients(pool) as clients:
        for client in clients:
            for name in refused:
                with pytest.raises(DirtyAppError, match="has no action") as caught:
                    await client.execute(WORK, name)
                assert caught.value.app_path == WORK
            with pytest.raises(DirtyAppError, match='did you mean "echo"'):
                await client.execute(WORK, "ecko")
            async with client.stream(WORK, "init") as items:
                with pytest.raises(DirtyAppError, match="has no action"):
                    await anext(items)
    assert await pool.client.execute(WORK, "increment") == 1  # init() was not run again


async def test_errors_have_the_class_that_says_what_is_wrong(pool: RealPool, gate: Gate) -> None:
    async with both_clients(pool) as clients:
        for client in clients:
            with pytest.raises(DirtyAppNotFoundError, match="no dirty app 'a:B' is configured"):
                await client.execute("a:B", "echo")
            with pytest.raises(DirtyTimeoutError, match=r"did not end within 0\.05 s") as caught:
                await client.execute(WORK, "avisit", gate.path, timeout=0.05)
            assert caught.value.timeout == 0.05
            with pytest.raises(DirtyAppError, match="TypeError"):
                await client.execute(WORK, "add", 1)
            with pytest.raises(ValueError, match="timeout"):
                await client.execute(WORK, "add", timeout=-1)


# -- the socket -----------------------------------------------------------------------------


class Raw:
    """A connection to the arbiter that says what the test wants, right or wrong."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.sock = sock
        self._reader = FrameReader()
        self._frames: list[tuple[int, int, bytes]] = []

    async def send(self, data: bytes) -> None:
        with trio.fail_after(PATIENCE):
            view = memoryview(data)
            while view:
                view = view[await self.sock.send(view) :]

    async def frame(self) -> tuple[int, int, bytes] | None:
        """The next frame; None at the end."""
        with trio.fail_after(PATIENCE):
            while not self._frames:
                try:
                    data = await self.sock.recv(1 << 16)
                except ConnectionResetError:
                    return None
                if not data:
                    return None
                self._frames += [
                    (kind, number, bytes(load)) for kind, number, load in self._reader.feed(data)
                ]
        return self._frames.pop(0)

    async def error(self) -> tuple[int, DirtyError]:
        """The next frame, which is an ERROR, and then the end."""
        frame = await self.frame()
        assert frame is not None
        assert frame[0] == FrameType.ERROR
        return frame[1], frames.decode_error(frame[2])


@contextlib.asynccontextmanager
async def raw_connection(pool: RealPool) -> AsyncIterator[Raw]:
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        await sock.connect(pool.path)
        yield Raw(sock)


def header(frame_type: int, size: int, number: int = 1, magic: bytes = b"GD") -> bytes:
    return struct.pack(">2sBBIQ", magic, 1, frame_type, size, number)


FORGED = {
    "no frame": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 'begins with "GD"'),
    "another version": (b"GD\x02\x01" + bytes(12), "version 1"),
    "an unknown type": (header(0x7F, 0), "0x7f"),
    "a length beyond the limit": (header(FrameType.REQUEST, 2**32 - 1), "dirty_max_frame_size"),
    "a type that a client can't send": (header(FrameType.RESPONSE, 0), "can't send"),
}


async def test_bytes_that_are_no_frames_close_the_connection_with_a_word(pool: RealPool) -> None:
    for data, words in FORGED.values():
        async with raw_connection(pool) as raw:
            await raw.send(data)
            _, error = await raw.error()
            assert isinstance(error, DirtyProtocolError)
            assert words in str(error)
            assert await raw.frame() is None
    assert await pool.client.execute(WORK, "add", 1, 2) == 3


#: Payloads of a REQUEST that lie about what they hold.
LYING = [
    b"",
    b"\x00",
    b"\x09",
    b"\x41" * 100,
    bytes(range(256)),
    b"\x09\xff\xff\xff\xff",
    b"\x08" * 100_000,
    b"\x06\xff\xff\xff\xffabc",
]


async def test_payloads_that_lie_are_answered_under_their_id_and_close_the_connection(
    pool: RealPool,
) -> None:
    for payload in LYING:
        async with raw_connection(pool) as raw:
            await raw.send(header(FrameType.REQUEST, len(payload), 5) + payload)
            number, error = await raw.error()
            assert number == 5
            assert type(error) is DirtyProtocolError
            assert await raw.frame() is None
    assert await pool.client.execute(WORK, "add", 1, 2) == 3


async def test_arguments_that_lie_are_refused_by_the_worker_and_break_nothing(
    pool: RealPool,
) -> None:
    (pid,) = pool.ready_pids
    for action in ("same", "asame"):
        whole = b"".join(frames.request_payload(WORK, action, [b"x" * 100]))
        for cut in (1, 30, 100, 110):
            payload = whole[:-cut]
            async with raw_connection(pool) as raw:
                await raw.send(header(FrameType.REQUEST, len(payload), 5) + payload)
                number, error = await raw.error()
                assert number == 5
                assert isinstance(error, DirtyProtocolError)
    assert await pool.client.execute(WORK, "pid") == pid


async def test_an_id_that_is_in_use_is_refused(pool: RealPool, gate: Gate) -> None:
    async with raw_connection(pool) as raw:
        visit = b"".join(frames.request(5, WORK, "avisit", [gate.path]))
        await raw.send(visit)
        met = await gate.visit()
        await raw.send(visit)
        number, error = await raw.error()
        assert (number, str(error)) == (5, "request id 5 is in use")
        await met.gone()  # with the connection, all its calls
    await pool.until_idle()


async def test_the_socket_is_in_a_directory_of_mode_0700_and_is_for_its_user_only(
    pool: RealPool,
) -> None:
    assert os.stat(os.path.dirname(pool.path)).st_mode & 0o777 == 0o700
    assert os.stat(pool.path).st_mode & 0o077 == 0


async def test_open_dirty_pool_is_a_pool_around_the_block() -> None:
    with trio.fail_after(PATIENCE):
        async with open_dirty_pool(WORK, dirty_workers=1) as client:
            assert await client.execute(WORK, "add", 2, 3) == 5
            path = (await client.execute(WORK, "environment"))["socket"]
            assert not is_gone(path)
        assert is_gone(path)


async def test_an_exception_in_the_block_of_open_dirty_pool_passes_as_it_is() -> None:
    error = KeyError("the user's own")

    async def use() -> None:
        async with open_dirty_pool(WORK, dirty_workers=1) as client:
            await client.execute(WORK, "add", 2, 3)
            raise error

    with trio.fail_after(PATIENCE), pytest.raises(KeyError) as caught:
        await use()
    assert caught.value is error
