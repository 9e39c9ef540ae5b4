# SPDX-License-Identifier: MIT
"""FastAPI as it is, on Trio: a validated body, a dependency that cleans up, and two fetches at
the same time in a nursery. A plain ``def`` runs in one of Trio's threads.

trioserve fastapi_app:app --app-dir examples     # then look at http://127.0.0.1:8000/docs
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import trio
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PRICES = {"tea": 3, "cake": 4}

app = FastAPI(title="Orders")


class Order(BaseModel):
    item: str
    quantity: int = Field(gt=0)


class Session:
    """Stands for a database's session."""

    async def fetch_price(self, item: str) -> int:
        await trio.sleep(0.01)
        if item not in PRICES:
            raise HTTPException(404, f"there is no {item}")
        return PRICES[item]

    async def fetch_discount(self, quantity: int) -> int:
        await trio.sleep(0.01)
        return 1 if quantity >= 10 else 0


async def open_session() -> AsyncIterator[Session]:
    try:
        yield Session()
    finally:
        print("session closed", flush=True)


@app.post("/orders", status_code=201)
async def create_order(
    order: Order, session: Annotated[Session, Depends(open_session)]
) -> dict[str, int]:
    price = await session.fetch_price(order.item)
    discounts: list[int] = []

    async def look_up_discount() -> None:
        discounts.append(await session.fetch_discount(order.quantity))

    async with trio.open_nursery() as nursery:  # there would be more than one to look up
        nursery.start_soon(look_up_discount)
    return {"total": order.quantity * (price - sum(discounts))}


@app.get("/thread")
def in_a_thread() -> dict[str, bool]:
    return {"in_trio_thread": trio.from_thread.run_sync(lambda: True)}
