# SPDX-License-Identifier: MIT
"""The application that shows an exception: to browsers, to curl, to WebSockets, to the server."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import RejectConnection, RejectData, Request

from tests.reloading.failing import caught, raised_by
from trioserve.config import Config
from trioserve.errors import AppImportError, StartupError
from trioserve.loading import load_app
from trioserve.reloading import error_page, make_error_app
from trioserve.reloading.as_html import POLICY
from trioserve.testing import open_test_server

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

    from trioserve.testing import TestResponse
    from trioserve.types import Message, Receive, Scope, Send

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


async def ask(
    exc: BaseException,
    accept: str | None = None,
    method: str = "GET",
    note: str = "",
    **settings: Any,
) -> TestResponse:
    headers = [] if accept is None else [("accept", accept)]
    async with open_test_server(make_error_app(exc, note=note), Config(**settings)) as server:
        return await server.request(method, "/some/path?x=1", headers=headers)


# -- what is answered -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "accept", [BROWSER, "text/html", "TEXT/HTML;q=0.5", "a/b, text/html ; level=1"]
)
async def test_a_browser_is_shown_a_page(autojump_clock: MockClock, accept: str) -> None:
    response = await ask(ValueError("<x>"), accept)
    assert response.status == 500
    assert response.header(b"content-type") == b"text/html; charset=utf-8"
    assert response.body.startswith(b"<!doctype html>")
    assert b"&lt;x&gt;" in response.body
    assert response.header(b"content-security-policy") == POLICY.encode()


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "*/*",
        "text/*",
        "text/plain",
        "application/json",
        "text/html;q=0",
        "text/html; Q = 0.0",
    ],
)
async def test_others_are_sent_text(autojump_clock: MockClock, accept: str | None) -> None:
    response = await ask(ValueError("<x>"), accept, note="it was tried")
    assert response.status == 500
    assert response.header(b"content-type") == b"text/plain; charset=utf-8"
    assert response.body.decode() == (
        "it was tried\n\nValueError: <x>\n\n"
        "This is shown because of --reload. Mend it and save the file.\n"
    )


@pytest.mark.parametrize("accept", [BROWSER, "*/*"])
async def test_no_answer_is_kept_or_taken_for_another(
    autojump_clock: MockClock, accept: str
) -> None:
    response = await ask(ValueError("x"), accept)
    assert response.header(b"cache-control") == b"no-store"
    assert response.header(b"vary") == b"accept"
    assert response.header(b"x-content-type-options") == b"nosniff"
    assert response.header(b"cross-origin-resource-policy") == b"same-origin"


@pytest.mark.parametrize("accept", [BROWSER, "*/*"])
async def test_head_has_the_fields_alone(autojump_clock: MockClock, accept: str) -> None:
    whole = await ask(ValueError("x"), accept)
    head = await ask(ValueError("x"), accept, "HEAD")
    assert (head.status, head.body) == (500, b"")
    assert head.header(b"content-length") == b"%d" % len(whole.body)


async def test_a_page_that_answers_a_post_does_not_load_itself_again(
    autojump_clock: MockClock,
) -> None:
    assert b"<script" in (await ask(ValueError("x"), BROWSER)).body
    assert b"<script" not in (await ask(ValueError("x"), BROWSER, "POST")).body


async def test_each_error_has_a_marker_of_its_own(autojump_clock: MockClock) -> None:
    markers = [
        (await ask(exc, accept)).header(b"x-trioserve-error")
        for exc in (ValueError("x"), ValueError("y"))
        for accept in (BROWSER, "*/*")
    ]
    assert markers[0] == markers[1] != markers[2] == markers[3]
    page = (await ask(ValueError("x"), BROWSER)).body
    assert markers[0]
    assert b'data-error="' + markers[0] + b'"' in page


# -- which exception is shown ---------------------------------------------------------------


async def test_of_an_import_error_the_applications_exception_is_shown(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    (tmp_path / "broken_page_app.py").write_text("def f():\n    return {}['key']\nf()\n")
    error = caught(lambda: load_app("broken_page_app", app_dir=str(tmp_path)))
    assert isinstance(error, AppImportError)
    text = (await ask(error)).body.decode()
    assert text.startswith(
        'importing "broken_page_app" failed inside the application\n\n'
        "Traceback (most recent call last):\n"
        f'  File "{tmp_path}/broken_page_app.py", line 3, in <module>\n'
    )
    assert "\nKeyError: 'key'\n" in text
    assert "importlib" not in text
    assert "loading.py" not in text


async def test_an_import_error_without_a_cause_is_shown_itself(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    error = caught(lambda: load_app("no_such_app_here", app_dir=str(tmp_path)))
    text = (await ask(error)).body.decode()
    assert text.startswith("trioserve.errors.AppImportError: there is no module")
    assert "Traceback" not in text


async def failed_startup(app: Any, **settings: Any) -> StartupError:
    with pytest.raises((StartupError, ExceptionGroup)) as info:
        async with open_test_server(app, Config(**settings)):
            pass
    exc: BaseException = info.value
    while isinstance(exc, ExceptionGroup):
        (exc,) = exc.exceptions
    assert isinstance(exc, StartupError)
    return exc


async def test_of_a_failed_startup_the_applications_exception_is_shown(
    autojump_clock: MockClock,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("no database")

    text = (await ask(await failed_startup(app, lifespan="on"))).body.decode()
    assert text.startswith("the application's lifespan startup failed: LookupError('no database')")
    assert "Traceback" in text
    assert 'raise LookupError("no database")' in text
    assert text.count("File ") == 1


async def test_of_starlettes_failed_startup_the_exception_is_shown_once(
    autojump_clock: MockClock,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        import traceback

        await receive()
        try:
            raise LookupError("no database")
        except LookupError:
            message = traceback.format_exc()
            await send({"type": "lifespan.startup.failed", "message": message})
            raise

    text = (await ask(await failed_startup(app))).body.decode()
    assert text.startswith("the application's lifespan startup failed\n\nTraceback")
    assert text.count("Traceback") == 1


async def test_a_startup_that_failed_without_an_exception_is_shown_with_its_reason(
    autojump_clock: MockClock,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    text = (await ask(await failed_startup(app))).body.decode()
    assert text.startswith(
        "trioserve.errors.StartupError: the application's lifespan startup failed: no database\n"
    )
    assert "Traceback" not in text


async def test_an_exception_that_can_not_be_shown_is_logged_and_served_short(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(exc: BaseException) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(error_page, "make_report", fail)
    caplog.set_level(logging.ERROR)
    for accept in (BROWSER, "*/*"):
        response = await ask(ValueError("<x>"), accept)
        assert response.status == 500
        assert response.body == b"ValueError: it can't be shown; the server's log says why\n"
    assert "ZeroDivisionError" in caplog.text


def test_what_python_can_not_do_itself_is_no_end(tmp_path: Path) -> None:
    make_error_app(raised_by(tmp_path, "raise KeyboardInterrupt\n"))
    make_error_app(BaseExceptionGroup("x", [SystemExit(3), GeneratorExit()]))


# -- the other scopes -----------------------------------------------------------------------


@pytest.mark.parametrize("lifespan", ["on", "auto", "off"])
async def test_the_lifespan_is_accepted(autojump_clock: MockClock, lifespan: str) -> None:
    assert (await ask(ValueError("x"), lifespan=lifespan)).status == 500


async def test_a_websocket_is_denied_with_the_text(autojump_clock: MockClock) -> None:
    async with open_test_server(make_error_app(ValueError("the reason"))) as server:
        ws = WSConnection(ConnectionType.CLIENT)
        client = server.connect()
        await client.stream.send_all(ws.send(Request(host="testserver", target="/")))
        events: list[Any] = []
        with trio.fail_after(20):
            while not any(
                isinstance(event, RejectData) and event.body_finished for event in events
            ):
                ws.receive_data(bytes(await client.stream.receive_some()))
                events += ws.events()
    (rejection,) = [event for event in events if isinstance(event, RejectConnection)]
    assert rejection.status_code == 500
    body = b"".join(event.data for event in events if isinstance(event, RejectData))
    assert b"ValueError: the reason" in body


async def call(scope: dict[str, Any]) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await make_error_app(ValueError("x"))(scope, receive, send)
    return sent


async def test_where_a_websocket_can_not_be_denied_it_is_closed(autojump_clock: MockClock) -> None:
    (message,) = await call({"type": "websocket", "headers": []})
    assert (message["type"], message["code"]) == ("websocket.close", 1011)


async def test_another_scope_is_an_error(autojump_clock: MockClock) -> None:
    with pytest.raises(RuntimeError, match="'other': expected http"):
        await call({"type": "other"})
