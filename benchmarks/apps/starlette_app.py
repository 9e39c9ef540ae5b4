# SPDX-License-Identifier: MIT
"""One Starlette app for every server. Nothing in it names an event loop, so it runs on both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

MEBIBYTE = 1 << 20
LARGE = bytes(MEBIBYTE)
CHUNK = bytes(MEBIBYTE // 64)


def records() -> list[dict[str, Any]]:
    """A payload of common shapes that json.dumps turns into 10 KiB, give or take a record."""
    return [
        {
            "id": number,
            "name": f"item {number:04}",
            "price": number * 1.25,
            "tags": ["first", "second", "third"],
            "active": number % 2 == 0,
            "parent": None,
        }
        for number in range(97)
    ]


RECORDS = records()


async def index(_request: Request) -> Response:
    return PlainTextResponse("Hello, world!")


async def json(_request: Request) -> Response:
    return JSONResponse(RECORDS)


async def large(_request: Request) -> Response:
    return Response(LARGE, media_type="application/octet-stream")


async def stream(_request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield CHUNK

    return StreamingResponse(chunks(), media_type="application/octet-stream")


async def upload(request: Request) -> Response:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return PlainTextResponse(str(size))


app = Starlette(
    routes=[
        Route("/", index),
        Route("/json", json),
        Route("/large", large),
        Route("/stream", stream),
        Route("/upload", upload, methods=["POST"]),
    ]
)
