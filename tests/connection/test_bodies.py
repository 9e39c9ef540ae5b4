# SPDX-License-Identifier: MIT
"""Request bodies: their size, who asks for them, and what becomes of those that nobody reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from .service import Kind, chunk, get, open_service, post, read_body, reply, text_app

if TYPE_CHECKING:
    from trioserve.types import Message, Receive, Scope, Send

CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers without a look at the body."""
    await reply(send, b"no", 200 if scope["path"] == "/" else 400)


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_body_of_max_body_size_passes_and_one_byte_more_is_a_413(
    kind: Kind, framing: str
) -> None:
    def upload(size: int) -> bytes:
        body = b"x" * size
        if framing == "length":
            return post(body)
        return CHUNKED + b"\r\n" + chunk(body[:50]) + chunk(body[50:]) + b"0\r\n\r\n"

    async with open_service(kind, text_app, max_body_size=100) as service:
        client = service.connect()
        response = await client.request(upload(100))
        assert (response.status, len(response.body)) == (200, 102)
        response = await client.request(upload(101) + get())
        assert (response.status, response.closes) == (413, True)
        assert b"larger than 100 bytes" in response.body
        assert await client.rest() == b""


async def test_a_length_that_is_too_large_is_refused_before_the_application_is_asked(
    kind: Kind,
) -> None:
    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    async with open_service(kind, never, max_body_size=100) as service:
        client = service.connect()
        response = await client.request(post(b"", "Expect: 100-continue", length=101))
        assert (response.status, response.interim) == (413, [])
        assert await client.rest() == b""


async def test_an_application_hears_of_a_disconnect_where_a_chunked_body_is_too_large(
    kind: Kind,
) -> None:
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while not seen or seen[-1]["type"] == "http.request":
            seen.append(await receive())
        with pytest.raises(OSError, match="disconnected"):
            await send({"type": "http.response.start", "status": 200, "headers": []})

    async with open_service(kind, app, max_body_size=10) as service:
        client = service.connect()
        await client.send(CHUNKED + b"\r\n" + chunk(b"12345678"))
        await client.send(chunk(b"12345678"))
        assert (await client.response()).status == 413
        assert await client.rest() == b""
    assert seen[-1] == {"type": "http.disconnect"}


# -- Expect: 100-continue (RFC 9110 section 10.1.1) ----------------------------------------------


async def test_continue_comes_when_the_body_is_asked_for(kind: Kind) -> None:
    asked = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asked.wait()
        await text_app(scope, receive, send)

    async with open_service(kind, app) as service:
        client = service.connect()
        await client.send(post(b"", "Expect: 100-continue", length=4))
        with trio.move_on_after(0.02) as patience:
            await client.receive()
        assert patience.cancelled_caught
        asked.set()
        assert await client.receive() == b"HTTP/1.1 100 Continue\r\n\r\n"
        response = await client.request(b"body")
        assert (response.status, response.body) == (200, b"/ body")
        assert not response.closes
        assert (await client.request(get())).status == 200


async def test_no_continue_comes_where_the_body_is_there_already(kind: Kind) -> None:
    async with open_service(kind, text_app) as service:
        client = service.connect()
        response = await client.request(post(b"body", "Expect: 100-continue"))
        assert (response.body, response.interim) == (b"/ body", [])


@pytest.mark.parametrize("path", ["/", "/refused"])
async def test_no_continue_comes_where_the_application_answers_at_once(
    kind: Kind, path: str
) -> None:
    async with open_service(kind, refuse) as service:
        client = service.connect()
        fields = post(b"", "Expect: 100-continue", target=path, length=4)
        response = await client.request(fields)
        assert response.interim == []
        # The client may send its body or not, so nobody knows where a next request would begin.
        assert response.closes
        assert await client.rest() == b""


async def test_no_continue_comes_after_the_response_has_begun(kind: Kind) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await send({"type": "http.response.body", "body": await read_body(receive)})

    async with open_service(kind, app) as service:
        client = service.connect()
        await client.send(post(b"", "Expect: 100-continue", length=4))
        begun = b""
        while not begun.endswith(b"begun\r\n"):
            begun += await client.receive()
        assert b"100 Continue" not in begun
        client.pending = begun
        await client.send(b"body")
        response = await client.response()
        assert (response.body, response.interim) == (b"begunbody", [])
        assert response.closes


