# SPDX-License-Identifier: MIT
"""Drives a WebSocketMachine as a connection does, and says what came of it."""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from tests.websocket.frames import TEXT, Frame, frame, split_frames
from trioserve.protocols.websocket import Closed, Deflate, negotiate_deflate
from trioserve.protocols.websocket.machine import WebSocketMachine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trioserve.protocols.websocket.machine import Message

__all__ = [
    "DEFLATE",
    "MAX_SIZE",
    "MAY_COME",
    "TRAILING",
    "WAYS",
    "Reading",
    "agree",
    "byte_by_byte",
    "every_way",
    "make_machine",
    "read",
    "replies_of",
    "split",
    "take",
]

MAX_SIZE: Final = 1000
TRAILING: Final = "more"

#: Close codes that are sent, and may come (RFC 6455 section 7.4, and the registry): 1004 has no
#: meaning; 1005, 1006 and 1015 are never on the wire.
MAY_COME: Final = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})

_logger: Final = logging.Logger("tests.websocket", logging.CRITICAL + 1)


def agree(offer: bytes) -> Deflate:
    """What the offer comes to, which must be something."""
    deflate = negotiate_deflate([offer])
    assert deflate is not None
    return deflate


#: With a context that both sides keep.
DEFLATE: Final = agree(b"permessage-deflate; client_max_window_bits")


@attrs.frozen
class Reading:
    """What a machine made of some bytes.

    Attributes:
        replies: the frames that it would send.
    """

    messages: list[Message]
    replies: list[Frame]
    pongs: int
    closed: Closed | None

    @property
    def code(self) -> int | None:
        """That it was closed with."""
        return self.closed and self.closed.code

    @property
    def close_sent(self) -> Frame:
        """The last reply."""
        return self.replies[-1]


def make_machine(max_size: int = MAX_SIZE, deflate: Deflate | None = None) -> WebSocketMachine:
    """One whose log nobody reads."""
    return WebSocketMachine(max_size, deflate, _logger)


def take(machine: WebSocketMachine) -> list[Message]:
    """The messages that are there."""
    found = []
    while (message := machine.next_message()) is not None:
        assert type(message) in (str, bytes)
        found.append(message)
    assert machine.closing or machine.closed is None
    assert machine.closed is None or not machine.has_more
    return found


def replies_of(machine: WebSocketMachine) -> list[Frame]:
    """Takes the replies as frames."""
    buffer = bytearray(b"".join(machine.replies))
    machine.replies.clear()
    found = split_frames(buffer)
    assert not buffer
    return found


def read(
    pieces: Iterable[bytes], *, max_size: int = MAX_SIZE, deflate: Deflate | None = None
) -> Reading:
    """Feeds the pieces, and takes what is there after each."""
    machine = make_machine(max_size, deflate)
    messages: list[Message] = []
    for piece in pieces:
        machine.receive_data(piece)
        messages += take(machine)
    return Reading(messages, replies_of(machine), machine.pongs, machine.closed)


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """``data`` in pieces that end at ``cuts``, empty ones left out."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def byte_by_byte(data: bytes) -> list[bytes]:
    """Each byte by itself."""
    return [data[at : at + 1] for at in range(len(data))]


WAYS: Final[dict[str, Callable[[bytes], list[bytes]]]] = {
    "whole": lambda data: [data],
    "byte by byte": byte_by_byte,
    "with trailing data": lambda data: [data + frame(TEXT, TRAILING.encode())],
    "with trailing data, byte by byte": lambda data: byte_by_byte(
        data + frame(TEXT, TRAILING.encode())
    ),
}

#: Each reader's case runs in each of them; what trails is read behind what is whole, and is nothing
#: behind an end.
every_way = pytest.mark.parametrize("way", WAYS)
