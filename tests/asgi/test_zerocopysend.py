# SPDX-License-Identifier: MIT
"""Bodies from open files: ``http.response.zerocopysend``."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import pytest

from trioserve.errors import AppProtocolError

from .test_files import CONTENT, END, START, path, sending, zerocopy

if TYPE_CHECKING:
    from pathlib import Path

    from trioserve.types import Receive, Scope, Send

    from .conftest import Errors, Serving

__all__ = ["path"]  # a fixture


@pytest.mark.parametrize(
    ("position", "more", "expected"),
    [
        (0, {}, CONTENT),
        (7, {}, CONTENT[7:]),
        (7, {"offset": 0}, CONTENT),
        (0, {"offset": 100}, CONTENT[100:]),
        (0, {"count": 10}, CONTENT[:10]),
        (5, {"offset": 256, "count": 3}, CONTENT[256:259]),
        (0, {"count": 10**9}, CONTENT),
        (0, {"count": 0}, b""),
        (0, {"offset": 10**9}, b""),
        (len(CONTENT), {}, b""),
    ],
)
async def test_a_part_of_a_file_is_what_offset_and_count_say(
    position: int, more: dict[str, int], expected: bytes, path: Path, in_real_time: Serving
) -> None:
    with path.open("rb") as file:
        file.seek(position)
        async with in_real_time(sending(START, zerocopy(file, **more))) as server:
            response = await server.request()
    assert response.body == expected
    assert response.headers[b"content-length"] == b"%d" % len(expected)


async def test_messages_without_an_offset_go_on_where_the_last_one_ended(
    path: Path, in_real_time: Serving
) -> None:
    with path.open("rb") as file:
        parts = [
            zerocopy(file, count=10, more_body=True),
            zerocopy(file, count=0, more_body=True),
            zerocopy(file, offset=1000, count=5, more_body=True),
            {"type": "http.response.body", "body": b"|mid|", "more_body": True},
            zerocopy(file, count=90_000, more_body=True),
        ]
        async with in_real_time(sending(START, *parts, END)) as server:
            response = await server.request()
    assert response.headers[b"transfer-encoding"] == b"chunked"
    expected = CONTENT[:10] + CONTENT[1000:1005] + b"|mid|" + CONTENT[10:90_010] + b"|end"
    assert response.body == expected


async def test_a_content_length_frames_several_messages(path: Path, in_real_time: Serving) -> None:
    start = {**START, "headers": [(b"content-length", b"14")]}
    with path.open("rb") as file:
        app = sending(start, zerocopy(file, count=10, more_body=True), END)
        async with in_real_time(app) as server:
            response = await server.request()
    assert response.body == CONTENT[:10] + b"|end"


@pytest.mark.parametrize(
    "make",
    [
        lambda path: zerocopy(io.BytesIO(b"x")),
        lambda path: zerocopy(None),
        lambda path: zerocopy(str(path)),
        lambda path: zerocopy(5),
        lambda path: zerocopy(_closed(path)),
        lambda path: zerocopy(os.fdopen(os.pipe()[0], "rb")),
        lambda path: zerocopy(path.open("rb"), offset=-1),
        lambda path: zerocopy(path.open("rb"), count=-1),
        lambda path: zerocopy(path.open("rb"), offset="0"),
        lambda path: zerocopy(path.open("rb"), count=1.5),
    ],
    ids=["BytesIO", "None", "str", "int", "closed", "pipe", "offset", "count", "str", "float"],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_what_is_no_file_to_send_from_is_refused_and_the_response_can_still_come(
    make: Any, path: Path, in_real_time: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        with pytest.raises(AppProtocolError):
            await send(make(path))
        await send({"type": "http.response.body", "body": b"instead"})

    async with in_real_time(app) as server:
        assert (await server.request()).body == b"instead"
    assert errors.records == []


def _closed(path: Path) -> object:
    with path.open("rb") as file:
        return file
