# SPDX-License-Identifier: MIT
"""Tests of an application on the real server, without sockets and without waiting.
``open_test_server`` runs everything but the sockets in the test's own Trio loop; pytest-trio's
``autojump_clock`` skips each wait that is the only thing left to do, so that hours take
milliseconds.

pytest examples/testing_an_app.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from trioserve.testing import open_test_server

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trioserve.types import Receive, Scope, Send


class Kitchen:
    """The application under test: an order takes an hour, unless its client leaves."""

    def __init__(self) -> None:
        self.abandoned_at: float | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError("only HTTP is spoken here")
        try:
            await trio.sleep(3600)
        except trio.Cancelled:
            self.abandoned_at = trio.current_time()
            raise
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"one soup\n"})


@pytest.mark.trio
async def test_an_order_is_served_after_an_hour(autojump_clock: MockClock) -> None:
    async with open_test_server(Kitchen()) as server:
        began = trio.current_time()
        response = await server.request("GET", "/soup")
        assert (response.status, response.body) == (200, b"one soup\n")
        assert trio.current_time() - began == pytest.approx(3600)


@pytest.mark.trio
async def test_an_order_is_abandoned_three_seconds_after_its_client_left(
    autojump_clock: MockClock,
) -> None:
    kitchen = Kitchen()
    async with open_test_server(kitchen, asgi_disconnect_grace_period=3) as server:
        client = server.connect()
        await client.send_request("GET", "/soup")
        await trio.sleep(60)
        await client.aclose()
        left_at = trio.current_time()
        await trio.sleep(60)
        assert kitchen.abandoned_at == pytest.approx(left_at + 3)
