# SPDX-License-Identifier: MIT
"""One client of the arbiter: its calls, their cancellation, their streams.

The backend is the test's own here; test_arbiter_socket.py has the same over a real one. Files
beside this one: test_slow_clients.py, test_malformed_frames.py, test_session_stash.py.
"""

from __future__ import annotations

import os
import random

import pytest
import trio
import trio.testing

from tests.dirty.fake_backend import REQUEST, answer, give_chunks, serving
from trioserve.dirty import frames, tlv
from trioserve.dirty.errors import (
    DirtyAppNotFoundError,
    DirtyError,
    DirtyOverloadedError,
    DirtyWorkerError,
)
from trioserve.dirty.frames import STREAM_WINDOW, FrameType, StashOp


def payload(parts: frames.Parts) -> bytes:
    return b"".join(bytes(part) for part in parts)[frames.HEADER_SIZE :]


# -- calls ----------------------------------------------------------------------------------


async def test_a_hello_is_answered_by_what_the_arbiter_is() -> None:
    async with serving() as served:
        await served.peer.send(frames.hello({"role": "client"}, request_id=7))
        frame_type, request_id, data = await served.peer.receive()
        assert (frame_type, request_id) == (FrameType.HELLO, 7)
        assert frames.decode_hello(data) == {
            "role": "arbiter",
            "pid": os.getpid(),
            "max_frame_size": frames.DEFAULT_MAX_FRAME_SIZE,
        }


async def test_a_request_becomes_a_call_with_its_route_timeout_and_parent() -> None:
    async with serving() as served:
        await served.peer.send(
            frames.request(1, "a:App", "run", timeout=2.5, trace={"call": 9, "worker": 5}),
            frames.request(2, "a:App", "other", [1]),
        )
        call = await served.backend.submitted()
        assert (call.app_path, call.action, call.timeout, call.trace) == (
            "a:App",
            "run",
            2.5,
            (9, 5),
        )
        call = await served.backend.submitted()
        assert (call.action, call.timeout, call.trace) == ("other", float("inf"), None)


async def test_neither_arguments_nor_results_are_decoded_on_the_way() -> None:
    # Bytes that are no values: only who doesn't look at them lets them pass.
    route = payload(REQUEST)
    args = route[: route.index(b"args") + 5] + b"\xff\xff"
    async with serving() as served:
        await served.peer.send(frames.frame(FrameType.REQUEST, 1, args))
        call = await served.backend.submitted()
        assert call.parts == [args]
        call.deliver(FrameType.CHUNK, b"\xfe")
        call.deliver(FrameType.RESPONSE, b"\xff\xff")
        assert await served.peer.receive() == (FrameType.CHUNK, 1, b"\xfe")
        assert await served.peer.receive() == (FrameType.RESPONSE, 1, b"\xff\xff")


async def test_keys_in_another_order_are_read_as_well() -> None:
    fields = {"args": [1], "timeout": 3, "kwargs": {}, "action": "run", "app_path": "a:App"}
    async with serving() as served:
        await served.peer.send(
            frames.frame(
                FrameType.REQUEST, 1, tlv.encode({**fields, "trace": {"worker": 6, "call": 4}})
            )
        )
        call = await served.backend.submitted()
        assert (call.app_path, call.action, call.timeout, call.trace) == ("a:App", "run", 3, (4, 6))


async def test_what_comes_of_a_call_has_the_id_that_the_client_gave_it() -> None:
    async with serving() as served:
        largest = (1 << 64) - 1
        for request_id in (0, 5, largest):
            await served.peer.send(frames.request(request_id, "a:App", "run"))
        first, second, third = [await served.backend.submitted() for _ in range(3)]
        second.deliver(FrameType.CHUNK, tlv.encode({"data": 1}))
        answer(third, "c")
        second.deliver(FrameType.END, b"")
        first.fail(DirtyWorkerError("gone", worker_id=3))
        assert (await served.peer.receive())[:2] == (FrameType.CHUNK, 5)
        assert await served.peer.result(largest) == "c"
        assert await served.peer.receive() == (FrameType.END, 5, b"")
        error = await served.peer.error(0)
        assert isinstance(error, DirtyWorkerError)
        assert error.worker_id == 3


async def test_an_id_is_free_again_when_its_call_has_ended() -> None:
    async with serving() as served:
        for result in range(3):
            await served.peer.send(REQUEST)
            answer(await served.backend.submitted(), result)
            assert await served.peer.result(1) == result
        assert served.session.calls == {}


async def test_many_calls_under_way_are_answered_in_whatever_order() -> None:
    order = list(range(500))
    random.Random(3).shuffle(order)
    async with serving() as served:
        await served.peer.send(*(frames.request(id, "a:App", "run", [id]) for id in order))
        calls = [await served.backend.submitted() for _ in order]
        random.Random(4).shuffle(calls)
        for call in calls:
            answer(call, frames.decode_request(call.parts[0]).args[0])
        for _ in order:
            _, request_id, data = await served.peer.receive()
            assert frames.decode_result(data) == request_id


async def test_a_call_that_is_refused_gets_its_error_and_others_go_on() -> None:
    async with serving() as served:
        served.backend.refusal = DirtyAppNotFoundError("no such app", app_path="a:App")
        await served.peer.send(REQUEST)
        error = await served.peer.error(1)
        assert isinstance(error, DirtyAppNotFoundError)
        assert error.app_path == "a:App"
        served.backend.refusal = None
        await served.peer.send(REQUEST)  # the id is free
        answer(await served.backend.submitted(), "well")
        assert await served.peer.result(1) == "well"


# -- cancellation ---------------------------------------------------------------------------


