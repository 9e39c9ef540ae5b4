# SPDX-License-Identifier: MIT
"""A stream as an application sees it: request, response, and all that can be between them."""

from __future__ import annotations

import contextvars
import math
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel

from tests.connection.service import read_body, reply, text_app
from tests.http2 import frames
from tests.http2.frames import block, data, headers, rst_stream
from trioserve.errors import AppProtocolError, ClientDisconnectedError
from trioserve.protocols.http2 import ErrorCode

if TYPE_CHECKING:
    from pathlib import Path

    from tests.asgi.conftest import Errors
    from tests.http2.conftest import Serving
    from trioserve.types import Message, Receive, Scope, Send

START: Message = {"type": "http.response.start", "status": 200, "headers": []}


def body(part: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": part, "more_body": more}


# -- the scope ------------------------------------------------------------------------------------


async def test_the_scope_is_that_of_http_2(in_memory: Serving) -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await reply(send)

    async with in_memory(app, root_path="/app") as server:
        client = await server.connect()
        await client.request("/a%20b?c=%20", ("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"))
    (scope,) = scopes
    extensions = scope.pop("extensions")
    assert scope.pop("asgi")["version"] == "3.0"
    assert scope == {
        "type": "http",
        "http_version": "2",
        "method": "GET",
        "scheme": "http",
        "path": "/app/a b",
        "raw_path": b"/app/a%20b",
        "query_string": b"c=%20",
        "root_path": "/app",
        "headers": [(b"host", b"test"), (b"x", b"y"), (b"cookie", b"a=1; b=2")],
        "client": ("testclient", 50000),
        "server": ("testserver", 80),
        "state": {},
    }
    assert set(extensions) >= {
        "http.response.trailers",
        "http.response.early_hint",
        "http.response.pathsend",
        "http.response.priority",
        "trioserve",
    }
    assert "http.response.zerocopysend" not in extensions  # sendfile can't make frames
    assert "http.response.push" not in extensions


async def test_a_request_and_its_response_go_both_ways(serving: Serving) -> None:
    async with serving(text_app) as server:
        client = await server.connect()
        response = await client.request("/path", method="POST", body=b"body" * 1000)
        assert response.status == 200
        assert response.body == b"/path " + b"body" * 1000
        assert response.ended
        assert b"date" in response.headers
        assert response.headers[b"server"] == b"trioserve"


# -- bodies ---------------------------------------------------------------------------------


async def test_a_bodyless_request_has_an_empty_body(serving: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        await reply(send, b"ok")

    async with serving(app) as server:
        client = await server.connect()
        assert (await client.request()).body == b"ok"


async def test_an_empty_last_frame_ends_the_body(in_memory: Serving) -> None:
    got: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got.append(await receive())
        got.append(await receive())
        await reply(send)

    async with in_memory(app) as server:
        client = await server.connect()
        stream_id = await client.open()
        await client.send(data(stream_id, b"body"))
        await client.sync()
        await client.send(data(stream_id, end_stream=True))
        assert (await client.response(stream_id)).status == 200
    assert got == [
        {"type": "http.request", "body": b"body", "more_body": True},
        {"type": "http.request", "body": b"", "more_body": False},
    ]


async def test_small_frames_that_wait_come_as_one_message(in_memory: Serving) -> None:
    got: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(1)
        got.append(await receive())
        await reply(send)

    async with in_memory(app) as server:
        client = await server.connect()
        stream_id = await client.open()
        await client.send(*[data(stream_id, b"%d" % (at % 10)) for at in range(100)])
        await client.send(data(stream_id, b"x" * 2000), data(stream_id, b"end", end_stream=True))
        await client.response(stream_id)
    whole = b"0123456789" * 10 + b"x" * 2000 + b"end"
    assert got == [{"type": "http.request", "body": whole, "more_body": False}]


async def test_data_after_the_response_has_ended_is_dropped_and_credited(
    in_memory: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"enough")
        await trio.sleep(5)

    async with in_memory(app) as server:
        client = await server.connect()
        stream_id = await client.open()
        response = await client.response(stream_id)
        assert (response.status, response.ended) == (200, True)
        await client.until_frame(frames.RST_STREAM)
        assert response.reset == ErrorCode.NO_ERROR  # RFC 9113 section 8.1
        # More than the connection's window, on many such streams.
        for _ in range(20):
            await client.send(*[data(stream_id, bytes(16_384))] * 100)
            assert await client.sync()
        assert client.credit[0] > 20 * 100 * 16_384 / 2
        assert (await client.request()).body == b"enough"
    assert errors.messages == []


async def test_an_upload_that_ends_soon_after_its_response_is_not_reset(
    in_memory: Serving,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"enough")

    async with in_memory(app) as server:
        client = await server.connect()
        first, second = await client.open(), await client.open()
        await client.response(second)
        await client.send(data(first, b"x", end_stream=True), headers(second, block(("a", "b"))))
        await trio.sleep(4)
        await client.sync()
        assert client.of_type(frames.RST_STREAM) == []


async def test_a_response_that_ends_before_its_request_stops_the_upload(serving: Serving) -> None:
    """RFC 9113 section 8.1: RST_STREAM with NO_ERROR, a moment after all of the response."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"enough")

    async with serving(app) as server:
        client = await server.connect()
        stream_id = await client.open()
        response = await client.response(stream_id)
        assert (response.body, response.ended, response.reset) == (b"enough", True, None)
        began = trio.current_time()
        await client.until_frame(frames.RST_STREAM)
        assert 0.5 < trio.current_time() - began < 3
        kinds = [frame.type for frame in client.frames if frame.stream_id == stream_id]
        assert kinds == [frames.HEADERS, frames.DATA, frames.RST_STREAM]
        assert client.streams[stream_id].ended


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("HEAD", 404)]
)
async def test_a_response_that_has_no_body_ends_with_its_head(
    serving: Serving, method: str, status: int
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        for _ in range(5):
            await send(body(b"x" * 50_000, more=True))
        await send(body(b"x"))

    async with serving(app) as server:
        client = await server.connect()
        for _ in range(2):
            response = await client.request(method=method)
            assert (response.status, response.body, response.ended) == (status, b"", True)
        assert client.of_type(frames.DATA) == []


@pytest.mark.parametrize("size", [3, 5])
async def test_a_body_of_another_length_than_it_says_is_no_whole_response(
    in_memory: Serving, errors: Errors, size: int
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        start = {**START, "headers": [(b"content-length", b"4")]}
        await send(start)
        await send(body(b"x", more=True))
        await send(body(b"x" * (size - 1)))

    async with in_memory(app) as server:
        client = await server.connect()
        response = await client.request()
        assert (response.status, response.ended) == (200, False)
        assert response.reset == ErrorCode.INTERNAL_ERROR
        assert len(response.body) <= 4
        assert (await client.request()).status == 200
    assert isinstance(errors.exceptions[0], AppProtocolError)


async def test_a_wrong_length_of_a_whole_body_is_a_500(in_memory: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "headers": [(b"content-length", b"4")]})
        await send(body(b"five!"))

    async with in_memory(app) as server:
        client = await server.connect()
        response = await client.request()
        assert (response.status, response.ended) == (500, True)


async def test_a_streamed_response_goes_out_piece_by_piece(serving: Serving) -> None:
    go = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"one", more=True))
        await go.wait()
        await send(body(b"", more=True))
        await send(body(b"two", more=True))
        await send(body())

    async with serving(app) as server:
        client = await server.connect()
        stream_id = await client.ask()
        assert (await client.until_frame(frames.DATA)).payload == b"one"
        go.set()
        response = await client.response(stream_id)
        assert (response.body, response.ended) == (b"onetwo", True)
        assert b"content-length" not in response.headers


# -- trailers, interim responses ------------------------------------------------------------------


async def test_trailers_go_both_ways(serving: Serving) -> None:
    got: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            got.append(await receive())
            if not got[-1]["more_body"]:
                break
        await send({**START, "trailers": True})
        await send(body(b"one", more=True))
        await send(body(b"two"))
        await send(
            {
                "type": "http.response.trailers",
                "headers": [(b"X-Sum", b"1")],
                "more_trailers": True,
            }
        )
        await send({"type": "http.response.trailers", "headers": [(b"x-more", b"2")]})

    async with serving(app) as server:
        client = await server.connect()
        stream_id = await client.open()
        await client.send(data(stream_id, b"body"), headers(stream_id, block(("x-in", "a"))))
        response = await client.response(stream_id)
        assert response.body == b"onetwo"
        assert response.trailers == [(b"x-sum", b"1"), (b"x-more", b"2")]
        assert response.ended
    assert got[-1] == {
        "type": "http.request",
        "body": got[-1]["body"],
        "more_body": False,
        "trailers": [(b"x-in", b"a")],
    }


@pytest.mark.parametrize("size", [0, 10, 200_000])
async def test_trailers_follow_a_body_of_any_size(serving: Serving, size: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "trailers": True})
        await send(body(bytes(size)))
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})

    async with serving(app) as server:
        client = await server.connect()
        response = await client.request()
        assert len(response.body) == size
        assert response.trailers == [(b"x-sum", b"1")]
        assert response.ended


async def test_trailers_that_hold_nothing_end_the_body(in_memory: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "trailers": True})
        await send(body(b"x"))
        await send({"type": "http.response.trailers", "headers": []})

    async with in_memory(app) as server:
        client = await server.connect()
        response = await client.request()
        assert (response.body, response.trailers, response.ended) == (b"x", None, True)


async def test_a_response_without_a_body_has_no_trailers(in_memory: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "trailers": True})
        await send(body(b"x"))
        await send({"type": "http.response.trailers", "headers": [(b"x", b"y")]})

    async with in_memory(app) as server:
        client = await server.connect()
        response = await client.request(method="HEAD")
        assert (response.body, response.trailers, response.ended) == (b"", None, True)


async def test_malformed_trailers_reset_the_stream_and_the_application_hears_it(
    in_memory: Serving,
) -> None:
    got: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got.append(await receive())
        got.append(await receive())

    async with in_memory(app) as server:
        client = await server.connect()
        stream_id = await client.open()
        await client.send(data(stream_id, b"body"))
        await client.sync()
        await client.send(headers(stream_id, block((":path", "/"))))
        assert (await client.response(stream_id)).reset == ErrorCode.PROTOCOL_ERROR
        await client.sync()
    assert got == [
        {"type": "http.request", "body": b"body", "more_body": True},
        {"type": "http.disconnect"},
    ]


async def test_early_hints_come_before_the_response(serving: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</a>; rel=preload", b"</b>"]})
        await send(
            {"type": "http.response.informational", "status": 103, "headers": [(b"Link", b"</c>")]}
        )
        await send({"type": "http.response.informational", "status": 102})
        await reply(send, b"ok")

    async with serving(app) as server:
        client = await server.connect()
        response = await client.request()
        assert (response.interim, response.status, response.body) == ([103, 103, 102], 200, b"ok")
        assert response.heads[0][1:] == [(b"link", b"</a>; rel=preload"), (b"link", b"</b>")]
        assert response.heads[1][1:] == [(b"link", b"</c>")]


@pytest.mark.parametrize("kind", ["early_hint", "informational"])
async def test_early_hints_after_the_start_are_refused_and_the_response_unharmed(
    in_memory: Serving, kind: str
) -> None:
    message = {"type": f"http.response.{kind}", "links": [b"</a>"], "status": 103}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        with pytest.raises(AppProtocolError, match=kind):
            await send(message)
        await send(body(b"one", more=True))
        with pytest.raises(AppProtocolError, match=kind):
            await send(message)
        await send(body(b"two"))

    async with in_memory(app) as server:
        client = await server.connect()
        response = await client.request()
        assert (response.interim, response.body, response.ended) == ([], b"onetwo", True)


async def test_a_100_is_sent_once_the_application_asks_for_the_body(serving: Serving) -> None:
    asks = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asks.wait()
        await reply(send, await read_body(receive))

    async with serving(app) as server:
        client = await server.connect()
        stream_id = await client.open("/", ("expect", "100-continue"))
        await client.sync()
        assert client.of_type(frames.HEADERS) == []
        asks.set()
        await client.until_frame(frames.HEADERS)
        assert client.streams[stream_id].heads == [[(b":status", b"100")]]
        await client.send(data(stream_id, b"body", end_stream=True))
        response = await client.response(stream_id)
        assert (response.interim, response.status, response.body) == ([100], 200, b"body")


@pytest.mark.parametrize("sends_at_once", [True, False])
async def test_no_100_is_sent_where_it_is_of_no_use(
    in_memory: Serving, sends_at_once: bool
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if sends_at_once:
            await trio.sleep(1)
            await read_body(receive)
        await reply(send, status=413)

    async with in_memory(app) as server:
        client = await server.connect()
        stream_id = await client.open("/", ("expect", "100-continue"))
        if sends_at_once:
            await client.send(data(stream_id, b"body", end_stream=True))
        response = await client.response(stream_id)
        assert (response.interim, response.status) == ([], 413)


# -- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 5, 1_000_000])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_file_is_sent_by_its_path(
    serving: Serving, tmp_path: Path, size: int, method: str
) -> None:
    content = bytes(range(251)) * (size // 251 + 1)
    path = tmp_path / "file"
    path.write_bytes(content[:size])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.pathsend", "path": str(path)})

    serving.clock.autojump_threshold = math.inf  # a thread reads, in real time
    async with serving(app, graceful_timeout=0) as server:
        client = await server.connect()
        response = await client.request(method=method)
        assert response.status == 200
        assert response.body == (content[:size] if method == "GET" else b"")
        assert response.ended
        if size:
            assert response.headers[b"content-length"] == b"%d" % size


async def test_a_file_that_is_not_there_is_a_500(in_memory: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.pathsend", "path": "/no/such/file"})

    in_memory.clock.autojump_threshold = math.inf  # a thread looks for it, in real time
    async with in_memory(app, graceful_timeout=0) as server:
        client = await server.connect()
        assert (await client.request()).status == 500


# -- failures -------------------------------------------------------------------------------


async def test_an_application_that_raises_is_a_500_and_others_go_on(
    serving: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/bad":
            raise ValueError("bad")
        await receive()
        await reply(send, b"ok")

    async with serving(app) as server:
        client = await server.connect()
        good = await client.open()
        bad = await client.request("/bad")
        assert (bad.status, bad.ended) == (500, True)
        await client.send(data(good, end_stream=True))
        assert (await client.response(good)).body == b"ok"
    assert [str(exc) for exc in errors.exceptions] == ["bad"]


async def test_an_application_that_answers_nothing_is_a_500(
    in_memory: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    async with in_memory(app) as server:
        client = await server.connect()
        response = await client.request()
        assert (response.status, response.ended, response.reset) == (500, True, None)
    assert errors.messages == ["the application returned without a response for GET /"]


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize("has_body", [True, False])
async def test_a_response_that_is_not_finished_is_reset_and_never_looks_whole(
    in_memory: Serving, raises: bool, has_body: bool
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        if has_body:
            await send(body(b"half", more=True))
        if raises:
            raise ValueError

    async with in_memory(app) as server:
        client = await server.connect()
        response = await client.request()
        if has_body:
            assert (response.status, response.body, response.ended) == (200, b"half", False)
            assert response.reset == ErrorCode.INTERNAL_ERROR
        else:
            assert (response.status, response.ended) == (500, True)
        assert (await client.request()).status in (200, 500)


async def test_an_upload_that_failed_gets_its_answer_before_it_is_reset(
    in_memory: Serving,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError

    async with in_memory(app) as server:
        client = await server.connect()
        stream_id = await client.open()
        await client.until_frame(frames.RST_STREAM)
        response = client.streams[stream_id]
        assert (response.status, response.ended, response.reset) == (500, True, 0)


async def test_a_request_timeout_is_a_503_or_a_reset(in_memory: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/started":
            await send(START)
            await send(body(b"half", more=True))
        await trio.sleep_forever()

    async with in_memory(app, request_timeout=2) as server:
        client = await server.connect()
        first, second = await client.ask(), await client.ask("/started")
        began = trio.current_time()
        assert (await client.response(first)).status == 503
        assert (await client.response(second)).reset == ErrorCode.INTERNAL_ERROR
        assert trio.current_time() - began == pytest.approx(2, abs=0.1)
        assert not client.closed


async def test_the_application_cancels_itself(in_memory: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"]["trioserve"]["cancel_scope"].cancel()
        await trio.sleep_forever()

    async with in_memory(app) as server:
        client = await server.connect()
        for _ in range(2):
            assert (await client.request()).status == 503


# -- the client leaves ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_an_application_whose_client_is_gone_is_told_and_has_its_grace(
    serving: Serving, how: str
) -> None:
    if serving.kind == "memory" and how == "close":
        pytest.skip("there is no reset in memory")
    log: list[Any] = []
    ended = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/other":
            await reply(send, b"ok")
            return
        await receive()
        began = trio.current_time()
        try:
            log.append((await receive())["type"])
            with pytest.raises(ClientDisconnectedError):
                await reply(send, b"too late")
            await trio.sleep_forever()
        finally:
            log.append(round(trio.current_time() - began))
            ended.set()

    async with serving(app, asgi_disconnect_grace_period=3) as server:
        client = await server.connect()
        stream_id = await client.ask()
        await client.sync()
        if how == "reset":
            await client.send(rst_stream(stream_id))
            assert (await client.request("/other")).body == b"ok"  # the others don't notice
        else:
            await client.leave(reset=True)
        await ended.wait()
        assert log == ["http.disconnect", 3]
        if how == "reset":
            assert (await client.request("/other")).body == b"ok"
            # Nothing was said on a stream that its client has reset.
            assert not [f for f in client.frames if f.stream_id == stream_id and f.type != 8]


async def test_an_application_that_ends_within_its_grace_is_no_error(
    in_memory: Serving, errors: Errors
) -> None:
    cleaned = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        await trio.sleep(2)
        cleaned.set()

    async with in_memory(app, asgi_disconnect_grace_period=3) as server:
        client = await server.connect()
        stream_id = await client.ask()
        await client.sync()
        await client.send(rst_stream(stream_id))
        await cleaned.wait()
        await client.sync()
    assert errors.messages == []


async def test_an_upload_that_is_reset_tells_what_had_come_and_then_the_end(
    in_memory: Serving,
) -> None:
    got: list[Message] = []
    ended = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(1)
        got.extend([await receive(), await receive()])
        ended.set()

    async with in_memory(app) as server:
        client = await server.connect()
        stream_id = await client.open()
        await client.send(data(stream_id, b"half"), rst_stream(stream_id))
        await ended.wait()
    assert got == [
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    ]


async def test_a_reset_in_the_same_piece_as_its_request_ends_only_that_stream(
    in_memory: Serving, errors: Errors
) -> None:
    """Requests of every kind whose streams are gone before they could be answered."""
    too_long = frames.get("/" + "a" * 9000)
    malformed = frames.get("/", ("connection", "close"))
    too_large = frames.post("/", ("content-length", "99"))
    async with in_memory(text_app, max_body_size=10) as server:
        client = await server.connect()
        await client.send(
            headers(1, too_long),
            rst_stream(1),
            headers(3, malformed),
            rst_stream(3),
            headers(5, too_large, end_stream=False),
            rst_stream(5),
            headers(7, frames.post(), end_stream=False),
            data(7, bytes(11)),
            rst_stream(7),
            headers(9, frames.get()),
            rst_stream(9),
            headers(11, frames.get()),
        )
        assert (await client.response(11)).body == b"/ "
        assert await client.sync()
    assert errors.messages == []


async def test_a_half_closed_connection_still_gets_its_responses(serving: Serving) -> None:
    """EOF after whole requests: the client leaves, and reads on."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        await reply(send, b"ok")

    async with serving(app) as server:
        client = await server.connect()
        ids = [await client.ask(), await client.ask()]
        await client.sync()
        await client.raw.send_eof()
        for stream_id in ids:
            assert (await client.response(stream_id)).body == b"ok"
        await client.rest()


async def test_a_client_that_resets_a_finished_stream_changes_nothing(in_memory: Serving) -> None:
    told: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"ok")
        await trio.sleep(10)
        told.append(True)

    async with in_memory(app) as server:
        client = await server.connect()
        response = await client.request()
        await client.send(rst_stream(1))
        assert await client.sync()
        assert response.body == b"ok"
        await trio.sleep(11)
        assert told == [True]  # not cancelled after a grace


# -- limits -------------------------------------------------------------------------------------

TOO_MUCH = {
    "a path": (414, frames.get("/" + "a" * 9000)),
    "a field": (431, frames.get("/", ("x", "a" * 9000))),
    "fields": (431, frames.get("/", *[("x", "a")] * 101)),
    "an expectation": (417, frames.get("/", ("expect", "more"))),
    "CONNECT": (501, block((":method", "CONNECT"), (":authority", "test"))),
    "a head": (431, frames.get("/", *[("x", "a" * 8000)] * 9)),
}


@pytest.mark.parametrize("name", TOO_MUCH)
@pytest.mark.parametrize("end_stream", [True, False])
async def test_who_asks_for_too_much_is_told_by_a_status(
    in_memory: Serving, name: str, end_stream: bool
) -> None:
    status, fragment = TOO_MUCH[name]
    pieces = [fragment[at : at + 16_000] for at in range(0, len(fragment), 16_000)]
    async with in_memory(text_app) as server:
        client = await server.connect()
        first = headers(1, pieces[0], end_stream=end_stream, end_headers=len(pieces) == 1)
        rest = [
            frames.continuation(1, piece, end_headers=piece is pieces[-1]) for piece in pieces[1:]
        ]
        await client.send(first, *rest)
        response = await client.response(1)
        assert (response.status, response.ended) == (status, True)
        assert response.headers[b"content-type"].startswith(b"text/plain")
        if not end_stream:
            await client.until_frame(frames.RST_STREAM)
        await client.sync()
        assert response.reset == (None if end_stream else ErrorCode.NO_ERROR)
        await client.send(headers(3, frames.get()))
        assert (await client.response(3)).status == 200


async def test_a_connection_serves_so_many_requests_and_says_so(serving: Serving) -> None:
    async with serving(text_app, max_requests_per_connection=2) as server:
        client = await server.connect()
        assert (await client.request()).status == 200
        assert client.of_type(frames.GOAWAY) == []
        assert (await client.request()).status == 200
        await client.rest()
        assert next((f.last_stream_id, f.code) for f in client.of_type(frames.GOAWAY)) == (3, 0)


async def test_requests_beyond_that_are_refused_even_in_the_same_piece(in_memory: Serving) -> None:
    async with in_memory(text_app, max_requests_per_connection=1) as server:
        client = await server.connect()
        await client.send(headers(1, frames.get()), headers(3, frames.get()))
        assert (await client.response(1)).status == 200
        assert (await client.response(3)).reset == ErrorCode.REFUSED_STREAM
        await client.rest()
        assert client.of_type(frames.GOAWAY)[0].last_stream_id == 1


async def test_a_stream_counts_until_its_application_has_ended(in_memory: Serving) -> None:
    """Rapid reset can't make more run than twice what may be open."""
    running, most = 0, 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await trio.sleep_forever()
        finally:
            running -= 1

    async with in_memory(app, http2_max_concurrent_streams=5) as server:
        client = await server.connect()
        for _ in range(40):
            await client.send(rst_stream(await client.ask()))
        await client.sync()
        assert most == 10
        await trio.sleep(5)
        assert running == 0


# -- the rest of an application's life ------------------------------------------------------------


async def test_work_after_the_response_goes_on_and_the_client_does_not_wait(
    serving: Serving,
) -> None:
    done: list[float] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"ok")
        await trio.sleep(10)
        done.append(trio.current_time())

    async with serving(app) as server:
        client = await server.connect()
        began = trio.current_time()
        for _ in range(3):
            assert (await client.request()).body == b"ok"
        assert done == []
        assert trio.current_time() - began < 5
    assert len(done) == 3


