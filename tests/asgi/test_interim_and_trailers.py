# SPDX-License-Identifier: MIT
"""103 Early Hints before a response and trailers after it, on HTTP/1.1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from trioserve.errors import AppProtocolError

from .harness import get, ok

if TYPE_CHECKING:
    from trioserve.types import ASGIApp, Message, Receive, Scope, Send

    from .conftest import Errors, Serving

START: Message = {"type": "http.response.start", "status": 200, "trailers": True}
BODY: Message = {"type": "http.response.body", "body": b"body"}


def hint(*links: Any) -> Message:
    return {"type": "http.response.early_hint", "links": links}


def trailers(*fields: Any, more: bool = False) -> Message:
    return {"type": "http.response.trailers", "headers": fields, "more_trailers": more}


def sending(*messages: Message) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


async def test_each_hint_is_a_103_of_its_own_before_the_response(serving: Serving) -> None:
    app = sending(
        hint(b"</a.css>; rel=preload", b"</b.js>"), hint(b"</c>"), START, BODY, trailers()
    )
    async with serving(app) as server:
        client = await server.connect()
        for _ in range(2):
            response = await client.request()
            assert response.interim == [
                (103, [(b"link", b"</a.css>; rel=preload"), (b"link", b"</b.js>")]),
                (103, [(b"link", b"</c>")]),
            ]
            assert (response.status, response.body) == (200, b"body")


async def test_a_hint_leaves_at_once(serving: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(hint(b"</a>"))
        await receive()
        await ok(send)

    async with serving(app) as server:
        client = await server.connect()
        await client.send(get("/", "Content-Length: 1", method="POST"))
        data = await client.receive_until(b"\r\n\r\n")
        assert data == b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
        await client.send(b"x")
        assert (await client.response()).body == b"ok"


async def test_http_1_0_gets_neither_hints_nor_trailers(serving: Serving) -> None:
    app = sending(hint(b"</a>"), START, BODY, trailers((b"x-sum", b"1")))
    async with serving(app) as server:
        client = await server.connect()
        await client.send(get(version="1.0"))
        data = await client.rest()
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert data.endswith(b"\r\n\r\nbody")
    assert b"103" not in data
    assert b"x-sum" not in data
    assert b"chunked" not in data


@pytest.mark.parametrize(
    "links", [["text"], [None], [b"a\r\nb: c"], [b"a\nb"], [b"\0"], None, 5, [5]], ids=repr
)
async def test_a_malformed_hint_is_refused_and_the_response_unharmed(
    links: Any, in_memory: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(AppProtocolError):
            await send({"type": "http.response.early_hint", "links": links})
        await ok(send)

    async with in_memory(app) as server:
        response = await server.request()
    assert (response.status, response.interim) == (200, [])
    assert errors.records == []


async def test_trailers_follow_the_body_and_the_connection_goes_on(serving: Serving) -> None:
    part = {**BODY, "more_body": True}
    fields = [(b"X-Sum", b"abc"), (b"server-timing", b"db;dur=5")]
    async with serving(sending(START, part, BODY, trailers(*fields))) as server:
        client = await server.connect()
        for _ in range(2):
            response = await client.request()
            assert response.body == b"bodybody"
            assert response.headers[b"transfer-encoding"] == b"chunked"
            assert response.trailers == [(b"x-sum", b"abc"), (b"server-timing", b"db;dur=5")]


async def test_trailers_may_come_in_several_messages_or_be_empty(serving: Serving) -> None:
    messages = [trailers((b"x-a", b"1"), more=True), trailers(more=True), trailers((b"x-b", b"2"))]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(BODY)
        for message in messages if scope["path"] == "/several" else [trailers()]:
            await send(message)

    async with serving(app) as server:
        client = await server.connect()
        several = await client.request("/several")
        empty = await client.request("/empty")
    assert several.trailers == [(b"x-a", b"1"), (b"x-b", b"2")]
    assert (empty.body, empty.trailers) == (b"body", [])


async def test_a_content_length_gives_way_to_the_framing_that_trailers_need(
    serving: Serving,
) -> None:
    start = {**START, "headers": [(b"content-length", b"4")]}
    async with serving(sending(start, BODY, trailers((b"x-sum", b"1")))) as server:
        response = await server.request()
    assert b"content-length" not in response.headers
    assert (response.body, response.trailers) == (b"body", [(b"x-sum", b"1")])


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_a_response_without_body_has_no_trailers_either(
    method: str, status: int, serving: Serving
) -> None:
    app = sending({**START, "status": status}, BODY, trailers((b"x-sum", b"1")))
    async with serving(app) as server:
        client = await server.connect()
        for _ in range(2):
            response = await client.request(method=method)
            assert (response.status, response.body, client.pending) == (status, b"", b"")


@pytest.mark.parametrize(
    "field",
    [
        (b"content-length", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"set-cookie", b"a=b"),
        (b"trailer", b"x"),
        (b"x", b"a\r\nb: c"),
        (b"x y", b"a"),
        (b"x", "text"),
        ("x", b"y"),
        (b"x",),
        5,
    ],
    ids=repr,
)
async def test_a_trailer_that_is_forbidden_or_malformed_is_refused_and_a_right_one_may_follow(
    field: Any, in_memory: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(BODY)
        with pytest.raises(AppProtocolError):
            await send(trailers(field))
        await send(trailers((b"x-right", b"1")))

    async with in_memory(app) as server:
        response = await server.request()
    assert (response.body, response.trailers) == (b"body", [(b"x-right", b"1")])
    assert errors.records == []


async def test_returning_without_the_announced_trailers_never_looks_whole(
    serving: Serving, errors: Errors
) -> None:
    async with serving(sending(START, BODY)) as server:
        client = await server.connect()
        await client.send(get())
        data = await client.rest()
    assert not data.endswith(b"0\r\n\r\n")
    assert len(errors.records) == 1