async def test_http_1_0_gets_no_continue(kind: Kind) -> None:
    async with open_service(kind, text_app) as service:
        client = service.connect()
        request = post(b"", "Expect: 100-continue", length=4).replace(b"/1.1", b"/1.0")
        await client.send(request)
        with trio.move_on_after(0.02) as patience:
            await client.receive()
        assert patience.cancelled_caught
        assert (await client.request(b"body")).body == b"/ body"


# -- bodies that nobody reads -----------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 1000, 200_000])
async def test_the_rest_of_a_small_body_is_dropped_and_the_connection_goes_on(
    kind: Kind, size: int
) -> None:
    async with open_service(kind, refuse) as service, trio.open_nursery() as nursery:
        client = service.connect()
        nursery.start_soon(client.send, post(b"x" * size, target="/refused") + get())
        response = await client.response()
        assert (response.status, response.closes) == (400, False)
        assert (await client.response()).status == 200


async def test_a_large_body_that_nobody_reads_ends_the_connection(kind: Kind) -> None:
    async with open_service(kind, refuse) as service, trio.open_nursery() as nursery:
        client = service.connect()
        nursery.start_soon(client.send, post(b"x" * 2_000_000, target="/refused") + get())
        response = await client.response()
        assert (response.status, response.closes) == (400, True)
        assert await client.rest() == b""


async def test_a_chunked_body_that_nobody_reads_is_not_dropped_without_end(
    tcp_kind: Kind,
) -> None:
    async with open_service(tcp_kind, refuse) as service, trio.open_nursery() as nursery:
        client = service.connect()

        async def upload() -> None:
            await client.send(CHUNKED + b"\r\n")
            try:
                while True:
                    await client.send(chunk(b"x" * 50_000))
            except trio.BrokenResourceError:
                return

        nursery.start_soon(upload)
        assert (await client.response()).status == 200
        await client.rest()
        nursery.cancel_scope.cancel()


async def test_malformed_framing_after_the_response_ends_the_connection(kind: Kind) -> None:
    async with open_service(kind, refuse) as service:
        client = service.connect()
        assert (await client.request(CHUNKED + b"\r\n5\r\nhel")).status == 200
        await client.send(b"lo!!" + get())
        assert await client.rest() == b""


@pytest.mark.parametrize("size", [10_000_000])
async def test_an_error_response_is_readable_although_the_client_is_still_uploading(
    tcp_kind: Kind, size: int
) -> None:
    async with open_service(tcp_kind, refuse) as service, trio.open_nursery() as nursery:
        client = service.connect(buffer_size=65536)
        uploaded = trio.Event()

        async def upload() -> None:
            await client.send(post(b"x" * size, target="/refused"))
            uploaded.set()

        nursery.start_soon(upload)
        await uploaded.wait()  # it reads only now, as simple clients do
        response = await client.response()
        assert (response.status, response.body) == (400, b"no")
        assert await client.rest() == b""


async def test_a_reply_before_the_body_is_read_does_not_block_either_side(tcp_kind: Kind) -> None:
    size = 1_000_000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(10):
            await send({"type": "http.response.body", "body": b"y" * 100_000, "more_body": True})
        body = await read_body(receive)
        await send({"type": "http.response.body", "body": b"%d" % len(body)})

    async with open_service(tcp_kind, app) as service, trio.open_nursery() as nursery:
        client = service.connect(buffer_size=8192)
        nursery.start_soon(client.send, post(b"x" * size))
        response = await client.response()
        assert response.body == b"y" * 1_000_000 + b"%d" % size


async def test_a_body_goes_back_while_it_comes(tcp_kind: Kind) -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    body = bytes(range(256)) * 8000
    async with open_service(tcp_kind, echo) as service, trio.open_nursery() as nursery:
        client = service.connect(buffer_size=8192)
        nursery.start_soon(client.send, post(body))
        assert (await client.response()).body == body
