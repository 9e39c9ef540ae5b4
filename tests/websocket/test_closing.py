# SPDX-License-Identifier: MIT
"""How a WebSocket ends, from either side, in order and otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from trioserve.errors import AppProtocolError

from .apps import Recorder, accept, echo
from .frames import CLOSE, PING, TEXT, close_payload, frame

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send

    from .conftest import Serving


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999])
async def test_the_clients_code_and_reason_reach_the_application(
    serving: Serving, code: int
) -> None:
    if serving.engine == "trio-websocket" and code == 1014:
        pytest.skip("the library knows no later code")
    app = Recorder()
    async with serving(app) as server:
        client = await server.open()
        answer = await client.close(code, "größer")
        assert (answer.code, answer.reason) == (code, "größer")
        assert await client.ended()
        assert not client.was_reset
        await server.gone()
    assert (app.code, app.reason) == (code, "größer")


async def test_a_close_frame_without_a_code_is_1005(serving: Serving) -> None:
    app = Recorder()
    async with serving(app) as server:
        client = await server.open()
        await client.send_frame(CLOSE)
        assert (await client.closing()).code in (1000, 1005)
        assert await client.ended()
        await server.gone()
    assert (app.code, app.reason) == (1005, "")


async def test_the_applications_code_and_reason_reach_the_client(serving: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await send({"type": "websocket.close", "code": 4321, "reason": "that is all"})
        with pytest.raises(OSError, match="closed"):
            await send({"type": "websocket.send", "text": "more"})
        with pytest.raises(OSError, match="closed"):
            await send({"type": "websocket.close"})
        assert await receive() == {
            "type": "websocket.disconnect",
            "code": 4321,
            "reason": "that is all",
        }

    async with serving(app) as server:
        client = await server.open()
        closing = await client.closing()
        assert (closing.code, closing.reason) == (4321, "that is all")
        await client.send_frame(CLOSE, close_payload(4321))
        assert await client.ended()
        assert not client.was_reset


async def test_a_long_reason_is_cut_at_a_character(serving: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await send({"type": "websocket.close", "reason": "x" + "ö" * 100})

    async with serving(app) as server:
        client = await server.open()
        closing = await client.closing()
        assert (closing.code, closing.reason) == (1000, "x" + "ö" * 61)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, "1000", 1000.5, -1])
async def test_codes_that_no_close_frame_may_have_are_refused(
    serving: Serving, code: object
) -> None:
    errors: list[AppProtocolError] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        try:
            await send({"type": "websocket.close", "code": code})
        except AppProtocolError as exc:
            errors.append(exc)
        await send({"type": "websocket.send", "text": "still open"})

    async with serving(app) as server:
        client = await server.open()
        assert await client.message() == "still open"
        assert (await client.closing()).code == 1000
    assert repr(code) in str(errors[0])


async def test_an_application_that_returns_closes_with_1000(serving: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)

    async with serving(app) as server:
        client = await server.open()
        closing = await client.closing()
        assert (closing.code, closing.reason) == (1000, "")


async def test_an_application_that_raises_closes_with_1011(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        raise ZeroDivisionError("a secret")

    async with serving(app) as server:
        client = await server.open()
        closing = await client.closing()
        assert (closing.code, closing.reason) == (1011, "")
        await client.send_frame(CLOSE, close_payload(1011))
        assert await client.ended()
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert errors[0].exc_info is not None
    assert isinstance(errors[0].exc_info[1], ZeroDivisionError)


@pytest.mark.parametrize("how", ["eof", "leaves", "resets"])
async def test_a_client_that_goes_without_a_word_is_1006(serving: Serving, how: str) -> None:
    app = Recorder()
    async with serving(app) as server:
        client = await server.open()
        await client.echo("text")
        if how == "eof":
            await client.send_eof()
            await client.ended()
        else:
            await client.leave(reset=how == "resets")
        await server.gone()
    assert (app.code, app.reason) == (1006, "")


async def test_sending_to_a_client_that_is_gone_raises_an_oserror(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        while True:
            await send({"type": "websocket.send", "bytes": b"x" * 1000})
            await trio.sleep(0.01)

    caplog.set_level("INFO", "trioserve.error")
    async with serving(app) as server:
        client = await server.open()
        await client.leave(reset=True)
        await server.gone()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert "the application ended with ClientDisconnectedError" in caplog.text


async def test_an_application_has_its_grace_when_its_client_goes(serving: Serving) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        began = trio.current_time()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            seen.append(trio.current_time() - began)
            raise

    async with serving(app, asgi_disconnect_grace_period=7) as server:
        client = await server.open()
        await client.leave()
        await server.gone()
    assert len(seen) == 1
    assert 7 <= seen[0] < 10


async def test_what_came_before_the_end_is_received_first(serving: Serving) -> None:
    go_on = trio.Event()
    got: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await go_on.wait()
        while (message := await receive())["type"] == "websocket.receive":
            got.append(message["text"])
        got.append(message["code"])
        got.append((await receive())["code"])

    async with serving(app) as server:
        client = await server.open()
        await client.send("a")
        await client.send("b")
        assert (await client.close(4000)).code == 4000
        go_on.set()
        await server.gone()
    assert got == ["a", "b", 4000, 4000]


async def test_a_client_that_does_not_answer_our_close_is_left(serving: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)

    async with serving(app, websocket_close_timeout=4) as server:
        client = await server.open()
        began = trio.current_time()
        await client.closing()
        assert await client.ended()
        assert 4 <= trio.current_time() - began < 6


async def test_what_comes_after_our_close_is_dropped_until_the_clients(serving: Serving) -> None:
    app_over = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await send({"type": "websocket.close"})
        app_over.set()

    async with serving(app) as server:
        client = await server.open()
        await client.closing()
        await app_over.wait()
        began = trio.current_time()
        await client.send_bytes(b"".join(frame(TEXT, b"late") for _ in range(100)))
        await client.send_frame(CLOSE, close_payload(1000))
        assert await client.ended()
        assert trio.current_time() - began < 4
        assert not client.was_reset


async def test_a_ping_after_our_close_does_no_harm(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)

    async with serving(app) as server:
        client = await server.open()
        await client.closing()
        await client.send_frame(PING, b"late")
        await client.send_frame(CLOSE, close_payload(1000))
        assert await client.ended()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_both_sides_may_close_at_once(serving: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await receive()
        await send({"type": "websocket.close", "code": 4001})

    async with serving(app) as server:
        client = await server.open()
        await client.send_bytes(frame(TEXT, b"x") + frame(CLOSE, close_payload(4002)))
        assert (await client.closing()).code in (4001, 4002)
        assert await client.ended()


async def test_the_end_is_prompt_after_the_closing_handshake(serving: Serving) -> None:
    async with serving(echo) as server:
        client = await server.open()
        began = trio.current_time()
        await client.close()
        assert await client.ended()
        assert trio.current_time() - began < 1


async def test_a_stop_closes_with_1012(serving: Serving) -> None:
    app = Recorder()
    async with trio.open_nursery() as nursery:
        closed = trio.Event()

        async with serving(app, clients_leave=False) as server:
            client = await server.open()
            assert await client.echo("text") == "text"

            async def watch() -> None:
                closing = await client.closing()
                assert closing.code == 1012
                await client.send_frame(CLOSE, close_payload(1012))
                assert await client.ended()
                closed.set()

            nursery.start_soon(watch)
        began = trio.current_time()
        await closed.wait()
        assert trio.current_time() - began < 5
    assert app.code == 1012


async def test_a_stop_is_bounded_by_graceful_timeout(serving: Serving) -> None:
    """Whatever the application and the client do."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        while True:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            await trio.lowlevel.checkpoint()

    options: dict[str, Any] = {"graceful_timeout": 6, "asgi_disconnect_grace_period": 100}
    async with serving(app, clients_leave=False, **options) as server:
        await server.open()
        began = trio.current_time()
    assert 5 < trio.current_time() - began < 12


async def test_a_websocket_that_is_accepted_during_a_stop_is_closed_at_once(
    serving: Serving,
) -> None:
    stopping = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await stopping.wait()
        await send({"type": "websocket.accept"})
        assert (await receive())["code"] == 1012

    async with trio.open_nursery() as nursery, serving(app, clients_leave=False) as server:
        client = server.client()
        await client.ask()
        await trio.testing.wait_all_tasks_blocked()

        async def watch() -> None:
            await trio.sleep(1)
            stopping.set()
            await client.answer()
            assert (await client.closing()).code == 1012
            await client.send_frame(CLOSE, close_payload(1012))

        nursery.start_soon(watch)
