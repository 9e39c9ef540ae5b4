# SPDX-License-Identifier: MIT
"""A client that doesn't read, or stops amid a frame: what it can make the arbiter hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import trio
import trio.testing

from tests.dirty.fake_backend import REQUEST, answer, give_chunks, serving
from trioserve.dirty import frames, tlv
from trioserve.dirty.errors import (
    DirtyOverloadedError,
)
from trioserve.dirty.frames import FrameType, StashOp
from trioserve.dirty.sessions import Backlog

if TYPE_CHECKING:
    import logging


def messages(records: list[logging.LogRecord]) -> list[str]:
    """What the log says of clients."""
    return [record.getMessage() for record in records]


async def test_results_for_a_client_that_does_not_read_are_dropped_beyond_a_limit() -> None:
    async with serving(max_frame_size=65536) as served:
        served.session.max_unsent_size = 16 * 65536
        count = 60
        await served.peer.send(*(frames.request(id, "a:App", "run") for id in range(count)))
        calls = [await served.backend.submitted() for _ in range(count)]
        for call in calls:
            answer(call, bytes(60_000))
        assert served.session.channel.unsent_size < 17 * 65536
        assert served.session.calls == {}
        errors = []
        for id in range(count):
            try:
                assert await served.peer.result(id) == bytes(60_000)
            except DirtyOverloadedError as exc:
                errors.append(exc)
        assert 0 < len(errors) < count
        assert errors[0].app_path == "a:App"
        assert "bytes wait for this client already" in str(errors[0])
        # And it is served again.
        await served.peer.send(REQUEST)
        answer(await served.backend.submitted(), bytes(60_000))
        assert await served.peer.result(1) == bytes(60_000)


async def test_what_waits_for_one_client_is_bounded_in_bytes() -> None:
    for max_frame_size, limit in ((65536, 64 << 20), (64 << 20, 64 << 20), (100 << 20, 100 << 20)):
        async with serving(max_frame_size=max_frame_size) as served:
            assert served.session.max_unsent_size == limit


async def test_a_result_that_is_all_that_waits_is_never_dropped() -> None:
    async with serving() as served:
        served.session.max_unsent_size = 1000
        await served.peer.send(REQUEST, frames.request(2, "a:App", "run"))
        first, second = [await served.backend.submitted() for _ in range(2)]
        answer(first, bytes(4 << 20))
        answer(second, bytes(1))
        assert await served.peer.result(1) == bytes(4 << 20)
        assert isinstance(await served.peer.error(2), DirtyOverloadedError)


async def test_what_waits_for_all_clients_together_is_bounded_too() -> None:
    backlog = Backlog(max_size=8 << 20)
    async with (
        serving(backlog=backlog) as one,
        serving(backlog=backlog) as two,
    ):
        for served in (one, two):
            await served.peer.send(*(frames.request(id, "a:App", "run") for id in range(10)))
            for _ in range(10):
                answer(await served.backend.submitted(), bytes(1 << 20))
        assert backlog.size < 10 << 20  # but for the only result of a client
        types = [(await served.peer.receive())[0] for served in (one, two) for _ in range(10)]
        assert 8 <= types.count(FrameType.RESPONSE) < 20
        assert types.count(FrameType.ERROR) == 20 - types.count(FrameType.RESPONSE)
    assert not backlog.sessions


async def test_a_stream_for_a_client_that_gives_credit_and_does_not_read_is_ended() -> None:
    async with serving(hello=True, max_frame_size=65536) as served:
        served.session.max_unsent_size = 16 * 65536
        await served.peer.send(REQUEST, frames.credit(1, 1 << 62))
        call = await served.backend.submitted()
        while not served.backend.cancelled:
            give_chunks(call, 60_000, 1)
        assert served.session.channel.unsent_size < 18 * 65536
        frame_type = FrameType.CHUNK
        while frame_type == FrameType.CHUNK:
            frame_type, _, data = await served.peer.receive()
        assert isinstance(frames.decode_error(data), DirtyOverloadedError)


async def test_requests_of_a_client_that_does_not_read_are_not_read_either() -> None:
    async with serving() as served:
        await served.peer.send(REQUEST)
        answer(await served.backend.submitted(), bytes(4 << 20))
        await served.peer.send(frames.request(2, "a:App", "run"))
        await trio.testing.wait_all_tasks_blocked()
        assert served.backend.waiting == 0
        await served.peer.result(1)
        assert (await served.backend.submitted()).app_path == "a:App"


async def test_answers_that_were_asked_for_in_one_go_do_not_pile_up() -> None:
    async with serving() as served:
        served.tables.put("t", "k", tlv.encode(bytes(15_000)))
        count = 4000  # 60 MB of answers to 250 kB of questions
        question = b"".join(bytes(p) for p in frames.stash(1, StashOp.GET, "t", "k")) * count
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.peer.send_bytes, question)
            for _ in range(count):
                await served.peer.receive()
                assert served.session.channel.unsent_size < 2 << 20


async def test_a_client_that_reads_nothing_for_a_minute_is_closed(
    autojump_clock: trio.testing.MockClock, records: list[logging.LogRecord]
) -> None:
    async with serving() as served:
        await served.peer.send(REQUEST, frames.request(2, "a:App", "run"))
        first, second = [await served.backend.submitted() for _ in range(2)]
        answer(first, bytes(4 << 20))
        start = trio.current_time()
        await served.ended.wait()
        assert trio.current_time() - start == 60
        assert served.backend.cancelled == [second]
    (warning,) = messages(records)
    assert re.fullmatch(
        r"dirty: a client's connection was closed: "
        r"the peer read nothing for 60 s, with \d+ bytes waiting for it",
        warning,
    )


async def test_a_frame_that_is_begun_must_end_within_a_minute(
    autojump_clock: trio.testing.MockClock, records: list[logging.LogRecord]
) -> None:
    async with serving() as served:
        await served.peer.send_bytes(bytes(REQUEST[0])[:20])
        start = trio.current_time()
        await served.ended.wait()
        assert trio.current_time() - start == 60
    assert messages(records) == [
        "dirty: a client's connection was closed: "
        "the peer began a frame and sent no more of it for 60 s"
    ]


async def test_a_client_may_be_silent_between_frames_for_as_long_as_it_likes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serving() as served:
        await served.peer.send(REQUEST)
        call = await served.backend.submitted()
        await trio.sleep(86400)
        answer(call, "late")
        assert await served.peer.result(1) == "late"


async def test_a_large_request_that_comes_bit_by_bit_is_no_stall(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serving() as served:
        data = b"".join(frames.request(1, "a:App", "run", [bytes(300_000)]))
        for start in range(0, len(data), 30_000):
            await served.peer.send_bytes(data[start : start + 30_000])
            await trio.sleep(50)
        assert (await served.backend.submitted()).size == len(data) - frames.HEADER_SIZE
