# SPDX-License-Identifier: MIT
"""What HTTP/2 has for an application: priorities, trailers both ways, and responses ahead of the
response. `client.py` beside it asks for each of them and prints what it saw:

trioserve app:app --app-dir examples/http2_features
python examples/http2_features/client.py

All but priorities works over HTTP/1.1 as well; `scope["extensions"]` says what a connection can do.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send

LINE = b"a line of the report, which is long\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise RuntimeError("only HTTP is spoken here")
    handler = HANDLERS.get((scope["method"], scope["path"]), not_found)
    await handler(scope, receive, send)


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """A 103 before the page lets the browser fetch the style sheet meanwhile; a trailer after it
    says how long the page took, which is known by then only."""
    began = time.perf_counter()
    extensions = scope["extensions"]
    if "http.response.early_hint" in extensions:
        links = [b"</style.css>; rel=preload; as=style"]
        await send({"type": "http.response.early_hint", "links": links})
    trailers = "http.response.trailers" in extensions
    headers = [(b"content-type", b"text/html; charset=utf-8")]
    if trailers:
        headers.append((b"trailer", b"server-timing"))
    await send(
        {"type": "http.response.start", "status": 200, "headers": headers, "trailers": trailers}
    )
    await send({"type": "http.response.body", "body": b"<!doctype html>\n", "more_body": True})
    await send({"type": "http.response.body", "body": b"<p>Hello from Trio!\n"})
    if trailers:
        took = b"page;dur=%.1f" % ((time.perf_counter() - began) * 1000)
        await send({"type": "http.response.trailers", "headers": [(b"server-timing", took)]})


async def priority(scope: Scope, receive: Receive, send: Send) -> None:
    """Tells the client what it asked for. An application may do less for what is less urgent."""
    asked = scope["extensions"].get("http.response.priority")
    await respond_json(send, 200, asked)


async def report(scope: Scope, receive: Receive, send: Send) -> None:
    """As many bytes as are asked for; which response goes first is the server's business."""
    (size,) = parse_qs(scope["query_string"].decode()).get("size", ["100000"])
    body = (LINE * (int(size) // len(LINE) + 1))[: int(size)]
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})


async def upload(scope: Scope, receive: Receive, send: Send) -> None:
    """Compares a body with the digest that its sender could only know at its end: a trailer."""
    sha256 = hashlib.sha256()
    trailers: list[tuple[bytes, bytes]] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        sha256.update(message["body"])
        trailers = message.get("trailers", [])  # in the last one, if some came
        more = message["more_body"]
    if "http.response.early_hint" in scope["extensions"]:
        # gunicorn's message, for any interim response.
        await send({"type": "http.response.informational", "status": 102, "headers": []})
    expected = dict(trailers).get(b"repr-digest")
    found = b"sha-256=:%s:" % base64.b64encode(sha256.digest())  # RFC 9530 section 3
    if expected is None:
        await respond_json(send, 200, "no digest came")
    elif expected == found:
        await respond_json(send, 200, "the digest is right")
    else:
        await respond_json(send, 400, "the digest is wrong")


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    await respond_json(send, 404, "there is nothing here")


async def respond_json(send: Send, status: int, value: Any) -> None:
    body = json.dumps(value).encode() + b"\n"
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


HANDLERS = {
    ("GET", "/"): page,
    ("GET", "/priority"): priority,
    ("GET", "/report"): report,
    ("POST", "/upload"): upload,
}
