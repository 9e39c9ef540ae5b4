# SPDX-License-Identifier: MIT
"""An ASGI application for tests of whole servers: each path calls an action of a dirty app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.dirty_http_actions import tell
from trioserve.dirty import get_blocking_client, get_client

if TYPE_CHECKING:
    from starlette.requests import Request

    from trioserve.types import Receive, Scope, Send

__all__ = ["app"]

ACTIONS = "tests.dirty_http_actions:Actions"


async def call(request: Request) -> Response:
    """The action of the path, with the query's ``arg`` if it has one."""
    client = request.scope["extensions"]["trioserve.dirty"]["client"]
    action = request.path_params["action"]
    try:
        result = await client.execute(ACTIONS, action, *request.query_params.getlist("arg"))
    except trio.Cancelled:
        tell(f"request of {action} cancelled")
        raise
    return JSONResponse({"result": result})


async def call_and_watch(request: Request) -> Response:
    """As ``call``, and tells when it hears that the client has left."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass  # the request's body
        tell("the client has left")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        response = await call(request)
        nursery.cancel_scope.cancel()
    return response


class Stream:
    """The items of a generator as the body of a response; to be returned by a handler."""

    def __init__(self, action: str, *args: str) -> None:
        self._action = action
        self._args = args

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with get_client().stream(ACTIONS, self._action, *self._args) as items:
            await send({"type": "http.response.start", "status": 200})
            async for item in items:
                body = item.encode()
                await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body"})


async def stream(request: Request) -> Any:
    return Stream(request.path_params["action"], *request.query_params.getlist("arg"))


async def same_client(request: Request) -> Response:
    client = request.scope["extensions"]["trioserve.dirty"]["client"]
    assert get_client() is client
    return PlainTextResponse(await client.execute(ACTIONS, "echo", "the same\n"))


def in_a_thread(request: Request) -> Response:
    """A plain ``def`` endpoint, which Starlette runs in a thread."""
    return PlainTextResponse(get_blocking_client().execute(ACTIONS, "echo", "from a thread\n"))


async def status(request: Request) -> Response:
    return JSONResponse(await get_client().status())


app = Starlette(
    routes=[
        Route("/call/{action}", call),
        Route("/watch/{action}", call_and_watch),
        Route("/stream/{action}", stream),
        Route("/same_client", same_client),
        Route("/in_a_thread", in_a_thread),
        Route("/status", status),
    ]
)
