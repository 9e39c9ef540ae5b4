# SPDX-License-Identifier: MIT
"""Blocking work with state that is loaded once, in worker processes beside the server: the handlers
await its results, give each call a time, and tell their clients when there is too much of it.

make run EXAMPLE=dirty_compute
trioserve app:app --app-dir examples/dirty_compute --config examples/dirty_compute/trioserve.toml
curl 'http://127.0.0.1:8000/factor/600851475143'
curl 'http://127.0.0.1:8000/factor/1000000016000000063?timeout=2'    # 504
curl -d 'correct horse' 'http://127.0.0.1:8000/hash'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from trioserve.dirty import DirtyAppError, DirtyOverloadedError, DirtyTimeoutError, get_client

if TYPE_CHECKING:
    from starlette.requests import Request


async def factor(request: Request) -> JSONResponse:
    timeout = float(request.query_params.get("timeout", "5"))  # the wait for a worker included
    number = request.path_params["number"]
    result = await get_client().execute("primes:Primes", "factor", number, timeout=timeout)
    return JSONResponse(result)


async def nth(request: Request) -> JSONResponse:
    try:
        prime = await get_client().execute("primes:Primes", "nth", request.path_params["place"])
    except DirtyAppError as exc:  # the action raised: what it raised comes by its name
        if exc.exception_type != "LookupError":
            raise
        return JSONResponse({"error": "there is no such prime here"}, 404)
    return JSONResponse({"prime": prime})


async def hash_password(request: Request) -> JSONResponse:
    password = (await request.body()).decode()
    stored = await get_client().execute("primes:Passwords", "hash", password)
    right = await get_client().execute("primes:Passwords", "verify", password, stored)
    return JSONResponse({"hash": stored, "verified": right})


async def status(request: Request) -> JSONResponse:
    return JSONResponse((await get_client().status())["apps"])


async def too_slow(request: Request, exc: Exception) -> JSONResponse:
    return JSONResponse({"error": str(exc)}, 504)


async def too_much(request: Request, exc: Exception) -> JSONResponse:
    """The queue is full, and to say so takes no time: the clients know, and nothing piles up."""
    return JSONResponse({"error": str(exc)}, 503, {"retry-after": "1"})


app = Starlette(
    routes=[
        Route("/factor/{number:int}", factor),
        Route("/nth/{place:int}", nth),
        Route("/hash", hash_password, methods=["POST"]),
        Route("/status", status),
    ],
    exception_handlers={DirtyTimeoutError: too_slow, DirtyOverloadedError: too_much},
)
