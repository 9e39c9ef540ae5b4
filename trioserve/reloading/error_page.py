# SPDX-License-Identifier: MIT
"""The application that is served in place of one that can't be: it shows why, to each request.

For ``--reload`` only: it tells whoever asks all that an exception says, source code included.
Made once, of text; the exception itself isn't kept.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Final

import attrs

from trioserve.errors import AppImportError, StartupError
from trioserve.reloading.as_html import POLICY, as_html
from trioserve.reloading.as_text import as_text, last_line
from trioserve.reloading.page_parts import MARKER
from trioserve.reloading.report import make_report

if TYPE_CHECKING:
    from trioserve.types import ASGIApp, Headers, Receive, Scope, Send

__all__ = ["make_error_app"]

_log = logging.getLogger("trioserve.error")

_TEXT_HINT: Final = "This is shown because of --reload. Mend it and save the file."
_TEXT_TYPE: Final = b"text/plain; charset=utf-8"
_HTML_TYPE: Final = b"text/html; charset=utf-8"

_HEADERS: Final[Headers] = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", POLICY.encode()),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"vary", b"accept"),
    (b"x-content-type-options", b"nosniff"),
]


@attrs.frozen
class _Pages:
    """The answers; ``unhealing`` is for a request that a browser can't simply send again."""

    ident: str
    text: bytes
    html: bytes
    unhealing: bytes


def make_error_app(exc: BaseException, *, note: str = "") -> ASGIApp:
    """Return an ASGI application that answers each request with 500 and the whole exception.

    HTML where the request's Accept has ``text/html``, else plain text. The page of a GET loads
    itself again as soon as the server answers with something else. A WebSocket is denied; the
    lifespan is accepted.

    Args:
        exc: What went wrong. Of an AppImportError or a StartupError it is the application's
            exception, their ``__cause__``, that is shown, if there is one. Not kept.
        note: What was being done; else, for those two, their own words.

    *Errors handled here*: whatever making the page raises is logged, and the page is a short one.
    """
    shown = exc
    if isinstance(exc, (AppImportError, StartupError)):
        # Their own calls, trioserve's, tell nobody anything: without a cause it is the words alone.
        shown = exc.__cause__ or type(exc)(*exc.args)
        note = note or (str(exc).partition("\n")[0] if exc.__cause__ else "")
    try:
        pages = _make_pages(shown, note)
    except Exception:
        # The application's exception can have methods of any kind, and the server has to go on.
        _log.exception("an exception can't be shown as a page")
        pages = _make_short_pages(shown)
    return _ErrorApp(pages)


def _make_pages(exc: BaseException, note: str) -> _Pages:
    report = make_report(exc)
    plain = as_text(report)
    # What follows says the same; Starlette's message of a failed startup is its traceback.
    for repetition in (last_line(report).partition("\n")[0], plain.partition("\n")[0]):
        note = note.removesuffix(f": {repetition}")
    ident = hashlib.sha256(f"{note}\n{plain}".encode()).hexdigest()[:16]
    head = f"{note}\n\n" if note else ""
    return _Pages(
        ident,
        f"{head}{plain}\n{_TEXT_HINT}\n".encode("utf-8", "backslashreplace"),
        as_html(report, plain, note, ident, heals=True).encode(),
        as_html(report, plain, note, ident, heals=False).encode(),
    )


def _make_short_pages(exc: BaseException) -> _Pages:
    text = f"{type(exc).__qualname__}: it can't be shown; the server's log says why\n"
    ident = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
    body = text.encode("ascii", "backslashreplace")
    return _Pages(ident, body, body, body)


class _ErrorApp:
    """The application."""

    def __init__(self, pages: _Pages) -> None:
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            await self._answer(scope, send, "http")
        elif kind == "websocket":
            await self._deny(scope, receive, send)
        elif kind == "lifespan":
            for _ in range(2):
                event = await receive()
                await send({"type": f"{event['type']}.complete"})
        else:
            raise RuntimeError(f"{kind!r}: expected http, websocket or lifespan")

    async def _deny(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        if "websocket.http.response" in scope.get("extensions", {}):
            await self._answer(scope, send, "websocket.http")
            return
        await send({"type": "websocket.close", "code": 1011, "reason": "the app failed to load"})

    async def _answer(self, scope: Scope, send: Send, kind: str) -> None:
        media_type, body = _TEXT_TYPE, self._pages.text
        if kind == "http" and _wants_html(scope):
            resendable = scope["method"] in ("GET", "HEAD")
            body = self._pages.html if resendable else self._pages.unhealing
            media_type = _HTML_TYPE
        headers = [
            (b"content-type", media_type),
            (b"content-length", b"%d" % len(body)),
            (MARKER.encode(), self._pages.ident.encode()),
            *_HEADERS,
        ]
        await send({"type": f"{kind}.response.start", "status": 500, "headers": headers})
        if scope.get("method") == "HEAD":
            body = b""
        await send({"type": f"{kind}.response.body", "body": body})


def _wants_html(scope: Scope) -> bool:
    """Whether Accept names text/html (RFC 9110 section 12.5.1), as a browser's does.

    Wildcards don't count: programs send them, and people read their output on terminals.
    """
    for name, value in scope["headers"]:
        if name == b"accept":
            for choice in value.lower().split(b","):
                media_type, *parameters = (part.strip() for part in choice.split(b";"))
                if media_type == b"text/html" and not any(map(_is_refusal, parameters)):
                    return True
    return False


def _is_refusal(parameter: bytes) -> bool:
    name, _, weight = parameter.partition(b"=")
    return name.strip() == b"q" and weight.strip() in (b"0", b"0.", b"0.0", b"0.00", b"0.000")
