# SPDX-License-Identifier: MIT
"""The legal order of ``send()`` messages, cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from trioserve.errors import AppProtocolError

from .harness import get, ok, read_body
from .versions import both_in_memory, both_versions

if TYPE_CHECKING:
    from trioserve.types import Message, Receive, Scope, Send

    from .conftest import Errors, Serving

START: Message = {"type": "http.response.start", "status": 200, "headers": []}
START_WITH_TRAILERS: Message = {**START, "trailers": True}
PART: Message = {"type": "http.response.body", "body": b"part,", "more_body": True}
BODY: Message = {"type": "http.response.body", "body": b"end"}
TRAILERS: Message = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}
HINT: Message = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}
PATH: Message = {"type": "http.response.pathsend", "path": __file__}
FILE: Message = {"type": "http.response.zerocopysend", "file": None}

KNOWN = {message["type"]: message for message in (START, BODY, TRAILERS, HINT, PATH, FILE)}
BODIES = {"http.response.body", "http.response.pathsend", "http.response.zerocopysend"}

#: state: what leads there, what is legal there, what completes the response from there.
STATES: dict[str, tuple[list[Message], set[str], list[Message]]] = {
    "before http.response.start": (
        [],
        {"http.response.start", "http.response.early_hint"},
        [START, BODY],
    ),
    "after http.response.start": ([START], BODIES, [BODY]),
    "while its body is under way": ([START, PART], BODIES, [BODY]),
    "where its announced trailers are due": (
        [START_WITH_TRAILERS, BODY],
        {"http.response.trailers"},
        [TRAILERS],
    ),
    "after its response was complete": ([START, BODY], set(), []),
}

ILLEGAL = [
    (state, kind)
    for state, (_, legal, _) in STATES.items()
    for kind in [*KNOWN, "http.response.debug", "websocket.send", "lifespan.startup.complete", ""]
    if kind not in legal
]


def test_the_table_covers_every_cell() -> None:
    assert len(ILLEGAL) == 5 * (len(KNOWN) + 4) - (2 + 3 + 3 + 1)


@both_in_memory
@pytest.mark.parametrize(("state", "kind"), ILLEGAL)
async def test_an_illegal_message_is_named_and_leaves_the_response_unharmed(
    state: str, kind: str, in_memory: Serving, errors: Errors
) -> None:
    before, legal, after = STATES[state]
    raised: list[AppProtocolError] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in before:
            await send(message)
        for _ in range(2):  # the second time as the first: nothing has moved
            with pytest.raises(AppProtocolError) as info:
                await send(KNOWN.get(kind, {"type": kind}))
            raised.append(info.value)
        for message in after:
            await send(message)

    async with in_memory(app) as server:
        client = await server.connect()
        first = await client.request()
        again = await client.request()

    for response in (first, again):
        assert response.status == 200
        assert response.body == (b"part,end" if PART in before else b"end")
        assert response.trailers == ([(b"x-sum", b"1")] if TRAILERS in after else [])
        assert response.interim == []
    assert len(raised) == 4
    for error in raised:
        assert repr(kind) in str(error)
        assert state in str(error)
        for name in legal:
            assert name in str(error)
    assert errors.records == []


@both_in_memory
@pytest.mark.parametrize(
    "message",
    [None, 5, "http.response.start", b"x", [], {}, {"status": 200}, {"type": None}, {"type": []}],
    ids=repr,
)
async def test_what_is_no_asgi_message_is_refused_and_the_response_can_still_come(
    message: Any, in_memory: Serving
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(AppProtocolError, match=r"type|sent"):
            await send(message)
        await ok(send)

    async with in_memory(app) as server:
        assert (await server.request()).body == b"ok"


@both_in_memory
async def test_an_illegal_message_that_nobody_catches_is_a_500_before_the_start(
    in_memory: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(BODY)

    async with in_memory(app) as server:
        response = await server.request()
    assert response.status == 500
    assert isinstance(errors.exceptions[0], AppProtocolError)
    assert len(errors.records) == 1


@both_in_memory
async def test_an_illegal_message_after_a_complete_response_is_logged_and_the_client_has_all(
    in_memory: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await ok(send)
        await send(BODY)

    async with in_memory(app) as server:
        client = await server.connect()
        assert (await client.request()).body == b"ok"
        assert (await client.request()).body == b"ok"
    assert len(errors.records) == 2


@both_in_memory
async def test_a_message_may_be_any_mapping_with_more_keys_than_asgi_knows(
    in_memory: Serving,
) -> None:
    class Odd(dict[str, Any]):
        pass

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(Odd(START, note="x"))
        await send(Odd(BODY, note="x"))

    async with in_memory(app) as server:
        assert (await server.request()).body == b"end"


@both_in_memory
async def test_start_and_body_have_the_defaults_of_the_specification(in_memory: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async with in_memory(app) as server:
        response = await server.request()
    assert (response.status, response.body) == (204, b"")


async def test_nothing_leaves_before_the_first_body_message(serving: Serving) -> None:
    # ASGI: "the protocol server must not start sending the response until …http.response.body".
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        assert await read_body(receive) == b"12345"
        await send(BODY)

    async with serving(app) as server:
        client = await server.connect()
        await client.send(get("/", "Content-Length: 5", method="POST") + b"12345")
        assert (await client.receive_until(b"end")).startswith(b"HTTP/1.1 200 OK\r\n")


@both_versions
async def test_an_early_body_part_arrives_while_the_response_is_still_under_way(
    serving: Serving,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(PART)
        assert await read_body(receive) == b"12345"
        await send(BODY)

    async with serving(app) as server:
        client = await server.connect()
        await client.send(get("/", "Content-Length: 5", method="POST"))
        await client.receive_until(b"part,")
        await client.send(b"12345")
        response = await client.response()
    assert response.body == b"part,end"
