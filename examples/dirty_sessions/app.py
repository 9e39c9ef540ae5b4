# SPDX-License-Identifier: MIT
"""Sessions, counters and a rate limit in the stash, which all processes of a server share: keys
that expire by themselves, counting that doesn't race, and a value that is changed as if nobody else
were there. The tables survive the death of every worker; they don't survive the server.

make run EXAMPLE=dirty_sessions
trioserve app:app --app-dir examples/dirty_sessions --config examples/dirty_sessions/trioserve.toml
curl -c jar -b jar 'http://127.0.0.1:8000/pages/tea'
curl -c jar -b jar -X POST 'http://127.0.0.1:8000/cart/teapot'
curl 'http://127.0.0.1:8000/report'
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from trioserve.dirty import get_client
from trioserve.dirty.stash import MISSING

if TYPE_CHECKING:
    from starlette.requests import Request

SESSION_TTL = 30 * 60.0
REQUESTS_A_MINUTE = 100


async def page(request: Request) -> Response:
    stash = get_client().stash
    # An operation is atomic: of a hundred visitors at once none is lost.
    visits = await stash.incr("visits", request.path_params["name"])
    return JSONResponse({"visits": visits, "cart": (await session_of(request))["cart"]})


async def add_to_cart(request: Request) -> Response:
    # The window begins with the first request in it, and is forgotten a minute later.
    address = request.client.host if request.client else "unix"
    if await get_client().stash.incr("requests", address, ttl=60) > REQUESTS_A_MINUTE:
        return JSONResponse({"error": "too many requests"}, 429, {"retry-after": "60"})
    key = request.cookies.get("session", "")
    if not await get_client().stash.exists("sessions", key):
        key = secrets.token_urlsafe()  # nobody chooses the key of a session but the server
    session = await add_item(key, request.path_params["item"])
    response = JSONResponse({"cart": session["cart"]})
    response.set_cookie("session", key, httponly=True, samesite="lax")
    return response


async def add_item(key: str, item: str) -> dict[str, Any]:
    """Two tabs that add to one cart at the same time both succeed: who comes second tries again."""
    sessions = get_client().stash.table("sessions")
    while True:
        old = await sessions.get(key, MISSING)
        new = {"cart": [item] if old is MISSING else [*old["cart"], item]}
        if await sessions.compare_and_swap(key, old, new, ttl=SESSION_TTL):
            return new


async def session_of(request: Request) -> dict[str, Any]:
    """The visitor's session, good for another half hour from now."""
    sessions = get_client().stash.table("sessions")
    key = request.cookies.get("session")
    if key is None or not await sessions.expire(key, SESSION_TTL):
        return {"cart": []}
    session: dict[str, Any] = await sessions.get(key, {"cart": []})
    return session


async def logout(request: Request) -> Response:
    await get_client().stash.delete("sessions", request.cookies.get("session", ""))
    response = Response(status_code=204)
    response.delete_cookie("session")
    return response


async def report(request: Request) -> Response:
    client = get_client()
    return JSONResponse(
        {
            "busiest": await client.execute("visits:Report", "busiest"),
            "carts": await client.execute("visits:Report", "carts"),
        }
    )


app = Starlette(
    routes=[
        Route("/pages/{name}", page),
        Route("/cart/{item}", add_to_cart, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
        Route("/report", report),
    ]
)
