# SPDX-License-Identifier: MIT
"""What the arbiter and an HTTP worker say to each other. Pure.

A message is a JSON object behind its length:

======  =======================================
bytes   what
======  =======================================
0 to 3  length of the object, big-endian
from 4  the object, UTF-8, with a key ``type``
======  =======================================

==========  ===========  ========================================================================
from        ``type``     other keys
==========  ===========  ========================================================================
arbiter     begin        config, listeners ([[descriptor, scheme], …]), dirty_socket, dump_fd,
                         number
arbiter     drain        is_last: nobody accepts from its sockets after it. Requests under way may
                         finish, then the worker ends
arbiter     reopen_logs  nothing
arbiter     log_level    level
arbiter     ask          id, what (``snapshot`` or ``tasks``)
worker      ready        nothing
worker      failed       kind, text, traceback: the application can't be started
worker      beat         snapshot (or null): its event loop turns
worker      leaving      reason: it wants to be replaced
worker      answer       id, result
==========  ===========  ========================================================================

The end of the stream is a message, too: to a worker, to end now; from one, that it has ended.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["MAX_MESSAGE_SIZE", "MessageError", "MessageReader", "encode"]

_LENGTH_SIZE: Final = 4
#: Bytes. The longest are trees of tasks, which bound themselves far below.
MAX_MESSAGE_SIZE: Final = 64 << 20


class MessageError(Exception):
    """What came is no message; it says what was expected and what came."""


def encode(message: Mapping[str, Any]) -> bytes:
    """One message as bytes.

    Raises:
        MessageError: it is longer than MAX_MESSAGE_SIZE.
        TypeError: a value is none of JSON's.
    """
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > MAX_MESSAGE_SIZE:
        raise MessageError(f"a message has at most {MAX_MESSAGE_SIZE} bytes, this one {len(body)}")
    return len(body).to_bytes(_LENGTH_SIZE, "big") + body


class MessageReader:
    """Takes bytes as they come, in any pieces, and gives messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray) -> Iterator[dict[str, Any]]:
        """The messages that are whole now. What is left waits for more.

        Raises:
            MessageError: the length is beyond MAX_MESSAGE_SIZE, or the body is no JSON object with
                a ``type``.
        """
        self._buffer += data
        while len(self._buffer) >= _LENGTH_SIZE:
            length = int.from_bytes(self._buffer[:_LENGTH_SIZE], "big")
            if length > MAX_MESSAGE_SIZE:
                raise MessageError(
                    f"a message has at most {MAX_MESSAGE_SIZE} bytes, this one says {length}"
                )
            end = _LENGTH_SIZE + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH_SIZE:end])
            del self._buffer[:end]
            yield _decode(body)


def _decode(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except ValueError as exc:
        raise MessageError(f"expected a JSON object, got {body[:80]!r}") from exc
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise MessageError(f"expected a JSON object with a type, got {body[:80]!r}")
    return message
