# SPDX-License-Identifier: MIT
"""The opening handshake, as the application and the client see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from trioserve.errors import AppProtocolError

from .apps import Recorder, accept, echo
from .client import KEY

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send

    from .conftest import Serving


async def test_the_scope_tells_of_the_request(serving: Serving) -> None:
    app = Recorder()
    async with serving(app, root_path="/mounted") as server:
        client = await server.open(
            "/a%20b?c=%20d",
        )
        await client.close()
    (scope,) = app.scopes
    secure = serving.kind == "tls"
    assert scope["type"] == "websocket"
    assert scope["asgi"]["version"] == "3.0"
    assert scope["http_version"] == serving.version
    assert scope["scheme"] == ("wss" if secure else "ws")
    assert scope["path"] == "/mounted/a b"
    assert scope["raw_path"] == b"/mounted/a%20b"
    assert scope["query_string"] == b"c=%20d"
    assert scope["root_path"] == "/mounted"
    assert (b"host", b"test") in scope["headers"]
    assert (b"sec-websocket-version", b"13") in scope["headers"]
    assert scope["subprotocols"] == []
    assert len(scope["client"]) == len(scope["server"]) == 2
    assert scope["state"] == {}
    assert "method" not in scope
    assert scope["extensions"]["websocket.http.response"] == {}
    assert ("tls" in scope["extensions"]) == secure
    assert isinstance(scope["extensions"]["trioserve"]["cancel_scope"], trio.CancelScope)


async def test_a_subprotocol_is_chosen_and_headers_are_added(serving: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["subprotocols"] == ["one", "two", "three"]
        headers = [(b"X-Header", b"value"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        await accept(receive, send, subprotocol="two", headers=headers)

    async with serving(app) as server:
        client = server.client()
        answer = await client.open(
            "/", ("sec-websocket-protocol", "one, two"), ("sec-websocket-protocol", "three")
        )
        assert answer.headers[b"sec-websocket-protocol"] == b"two"
        assert answer.headers[b"x-header"] == b"value"
        assert answer.headers[b"server"] == b"trioserve"
        assert b"date" in answer.headers
        assert b"content-length" not in answer.headers
        assert b"sec-websocket-extensions" not in answer.headers
        assert (await client.closing()).code == 1000


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ({"subprotocol": "three"}, "one, two"),
        ({"subprotocol": 5}, "subprotocol"),
        ({"headers": [(b"sec-websocket-accept", b"x")]}, "sec-websocket-accept"),
        ({"headers": [(b"Sec-WebSocket-Protocol", b"one")]}, "Sec-WebSocket-Protocol"),
        ({"headers": [(b"connection", b"close")]}, "connection"),
        ({"headers": [(b"x", b"a\r\nb: c")]}, "CR, LF"),
        ({"headers": [("x", "text")]}, "must be bytes holding a token"),
        ({"headers": 5}, "malformed"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_an_accept_may_not_say_is_refused(
    serving: Serving, message: dict[str, Any], what: str
) -> None:
    errors: list[AppProtocolError] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await send({"type": "websocket.accept", **message})
        except AppProtocolError as exc:
            errors.append(exc)
        await send({"type": "websocket.accept"})  # nothing was sent of it

    async with serving(app) as server:
        client = server.client()
        await client.open("/", ("sec-websocket-protocol", "one, two"))
        assert (await client.closing()).code == 1000
    (error,) = errors
    assert what in str(error)


async def test_a_close_instead_of_an_accept_is_a_403(serving: Serving) -> None:
    events = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 4000, "reason": "unheard"})
        events.append(await receive())
        with pytest.raises(OSError, match="closed"):
            await send({"type": "websocket.accept"})

    async with serving(app) as server:
        client = server.client()
        await client.ask()
        assert (await client.answer()).status == 403
    assert events == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


async def test_a_denial_may_have_headers_and_a_body(serving: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(
            {
                "type": "websocket.http.response.start",
                "status": 429,
                "headers": [(b"retry-after", b"5"), (b"content-length", b"10")],
            }
        )
        await send({"type": "websocket.http.response.body", "body": b"not ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"now, t", "more_body": False})

    async with serving(app) as server:
        client = server.client()
        await client.ask()
        answer = await client.answer()
        assert (answer.status, answer.body) == (429, b"not now, t")
        assert answer.headers[b"retry-after"] == b"5"


async def test_a_denial_without_a_body_is_whole(serving: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body"})

    async with serving(app) as server:
        client = server.client()
        await client.ask()
        assert (await client.answer()).status == 401


@pytest.mark.parametrize("how", ["returns", "raises"])
async def test_an_application_that_does_not_answer_is_a_500(
    serving: Serving, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if how == "raises":
            raise ZeroDivisionError("a secret")

    async with serving(app) as server:
        client = server.client()
        await client.ask()
        answer = await client.answer()
    assert answer.status == 500
    assert b"secret" not in answer.body
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert "WEBSOCKET /" in errors[0].message.upper()


async def test_a_denial_that_is_not_finished_is_never_faked(serving: Serving) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 400, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"half", "more_body": True})

    async with serving(app) as server:
        client = server.client()
        await client.ask()
        if serving.version == "1.1":
            assert b"0\r\n\r\n" not in await client.raw.rest()
        else:
            await client.answer()
            assert client.was_reset


async def test_an_application_that_never_answers_is_cancelled(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await trio.sleep_forever()

    async with serving(app, websocket_handshake_timeout=5) as server:
        began = trio.current_time()
        client = server.client()
        await client.ask()
        answer = await client.answer()
        assert answer.status == 503
        assert 5 <= trio.current_time() - began < 8
    assert "did not answer the WebSocket / in time" in caplog.text


async def test_a_client_may_leave_before_the_answer(serving: Serving) -> None:
    events: list[Any] = []
    began = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        events.append(await receive())
        began.set()
        events.append(await receive())
        with pytest.raises(OSError, match="closed"):
            await send({"type": "websocket.accept"})
        events.append("end")

    async with serving(app) as server:
        client = server.client()
        await client.ask()
        await began.wait()
        await client.leave()
        await server.service.all_closed() if serving.version == "1.1" else await trio.sleep(1)
    assert events == [
        {"type": "websocket.connect"},
        {"type": "websocket.disconnect", "code": 1006, "reason": ""},
        "end",
    ]


async def test_receive_may_be_asked_for_before_the_accept(serving: Serving) -> None:
    """A second task receives while the first one has yet to accept."""
    got = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def listen() -> None:
            while (message := await receive())["type"] == "websocket.receive":
                got.append(message["text"])

        await receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            nursery.start_soon(listen)
            await trio.testing.wait_all_tasks_blocked()
            await send({"type": "websocket.accept"})

    async with serving(app) as server:
        client = await server.open()
        for text in "abcdef":
            await client.send(text)
        await client.close()
    assert got == list("abcdef")


@pytest.mark.parametrize("version", ["", "8", "12", "14", "13, 8", "013"])
async def test_another_version_is_a_426(serving: Serving, version: str) -> None:
    async with serving(echo) as server:
        client = server.client()
        if serving.version == "1.1":
            await client.raw.send(
                b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                + f"Sec-WebSocket-Key: {KEY}\r\n".encode()
                + (f"Sec-WebSocket-Version: {version}\r\n".encode() if version else b"")
                + b"\r\n"
            )
        else:
            await client.ask("/", ("sec-websocket-version", version))  # beside the right one
        answer = await client.answer()
        assert answer.status == 426
        assert answer.headers[b"sec-websocket-version"] == b"13"
        if serving.version == "1.1":
            assert answer.headers[b"upgrade"] == b"websocket"
            assert answer.headers[b"connection"] == b"upgrade, close"


async def test_malformed_extensions_are_a_400(serving: Serving) -> None:
    async with serving(echo) as server:
        client = server.client()
        await client.ask("/", ("sec-websocket-extensions", "permessage-deflate; =5"))
        assert (await client.answer()).status == 400


async def test_the_access_log_has_a_line_for_each(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "trioserve.access")
    async with serving(echo, access_log=True) as server:
        client = await server.open("/chat?room=1")
        await client.echo("text")
        await client.close()
        assert await client.ended()
    (line,) = [r.getMessage() for r in caplog.records if r.name == "trioserve.access"]
    status = "101" if serving.version == "1.1" else "200"
    assert f'"GET /chat?room=1 HTTP/{serving.version}" {status} 4 ' in line
