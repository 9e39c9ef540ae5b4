# SPDX-License-Identifier: MIT
"""What can be said before and after a response. A 103 tells the browser to fetch the style sheet
while the page is still being made; a trailer field carries the digest of a body that was
streamed, so it needn't be known in advance. Both work over HTTP/1.1, and are advertised in
``scope["extensions"]``.

trioserve early_hints_and_trailers:app --app-dir examples
curl -i http://127.0.0.1:8000/
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send

PAGE = [b"<!doctype html>\n", b'<link rel="stylesheet" href="/style.css">\n', b"<p>Hello\n"]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise RuntimeError("only HTTP is spoken here")
    extensions = scope["extensions"]
    if "http.response.early_hint" in extensions:
        links = [b"</style.css>; rel=preload; as=style"]
        await send({"type": "http.response.early_hint", "links": links})
    await trio.sleep(0.05)  # the page is being made
    trailers = "http.response.trailers" in extensions  # not with HTTP/1.0
    headers = [(b"content-type", b"text/html; charset=utf-8")]
    if trailers:
        headers.append((b"trailer", b"repr-digest"))
    await send(
        {"type": "http.response.start", "status": 200, "headers": headers, "trailers": trailers}
    )
    sha256 = hashlib.sha256()
    for part in PAGE:
        sha256.update(part)
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})
    if trailers:
        digest = b"sha-256=:%s:" % base64.b64encode(sha256.digest())  # RFC 9530 section 3
        await send({"type": "http.response.trailers", "headers": [(b"repr-digest", digest)]})
