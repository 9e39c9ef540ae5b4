# SPDX-License-Identifier: MIT
"""How many requests an HTTP/2 connection may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioserve.connection.http2_stream import Http2Stream

__all__ = ["has_room"]


def has_room(streams: Mapping[int, Http2Stream], most: int) -> bool:
    """Whether a connection may have one more stream, where ``most`` may be open at a time.

    What an application does after its response isn't its client's business; what one does that the
    client has reset is, for a while. Both have a bound.
    """
    if len(streams) < most:
        return True
    running = [stream for stream in streams.values() if not stream.ended]
    open_count = sum(not stream.gone for stream in running)
    return open_count < most and len(running) < 2 * most and len(streams) < 16 * most
