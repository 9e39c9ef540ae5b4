# SPDX-License-Identifier: MIT
"""Raw requests, valid and malformed, each with the replies and the end that it must have.

The cases are data, a module a topic; ``tests/http1/test_corpus.py`` runs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import (
    chunk_extensions,
    chunked,
    connection,
    content_length,
    expect,
    fields,
    host,
    limits,
    request_line,
    responses,
    target,
    trailers,
    transfer_encoding,
    truncated,
    version,
)

if TYPE_CHECKING:
    from .case import Case

__all__ = ["TOPICS"]

TOPICS: dict[str, tuple[Case, ...]] = {
    "request_line": request_line.CASES,
    "version": version.CASES,
    "target": target.CASES,
    "fields": fields.CASES,
    "host": host.CASES,
    "content_length": content_length.CASES,
    "transfer_encoding": transfer_encoding.CASES,
    "chunked": chunked.CASES,
    "chunk_extensions": chunk_extensions.CASES,
    "trailers": trailers.CASES,
    "connection": connection.CASES,
    "responses": responses.CASES,
    "expect": expect.CASES,
    "limits": limits.CASES,
    "truncated": truncated.CASES,
}
