# SPDX-License-Identifier: MIT
"""Who writes first: RFC 9218's urgency and incremental delivery.

Lower urgency goes first, and nothing of a higher one is written while it can go on. Within one
urgency, responses that are of use only as a whole go one after the other, by their stream's id;
incremental ones share, a frame each in turn; where there are both kinds, they alternate (RFC 9218
section 10).
"""

from __future__ import annotations

import re
from bisect import insort
from collections import deque
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from trioserve.protocols.http2.engine import StreamPriority
from trioserve.protocols.http2.errors import ErrorCode, Http2ConnectionError

__all__ = [
    "PRIORITY_UPDATE",
    "EarlyPriorities",
    "Priority",
    "WriteOrder",
    "parse_priority",
    "parse_priority_update",
]

#: The frame type of RFC 9218 section 7.1.
PRIORITY_UPDATE: Final = 0x10

# RFC 8941 section 3: a dictionary, whose values may be of any type; only two are of interest.
_KEY: Final = rb"[a-z*][a-z0-9_\-.*]*+"
_ITEM: Final = (
    rb'(?:-?[0-9]{1,12}+\.[0-9]{1,3}+|-?[0-9]{1,15}+|\?[01]|"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*+"'
    rb"|[A-Za-z*][!#$%&'*+\-.^_`|~:/0-9A-Za-z]*+|:[A-Za-z0-9+/=]*+:)"
)
_PARAMETERS: Final = rb"(?:; *+" + _KEY + rb"(?:=" + _ITEM + rb")?+)*+"
_INNER_LIST: Final = rb"\( *+(?:" + _ITEM + _PARAMETERS + rb"(?: ++|(?=\))))*+\)"
#: A member: its key, and its value if it is one.
_MEMBER: Final = re.compile(
    rb"(" + _KEY + rb")(?:=(" + _ITEM + rb"|" + _INNER_LIST + rb"))?+" + _PARAMETERS
)
_COMMA: Final = re.compile(rb"[ \t]*+,[ \t]*+")
_URGENCIES: Final = {b"%d" % urgency: urgency for urgency in range(8)}
_INCREMENTAL: Final = {None: True, b"?1": True, b"?0": False}
_MAX_URGENCY: Final = 7


class Priority(NamedTuple):
    """RFC 9218 section 4.

    Attributes:
        urgency: 0, first, to 7.
        incremental: part of the response is of use, so it may share with others.
    """

    urgency: int = 3
    incremental: bool = False


DEFAULT: Final = Priority()


def parse_priority(value: bytes) -> Priority:
    """The value of a ``priority`` field; what can't be read means the default (section 4)."""
    members: dict[bytes, bytes | None] = {}
    value = value.strip(b" ")
    at = 0
    while at < len(value):
        member = _MEMBER.match(value, at)
        if member is None:
            return DEFAULT
        members[member[1]] = member[2]  # of several the last one holds
        at = member.end()
        comma = _COMMA.match(value, at)
        if comma is None:
            break
        at = comma.end()
        if at == len(value):
            return DEFAULT
    if at < len(value):
        return DEFAULT
    urgency, incremental = DEFAULT
    if b"u" in members:
        urgency = _urgency_of(members[b"u"])
    if b"i" in members:
        incremental = _INCREMENTAL.get(members[b"i"], incremental)
    return Priority(urgency, incremental)


def _urgency_of(value: bytes | None) -> int:
    """What is out of range or of another type is ignored (section 4)."""
    if value is None:
        return DEFAULT.urgency
    if value[:1] == b"0":
        value = value.lstrip(b"0") or b"0"
    return _URGENCIES.get(value, DEFAULT.urgency)


