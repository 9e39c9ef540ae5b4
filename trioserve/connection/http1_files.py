# SPDX-License-Identifier: MIT
"""A file as the body of an HTTP/1.x response, from the kernel's page cache where that works."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from trioserve.connection.files import measure_file
from trioserve.errors import AppProtocolError
from trioserve.protocols.http1 import Framing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trioserve.connection.wire import Http1Wire

__all__ = ["send_open_file"]


async def send_open_file(
    wire: Http1Wire,
    head: tuple[int, Iterable[tuple[bytes, bytes]]] | None,
    file: BinaryIO,
    offset: int | None,
    count: int | None,
    more: bool,
    trailers: bool,
) -> int:
    encoder = wire.encoder
    transport = wire.transport
    start, size = measure_file(file, offset, count)
    pieces = []
    if head is not None:
        whole = None if more or trailers else size
        pieces.append(wire.encode_head(*head, whole, trailers))
    try:
        encoder.count_body(size, more)
    except AppProtocolError:
        if head is not None:
            encoder.started = False  # as in send_response
        raise
    chunked = encoder.framing is Framing.CHUNKED
    if chunked and size:
        pieces.append(b"%x\r\n" % size)
    waiting = transport.write_all(pieces)
    if waiting is not None:
        await waiting
    if encoder.framing is Framing.NO_BODY:
        return 0
    if await transport.send_file(file, start, size) < size:
        wire.ending = True
        transport.abort()
        raise AppProtocolError(f"a file that was being sent got shorter than {size} bytes")
    if offset is None:
        file.seek(start + size)  # where the next message without an offset goes on
    if chunked:
        end = b"" if more else b"0\r\n" if trailers else b"0\r\n\r\n"
        waiting = transport.write((b"\r\n" if size else b"") + end)
        if waiting is not None:
            await waiting
    return size
