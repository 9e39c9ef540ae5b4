# SPDX-License-Identifier: MIT
"""The stash and its watches in frames, as a client of the arbiter sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.dirty.fake_backend import answer, serving
from trioserve.dirty import frames, tlv
from trioserve.dirty.errors import (
    DirtyError,
    StashError,
    StashKeyNotFoundError,
    StashTableNotFoundError,
)
from trioserve.dirty.frames import STREAM_WINDOW, FrameType, StashOp

if TYPE_CHECKING:
    from tests.dirty.fake_backend import Served

# -- the stash ------------------------------------------------------------------------------


async def test_each_stash_operation_is_answered() -> None:
    steps: list[tuple[StashOp, dict[str, Any], Any]] = [
        (StashOp.PUT, {"key": "k", "value": {"error": 1}}, True),
        (StashOp.GET, {"key": "k"}, {"error": 1}),
        (StashOp.EXISTS, {"key": "k"}, True),
        (StashOp.EXISTS, {}, True),
        (StashOp.KEYS, {}, ["k"]),
        (StashOp.KEYS, {"pattern": "x*"}, []),
        (StashOp.TABLES, {}, ["t"]),
        (StashOp.INCR, {"key": "n", "amount": 5}, 5),
        (StashOp.COMPARE_AND_SWAP, {"key": "n", "expected": 5, "new": 6}, True),
        (StashOp.SETDEFAULT, {"key": "n", "value": 1}, 6),
        (StashOp.UPDATE, {"items": ["a", 1, "b", 2]}, True),
        (StashOp.ITEMS, {"pattern": "[ab]"}, [None, "a", 1, "b", 2]),
        (StashOp.EXPIRE, {"key": "a", "ttl": 1000}, True),
        (StashOp.POP, {"key": "b"}, 2),
        (StashOp.DELETE, {"key": "k"}, True),
        (StashOp.DELETE, {"key": "k"}, False),
        (StashOp.CLEAR, {}, True),
        (StashOp.DELETE_TABLE, {}, True),
        (StashOp.ENSURE, {}, True),
    ]
    async with serving() as served:
        for number, (op, fields, result) in enumerate(steps):
            await served.peer.send(frames.stash(number, op, "t", **fields))
            assert await served.peer.result(number) == result
        await served.peer.send(frames.stash(1, StashOp.INFO, "t"))
        info = await served.peer.result(1)
        assert isinstance(info, dict)
        assert (info["size"], info["table"]) == (0, "t")


@pytest.mark.parametrize(
    ("fields", "error_class", "expected"),
    [
        ({"op": 99}, StashError, "operation 99 is unknown"),
        ({"op": StashOp.PUT}, StashError, "has the fields table, key"),
        ({"op": StashOp.GET, "key": "k"}, StashKeyNotFoundError, "no key 'k' in table 't'"),
        ({"op": StashOp.INFO}, StashTableNotFoundError, "no table 't'"),
        ({"op": StashOp.GET, "key": [1]}, StashError, "a key is"),
        ({"op": StashOp.WATCH, "pattern": 1}, StashError, "a pattern is a str"),
        ({"op": StashOp.WATCH, "more": 1}, StashError, "has the fields table"),
    ],
)
async def test_a_stash_operation_that_cannot_be_done_is_an_error_of_its_own(
    fields: dict[str, Any], error_class: type[DirtyError], expected: str
) -> None:
    async with serving(hello=True) as served:
        await served.peer.send(frames.stash(1, table="t", **fields))
        error = await served.peer.error(1)
        assert type(error) is error_class
        assert expected in str(error)
        await served.all_handled()


async def test_an_answer_that_is_too_long_for_a_frame_is_an_error() -> None:
    async with serving(max_frame_size=65536) as served:
        for number in range(40):
            served.tables.put("t", "k" * 2000 + str(number), tlv.encode(1))
        await served.peer.send(frames.stash(1, StashOp.KEYS, "t"))
        error = await served.peer.error(1)
        assert "dirty_max_frame_size is 65,536" in str(error)
        await served.all_handled()


# -- watching -------------------------------------------------------------------------------


async def test_a_watch_is_a_stream_of_changes_until_it_is_cancelled() -> None:
    async with serving(hello=True) as served:
        await served.peer.send(frames.stash(4, StashOp.WATCH, "t", pattern="a*"))
        assert await change(served) == ["watching", None, None]
        served.tables.put("t", "b", tlv.encode(1))
        served.tables.put("t", "a1", tlv.encode([1]))
        assert await change(served) == ["put", "a1", [1]]
        await served.peer.send(frames.stash(5, StashOp.DELETE, "t", "a1"))
        assert await served.peer.result(5) is True
        assert await change(served) == ["delete", "a1", None]
        await served.peer.send(frames.cancel(4))
        assert await served.peer.receive() == (FrameType.END, 4, b"")
        assert served.tables.status()["watchers"] == 0


async def change(served: Served, request_id: int = 4) -> Any:
    frame_type, came_id, data = await served.peer.receive()
    assert (frame_type, came_id) == (FrameType.CHUNK, request_id)
    return frames.decode_data(data)


async def test_nothing_of_a_watch_comes_after_its_end_even_if_its_id_is_used_again() -> None:
    async with serving(hello=True) as served:
        await served.peer.send(frames.stash(4, StashOp.WATCH, "t"))
        await change(served)
        # Changes that wait while the watch is cancelled, and its id becomes that of a call.
        await served.peer.send(
            *(frames.stash(5, StashOp.PUT, "t", "k", 1) for _ in range(3)),
            frames.cancel(4),
            frames.request(4, "a:App", "run"),
        )
        call = await served.backend.submitted()
        came = [await served.peer.receive() for _ in range(4)]
        assert [frame[:2] for frame in came] == [(FrameType.RESPONSE, 5)] * 3 + [(FrameType.END, 4)]
        await trio.testing.wait_all_tasks_blocked()
        answer(call, "the call's")
        assert await served.peer.result(4) == "the call's"


async def test_a_watcher_that_gives_no_credit_gets_a_window_full_and_then_a_count() -> None:
    async with serving(hello=True) as served:
        await served.peer.send(frames.stash(4, StashOp.WATCH, "t"))
        await change(served)
        value = tlv.encode(bytes(60_000))
        # What comes at once goes out at once, so one after the other.
        for _ in range(STREAM_WINDOW // 60_000 + 1):
            served.tables.put("t", "k", value)
            assert (await change(served))[0] == "put"
        served.tables.put("t", "k", value)
        for _ in range(2000):  # as many as are kept, and more
            served.tables.put("t", "k", tlv.encode(1))
        await served.all_handled()
        await served.peer.send(frames.credit(4, 100 * STREAM_WINDOW))
        assert len((await change(served))[2]) == 60_000
        for _ in range(1023):
            assert await change(served) == ["put", "k", 1]
        assert await change(served) == ["lost", None, 977]


async def test_a_plain_client_may_watch_as_well() -> None:
    async with serving() as served:
        await served.peer.send(frames.stash(4, StashOp.WATCH, "t"))
        await change(served)
        value = tlv.encode(bytes(60_000))
        for _ in range(20):
            served.tables.put("t", "k", value)
            assert (await change(served))[0] == "put"


async def test_a_watch_ends_with_the_stash() -> None:
    async with serving(hello=True) as served:
        await served.peer.send(frames.stash(4, StashOp.WATCH, "t"))
        await change(served)
        served.tables.put("t", "k", tlv.encode(1))
        served.tables.close_watchers()
        assert await change(served) == ["put", "k", 1]
        assert await served.peer.receive() == (FrameType.END, 4, b"")
        await served.peer.send(frames.cancel(4))
        await served.all_handled()
