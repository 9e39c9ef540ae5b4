# SPDX-License-Identifier: MIT
"""What RFC 9113 forbids a client, and how it is told: the "http2" cases of h2spec, and more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.connection.service import read_body, reply
from tests.http2 import frames
from tests.http2.frames import (
    block,
    continuation,
    data,
    frame,
    get,
    goaway,
    headers,
    ping,
    post,
    priority,
    rst_stream,
    settings,
    window_update,
)
from tests.http2.verdicts import Case, connection_error, either_error, stream_error
from trioserve.protocols.http2 import ErrorCode

if TYPE_CHECKING:
    from tests.http2.conftest import Serving
    from tests.http2.verdicts import Expected
    from trioserve.types import Receive, Scope, Send

PROTOCOL = connection_error(ErrorCode.PROTOCOL_ERROR)
FRAME_SIZE = connection_error(ErrorCode.FRAME_SIZE_ERROR)
FLOW_CONTROL = connection_error(ErrorCode.FLOW_CONTROL_ERROR)
MALFORMED = stream_error(ErrorCode.PROTOCOL_ERROR)
CLOSED = connection_error(ErrorCode.STREAM_CLOSED)
STREAM_CLOSED = stream_error(ErrorCode.STREAM_CLOSED)
#: PROTOCOL_ERROR and FRAME_SIZE_ERROR both describe it, and the RFC names neither alone.
PROTOCOL_OR_SIZE = connection_error(ErrorCode.PROTOCOL_ERROR, ErrorCode.FRAME_SIZE_ERROR)

OPEN = headers(1, post(), end_stream=False)
WHOLE = headers(1, get("/wait"))


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers; what was asked for at /wait never is."""
    await read_body(receive)
    if scope["path"] == "/wait":
        await receive()
    await reply(send, b"ok")