async def test_a_cancel_ends_the_call_and_frees_its_id() -> None:
    async with serving(hello=True) as served:
        await served.peer.send(REQUEST)
        call = await served.backend.submitted()
        await served.peer.send(frames.cancel(1), REQUEST)
        assert "cancelled" in str(await served.peer.error(1))
        assert served.backend.cancelled == [call]
        answer(await served.backend.submitted(), "the second")
        assert await served.peer.result(1) == "the second"


async def test_a_cancel_of_what_has_ended_is_answered_by_nothing() -> None:
    async with serving(hello=True) as served:
        await served.peer.send(frames.cancel(1), frames.credit(1, 5))
        await served.all_handled()
        assert served.backend.cancelled == []


async def test_a_client_that_leaves_cancels_what_it_waited_for() -> None:
    async with serving() as served:
        await served.peer.send(REQUEST, frames.request(2, "a:App", "run"))
        calls = [await served.backend.submitted() for _ in range(2)]
        await served.peer.send(frames.stash(3, StashOp.WATCH, "t"))
        await served.peer.receive()
        assert served.tables.status()["watchers"] == 1
        served.peer.close()
        await served.ended.wait()
        assert served.backend.cancelled == calls
        assert served.tables.status()["watchers"] == 0


async def test_an_arbiter_that_stops_ends_the_session_and_its_calls() -> None:
    async with serving() as served:
        await served.peer.send(REQUEST)
        call = await served.backend.submitted()
        served.scope.cancel()
        with pytest.raises(EOFError):
            await served.peer.receive()
        await served.ended.wait()
        assert served.backend.cancelled == [call]


# -- streams --------------------------------------------------------------------------------


async def test_credit_goes_to_the_call_of_its_id() -> None:
    async with serving(hello=True) as served:
        await served.peer.send(REQUEST, frames.request(2, "a:App", "run"))
        _, second = [await served.backend.submitted() for _ in range(2)]
        await served.peer.send(frames.credit(2, 1000))
        await served.all_handled()
        assert served.backend.credits == [(second, 1000)]


async def test_a_client_that_said_hello_gives_all_the_credit_itself() -> None:
    async with serving(hello=True) as served:
        await served.peer.send(REQUEST)
        call = await served.backend.submitted()
        give_chunks(call, 60_000, 10)
        for _ in range(10):
            await served.peer.receive()
        assert served.backend.credits == []


async def test_for_a_plain_client_what_its_socket_takes_is_the_credit() -> None:
    async with serving() as served:
        await served.peer.send(REQUEST)
        call = await served.backend.submitted()
        given = 0
        for _ in range(4 * STREAM_WINDOW // 60_000):
            given += give_chunks(call, 60_000, 1)
            await served.peer.receive()
        assert 0 <= given - served.backend.credited < STREAM_WINDOW


async def test_a_plain_client_that_does_not_read_gets_no_credit_until_it_does() -> None:
    async with serving() as served:
        await served.peer.send(REQUEST)
        call = await served.backend.submitted()
        given = 0
        while not served.session.channel.unsent_size:
            given += give_chunks(call, 60_000, 1)
        for _ in range(5):  # a worker that keeps to its window would have stopped by now
            given += give_chunks(call, 60_000, 1)
        before = served.backend.credited
        await trio.testing.wait_all_tasks_blocked()
        assert served.backend.credited == before
        assert given - before > STREAM_WINDOW // 2
        for _ in range(given // 60_000):
            await served.peer.receive()
        await served.all_handled()
        assert given - served.backend.credited < STREAM_WINDOW // 2


async def test_the_frame_size_of_the_configuration_is_what_holds_for_results() -> None:
    size = frames.DEFAULT_MAX_FRAME_SIZE + 1024
    async with serving(max_frame_size=2 * size) as served:
        await served.peer.send(REQUEST)
        call = await served.backend.submitted()
        call.deliver(FrameType.RESPONSE, memoryview(bytes(size)))
        received = 0
        while received < size + frames.HEADER_SIZE:
            received += len(await served.peer.receive_bytes(1 << 20))
        assert received == size + frames.HEADER_SIZE


# -- status, manage -------------------------------------------------------------------------


async def test_status_and_manage_are_answered_by_the_backend() -> None:
    async with serving() as served:
        await served.peer.send(frames.status(1))
        assert await served.peer.result(1) == {"arbiter_pid": 1}
        await served.peer.send(frames.manage(2, 1, 3))
        assert await served.peer.result(2) == {"operation": 1, "requested": 3}
        await served.peer.send(frames.frame(FrameType.MANAGE, 5, tlv.encode({"op": 2})))
        assert await served.peer.result(5) == {"operation": 2, "requested": 1}
        served.backend.refusal = DirtyError("not now")
        await served.peer.send(frames.manage(3, 1))
        assert str(await served.peer.error(3)) == "not now"


async def test_calls_go_on_while_a_status_is_waited_for() -> None:
    async with serving() as served:
        served.backend.gate = trio.Event()
        await served.peer.send(frames.status(1), REQUEST)
        answer(await served.backend.submitted(), 5)
        served.backend.gate.set()
        assert await served.peer.result(1) == 5
        assert await served.peer.result(1) == {"arbiter_pid": 1}


async def test_only_so_many_may_wait_for_their_status() -> None:
    async with serving() as served:
        served.backend.gate = trio.Event()
        await served.peer.send(*(frames.status(id) for id in range(65)))
        assert isinstance(await served.peer.error(64), DirtyOverloadedError)
        served.backend.gate.set()
        answered = {(await served.peer.receive())[1] for _ in range(64)}
        assert answered == set(range(64))
        await served.all_handled()


async def test_a_client_that_leaves_does_not_wait_for_its_status() -> None:
    async with serving() as served:
        served.backend.gate = trio.Event()
        await served.peer.send(frames.status(1))
        await trio.testing.wait_all_tasks_blocked()