def parse_priority_update(stream_id: int, payload: bytes) -> tuple[int, Priority]:
    """The stream that a PRIORITY_UPDATE frame means, and its priority.

    Raises:
        Http2ConnectionError: the frame breaks RFC 9218 section 7.1.
    """
    if stream_id != 0:
        raise Http2ConnectionError(
            ErrorCode.PROTOCOL_ERROR, "PRIORITY_UPDATE belongs on stream 0 (RFC 9218 section 7.1)"
        )
    if len(payload) < 4:
        raise Http2ConnectionError(
            ErrorCode.FRAME_SIZE_ERROR, f"PRIORITY_UPDATE of {len(payload)} bytes, 4 at the least"
        )
    prioritized = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
    if not prioritized or prioritized % 2 == 0:
        raise Http2ConnectionError(
            ErrorCode.PROTOCOL_ERROR,
            f"PRIORITY_UPDATE for stream {prioritized}, which carries no request",
        )
    return prioritized, parse_priority(payload[4:])


class EarlyPriorities:
    """What a client says of streams before it opens them; so much of it as is kept.

    Frames may overtake each other on their way through a client's own queues (RFC 9218 section 7).
    """

    __slots__ = ("_opened", "_priorities", "_weights")

    def __init__(self) -> None:
        self._opened = 0  # the highest that was
        self._priorities: dict[int, Priority] = {}
        self._weights: dict[int, StreamPriority] = {}

    def note(self, stream_id: int, priority: Priority) -> None:
        """A PRIORITY_UPDATE frame has come for a stream; nothing if that was opened before."""
        if stream_id > self._opened:
            _keep(self._priorities, stream_id, priority)

    def note_weight(self, stream_id: int, weight: StreamPriority) -> None:
        """A PRIORITY frame has, or the stream's own HEADERS frame says so."""
        if stream_id > self._opened:
            _keep(self._weights, stream_id, weight)

    def take(self, stream_id: int, field: bytes) -> tuple[Priority, StreamPriority]:
        """What holds for a stream that is opened with this ``priority`` field."""
        self._opened = stream_id
        priority = self._priorities.pop(stream_id, None) if self._priorities else None
        weight = self._weights.pop(stream_id, None) if self._weights else None
        if priority is None:
            priority = parse_priority(field) if field else DEFAULT
        return priority, weight or _DEFAULT_WEIGHT


_MAX_EARLY: Final = 100
_DEFAULT_WEIGHT: Final = StreamPriority()
P = TypeVar("P")


def _keep(known: dict[int, P], stream_id: int, value: P) -> None:
    known[stream_id] = value
    if len(known) > _MAX_EARLY:
        del known[min(known)]  # the oldest; its stream may never come


class Ordered(Protocol):
    """What a WriteOrder orders."""

    @property
    def id(self) -> int:
        """The stream's."""

    @property
    def priority(self) -> Priority:
        """Must not change while it is in the order."""


T = TypeVar("T", bound=Ordered)


class _Level(Generic[T]):
    """What has one urgency."""

    __slots__ = ("shared", "sharing", "whole")

    def __init__(self) -> None:
        self.whole: list[T] = []
        self.shared: deque[T] = deque()
        self.sharing = False

    def next(self) -> T | None:
        if self.shared and (self.sharing or not self.whole):
            self.sharing = False
            self.shared.rotate(-1)
            return self.shared[-1]
        self.sharing = True
        return self.whole[0] if self.whole else None


class WriteOrder(Generic[T]):
    """Those that have something to write, and can."""

    __slots__ = ("_levels", "_members")

    def __init__(self) -> None:
        self._levels: list[_Level[T]] = [_Level() for _ in range(_MAX_URGENCY + 1)]
        self._members: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._members)

    def __contains__(self, item: T) -> bool:
        return item.id in self._members

    def add(self, item: T) -> None:
        """Takes it in; nothing if it is there."""
        if item.id in self._members:
            return
        self._members.add(item.id)
        level = self._levels[item.priority.urgency]
        if item.priority.incremental:
            level.shared.append(item)
        else:
            insort(level.whole, item, key=_by_id)

    def discard(self, item: T) -> None:
        """Takes it out; nothing if it isn't there."""
        if item.id not in self._members:
            return
        self._members.remove(item.id)
        level = self._levels[item.priority.urgency]
        (level.shared if item.priority.incremental else level.whole).remove(item)

    def next(self) -> T | None:
        """Whose turn it is; it stays in."""
        for level in self._levels:
            item = level.next()
            if item is not None:
                return item
        return None


def _by_id(item: Ordered) -> int:
    return item.id
