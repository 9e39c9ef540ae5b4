# SPDX-License-Identifier: MIT
"""The application behind the corpus: it says, and remembers, what it saw."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING

from .corpus.case import Seen

if TYPE_CHECKING:
    from trioserve.types import Receive, Scope, Send

__all__ = ["Echo"]


class Echo:
    """An ASGI application that answers with JSON of the request, once it has read its body.

    Paths choose other answers: see ``corpus/responses.py``.

    Attributes:
        seen: By port of the client: the requests that came whole, in order.
    """

    def __init__(self) -> None:
        self.seen: defaultdict[int, list[Seen]] = defaultdict(list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        body = b""
        if scope["path"] != "/unread":
            whole = await _read(receive)
            if whole is None:
                return
            body = whole
        seen = Seen(
            method=scope["method"],
            path=scope["path"],
            raw_path=scope["raw_path"].decode("latin-1"),
            query_string=scope["query_string"].decode("latin-1"),
            http_version=scope["http_version"],
            headers=[(n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"]],
            body=body.decode("latin-1"),
        )
        self.seen[scope["client"][1]].append(seen)
        await _answer(scope["path"], json.dumps(seen).encode(), send)


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or None where the client left before its end."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part: bytes = message.get("body", b"")
        body += part
        if not message.get("more_body", False):
            return body


async def _answer(path: str, text: bytes, send: Send) -> None:
    status, _, content = path.removeprefix("/").partition("-")
    if status in ("204", "304"):
        length = [(b"content-length", b"%d" % len(text))] if content else []
        await send({"type": "http.response.start", "status": int(status), "headers": length})
        await send({"type": "http.response.body", "body": text if content else b""})
        return
    headers = [(b"content-type", b"application/json")]
    if path != "/parts":
        headers.append((b"content-length", b"%d" % len(text)))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if path == "/parts":
        await send({"type": "http.response.body", "body": text[:9], "more_body": True})
        text = text[9:]
    await send({"type": "http.response.body", "body": text})
