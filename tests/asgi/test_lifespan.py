# SPDX-License-Identifier: MIT
"""The lifespan around a server: when it runs, in which order, and what it hands on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

import trioserve
from trioserve.errors import AppProtocolError
from trioserve.testing import open_test_server

from .harness import ok

if TYPE_CHECKING:
    from trioserve.types import Message, Receive, Scope, Send

    from .conftest import Errors, Serving

COMPLETE: Message = {"type": "lifespan.startup.complete"}
DOWN: Message = {"type": "lifespan.shutdown.complete"}


class App:
    """An application with a lifespan; it notes what happens, in order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["type"] != "lifespan":
            self.log.append(scope["path"])
            await ok(send)
            return
        scope["state"]["shared"] = []
        scope["state"]["number"] = 1
        self.log.append((await receive())["type"])
        await trio.sleep(1)
        self.log.append("up")
        await send(COMPLETE)
        self.log.append((await receive())["type"])
        await trio.sleep(1)
        self.log.append("down")
        await send(DOWN)


WHOLE = ["lifespan.startup", "up", "/", "lifespan.shutdown", "down"]


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_startup_comes_before_the_first_request_and_shutdown_after_the_last(
    mode: Any, in_memory: Serving
) -> None:
    app = App()
    async with open_test_server(app, lifespan=mode) as server:
        assert app.log == WHOLE[:2]
        await server.request("GET", "/")
    assert app.log == WHOLE


async def test_off_never_calls_the_application(in_memory: Serving) -> None:
    app = App()
    async with open_test_server(app, lifespan="off") as server:
        await server.request("GET", "/")
    assert app.log == ["/"]


async def test_its_scope_is_the_specifications(in_memory: Serving) -> None:
    app = App()
    async with open_test_server(app):
        pass
    assert app.scopes == [
        {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": {"shared": [], "number": 1},
        }
    ]


async def test_each_request_gets_a_shallow_copy_of_the_state(in_memory: Serving) -> None:
    states: list[dict[str, Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(scope, receive, send)
            return
        states.append(dict(scope["state"]))
        scope["state"]["number"] += 1
        scope["state"]["own"] = True
        scope["state"]["shared"].append(scope["path"])
        await ok(send)

    lifespan = App()
    async with open_test_server(app) as server:
        client = server.connect()
        for path in ("/1", "/2"):
            await client.request("GET", path)
        await server.request("GET", "/3")
    assert [state["number"] for state in states] == [1, 1, 1]
    assert [sorted(state) for state in states] == [["number", "shared"]] * 3
    assert states[0]["shared"] is states[2]["shared"]
    assert states[0]["shared"] == ["/1", "/2", "/3"]


async def test_state_is_there_without_a_lifespan(in_memory: Serving) -> None:
    app = App()
    async with open_test_server(app, lifespan="off") as server:
        await server.request("GET", "/")
    assert app.scopes[0]["state"] == {}


async def _raises(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http", "only http is known here"
    await ok(send)


async def _raises_after_receive(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        raise ValueError("no lifespan here")
    await ok(send)


async def _raises_a_group(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_raises, scope, receive, send)
            await trio.sleep_forever()
    await ok(send)


async def _returns(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await ok(send)


async def _answers_http(scope: Scope, receive: Receive, send: Send) -> None:
    await ok(send)


UNSUPPORTED = [_raises, _raises_after_receive, _raises_a_group, _returns, _answers_http]


@pytest.mark.parametrize("app", UNSUPPORTED, ids=lambda app: app.__name__)
async def test_auto_goes_on_without_a_lifespan_that_is_not_there(
    app: Any, in_memory: Serving, errors: Errors
) -> None:
    async with open_test_server(app, lifespan="auto") as server:
        assert (await server.request("GET", "/")).body == b"ok"
    assert errors.records == []


@pytest.mark.parametrize("app", UNSUPPORTED, ids=lambda app: app.__name__)
async def test_on_takes_a_lifespan_that_is_not_there_for_a_failed_startup(
    app: Any, in_memory: Serving
) -> None:
    with pytest.raises(trioserve.StartupError, match="lifespan startup"):
        async with open_test_server(app, lifespan="on"):
            raise AssertionError("it is up")


async def test_an_application_that_returns_after_startup_is_served_and_not_asked_again(
    in_memory: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await ok(send)
            return
        await receive()
        await send(COMPLETE)

    async with open_test_server(app, lifespan="on") as server:
        assert (await server.request("GET", "/")).body == b"ok"
    assert errors.records == []


async def test_a_lifespan_that_breaks_after_startup_is_logged_and_requests_go_on(
    in_memory: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await ok(send)
            return
        await receive()
        await send(COMPLETE)
        raise ValueError("broken")

    async with open_test_server(app) as server:
        assert (await server.request("GET", "/")).body == b"ok"
    assert [type(error) for error in errors.exceptions] == [ValueError]


async def test_shutdown_runs_when_serve_is_cancelled(in_memory: Serving) -> None:
    app = App()
    config = trioserve.Config(bind=["127.0.0.1:0"])
    async with trio.open_nursery() as nursery:
        await nursery.start(trioserve.serve, app, config)
        begun = trio.current_time()
        nursery.cancel_scope.cancel()
    assert app.log == [entry for entry in WHOLE if entry != "/"]
    assert trio.current_time() - begun == pytest.approx(1)


async def test_shutdown_runs_after_the_block_of_a_test_fails(in_memory: Serving) -> None:
    app = App()
    with pytest.raises(ValueError, match="of the block"):
        async with open_test_server(app):
            raise ValueError("of the block")
    assert app.log[-1] == "down"


ILLEGAL: list[Any] = [
    {"type": "http.response.start", "status": 200},
    {"type": "lifespan.startup"},
    {"type": "lifespan.shutdown"},
    {"type": "lifespan.startup.done"},
    {"type": "lifespan.shutdown.complete"},
    {"type": "lifespan.shutdown.failed"},
    {"type": None},
    {},
    None,
    "lifespan.startup.complete",
]


@pytest.mark.parametrize("message", ILLEGAL, ids=repr)
async def test_an_illegal_lifespan_message_is_named_and_harms_nothing(
    message: Any, in_memory: Serving, errors: Errors
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        for answer in (COMPLETE, DOWN):
            with pytest.raises(AppProtocolError) as info:
                await send(message if answer is COMPLETE else COMPLETE)
            if answer is COMPLETE:
                assert repr(message) in str(info.value)
            assert "lifespan.startup.complete" in str(info.value)
            await send(answer)
            await receive() if answer is COMPLETE else None

    async with open_test_server(app, lifespan="on"):
        pass
    assert errors.records == []
