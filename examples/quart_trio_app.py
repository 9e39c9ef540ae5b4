# SPDX-License-Identifier: MIT
"""Quart-Trio, the Quart whose handlers are Trio's: a nursery inside of a request, a streamed
response, and hooks around serving.

trioserve quart_trio_app:app --app-dir examples
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from quart import request
from quart_trio import QuartTrio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

app = QuartTrio(__name__)


@app.before_serving
async def open_everything() -> None:
    print("before serving", flush=True)


@app.after_serving
async def close_everything() -> None:
    print("after serving", flush=True)


@app.get("/together")
async def together() -> dict[str, Any]:
    """Two things at the same time; the answer has both."""
    results: dict[str, int] = {}

    async def look_up(name: str) -> None:
        await trio.sleep(0.01)
        results[name] = len(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look_up, "one")
        nursery.start_soon(look_up, "three")
    return results


@app.post("/echo")
async def echo() -> dict[str, Any]:
    return {"you sent": await request.get_json()}


@app.get("/count")
async def count() -> tuple[AsyncIterator[str], dict[str, str]]:
    async def numbers() -> AsyncIterator[str]:
        for number in range(3):
            yield f"{number}\n"
            await trio.sleep(0.01)

    return numbers(), {"content-type": "text/plain"}
