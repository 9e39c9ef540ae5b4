# SPDX-License-Identifier: MIT
"""Starlette as it is, on Trio: a lifespan with state, path parameters, a streamed response, an
upload read as it comes, a background task. The handlers use Trio directly, since it is Trio that
runs them.

trioserve starlette_app:app --app-dir examples
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, TypedDict

import trio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request


class State(TypedDict):
    greeting: str


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[State]:
    yield {"greeting": "Hello"}
    print("shut down", flush=True)


async def greet(request: Request) -> PlainTextResponse:
    name = request.path_params["name"]
    task = BackgroundTask(remember, name)
    return PlainTextResponse(f"{request.state.greeting}, {name}!\n", background=task)


async def remember(name: str) -> None:
    await trio.sleep(0.01)  # after the response: the client doesn't wait for this
    print(f"greeted {name}", flush=True)


async def count(request: Request) -> StreamingResponse:
    async def numbers() -> AsyncIterator[str]:
        for number in range(int(request.query_params.get("to", "3"))):
            yield f"{number}\n"
            await trio.lowlevel.checkpoint()

    return StreamingResponse(numbers(), media_type="text/plain")


async def digest(request: Request) -> JSONResponse:
    sha256, size = hashlib.sha256(), 0
    async for part in request.stream():
        sha256.update(part)
        size += len(part)
    return JSONResponse({"size": size, "sha256": sha256.hexdigest()})


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/greet/{name}", greet),
        Route("/count", count),
        Route("/digest", digest, methods=["POST"]),
    ],
)
