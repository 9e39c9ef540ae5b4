# SPDX-License-Identifier: MIT
"""Payloads, as a FrameReader gives them, to what they say.

Each function raises DirtyProtocolError on what its frame's type does not have.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from trioserve.dirty import tlv
from trioserve.dirty.descriptions import shown
from trioserve.dirty.errors import DirtyError, DirtyProtocolError
from trioserve.dirty.tlv_read import FAULTS, read_dict, read_double, read_list, read_size

if TYPE_CHECKING:
    from trioserve.dirty.frame_header import Payload

T = TypeVar("T")


def _opening(name: str, value: Any, body_size: int) -> bytes:
    """The encoding of an entry of a dict, up to its value's type code."""
    return tlv.encode({name: value})[5:-body_size]


#: A RESPONSE's and a CHUNK's payload up to the value.
_RESULT: Final = tlv.encode({"result": None})[:-1]
_DATA: Final = tlv.encode({"data": None})[:-1]
#: Entries of a REQUEST, up to and with the value's type code.
_TIMEOUT: Final = _opening("timeout", 0.0, 8)
_ARGS: Final = _opening("args", [], 4)
_KWARGS: Final = _opening("kwargs", {}, 4)
_NO_KWARGS: Final = _KWARGS + bytes(4)


class Trace(NamedTuple):
    """Which call another one is made by.

    Attributes:
        call: its id, as its worker knows it.
        worker: the number that its worker was given by its arbiter, and no other worker has.
    """

    call: int
    worker: int


class Request(NamedTuple):
    """A REQUEST's payload.

    Attributes:
        app_path, action, args, kwargs: what is called, and with what.
        timeout: seconds, None if the caller said nothing.
        trace: where the call comes from, None likewise.
    """

    app_path: str
    action: str
    args: list[Any]
    kwargs: dict[str, Any]
    timeout: float | None = None
    trace: dict[str, Any] | None = None


def decode_result(payload: Payload) -> Any:
    """The result of a RESPONSE."""
    if payload[: len(_RESULT)] == _RESULT:
        return tlv.decode_from(payload, len(_RESULT), 1)
    return _field(payload, "result", "RESPONSE")


def decode_data(payload: Payload) -> Any:
    """The data of a CHUNK."""
    if payload[: len(_DATA)] == _DATA:
        return tlv.decode_from(payload, len(_DATA), 1)
    return _field(payload, "data", "CHUNK")


def decode_error(payload: Payload) -> DirtyError:
    """The error of an ERROR, to be raised: of its class, or DirtyError if that is unknown."""
    return DirtyError.from_dict(_field(payload, "error", "ERROR"))


def decode_credit(payload: Payload) -> int:
    """The bytes of a CREDIT, 1 or more, and less than 2**63."""
    size = _field(payload, "bytes", "CREDIT")
    if type(size) is not int or not 1 <= size < 1 << 63:
        raise DirtyProtocolError(
            f"expected 'bytes' of CREDIT to be 1 or more, and less than 2**63, got {shown(size)}"
        )
    return size


def decode_manage(payload: Payload) -> tuple[int, int]:
    """Operation and count of a MANAGE; the count is 1 if none came."""
    fields = _fields(payload, "MANAGE")
    op, count = fields.get("op"), fields.get("count", 1)
    if type(op) is not int or type(count) is not int:
        raise DirtyProtocolError(
            f"expected 'op' and 'count' of a MANAGE to be ints, got {shown(op)} and {shown(count)}"
        )
    return op, count


def decode_hello(payload: Payload) -> dict[str, Any]:
    """The fields of a HELLO."""
    return _fields(payload, "HELLO")


def decode_tasks(payload: Payload) -> dict[str, Any]:
    """The fields of a TASKS that answers."""
    return _fields(payload, "TASKS")


def _fields(payload: Payload, frame_name: str) -> dict[str, Any]:
    fields = tlv.decode(payload)
    if type(fields) is not dict:
        raise DirtyProtocolError(
            f"expected the payload of {frame_name} to be a dict, got {type(fields).__name__}"
        )
    return fields


def _field(payload: Payload, name: str, frame_name: str) -> Any:
    fields = _fields(payload, frame_name)
    if name not in fields:
        raise DirtyProtocolError(
            f"expected the payload of {frame_name} to have {name!r}, got {list(fields)!r:.200}"
        )
    return fields[name]


def decode_request(payload: Payload) -> Request:
    """A REQUEST, whatever the order of its keys.

    Args and kwargs may be missing or None. Keys that are not known are left out: a later version
    may send more.
    """
    if type(payload) is bytes:
        request = _usual_request(payload)
        if request is not None:
            return request
    fields = _fields(payload, "REQUEST")
    return _checked(fields.get("app_path"), fields.get("action"), fields)