async def test_context_variables_of_one_request_are_not_anothers(in_memory: Serving) -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="none")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        before = var.get()
        var.set(scope["path"])
        await receive()
        await reply(send, before.encode() + b" " + var.get().encode())

    async with in_memory(app) as server:
        client = await server.connect()
        first, second = await client.open("/1"), await client.open("/2")
        await client.send(data(second, end_stream=True), data(first, end_stream=True))
        assert (await client.response(first)).body == b"none /1"
        assert (await client.response(second)).body == b"none /2"
        assert (await client.request("/3")).body == b"none /3"


async def test_two_tasks_of_an_application_receive_and_send(serving: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(echo, receive, send, nursery.cancel_scope)
        await send(body(b"|"))

    async def echo(receive: Receive, send: Send, done: trio.CancelScope) -> None:
        more = True
        while more:
            message = await receive()
            await send(body(message["body"], more=True))
            more = message["more_body"]
        done.cancel()

    async with serving(app) as server:
        client = await server.connect()
        stream_id = await client.open()
        for number in range(10):
            await client.send(data(stream_id, b"%d" % number))
            await client.sync()
        await client.send(data(stream_id, end_stream=True))
        response = await client.response(stream_id)
        assert (response.body, response.ended) == (b"0123456789|", True)


async def test_concurrent_sends_of_two_tasks_keep_their_order(in_memory: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        async with trio.open_nursery() as nursery:
            for letter in (b"a", b"b", b"c"):
                nursery.start_soon(send, body(letter * 100_000, more=True))
        await send(body())

    async with in_memory(app) as server:
        client = await server.connect()
        response = await client.request()
        assert sorted(response.body[at * 100_000 :][:1] for at in range(3)) == [b"a", b"b", b"c"]
        assert len(response.body) == 300_000
        assert len(set(response.body[:100_000])) == 1


async def test_the_access_log_names_http_2(
    in_memory: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/bad":
            raise ValueError
        if scope["path"] == "/wait":
            await receive()
            await receive()
            return
        await reply(send, b"12345")

    async with in_memory(app, access_log=True, access_log_format="%(r)s %(s)s %(b)s") as server:
        client = await server.connect()
        await client.request("/a?b=c")
        await client.request("/a", method="HEAD")
        await client.request("/bad")
        stream_id = await client.ask("/wait")
        await client.sync()
        await client.send(rst_stream(stream_id))
        await client.sync()
        await client.sync()
    lines = [r.getMessage() for r in caplog.records if r.name == "trioserve.access"]
    assert lines[0] == "GET /a?b=c HTTP/2 200 5"
    assert lines[1] == "HEAD /a HTTP/2 200 -"
    assert lines[2] == "GET /bad HTTP/2 500 26"
    assert lines[3] == "GET /wait HTTP/2 499 -"
    assert len(lines) == 4


async def test_a_polled_receive_tells_what_is_known_without_waiting(in_memory: Serving) -> None:
    """As Starlette's is_disconnected() does it: receive() in a scope that is cancelled."""
    told: list[str] = []
    gone = trio.Event()

    async def poll(receive: Receive) -> str:
        message: Message = {"type": "nothing"}
        with trio.CancelScope() as scope:
            scope.cancel()
            message = await receive()
        kind: str = message["type"]
        return kind

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        told.append(await poll(receive))
        told.append(await poll(receive))
        await trio.sleep(1)
        told.append(await poll(receive))
        gone.set()

    async with in_memory(app) as server:
        client = await server.connect()
        stream_id = await client.ask()
        await client.sync()
        await client.send(rst_stream(stream_id))
        await gone.wait()
    assert told == ["http.request", "nothing", "http.disconnect"]


async def test_a_connection_ends_with_its_last_stream_wherever_its_reader_is(
    serving: Serving,
) -> None:
    """64 KiB are what the reader takes before it lets others run: the stream may end meanwhile."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await reply(send)

    async with serving(app, max_requests_per_connection=1, keep_alive_timeout=60) as server:
        for _ in range(10):
            client = await server.connect()
            began = trio.current_time()
            stream_id = await client.open()
            pieces = [bytes(16_384)] * 3 + [bytes(16_384 - 4 * 9)]
            *first, last = pieces
            await client.send(
                *[frames.data(stream_id, piece) for piece in first],
                frames.data(stream_id, last, end_stream=True),
            )
            assert (await client.response(stream_id)).status == 200
            await client.rest()
            assert trio.current_time() - began < 50