CASES = {
    # -- frames -------------------------------------------------------------------------------
    "a DATA frame that is too large": Case("4.2", OPEN + data(1, bytes(65_537)), FRAME_SIZE),
    "a HEADERS frame that is too large": Case("4.2", headers(1, bytes(65_537)), FRAME_SIZE),
    "a frame of an unknown type that is too large": Case(
        "4.2", frame(0xFA, 0, 0, bytes(65_537)), FRAME_SIZE
    ),
    "another stream's frame within a header section": Case(
        "4.3", headers(1, get(), end_headers=False) + priority(3), PROTOCOL
    ),
    "PING within a header section": Case(
        "6.2", headers(1, get(), end_headers=False) + ping(), PROTOCOL
    ),
    "an unknown type within a header section": Case(
        "5.5", headers(1, get(), end_headers=False) + frame(0xFA, 0, 0), PROTOCOL
    ),
    "HEADERS of another stream within a header section": Case(
        "6.2", headers(1, get(), end_headers=False) + headers(3, get()), PROTOCOL
    ),
    "HEADERS of the same stream within a header section": Case(
        "6.2", headers(1, get(), end_headers=False) + headers(1, get()), PROTOCOL
    ),
    # -- streams' states ----------------------------------------------------------------------
    "DATA on an idle stream": Case("5.1", data(1, b"x"), PROTOCOL),
    "RST_STREAM on an idle stream": Case("5.1", rst_stream(1), PROTOCOL),
    "WINDOW_UPDATE on an idle stream": Case("5.1", window_update(1, 100), PROTOCOL),
    "CONTINUATION on an idle stream": Case("5.1", continuation(1, get()), PROTOCOL),
    "RST_STREAM on an idle stream beyond those in use": Case(
        "5.1", WHOLE + rst_stream(5), PROTOCOL
    ),
    "RST_STREAM on a stream that only a server could open": Case("5.1", rst_stream(2), PROTOCOL),
    "DATA on a stream that the client has ended": Case("5.1", WHOLE + data(1, b"x"), STREAM_CLOSED),
    "HEADERS on a stream that the client has ended": Case(
        "5.1", WHOLE + headers(1, get()), STREAM_CLOSED
    ),
    "CONTINUATION on a stream that the client has ended": Case(
        "6.10", WHOLE + continuation(1, get()), PROTOCOL
    ),
    "DATA on a stream that the client has reset": Case(
        "5.1", OPEN + rst_stream(1) + data(1, b"x"), STREAM_CLOSED
    ),
    "HEADERS on a stream that the client has reset": Case(
        "5.1", OPEN + rst_stream(1) + headers(1, get()), STREAM_CLOSED
    ),
    "CONTINUATION on a stream that the client has reset": Case(
        "6.10", OPEN + rst_stream(1) + continuation(1, get()), PROTOCOL
    ),
    "an even stream id": Case("5.1.1", headers(2, get()), PROTOCOL),
    "a stream id that is lower than one before": Case(
        "5.1.1", headers(5, get()) + headers(3, get()), PROTOCOL
    ),
    "a stream that depends on itself, by HEADERS": Case(
        "5.3.1 of RFC 7540",
        frame(frames.HEADERS, 0x1 | 0x4 | 0x20, 1, b"\0\0\0\x01\x0f" + get()),
        either_error(ErrorCode.PROTOCOL_ERROR),
    ),
    "a stream that depends on itself, by PRIORITY": Case(
        "5.3.1 of RFC 7540", priority(1, depends_on=1), PROTOCOL
    ),
    # -- DATA ---------------------------------------------------------------------------------
    "DATA on stream 0": Case("6.1", data(0, b"x"), PROTOCOL),
    "DATA whose padding is as long as its payload": Case(
        "6.1", OPEN + frame(frames.DATA, 0x8, 1, b"\x06body!"), PROTOCOL
    ),
    "DATA whose padding is longer than its payload": Case(
        "6.1", OPEN + frame(frames.DATA, 0x8, 1, b"\xffbody"), PROTOCOL
    ),
    "DATA that is padded and empty": Case(
        "6.1", OPEN + frame(frames.DATA, 0x8, 1, b""), PROTOCOL_OR_SIZE
    ),
    # -- HEADERS ------------------------------------------------------------------------------
    "HEADERS on stream 0": Case("6.2", headers(0, get()), PROTOCOL),
    "HEADERS whose padding is longer than its payload": Case(
        "6.2", frame(frames.HEADERS, 0x1 | 0x4 | 0x8, 1, b"\xff" + get()), PROTOCOL
    ),
    "HEADERS that are padded and empty": Case(
        "6.2", frame(frames.HEADERS, 0x1 | 0x4 | 0x8, 1), PROTOCOL_OR_SIZE
    ),
    "HEADERS with half of a priority": Case(
        "6.2", frame(frames.HEADERS, 0x1 | 0x4 | 0x20, 1, b"\0\0\0"), PROTOCOL_OR_SIZE
    ),
    # -- PRIORITY, RST_STREAM -----------------------------------------------------------------
    "PRIORITY on stream 0": Case("6.3", priority(0), PROTOCOL),
    "PRIORITY of four bytes": Case("6.3", frame(frames.PRIORITY, 0, 1, bytes(4)), FRAME_SIZE),
    "PRIORITY of six bytes": Case("6.3", frame(frames.PRIORITY, 0, 1, bytes(6)), FRAME_SIZE),
    "RST_STREAM on stream 0": Case("6.4", rst_stream(0), PROTOCOL),
    "RST_STREAM of three bytes": Case("6.4", OPEN + frame(3, 0, 1, bytes(3)), FRAME_SIZE),
    "RST_STREAM of five bytes": Case("6.4", OPEN + frame(3, 0, 1, bytes(5)), FRAME_SIZE),
    # -- SETTINGS -----------------------------------------------------------------------------
    "SETTINGS on a stream": Case("6.5", frame(frames.SETTINGS, 0, 1), PROTOCOL),
    "SETTINGS whose length is no multiple of six": Case(
        "6.5", frame(frames.SETTINGS, 0, 0, bytes(5)), FRAME_SIZE
    ),
    "SETTINGS' acknowledgement that isn't empty": Case(
        "6.5", frame(frames.SETTINGS, frames.ACK, 0, bytes(6)), FRAME_SIZE
    ),
    "SETTINGS_ENABLE_PUSH of 2": Case("6.5.2", settings((2, 2)), PROTOCOL),
    "SETTINGS_INITIAL_WINDOW_SIZE of 2**31": Case("6.5.2", settings((4, 2**31)), FLOW_CONTROL),
    "SETTINGS_MAX_FRAME_SIZE of 16,383": Case("6.5.2", settings((5, 16_383)), PROTOCOL),
    "SETTINGS_MAX_FRAME_SIZE of 2**24": Case("6.5.2", settings((5, 2**24)), PROTOCOL),
    # -- PUSH_PROMISE, PING, GOAWAY -----------------------------------------------------------
    "PUSH_PROMISE": Case("8.4", OPEN + frame(5, 0x4, 1, b"\0\0\0\x02" + get()), PROTOCOL),
    "PUSH_PROMISE on an idle stream": Case(
        "8.4", frame(5, 0x4, 1, b"\0\0\0\x02" + get()), PROTOCOL
    ),
    "PING on a stream": Case("6.7", frame(frames.PING, 0, 1, bytes(8)), PROTOCOL),
    "PING of seven bytes": Case("6.7", ping(bytes(7)), FRAME_SIZE),
    "PING of nine bytes": Case("6.7", ping(bytes(9)), FRAME_SIZE),
    "GOAWAY on a stream": Case("6.8", frame(frames.GOAWAY, 0, 1, bytes(8)), PROTOCOL),
    "GOAWAY of seven bytes": Case("6.8", frame(frames.GOAWAY, 0, 0, bytes(7)), FRAME_SIZE),
    # -- WINDOW_UPDATE, flow control ----------------------------------------------------------
    "WINDOW_UPDATE of the connection by 0": Case("6.9", window_update(0, 0), PROTOCOL),
    "WINDOW_UPDATE of three bytes": Case("6.9", frame(8, 0, 0, bytes(3)), FRAME_SIZE),
    "WINDOW_UPDATE of five bytes": Case("6.9", frame(8, 0, 0, bytes(5)), FRAME_SIZE),
    "a connection's window beyond 2**31 - 1": Case(
        "6.9.1", window_update(0, 2**31 - 1), FLOW_CONTROL
    ),
    "a stream's window beyond 2**31 - 1": Case(
        "6.9.1", WHOLE + window_update(1, 2**31 - 1), stream_error(ErrorCode.FLOW_CONTROL_ERROR)
    ),
    "a stream's window beyond 2**31 - 1 by SETTINGS": Case(
        "6.9.2", WHOLE + window_update(1, 2**31 - 1 - 65_535) + settings((4, 65_536)), FLOW_CONTROL
    ),
    # -- CONTINUATION -------------------------------------------------------------------------
    "CONTINUATION on stream 0": Case(
        "6.10", headers(1, get(), end_headers=False) + continuation(0, b""), PROTOCOL
    ),
    "CONTINUATION of another stream": Case(
        "6.10", headers(1, get(), end_headers=False) + continuation(3, b""), PROTOCOL
    ),
    "CONTINUATION after HEADERS with END_HEADERS": Case(
        "6.10", OPEN + continuation(1, b""), PROTOCOL
    ),
    "CONTINUATION after CONTINUATION with END_HEADERS": Case(
        "6.10",
        headers(1, get()[:1], end_headers=False)
        + continuation(1, get()[1:])
        + continuation(1, b""),
        PROTOCOL,
    ),
    "CONTINUATION after DATA": Case("6.10", OPEN + data(1, b"x") + continuation(1, b""), PROTOCOL),
    # -- requests -----------------------------------------------------------------------------
    "trailers that don't end the stream": Case(
        "8.1",
        OPEN + data(1, b"x") + headers(1, block(("x-sum", "1")), end_stream=False),
        either_error(ErrorCode.PROTOCOL_ERROR),
    ),
    "a content-length that is more than the body": Case(
        "8.1.1",
        headers(1, post("/", ("content-length", "5")), end_stream=False)
        + data(1, b"four", end_stream=True),
        MALFORMED,
    ),
    "a content-length that is less than the body": Case(
        "8.1.1",
        headers(1, post("/", ("content-length", "3")), end_stream=False)
        + data(1, b"four", end_stream=True),
        MALFORMED,
    ),
    "a content-length that is less than several DATA frames": Case(
        "8.1.1",
        headers(1, post("/", ("content-length", "3")), end_stream=False)
        + data(1, b"fo")
        + data(1, b"ur", end_stream=True),
        MALFORMED,
    ),
    "a content-length that trailers come too early for": Case(
        "8.1.1",
        headers(1, post("/", ("content-length", "5")), end_stream=False)
        + data(1, b"four")
        + headers(1, block(("x-sum", "1"))),
        MALFORMED,
    ),
    "a content-length of a request without a body": Case(
        "8.1.1", headers(1, post("/", ("content-length", "1"))), MALFORMED
    ),
    "a pseudo-header field in trailers": Case(
        "8.1", OPEN + headers(1, block((":method", "GET"))), MALFORMED
    ),
    # -- RFC 9218 -----------------------------------------------------------------------------
    "PRIORITY_UPDATE on a stream": Case(
        "7.1 of RFC 9218", frame(16, 0, 1, b"\0\0\0\x01u=1"), PROTOCOL
    ),
    "PRIORITY_UPDATE of three bytes": Case(
        "7.1 of RFC 9218", frame(16, 0, 0, bytes(3)), FRAME_SIZE
    ),
    "PRIORITY_UPDATE of stream 0": Case(
        "7.1 of RFC 9218", frames.priority_update(0, b"u=1"), PROTOCOL
    ),
    "PRIORITY_UPDATE of a stream that only a server could open": Case(
        "7.1 of RFC 9218", frames.priority_update(2, b"u=1"), PROTOCOL
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_client_may_not_send(in_memory: Serving, name: str) -> None:
    case = CASES[name]
    async with in_memory(app) as server:
        client = await server.connect()
        case.expected.check(await client.verdict(case.sent))


@pytest.mark.parametrize("name", CASES)
async def test_a_client_may_not_send_either_byte_by_byte(in_memory: Serving, name: str) -> None:
    case = CASES[name]
    if len(case.sent) > 10_000:
        pytest.skip("too long to send so")
    async with in_memory(app) as server:
        client = await server.connect()
        for at in range(len(case.sent)):
            await client.send(case.sent[at : at + 1])
        case.expected.check(await client.verdict())


@pytest.mark.parametrize("name", CASES)
async def test_another_connection_is_not_concerned_if_a_client_sends(
    in_memory: Serving, name: str
) -> None:
    async with in_memory(app) as server:
        other = await server.connect()
        stream_id = await other.open()
        client = await server.connect()
        await client.verdict(CASES[name].sent)
        await other.send(data(stream_id, b"x", end_stream=True))
        assert (await other.response(stream_id)).body == b"ok"


#: Windows of a stream by 0: a stream error, which we may treat as one of the connection (5.4.1).
async def test_a_window_update_of_a_stream_by_0_is_an_error(in_memory: Serving) -> None:
    """Section 6.9."""
    async with in_memory(app) as server:
        client = await server.connect()
        verdict = await client.verdict(WHOLE, window_update(1, 0))
        assert ErrorCode.PROTOCOL_ERROR in (verdict.goaway, verdict.resets.get(1))


#: Header sections that are malformed (section 8.1.1), each with its section.
MALFORMED_HEADS = {
    "a name with an upper case letter": ("8.2.1", get("/", ("X-Test", "1"))),
    "an unknown pseudo-header field": ("8.3", get("/", (":test", "1"))),
    "a pseudo-header field of responses": ("8.3", get("/", (":path2", "200"))),
    "a pseudo-header field after a field": (
        "8.3",
        block((":method", "GET"), (":scheme", "http"), ("x", "1"), (":path", "/")),
    ),
    "a pseudo-header field twice": ("8.3", get("/", (":path", "/"))),
    "connection": ("8.2.2", get("/", ("connection", "close"))),
    "keep-alive": ("8.2.2", get("/", ("keep-alive", "1"))),
    "proxy-connection": ("8.2.2", get("/", ("proxy-connection", "close"))),
    "transfer-encoding": ("8.2.2", get("/", ("transfer-encoding", "chunked"))),
    "upgrade": ("8.2.2", get("/", ("upgrade", "h2c"))),
    "te that isn't trailers": ("8.2.2", get("/", ("te", "trailers, deflate"))),
    "an empty path": ("8.3.1", get("")),
    "no method": ("8.3.1", block((":scheme", "http"), (":authority", "t"), (":path", "/"))),
    "no scheme": ("8.3.1", block((":method", "GET"), (":authority", "t"), (":path", "/"))),
    "no path": ("8.3.1", block((":method", "GET"), (":scheme", "http"), (":authority", "t"))),
    "two methods": ("8.3.1", block((":method", "GET")) + get()),
    "two schemes": ("8.3.1", block((":scheme", "http")) + get()),
    "two paths": ("8.3.1", block((":path", "/")) + get()),
    "no field at all": ("8.3.1", b""),
    "a value with a NUL": ("8.2.1", get("/", ("x", "a\0b"))),
    "a value with a line's end": ("8.2.1", get("/", ("x", "a\r\nb: c"))),
    "a value that begins with a space": ("8.2.1", get("/", ("x", " a"))),
    "a name with a colon": ("8.2.1", get("/", ("a:b", "1"))),
    "a name with a space": ("8.2.1", get("/", ("a b", "1"))),
    "an empty name": ("8.2.1", get("/", ("", "1"))),
    "host and :authority that differ": ("8.3.1", get("/", ("host", "other"))),
    "CONNECT with a path": ("8.5", get("/", method="CONNECT")),
    "a path with a fragment": ("8.3.1", get("/#a")),
    "a path that is no absolute path": ("8.3.1", get("a")),
    "content-length that is no number": ("8.1.1", get("/", ("content-length", "a"))),
    "two content-lengths": ("8.1.1", get("/", ("content-length", "0"), ("content-length", "1"))),
}


@pytest.mark.parametrize("name", MALFORMED_HEADS)
async def test_a_malformed_request_is_reset_and_the_connection_goes_on(
    in_memory: Serving, name: str
) -> None:
    _, fragment = MALFORMED_HEADS[name]
    async with in_memory(app) as server:
        client = await server.connect()
        MALFORMED.check(await client.verdict(headers(1, fragment)))
        await client.send(headers(3, get()))
        assert (await client.response(3)).status == 200


# -- what needs a conversation ----------------------------------------------------------------

CLOSED_STREAM: dict[str, tuple[bytes, Expected]] = {
    "DATA": (data(1, b"x"), STREAM_CLOSED),
    "HEADERS": (headers(1, get()), CLOSED),
    "CONTINUATION": (continuation(1, get()), PROTOCOL),
}


@pytest.mark.parametrize("name", CLOSED_STREAM)
async def test_a_frame_on_a_stream_that_both_sides_have_ended(
    in_memory: Serving, name: str
) -> None:
    """Section 5.1, closed."""
    sent, expected = CLOSED_STREAM[name]
    async with in_memory(app) as server:
        client = await server.connect()
        assert (await client.request()).ended
        expected.check(await client.verdict(sent))


@pytest.mark.parametrize("name", ["DATA", "HEADERS"])
async def test_a_frame_on_a_stream_that_was_reset_by_the_server_ends_nothing(
    in_memory: Serving, name: str
) -> None:
    """Section 5.1: the client may have sent it before it knew."""
    late = {"DATA": data(1, b"x"), "HEADERS": headers(1, block(("x-sum", "1")))}[name]
    async with in_memory(app) as server:
        client = await server.connect()
        await client.send(headers(1, get("/", ("connection", "close")), end_stream=False))
        assert (await client.response(1)).reset == ErrorCode.PROTOCOL_ERROR
        verdict = await client.verdict(late)
        assert (verdict.goaway, verdict.closed) == (None, False)
        await client.send(headers(3, get()))
        assert (await client.response(3)).status == 200


BAD_PREFACES = {
    "a wrong second half": frames.PREFACE[:18] + b"XX\r\n\r\n" + settings(),
    "no SETTINGS after it": frames.PREFACE + ping(),
    "HEADERS after it": frames.PREFACE + headers(1, get()),
    "an acknowledgement of SETTINGS after it": frames.PREFACE + frame(4, 1, 0),
}


@pytest.mark.parametrize("name", BAD_PREFACES)
async def test_a_wrong_preface_is_a_connection_error(serving: Serving, name: str) -> None:
    """Section 3.4."""
    async with serving(app) as server:
        client = server.connect_raw()
        await client.send(BAD_PREFACES[name])
        await client.rest()
        assert client.of_type(frames.GOAWAY)[-1].code == ErrorCode.PROTOCOL_ERROR


async def test_http_1_on_a_port_for_http_2_only_is_a_connection_error(serving: Serving) -> None:
    """Section 3.4."""
    async with serving(app, http_protocols=("h2",)) as server:
        client = server.connect_raw()
        await client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        await client.rest()
        assert client.frames[0].type == frames.SETTINGS
        assert client.of_type(frames.GOAWAY)[-1].code == ErrorCode.PROTOCOL_ERROR


async def test_streams_beyond_the_limit_are_refused_and_the_others_go_on(
    in_memory: Serving,
) -> None:
    """Section 5.1.2: SETTINGS_MAX_CONCURRENT_STREAMS."""
    async with in_memory(app, http2_max_concurrent_streams=3) as server:
        client = await server.connect()
        assert client.settings[3] == 3
        ids = [await client.open() for _ in range(5)]
        assert [(await client.response(at)).reset for at in ids[3:]] == [
            ErrorCode.REFUSED_STREAM,
            ErrorCode.REFUSED_STREAM,
        ]
        for stream_id in ids[:3]:
            await client.send(data(stream_id, b"x", end_stream=True))
            assert (await client.response(stream_id)).status == 200
        assert (await client.request()).status == 200


async def test_a_smaller_initial_window_makes_windows_negative(in_memory: Serving) -> None:
    """Section 6.9.2."""

    async def big(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, bytes(1000))

    async with in_memory(big) as server:
        client = await server.connect((4, 100), auto=False)
        await client.send(headers(1, get()))
        await client.sync()
        assert len(client.streams[1].body) == 100
        await client.send(settings((4, 10)), window_update(1, 90))
        await client.sync()
        assert len(client.streams[1].body) == 100  # the window is 0 now
        await client.send(window_update(1, 1))
        await client.sync()
        assert len(client.streams[1].body) == 101
        await client.send(settings((4, 10_000)))
        assert (await client.response(1)).body == bytes(1000)


async def test_frames_are_no_larger_than_the_client_takes(in_memory: Serving) -> None:
    """Section 4.2: 16,384 bytes until SETTINGS_MAX_FRAME_SIZE says more."""

    async def big(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"x-%d" % number, b"h" * 4000) for number in range(10)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(200_000)})

    async with in_memory(big) as server:
        for size in (16_384, 40_000):
            client = await server.connect((5, size), (4, 1_000_000))
            await client.send(window_update(0, 1_000_000))
            assert (await client.request()).body == bytes(200_000)
            assert max(len(frame.payload) for frame in client.frames) <= size


async def test_a_goaway_says_why_and_which_streams_may_have_been_served(
    in_memory: Serving,
) -> None:
    """Section 6.8."""
    async with in_memory(app) as server:
        client = await server.connect()
        await client.request()
        await client.send(ping(bytes(7)))
        await client.rest()
        last = client.of_type(frames.GOAWAY)[-1]
        assert (last.last_stream_id, last.code) == (1, ErrorCode.FRAME_SIZE_ERROR)
        assert last.payload[8:].isascii()


async def test_a_goaway_of_a_client_with_an_error_is_one_all_the_same(in_memory: Serving) -> None:
    """Section 6.8."""
    async with in_memory(app) as server:
        client = await server.connect()
        stream_id = await client.open()
        await client.send(
            goaway(code=ErrorCode.INTERNAL_ERROR, debug=b"sorry"),
            data(stream_id, b"x", end_stream=True),
        )
        assert (await client.response(stream_id)).status == 200
        await client.rest()
