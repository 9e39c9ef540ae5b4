# SPDX-License-Identifier: MIT
"""In which order the DATA of several responses comes (RFC 9218)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.connection.service import reply
from tests.http2 import frames
from tests.http2.frames import get, headers, priority, priority_update, window_update

if TYPE_CHECKING:
    from tests.http2.client import Http2Client
    from tests.http2.conftest import Serving
    from trioserve.types import Receive, Scope, Send

SIZE = 60_000
FRAME = 16_384


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await reply(send, bytes(SIZE))


async def waiting(client: Http2Client, *values: str) -> list[int]:
    """Requests with these priorities, whose responses wait for the connection's window."""
    ids = [await client.ask("/", *([("priority", value)] if value else [])) for value in values]
    for stream_id in ids:
        await client.until_frame(frames.HEADERS, stream_id)
    await client.sync()
    assert not [frame for frame in client.of_type(frames.DATA) if frame.stream_id in ids]
    return ids


async def blocked(server: Any, *settings: tuple[int, int]) -> Http2Client:
    """A connection whose window is closed: 65,535 bytes of another response have filled it."""
    client: Http2Client = await server.connect((4, 1_000_000), *settings, auto=False)
    first = await client.ask()
    second = await client.ask()
    await client.until_body(65_535)
    await client.send(frames.rst_stream(second))
    await client.response(first)
    await client.sync()
    client.frames.clear()
    return client


async def order(client: Http2Client, ids: list[int]) -> list[int]:
    """The streams of the DATA frames, as they come once the window is open; repeats left out."""
    await client.send(window_update(0, 10_000_000))
    for stream_id in ids:
        assert len((await client.response(stream_id)).body) == SIZE
    found = [frame.stream_id for frame in client.of_type(frames.DATA) if frame.payload]
    return [
        stream_id for at, stream_id in enumerate(found) if at == 0 or found[at - 1] != stream_id
    ]


async def test_the_most_urgent_goes_first(serving: Serving) -> None:
    async with serving(app) as server:
        client = await blocked(server)
        ids = await waiting(client, "u=7", "u=3", "u=0", "", "u=1")
        assert await order(client, ids) == [ids[2], ids[4], ids[1], ids[3], ids[0]]


async def test_equal_ones_go_one_after_the_other(in_memory: Serving) -> None:
    async with in_memory(app) as server:
        client = await blocked(server)
        ids = await waiting(client, "", "", "")
        assert await order(client, ids) == ids


