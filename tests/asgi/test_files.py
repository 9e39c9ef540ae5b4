# SPDX-License-Identifier: MIT
"""Bodies from files: ``http.response.pathsend`` and ``http.response.zerocopysend``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio

from trioserve.errors import AppProtocolError

from .harness import get, ok, until

if TYPE_CHECKING:
    from pathlib import Path

    from trioserve.types import ASGIApp, Message, Receive, Scope, Send

    from .conftest import Errors, Serving

CONTENT = bytes(range(256)) * 1000
START: Message = {"type": "http.response.start", "status": 200}
END: Message = {"type": "http.response.body", "body": b"|end"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "file.bin"
    file.write_bytes(CONTENT)
    return file


def pathsend(path: object) -> Message:
    return {"type": "http.response.pathsend", "path": path}


def zerocopy(file: object, **more: object) -> Message:
    return {"type": "http.response.zerocopysend", "file": file, **more}


def sending(*messages: Message) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


@pytest.mark.parametrize("announced", [False, True])
async def test_a_file_is_sent_by_its_path_with_its_length(
    announced: bool, path: Path, in_real_time: Serving
) -> None:
    headers = [(b"content-length", b"%d" % len(CONTENT))] if announced else []
    async with in_real_time(sending({**START, "headers": headers}, pathsend(str(path)))) as server:
        client = await server.connect()
        for _ in range(2):
            response = await client.request()
            assert response.body == CONTENT
            assert response.headers[b"content-length"] == b"%d" % len(CONTENT)


async def test_a_head_has_the_files_length_and_no_body(path: Path, in_real_time: Serving) -> None:
    async with in_real_time(sending(START, pathsend(str(path)))) as server:
        client = await server.connect()
        for _ in range(2):
            response = await client.request(method="HEAD")
            assert response.headers[b"content-length"] == b"%d" % len(CONTENT)
            assert (response.body, client.pending) == (b"", b"")


async def test_an_empty_file_is_an_empty_body(tmp_path: Path, in_real_time: Serving) -> None:
    (tmp_path / "empty").touch()
    async with in_real_time(sending(START, pathsend(str(tmp_path / "empty")))) as server:
        client = await server.connect()
        for _ in range(2):
            assert (await client.request()).headers[b"content-length"] == b"0"


async def test_http_1_0_gets_a_file_too(path: Path, in_real_time: Serving) -> None:
    async with in_real_time(sending(START, pathsend(str(path)))) as server:
        client = await server.connect()
        await client.send(get(version="1.0"))
        assert (await client.rest()).partition(b"\r\n\r\n")[2] == CONTENT


async def test_trailers_may_follow_a_file(path: Path, in_real_time: Serving) -> None:
    trailers = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}
    app = sending({**START, "trailers": True}, pathsend(str(path)), trailers)
    async with in_real_time(app) as server:
        response = await server.request()
    assert (response.body, response.trailers) == (CONTENT, [(b"x-sum", b"1")])


@pytest.mark.parametrize("what", ["missing", "directory", "no str", "forbidden name"])
async def test_a_path_that_cannot_be_sent_is_a_500_and_named(
    what: str, tmp_path: Path, in_real_time: Serving, errors: Errors
) -> None:
    path: object = {
        "missing": str(tmp_path / "none"),
        "directory": str(tmp_path),
        "no str": tmp_path / "none",
        "forbidden name": "a\0b",
    }[what]
    async with in_real_time(sending(START, pathsend(path))) as server:
        assert (await server.request()).status == 500
    (error,) = errors.exceptions
    assert type(error) is AppProtocolError  # an OSError would mean that the client has left


async def test_an_application_may_answer_otherwise_when_the_file_is_missing(
    in_real_time: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        with pytest.raises(AppProtocolError, match="can't be opened"):
            await send(pathsend("/nonexistent/file"))
        await send({"type": "http.response.body", "body": b"instead"})

    async with in_real_time(app) as server:
        assert (await server.request()).body == b"instead"
    assert errors.records == []


async def test_a_file_of_another_length_than_announced_is_a_500(
    path: Path, in_real_time: Serving, errors: Errors
) -> None:
    for length in (b"5", b"999999999"):
        start = {**START, "headers": [(b"content-length", length)]}
        with path.open("rb") as file:
            for message in (pathsend(str(path)), zerocopy(file, more_body=True)):
                if length != b"5" and "file" in message:
                    continue  # more may come
                async with in_real_time(sending(start, message)) as server:
                    assert (await server.request()).status == 500
    assert len(errors.records) == 3


async def test_a_file_that_is_truncated_on_its_way_never_looks_whole(
    tmp_path: Path, in_real_time: Serving, errors: Errors
) -> None:
    size = 30_000_000
    path = tmp_path / "large"
    path.write_bytes(b"x")
    os.truncate(path, size)
    async with in_real_time(sending(START, pathsend(str(path)))) as server:
        client = await server.connect()
        await client.send(get())
        await client.receive_until(b"\r\n\r\n")
        os.truncate(path, 10_000)
        assert len(await client.rest()) < size
    # A memory stream takes it all at once, before it is truncated or after.
    assert server.kind == "memory" or isinstance(errors.exceptions[0], AppProtocolError)


async def test_a_slow_reader_gets_a_big_file_whole_while_others_are_served(
    tmp_path: Path, in_real_time: Serving
) -> None:
    content = os.urandom(1 << 20) * 6
    path = tmp_path / "large"
    path.write_bytes(content)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/other":
            await ok(send)
            return
        await send(START)
        await send(pathsend(str(path)))

    async with in_real_time(app) as server:
        client = await server.connect()
        await client.send(get())
        await client.receive_until(b"\r\n\r\n")
        assert (await server.request("/other")).body == b"ok"
        assert (await client.response()).body == content


async def test_a_client_that_leaves_within_a_file_ends_its_application(
    tmp_path: Path, in_real_time: Serving, errors: Errors
) -> None:
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 1 << 30)
    ended: list[BaseException] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(START)
            await send(pathsend(str(path)))
        except BaseException as exc:
            ended.append(exc)
            raise

    async with in_real_time(app) as server:
        client = await server.connect()
        await client.send(get())
        await client.receive_until(b"\r\n\r\n")
        await client.leave()
        await until(lambda: ended)
    assert isinstance(ended[0], (OSError, trio.Cancelled))
    assert errors.records == []
