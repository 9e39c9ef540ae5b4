# SPDX-License-Identifier: MIT
"""What any server of HTTP/2 has to take: the "generic" cases of h2spec, by RFC 9113's sections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.connection.service import read_body, reply
from tests.http2 import frames
from tests.http2.frames import continuation, data, headers, ping, post, priority, window_update

if TYPE_CHECKING:
    from tests.http2.conftest import Serving
    from trioserve.types import Receive, Scope, Send


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await reply(send, scope["method"].encode() + b" " + await read_body(receive))


async def test_a_client_preface_starts_a_connection_with_settings_as_first_frame(
    serving: Serving,
) -> None:
    """Sections 3.4 and 6.5."""
    async with serving(echo) as server:
        client = await server.connect()
        assert client.frames[0].type == frames.SETTINGS
        await client.sync()
        acks = [frame for frame in client.of_type(frames.SETTINGS) if frame.flags & frames.ACK]
        assert [frame.payload for frame in acks] == [b""]


async def test_a_preface_that_comes_byte_by_byte_is_one(serving: Serving) -> None:
    """Section 3.4."""
    async with serving(echo) as server:
        client = server.connect_raw()
        for byte in frames.PREFACE + frames.settings():
            await client.send(bytes([byte]))
        assert (await client.request()).body == b"GET "


#: Requests that are answered, each with its method and body.
REQUESTS = {
    "HEADERS with END_STREAM": (headers(1, frames.get()), b"GET "),
    "HEADERS with padding (6.2)": (
        frames.frame(frames.HEADERS, 0x1 | 0x4 | 0x8, 1, b"\x03" + frames.get() + bytes(3)),
        b"GET ",
    ),
    "HEADERS with priority (6.2)": (
        frames.frame(frames.HEADERS, 0x1 | 0x4 | 0x20, 1, b"\x80\0\0\0\xff" + frames.get()),
        b"GET ",
    ),
    "HEADERS with priority and padding (6.2)": (
        frames.frame(
            frames.HEADERS, 0x1 | 0x4 | 0x20 | 0x8, 1, b"\x01\0\0\0\0\xff" + frames.get() + b"\0"
        ),
        b"GET ",
    ),
    "HEADERS and CONTINUATION (6.10)": (
        headers(1, frames.get()[:5], end_headers=False) + continuation(1, frames.get()[5:]),
        b"GET ",
    ),
    "HEADERS and several CONTINUATIONs, some empty (6.10)": (
        headers(1, b"", end_headers=False)
        + continuation(1, frames.get()[:1], end_headers=False)
        + continuation(1, b"", end_headers=False)
        + continuation(1, frames.get()[1:], end_headers=False)
        + continuation(1, b""),
        b"GET ",
    ),
    "HEADERS and DATA (6.1)": (
        headers(1, post(), end_stream=False) + data(1, b"body", end_stream=True),
        b"POST body",
    ),
    "several DATA frames (6.1)": (
        headers(1, post(), end_stream=False)
        + data(1, b"bo")
        + data(1)
        + data(1, b"dy")
        + data(1, end_stream=True),
        b"POST body",
    ),
    "DATA with padding (6.1)": (
        headers(1, post(), end_stream=False) + data(1, b"body", end_stream=True, pad=255),
        b"POST body",
    ),
    "DATA with padding of no length (6.1)": (
        headers(1, post(), end_stream=False) + data(1, b"body", end_stream=True, pad=0),
        b"POST body",
    ),
    "DATA that is all padding (6.1)": (
        headers(1, post(), end_stream=False) + data(1, end_stream=True, pad=9),
        b"POST ",
    ),
    "trailers (8.1)": (
        headers(1, post(), end_stream=False)
        + data(1, b"body")
        + headers(1, frames.block(("x-sum", "1"))),
        b"POST body",
    ),
    "a stream's id need not be the next (5.1.1)": (headers(2**31 - 1, frames.get()), b"GET "),
    "PRIORITY before the stream is open (5.3)": (
        priority(1, weight=256) + headers(1, frames.get()),
        b"GET ",
    ),
    "PRIORITY of a stream that depends on one that is idle (5.3)": (
        priority(1, depends_on=7) + headers(1, frames.get()),
        b"GET ",
    ),
    "HEAD (8.1)": (headers(1, frames.get(method="HEAD")), b""),
    "OPTIONS * (8.3.1)": (headers(1, frames.get("*", method="OPTIONS")), b"OPTIONS "),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_is_answered(in_memory: Serving, name: str) -> None:
    sent, body = REQUESTS[name]
    stream_id = int.from_bytes(sent[5:9], "big") or 1
    async with in_memory(echo) as server:
        client = await server.connect()
        await client.send(sent)
        response = await client.response(stream_id)
        assert (response.status, response.body, response.reset) == (200, body, None)
        assert response.ended


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_is_answered_whichever_way_its_bytes_come(
    in_memory: Serving, name: str
) -> None:
    sent, body = REQUESTS[name]
    stream_id = int.from_bytes(sent[5:9], "big") or 1
    async with in_memory(echo) as server:
        client = await server.connect()
        for at in range(len(sent)):
            await client.send(sent[at : at + 1])
        assert (await client.response(stream_id)).body == body


#: Frames after which the connection is as good as before (each with its section).
HARMLESS = {
    "PING (6.7)": ping(),
    "PING's acknowledgement that nobody asked for (6.7)": ping(flags=frames.ACK),
    "SETTINGS without a setting (6.5)": frames.settings(),
    "SETTINGS of unknown kinds (6.5.2)": frames.settings((0xFF, 1), (0xABCD, 2**32 - 1)),
    "each setting at its least (6.5.2)": frames.settings(
        (1, 0), (2, 0), (3, 0), (4, 0), (5, 2**14), (6, 0)
    )
    + frames.settings((4, 65_535)),
    "each setting at its most (6.5.2)": frames.settings(
        (1, 2**32 - 1), (2, 1), (3, 2**32 - 1), (4, 2**31 - 1), (5, 2**24 - 1), (6, 2**32 - 1)
    ),
    "the same setting twice in a frame (6.5.3)": frames.settings((4, 1), (4, 65_535)),
    "SETTINGS' acknowledgement (6.5)": frames.frame(frames.SETTINGS, frames.ACK, 0),
    "a frame of an unknown type (4.1, 5.5)": frames.frame(0xFA, 0xFF, 0, b"what"),
    "a frame of an unknown type on a stream (4.1, 5.5)": frames.frame(0xFA, 0xFF, 7, b"what"),
    "unknown flags (4.1)": frames.frame(frames.PING, 0xFE, 0, b"8 octets"),
    "the reserved bit of a stream's id (4.1)": frames.frame(
        frames.PING, 0, 0x80000000, b"8 octets"
    ),
    "PRIORITY of an idle stream (6.3)": priority(9),
    "WINDOW_UPDATE of the connection (6.9)": window_update(0, 1),
    "PRIORITY_UPDATE of an idle stream (RFC 9218 section 7.1)": frames.priority_update(9, b"u=0"),
    "PRIORITY_UPDATE that can't be read (RFC 9218 section 7.1)": frames.priority_update(9, b"\xff"),
    "ALTSVC (RFC 7838)": frames.frame(0xA, 0, 0, b"\0\0"),
    "ORIGIN (RFC 8336)": frames.frame(0xC, 0, 0, b""),
}


RESERVED_BIT = "the reserved bit of WINDOW_UPDATE (6.9)"
HARMLESS[RESERVED_BIT] = window_update(0, 0x80000001)


@pytest.mark.parametrize("name", HARMLESS)
async def test_a_frame_changes_nothing(in_memory: Serving, name: str) -> None:
    if name == RESERVED_BIT and in_memory.engine in ("h2", "jh2"):
        pytest.xfail("hyperframe takes the bit for a part of the number")
    async with in_memory(echo) as server:
        client = await server.connect()
        verdict = await client.verdict(HARMLESS[name])
        assert (verdict.goaway, verdict.resets, verdict.closed) == (None, {}, False)
        assert (await client.request()).body == b"GET "


#: Frames on a stream whose request is whole and whose response isn't.
HARMLESS_HALF_CLOSED = {
    "WINDOW_UPDATE (5.1)": window_update(1, 100),
    "PRIORITY (5.1)": priority(1),
    "PRIORITY_UPDATE (RFC 9218 section 7.1)": frames.priority_update(1, b"u=1, i"),
    "an unknown type (5.5)": frames.frame(0xFA, 0, 1, b"what"),
}


@pytest.mark.parametrize("name", HARMLESS_HALF_CLOSED)
async def test_a_half_closed_stream_takes(in_memory: Serving, name: str) -> None:
    async with in_memory(big) as server:
        client = await server.connect((4, 10), auto=False)
        await client.send(headers(1, frames.get()))
        await client.until_frame(frames.DATA)
        await client.send(HARMLESS_HALF_CLOSED[name], window_update(1, 1000))
        assert (await client.response(1)).body == bytes(100)


@pytest.mark.parametrize("name", HARMLESS_HALF_CLOSED)
async def test_a_closed_stream_takes(in_memory: Serving, name: str) -> None:
    """Section 5.1: WINDOW_UPDATE, PRIORITY and RST_STREAM may come late."""
    async with in_memory(echo) as server:
        client = await server.connect()
        await client.request()
        verdict = await client.verdict(HARMLESS_HALF_CLOSED[name], frames.rst_stream(1))
        assert (verdict.goaway, verdict.closed) == (None, False)
        assert (await client.request()).body == b"GET "


async def big(scope: Scope, receive: Receive, send: Send) -> None:
    await reply(send, bytes(100))


async def test_a_ping_is_answered_with_what_it_holds(serving: Serving) -> None:
    """Section 6.7."""
    async with serving(echo) as server:
        client = await server.connect()
        await client.send(ping(b"\x00abcdef\xff"))
        answer = await client.until_frame(frames.PING)
        assert (answer.flags, answer.stream_id, answer.payload) == (1, 0, b"\x00abcdef\xff")


async def test_a_goaway_of_the_client_ends_an_idle_connection_in_order(serving: Serving) -> None:
    """Section 6.8."""
    async with serving(echo) as server:
        client = await server.connect()
        assert (await client.request()).status == 200
        await client.send(frames.goaway())
        await client.rest()
        assert client.of_type(frames.GOAWAY)[-1].code == 0


async def test_many_requests_come_one_after_the_other(serving: Serving) -> None:
    async with serving(echo) as server:
        client = await server.connect()
        for number in range(20):
            body = b"%d" % number
            assert (await client.request(method="POST", body=body)).body == b"POST " + body


async def test_many_requests_come_at_a_time(serving: Serving) -> None:
    async with serving(echo) as server:
        client = await server.connect()
        ids = [await client.ask(method="PUT", body=b"%d" % number) for number in range(100)]
        bodies = [(await client.response(stream_id)).body for stream_id in ids]
        assert bodies == [b"PUT %d" % number for number in range(100)]
