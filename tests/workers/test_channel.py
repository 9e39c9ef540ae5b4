# SPDX-License-Identifier: MIT
"""The channel between the arbiter and a worker, over Trio's streams in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import memory_stream_pair

from trioserve.workers.channel import MAX_WAITING, Channel
from trioserve.workers.messages import MessageError

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_what_one_end_posts_comes_at_the_other_in_order_and_the_end_is_an_end() -> None:
    one, other = memory_stream_pair()
    came: list[dict[str, Any]] = []
    sender, receiver = Channel(one, lambda _: None), Channel(other, came.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receiver.run)
        nursery.start_soon(sender.run)
        for number in range(100):
            assert sender.post({"type": "beat", "number": number})
        await sender.finish()
        assert not sender.post({"type": "beat"})
        await one.aclose()
    assert [message["number"] for message in came] == list(range(100))


async def test_posting_to_somebody_who_does_not_read_takes_no_time_and_has_a_bound(
    autojump_clock: MockClock,
) -> None:
    one, _other = memory_stream_pair()
    channel = Channel(one, lambda _: None)
    said = [channel.post({"type": "beat"}) for _ in range(MAX_WAITING + 10)]
    assert said == [True] * MAX_WAITING + [False] * 10


async def test_a_stream_that_breaks_ends_both_tasks() -> None:
    one, other = memory_stream_pair()
    channel = Channel(one, lambda _: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.run)
        await other.aclose()
    assert not channel.post({"type": "beat"})
    await channel.finish()


async def test_what_is_no_message_ends_the_channel_with_an_error() -> None:
    one, other = memory_stream_pair()
    await other.send_all(b"\0\0\0\1x")
    with pytest.raises(ExceptionGroup) as caught:
        await Channel(one, lambda _: None).run()
    assert caught.group_contains(MessageError)


async def test_a_channel_can_be_cancelled_at_each_of_its_waits(autojump_clock: MockClock) -> None:
    one, _other = memory_stream_pair()
    channel = Channel(one, lambda _: None)
    with trio.move_on_after(1) as scope:
        await channel.run()
    assert scope.cancelled_caught
    with pytest.raises(trio.ClosedResourceError):
        await one.send_all(b"x")
