# SPDX-License-Identifier: MIT
"""Requests behind each other on one connection, and what ends the row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from .service import Kind, get, open_service, post, reply, text_app

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send


@pytest.mark.slow  # a thousand requests
async def test_a_thousand_requests_in_one_segment_are_answered_in_order(kind: Kind) -> None:
    async with open_service(kind, text_app) as service, trio.open_nursery() as nursery:
        client = service.connect()
        data = b"".join(get(f"/{number}") for number in range(1000))
        nursery.start_soon(client.send, data)
        for number in range(1000):
            assert (await client.response()).body == b"/%d " % number


@pytest.mark.slow  # thousands of requests
async def test_a_row_of_requests_does_not_keep_others_waiting(kind: Kind) -> None:
    served = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal served
        served += scope["path"] == "/row"
        await reply(send)

    async with open_service(kind, app) as service, trio.open_nursery() as nursery:
        row, other = service.connect(), service.connect()
        assert (await other.request(get())).status == 200
        nursery.start_soon(row.rest)
        nursery.start_soon(row.try_to_send, get("/row") * 5_000)
        while not served:
            await trio.lowlevel.checkpoint()
        longest = 0
        while served < 2_000:
            before = served
            assert (await other.request(get())).status == 200
            longest = max(longest, served - before)
        # Ours takes a few turns of Trio, theirs ends after 64 to 128 KiB of responses.
        assert longest < 2_000
        nursery.cancel_scope.cancel()


async def test_bodies_between_pipelined_requests_are_not_taken_for_requests(kind: Kind) -> None:
    inner = get("/smuggled")
    async with open_service(kind, text_app) as service:
        client = service.connect()
        await client.send(post(inner) * 3 + get("/last", "Connection: close") + inner)
        for _ in range(3):
            assert (await client.response()).body == b"/ " + inner
        assert (await client.response()).body == b"/last "
        assert await client.rest() == b""


async def test_the_last_request_of_a_connection_is_told_so(kind: Kind) -> None:
    async with open_service(kind, text_app, max_requests_per_connection=3) as service:
        client = service.connect()
        await client.send(get() * 5)
        assert [(await client.response()).closes for _ in range(3)] == [False, False, True]
        assert await client.rest() == b""


@pytest.mark.parametrize(
    ("request_bytes", "closes"),
    [
        (get("/", "Connection: close"), True),
        (get("/", "Connection: keep-alive"), False),
        (get().replace(b"1.1", b"1.0"), True),
        (get("/", "Connection: keep-alive").replace(b"1.1", b"1.0"), False),
    ],
)
async def test_a_client_hears_whether_its_connection_goes_on(
    kind: Kind, request_bytes: bytes, closes: bool
) -> None:
    async with open_service(kind, text_app) as service:
        client = service.connect()
        response = await client.request(request_bytes)
        assert response.closes is closes
        if closes:
            assert await client.rest() == b""
        else:
            assert (await client.request(get())).status == 200


async def test_a_bad_request_in_a_row_ends_it_after_the_good_ones(kind: Kind) -> None:
    async with open_service(kind, text_app) as service:
        client = service.connect()
        await client.send(get("/1") + get("/2") + b"GET bad HTTP/1.1\r\n\r\n" + get("/3"))
        assert (await client.response()).body == b"/1 "
        assert (await client.response()).body == b"/2 "
        response = await client.response()
        assert (response.status, response.closes) == (400, True)
        assert await client.rest() == b""


async def test_requests_behind_one_that_is_still_in_the_background_are_served(kind: Kind) -> None:
    done = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, scope["path"].encode())
        if scope["path"] == "/background":
            await done.wait()

    async with open_service(kind, app) as service:
        client = service.connect()
        await client.send(get("/background") + get("/next"))
        assert (await client.response()).body == b"/background"
        assert (await client.response()).body == b"/next"
        await client.send(get("/background"))
        assert (await client.response()).body == b"/background"
        assert (await client.request(get("/later"))).body == b"/later"
        assert service.connections == 1
        done.set()


async def test_an_end_of_the_client_behind_its_requests_still_gets_their_answers(
    kind: Kind,
) -> None:
    async with open_service(kind, text_app) as service:
        client = service.connect()
        await client.send(get("/1") + get("/2"))
        await client.send_eof()
        assert (await client.response()).body == b"/1 "
        assert (await client.response()).body == b"/2 "
        assert await client.rest() == b""
