# SPDX-License-Identifier: MIT
"""The values in ``send()`` messages: what is taken, and what is refused before a byte is out."""

from __future__ import annotations

import array
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest

from trioserve.errors import AppProtocolError

from .harness import ok
from .versions import both_in_memory, both_versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trioserve.types import Message, Receive, Scope, Send

    from .conftest import Errors, Serving


def start(headers: Any = (), status: Any = 200, **more: Any) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


def body(value: Any, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": value, "more_body": more}


async def refused(in_memory: Serving, errors: Errors, *messages: Message) -> str:
    """The text of the AppProtocolError that one of the messages raises, as a client's 500."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    async with in_memory(app) as server:
        client = await server.connect()
        response = await client.request()
        assert await client.rest() == b""
    assert response.status == 500
    assert response.body == b"500 Internal Server Error\n"
    assert response.headers[b"connection"] == b"close"
    (error,) = errors.exceptions
    assert type(error) is AppProtocolError, repr(error)
    assert len(errors.records) == 1
    return str(error)


@pytest.mark.parametrize("value", ["text", None, 3, [b"x"], {"a": 1}, 1.5], ids=repr)
@pytest.mark.parametrize("more", [False, True])
async def test_a_body_that_is_no_bytes_is_a_500(
    value: object, more: bool, in_memory: Serving, errors: Errors
) -> None:
    text = await refused(in_memory, errors, start(), body(value, more=more))
    assert f'"body" must be bytes, got {type(value).__name__}' in text


async def test_a_long_str_body_is_a_500_too(in_memory: Serving, errors: Errors) -> None:
    await refused(in_memory, errors, start(), body("x" * 100_000))


@both_in_memory
@pytest.mark.parametrize("value", ["text", None, 3, [b"x"]], ids=repr)
async def test_a_later_body_part_that_is_no_bytes_is_refused_and_the_response_goes_on(
    value: object, in_memory: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await send(body(b"one,", more=True))
        with pytest.raises(AppProtocolError, match="must be bytes"):
            await send(body(value, more=True))
        await send(body(b"two"))

    async with in_memory(app) as server:
        assert (await server.request()).body == b"one,two"
    assert errors.records == []


@both_versions
@pytest.mark.parametrize(
    "value",
    [bytearray(b"abcd"), memoryview(b"abcd"), memoryview(b"xabcdx")[1:5]],
    ids=["bytearray", "memoryview", "slice"],
)
@pytest.mark.parametrize("times", [1, 20_000], ids=["small", "large"])
async def test_a_body_may_be_anything_with_bytes(value: Any, times: int, serving: Serving) -> None:
    value = type(value)(bytes(value) * times)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/parts":
            await send(start())
            await send(body(value, more=True))
            await send(body(value))
        else:
            await send(start())
            await send(body(value))

    async with serving(app) as server:
        whole = await server.request("/whole")
        parts = await server.request("/parts")
    assert whole.body == b"abcd" * times
    assert whole.headers[b"content-length"] == b"%d" % len(whole.body)
    assert parts.body == b"abcd" * times * 2


@both_in_memory
async def test_a_body_is_measured_in_bytes_not_in_items(in_memory: Serving) -> None:
    numbers = memoryview(array.array("I", [1, 2, 3]))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await ok(send, numbers)  # type: ignore[arg-type]

    async with in_memory(app) as server:
        response = await server.request()
    assert response.body == numbers.tobytes()


@pytest.mark.parametrize(
    "status", [None, "200", 200.0, 0, -1, 99, 100, 101, 103, 199, 1000, True, b"200"], ids=repr
)
async def test_a_status_that_is_no_final_one_is_a_500(
    status: object, in_memory: Serving, errors: Errors
) -> None:
    text = await refused(in_memory, errors, start(status=status), body(b""))
    assert "200 to 999" in text
    assert repr(status) in text


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (HTTPStatus.CREATED, b"HTTP/1.1 201 Created\r\n"),
        (299, b"HTTP/1.1 299 Unknown\r\n"),
        (999, b"HTTP/1.1 999 Unknown\r\n"),
    ],
)
async def test_any_final_status_is_sent_with_a_reason(
    status: int, line: bytes, in_memory: Serving
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(status=status))
        await send(body(b""))

    async with in_memory(app) as server:
        client = await server.connect()
        await client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert (await client.receive_until(b"\r\n\r\n")).startswith(line)


@pytest.mark.parametrize(
    "headers",
    [
        [("name", b"value")],
        [(b"name", "value")],
        [("name", "value")],
        [(None, b"value")],
        [(b"name", None)],
        [(b"name", 5)],
        [(b"connection", None)],
        [(b"connection", "close")],
        [(b"content-length", 5)],
        [(b"content-length", "5")],
        [(bytearray(b"name"), b"value")],
        [b"name: value"],
        [(b"name",)],
        [(b"name", b"value", b"more")],
        [5],
        5,
        None,
        "text",
        [(b"content-length", b"")],
        [(b"content-length", b"-1")],
        [(b"content-length", b"1.0")],
        [(b"content-length", b" 1")],
        [(b"content-length", b"1"), (b"content-length", b"2")],
        [(b"content-length", b"9" * 30)],
    ],
    ids=repr,
)
async def test_malformed_headers_are_a_500(
    headers: object, in_memory: Serving, errors: Errors
) -> None:
    await refused(in_memory, errors, start(headers), body(b""))


@pytest.mark.parametrize(
    "bad", ["\r", "\n", "\r\n", "\0", "\x01", "\x0b", "\x7f", "\x1b"], ids=repr
)
@pytest.mark.parametrize("place", ["{}x", "x{}x", "x{}"])
@pytest.mark.parametrize("known", [b"x-own", b"date", b"content-type"])
async def test_a_control_character_in_a_header_value_is_a_500(
    bad: str, place: str, known: bytes, in_memory: Serving, errors: Errors
) -> None:
    value = place.format(bad).encode()
    text = await refused(in_memory, errors, start([(known, value)]), body(b""))
    assert "control character" in text


@pytest.mark.parametrize(
    "name",
    [b"", b" ", b"x y", b"x:", b"x\r\ny", b"x\n", b"x\0", "ä".encode(), b"(x)", b":path"],
    ids=repr,
)
async def test_a_header_name_that_is_no_token_is_a_500(
    name: bytes, in_memory: Serving, errors: Errors
) -> None:
    text = await refused(in_memory, errors, start([(name, b"v")]), body(b""))
    assert repr(name) in text


async def test_a_header_that_splits_the_response_never_gets_out(
    in_memory: Serving, errors: Errors
) -> None:
    evil = b"x\r\nset-cookie: a=b\r\n\r\n<script>"
    await refused(in_memory, errors, start([(b"location", evil)]), body(b""))


def _generated() -> Iterator[tuple[bytes, bytes]]:
    yield b"X-One", b"1"
    yield b"x-two", b"a, b\t\xe4"


@both_in_memory
@pytest.mark.parametrize(
    "make",
    [
        lambda: list(_generated()),
        lambda: tuple(_generated()),
        _generated,
        lambda: [list(pair) for pair in _generated()],
        lambda: dict(_generated()).items(),
        lambda: iter([*_generated()]),
    ],
    ids=["list", "tuple", "generator", "lists", "items", "iterator"],
)
async def test_headers_may_be_any_iterable_of_pairs(make: Any, in_memory: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(make()))
        await send(body(b""))

    async with in_memory(app) as server:
        response = await server.request()
    assert response.headers[b"x-one"] == b"1"
    assert response.headers[b"x-two"] == b"a, b\t\xe4"
