# SPDX-License-Identifier: MIT
"""Drives a RequestReader as a connection does, and says what came of it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs

from trioserve.config import Config
from trioserve.protocols.http1 import RemoteProtocolError, RequestReader
from trioserve.protocols.http1.reader import MAX_HEAD_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trioserve.protocols.http1 import RequestHead

__all__ = ["BACKENDS", "Backend", "Reading", "Request", "one_request", "read", "split"]

Backend: TypeAlias = Literal["httptools", "h11"]

BACKENDS: Final[tuple[Backend, ...]] = ("httptools", "h11")


@attrs.frozen
class Request:
    """A request as its application would see it; the body is None where it didn't come whole."""

    method: str
    target: bytes
    raw_path: bytes
    query: bytes
    minor_version: int
    headers: list[tuple[bytes, bytes]]
    content_length: int
    keep_alive: bool
    expect_continue: bool
    body: bytes | None


@attrs.frozen
class Reading:
    """What a reader made of some bytes.

    Attributes:
        requests: in order; the last may lack its body.
        refusal: the status and the reason that it ended with, if it was refused.
        largest: the most bytes that were ever buffered.
    """

    requests: list[Request]
    refusal: tuple[int, str] | None
    largest: int

    @property
    def status(self) -> int | None:
        """The status of the refusal."""
        return self.refusal and self.refusal[0]


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """``data`` in pieces that end at ``cuts``, empty ones left out."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def largest_head(config: Config) -> int:
    """The bytes of the largest head that these limits let pass, with its line ends."""
    lines = 2 + config.limit_request_fields
    size = config.limit_request_line + config.limit_request_fields * config.limit_request_field_size
    return min(size + 2 * lines, MAX_HEAD_SIZE)


def read(pieces: Iterable[bytes], http: Backend = "httptools", **limits: int) -> Reading:
    """Feeds the pieces as they are; stops where a connection would.

    Every step is held to the reader's contract: it raises nothing but RemoteProtocolError, and
    it buffers no more than one head and one piece.
    """
    config = Config(http=http).with_changes(**limits)
    reader = RequestReader(config)
    bound = largest_head(config)
    requests: list[Request] = []
    body: list[bytes] = []
    current: RequestHead | None = None
    largest = 0

    def ended() -> bool:
        """Takes all that has come; True once no further request is to be read."""
        nonlocal current
        while True:
            if current is None:
                if not reader.buffer:
                    return False
                current = reader.next_request()
                if current is None:
                    return False
                body.clear()
                requests.append(_request(current, None))
            while part := reader.next_body():
                body.append(part)
            if not reader.request_complete:
                return False
            requests[-1] = _request(current, b"".join(body))
            if not current.keep_alive:
                return True
            current = None

    try:
        for piece in pieces:
            reader.receive_data(piece)
            largest = max(largest, len(reader.buffer))
            assert len(reader.buffer) <= bound + len(piece)
            if ended():
                break
    except RemoteProtocolError as exc:
        return Reading(requests, (exc.status, exc.reason), largest)
    return Reading(requests, None, largest)


def _request(head: RequestHead, body: bytes | None) -> Request:
    return Request(
        head.method,
        head.target,
        head.raw_path,
        head.query,
        head.minor_version,
        list(head.headers),
        head.content_length,
        head.keep_alive,
        head.expect_continue,
        body,
    )


def one_request(data: bytes, http: Backend = "httptools", **limits: int) -> Request:
    """The only request of ``data``, which must be whole."""
    reading = read([data], http, **limits)
    assert reading.refusal is None, reading.refusal
    (request,) = reading.requests
    return request
