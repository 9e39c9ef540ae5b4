# SPDX-License-Identifier: MIT
"""The end of a connection, as its client is to see it (RFC 9112 section 9.6)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from trioserve.transports import Transport

__all__ = ["close_contained", "linger"]

_log = logging.getLogger("trioserve.error")

#: Bytes that are read on after our last one.
LINGER_SIZE: Final = 16 * 1024 * 1024


async def linger(transport: Transport, timeout: float) -> None:
    """Our last byte, and a while of reading, so that the client gets to read what we sent.

    A socket that is closed with unread bytes resets its connection, and a reset can overtake the
    response.

    Args:
        transport: nobody else reads or writes it any more.
        timeout: seconds in all.
    """
    with trio.move_on_after(timeout):
        waiting = transport.shut_down_writing()
        if waiting is not None:
            await waiting
        size = 0
        while size < LINGER_SIZE:
            data = await transport.receive()
            if not data:
                break
            size += len(data)


async def close_contained(transport: Transport) -> None:
    """Frees the transport. *Errors handled here*: a stream of any kind may fail to close."""
    try:
        closing = transport.close()
        if closing is not None:
            await closing
    except Exception:  # a connection's border
        _log.exception("a connection failed to close")