def _usual_request(payload: bytes) -> Request | None:
    """What nearly all REQUESTs are: the keys in their order, no trace. None if it isn't one."""
    route = tlv.read_route(payload)
    if route is None:
        return None
    (app_path, action), at = route
    count = 4
    timeout = None
    try:
        start = at + len(_TIMEOUT)
        if payload[at:start] == _TIMEOUT:
            timeout = read_double(payload, start)[0]
            at = start + 8
            count = 5
        start = at + len(_ARGS)
        if payload[at:start] != _ARGS:
            return None
        args, at = read_list(payload, start, 1)
        if payload[at:] == _NO_KWARGS:
            kwargs: dict[str, Any] = {}
            at = len(payload)
        else:
            start = at + len(_KWARGS)
            if payload[at:start] != _KWARGS:
                return None
            kwargs, at = read_dict(payload, start, 1)
    except FAULTS:
        return None
    if at != len(payload) or read_size(payload, 1)[0] != count:
        return None
    if timeout is not None and not timeout > 0:
        return None
    return Request(app_path, action, args, kwargs, timeout)


def read_call(payload: Payload) -> tuple[str, str, float | None, Trace | None]:
    """What a relay needs of a REQUEST. Args and kwargs are not decoded.

    Where the keys come in their usual order (app path, action, timeout, trace), nothing after them
    is even looked at: who runs the call finds out what is wrong there. Else all of it is checked.

    Returns:
        App path and action; the timeout in seconds, None if the caller said nothing; the call that
        it is made by, None if there is none.

    Raises:
        DirtyProtocolError: what was looked at is wrong.
    """
    head = payload if type(payload) is bytes else bytes(payload[:_HEAD_SIZE])
    route = tlv.read_route(head)
    if route is not None:
        (app_path, action), at = route
        start = at + len(_ARGS)
        if head[at:start] == _ARGS and head[1:5] == _FOUR:
            return app_path, action, None, None
        options = _read_options(head, at)
        if options is not None:
            return app_path, action, *options
    fields = tlv.split(payload)
    known = {name: tlv.decode(fields[name]) for name in _ROUTE_KEYS if name in fields}
    return (
        _expect("app_path", known.get("app_path"), str),
        _expect("action", known.get("action"), str),
        _checked_timeout(known.get("timeout")),
        _checked_trace(known.get("trace")),
    )


#: Bytes of a large REQUEST in which what stands before its args is looked for.
_HEAD_SIZE: Final = 4096
#: The count of keys, where all are there that gunicorn sends.
_FOUR: Final = bytes((0, 0, 0, 4))
_ROUTE_KEYS: Final = ("app_path", "action", "timeout", "trace")
#: As our own clients send it: ``{"call": id, "worker": number}``.
_WORKER: Final = _opening("worker", 0, 8)
_TRACE: Final = _opening("trace", {"call": 0, "worker": 0}, 8 + len(_WORKER) + 8)
_read_int = struct.Struct(">q").unpack_from


def _read_options(head: bytes, at: int) -> tuple[float | None, Trace | None] | None:
    """Timeout and trace where they stand at ``at``, with args after them; None if they don't."""
    timeout = None
    trace = None
    count = 4
    try:
        start = at + len(_TIMEOUT)
        if head[at:start] == _TIMEOUT:
            timeout = _checked_timeout(read_double(head, start)[0])
            at = start + 8
            count += 1
        start = at + len(_TRACE)
        if head[at:start] == _TRACE:
            at = start + 8 + len(_WORKER)
            if head[start + 8 : at] != _WORKER:
                return None
            trace = _trace(_read_int(head, start)[0], _read_int(head, at)[0])
            at += 8
            count += 1
    except struct.error:
        return None
    if head[at : at + len(_ARGS)] != _ARGS or read_size(head, 1)[0] != count:
        return None
    return timeout, trace


def _checked_timeout(timeout: object) -> float | None:
    if timeout is None:
        return None
    if type(timeout) is int:
        timeout = float(max(-1, min(timeout, 1 << 62)))  # others may be beyond all floats
    seconds = _expect("timeout", timeout, float)
    if not seconds > 0:
        raise DirtyProtocolError(f"expected a REQUEST's timeout to be above 0, got {seconds}")
    return seconds


def _checked_trace(trace: object) -> Trace | None:
    if trace is None:
        return None
    fields = _expect("trace", trace, dict)
    return _trace(fields.get("call", 0), fields.get("worker", 0))


def _trace(call: object, worker: object) -> Trace:
    if type(call) is not int or type(worker) is not int or call < 0 or worker < 0:
        raise DirtyProtocolError(
            "expected 'call' and 'worker' of a trace to be an id and a number, "
            f"got {shown(call)} and {shown(worker)}"
        )
    return Trace(call, worker)


def _checked(app_path: object, action: object, fields: dict[str, Any]) -> Request:
    args = fields.get("args")
    kwargs = fields.get("kwargs")
    trace = fields.get("trace")
    args = [] if args is None else _expect("args", args, list)
    kwargs = {} if kwargs is None else _expect("kwargs", kwargs, dict)
    if trace is not None:
        _expect("trace", trace, dict)
    return Request(
        _expect("app_path", app_path, str),
        _expect("action", action, str),
        args,
        kwargs,
        _checked_timeout(fields.get("timeout")),
        trace,
    )


def _expect(name: str, value: object, kind: type[T]) -> T:
    if type(value) is kind:
        return value
    raise DirtyProtocolError(
        f"expected a REQUEST's {name} to be a {kind.__name__}, got {type(value).__name__}"
    )