async def test_incremental_ones_share(in_memory: Serving) -> None:
    async with in_memory(app) as server:
        client = await blocked(server)
        ids = await waiting(client, "i", "i", "i")
        found = await order(client, ids)
        assert len(found) == 3 * -(-SIZE // FRAME)
        assert all(set(found[at : at + 3]) == set(ids) for at in range(0, len(found), 3))


async def test_urgent_incremental_ones_go_before_others(in_memory: Serving) -> None:
    async with in_memory(app) as server:
        client = await blocked(server)
        ids = await waiting(client, "", "u=2, i", "u=2, i")
        assert (await order(client, ids))[-1] == ids[0]


async def test_what_comes_later_and_is_more_urgent_overtakes(in_memory: Serving) -> None:
    """Between two flushes: the first response is in the middle of its body."""

    async def long(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, bytes(500_000 if scope["path"] == "/long" else SIZE))

    async with in_memory(long) as server:
        client = await server.connect((4, 1_000_000), auto=False)
        first = await client.ask("/long", ("priority", "u=5"))
        await client.sync()  # 65,535 bytes of it
        urgent = await client.ask("/", ("priority", "u=1"))
        await client.send(window_update(0, 10_000_000))
        await client.response(urgent)
        assert not client.streams[first].ended
        assert len((await client.response(first)).body) == 500_000


async def test_a_priority_update_changes_the_order(serving: Serving) -> None:
    async with serving(app) as server:
        client = await blocked(server)
        ids = await waiting(client, "", "", "")
        await client.send(priority_update(ids[2], b"u=0"), priority_update(ids[0], b"u=6"))
        await client.sync()
        assert await order(client, ids) == [ids[2], ids[1], ids[0]]


async def test_a_priority_update_may_make_a_response_incremental(in_memory: Serving) -> None:
    async with in_memory(app) as server:
        client = await blocked(server)
        ids = await waiting(client, "", "")
        await client.send(*[priority_update(stream_id, b"i") for stream_id in ids])
        await client.sync()
        assert len(await order(client, ids)) > 4


async def test_a_priority_update_before_its_stream_holds_over_the_field(
    in_memory: Serving,
) -> None:
    """RFC 9218 section 7."""
    async with in_memory(app) as server:
        client = await blocked(server)
        first = await waiting(client, "u=2")
        await client.send(priority_update(first[0] + 2, b"u=1"))
        ids = first + await waiting(client, "u=6")
        assert await order(client, ids) == [ids[1], ids[0]]


async def test_the_end_of_an_empty_response_waits_for_nobody(in_memory: Serving) -> None:
    async def empty(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"" if scope["path"] == "/empty" else bytes(SIZE))

    async with in_memory(empty) as server:
        client = await blocked(server)
        await waiting(client, "")
        assert (await client.request("/empty")).ended


# -- what applications are told -----------------------------------------------------------------


async def show(scope: Scope, receive: Receive, send: Send) -> None:
    await reply(send, repr(dict(scope["extensions"]["http.response.priority"])).encode())


TOLD: dict[str, tuple[bytes, dict[str, object]]] = {
    "nothing": (headers(1, get()), {}),
    "the field": (
        headers(1, get("/", ("priority", "u=1, i"))),
        {"urgency": 1, "incremental": True},
    ),
    "PRIORITY_UPDATE": (
        priority_update(1, b"u=6") + headers(1, get("/", ("priority", "u=1"))),
        {"urgency": 6},
    ),
    "RFC 7540's HEADERS": (
        frames.frame(frames.HEADERS, 0x25, 1, b"\x80\0\0\x03\xc7" + get()),
        {"weight": 200, "depends_on": 3},
    ),
    "RFC 7540's PRIORITY": (
        priority(1, depends_on=7, weight=256) + headers(1, get()),
        {"weight": 256, "depends_on": 7},
    ),
}


@pytest.mark.parametrize("name", TOLD)
async def test_an_application_is_told_of(in_memory: Serving, name: str) -> None:
    sent, said = TOLD[name]
    default = {"urgency": 3, "incremental": False, "weight": 16, "depends_on": 0}
    async with in_memory(show) as server:
        client = await server.connect()
        await client.send(sent)
        assert (await client.response(1)).body == repr({**default, **said}).encode()


async def test_what_one_application_writes_there_is_not_anothers(in_memory: Serving) -> None:
    async def write(scope: Scope, receive: Receive, send: Send) -> None:
        await show(scope, receive, send)
        scope["extensions"]["http.response.priority"]["urgency"] = 0

    async with in_memory(write) as server:
        client = await server.connect()
        first = (await client.request()).body
        assert (await client.request()).body == first


async def test_a_priority_that_a_client_changes_while_nothing_waits_holds_later(
    in_memory: Serving,
) -> None:
    go = trio.Event()

    async def later(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        await reply(send, bytes(SIZE))

    async with in_memory(later) as server:
        client = await server.connect((4, 1_000_000), (6, 0), auto=False)
        first, second = await client.ask(), await client.ask()
        await client.send(priority_update(second, b"u=0"))
        await client.sync()
        go.set()
        await client.sync()
        await client.send(window_update(0, 1_000_000))
        await client.response(first)
        await client.response(second)
        ends = [frame.stream_id for frame in client.of_type(frames.DATA) if frame.ends]
        assert ends in ([second, first], [first, second])
