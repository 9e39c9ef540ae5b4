# SPDX-License-Identifier: MIT
"""Frames as *parts*: bytes to be sent one after the other; the first begins with the header.

A frame is one part as a rule, more where a large value was not copied (see tlv.encode_parts). Who
learns the request's id only after the payload was encoded makes its parts by ``request_payload``
and adds the header by ``with_header``. Each payload's keys are in the folder's README.

Each function raises DirtyProtocolError if something can't be sent (the message says what and
where), if the payload is longer than ``max_frame_size``, or if the id is no uint64.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from trioserve.dirty import tlv
from trioserve.dirty.descriptions import shown
from trioserve.dirty.errors import DirtyError, DirtyProtocolError
from trioserve.dirty.frame_header import (
    DEFAULT_MAX_FRAME_SIZE,
    HEADER_WORD,
    FrameType,
    pack_header,
    type_name,
)
from trioserve.dirty.tlv_codes import DICT, FLOAT
from trioserve.dirty.tlv_write import (
    FAILURES,
    Pieces,
    encoded_keys,
    pack_head,
    refusal,
    write_dict,
    write_list,
    write_value,
)

#: A frame, or its payload, ready for sendmsg.
Parts: TypeAlias = list[bytes | memoryview]

# -- frames from payloads -------------------------------------------------------------------

#: A payload beyond this is not copied to stand behind its header.
_JOINED_SIZE: Final = 64 * 1024


def with_header(
    frame_type: int,
    request_id: int,
    parts: Parts,
    max_frame_size: int = DEFAULT_MAX_FRAME_SIZE,
) -> Parts:
    """A frame from its payload's parts, which are left as they are."""
    first = parts[0] if parts else b""
    size = len(first) if len(parts) < 2 else sum(map(len, parts))
    if size > max_frame_size:
        raise DirtyProtocolError(
            f"a {type_name(frame_type)} frame of {size:,} bytes:"
            f" dirty_max_frame_size is {max_frame_size:,}"
        )
    try:
        header = pack_header(HEADER_WORD + frame_type, size, request_id)
    except struct.error:
        raise DirtyProtocolError(f"a request id is a uint64, got {shown(request_id)}") from None
    if len(first) > _JOINED_SIZE:
        return [header, *parts]
    return [header + first, *parts[1:]]


def frame(
    frame_type: int,
    request_id: int,
    payload: bytes | memoryview | Parts = b"",
    max_frame_size: int = DEFAULT_MAX_FRAME_SIZE,
) -> Parts:
    """A frame whose payload is encoded already."""
    parts = payload if isinstance(payload, list) else [payload]
    return with_header(frame_type, request_id, parts, max_frame_size)


# -- payloads -------------------------------------------------------------------------------


def _key(name: str) -> bytes:
    return encoded_keys[name]


def _opening(name: str) -> bytes:
    """A dict's encoding up to the value of its only key."""
    return pack_head(DICT, 1) + _key(name)


_RESULT: Final = _opening("result")
_DATA: Final = _opening("data")
_ERROR: Final = _opening("error")
_CREDIT: Final = _opening("bytes")
_EMPTY: Final[Parts] = []


def _single(opening: bytes, name: str, value: Any) -> Parts:
    """The payload ``{name: value}``."""
    pieces = Pieces()
    pieces.append(opening)
    try:
        write_value(pieces, value, 1)
    except FAILURES as exc:
        raise refusal(value, name, 1) from exc
    return pieces.joined()


def _dict(name: str, entries: Mapping[str, Any]) -> Parts:
    pieces = Pieces()
    entries = dict(entries)
    try:
        write_dict(pieces, entries, 0)
    except FAILURES as exc:
        raise refusal(entries, name) from exc
    return pieces.joined()


class _Routes(dict[tuple[str, str], bytes]):
    """The beginnings of REQUESTs: a program has as many as it has actions."""

    _MAX_ROUTES = 1024

    def __missing__(self, route: tuple[str, str]) -> bytes:
        for name in route:
            if not isinstance(name, str):
                raise DirtyProtocolError(f"app path and action must be str, got {shown(route)}")
        app_path, action = map(tlv.encode, route)
        encoded = _key("app_path") + app_path + _key("action") + action
        if len(self) >= self._MAX_ROUTES:
            self.clear()
        self[route] = encoded
        return encoded


_routes = _Routes()


def _route(app_path: object, action: object) -> bytes:
    try:
        return _routes[app_path, action]  # type: ignore[index]
    except TypeError:  # a list, which can't be a key
        return _routes.__missing__((app_path, action))  # type: ignore[arg-type]


_REQUEST_FIELDS: Final = ("app_path", "action", "args", "kwargs", "timeout", "trace")
_REQUEST: Final = [pack_head(DICT, count) for count in range(7)]
_TIMEOUT: Final = _key("timeout")
_pack_float = struct.Struct(">Bd").pack
_TRACE: Final = _key("trace")
_ARGS: Final = _key("args")
_KWARGS: Final = _key("kwargs")
_NO_KWARGS: Final = _KWARGS + pack_head(DICT, 0)


def request_payload(
    app_path: str,
    action: str,
    args: list[Any] | tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    timeout: float | None = None,
    trace: dict[str, Any] | None = None,
) -> Parts:
    """The payload of a REQUEST; see Request."""
    pieces = Pieces()
    append = pieces.append
    try:
        append(_REQUEST[4 + (timeout is not None) + (trace is not None)])
        append(_route(app_path, action))
        if timeout is not None:
            append(_TIMEOUT + _pack_float(FLOAT, timeout))
        if trace is not None:
            append(_TRACE)
            write_dict(pieces, trace, 1)
        append(_ARGS)
        if not isinstance(args, list | tuple):  # a str would do, letter by letter
            raise DirtyProtocolError("no list")
        write_list(pieces, args, 1)
        if kwargs:
            append(_KWARGS)
            write_dict(pieces, kwargs, 1)
        else:
            append(_NO_KWARGS)
    except FAILURES as exc:
        raise _request_refusal(app_path, action, args, kwargs, timeout, trace) from exc
    return pieces.joined()


def _request_refusal(*fields: Any) -> DirtyProtocolError:
    """The error for a REQUEST that could not be encoded."""
    for name, value in zip(("app_path", "action"), fields, strict=False):
        if not isinstance(value, str):
            return DirtyProtocolError(f"{name} must be a str, not {type(value).__name__}")
    if not isinstance(fields[2], list | tuple):
        return DirtyProtocolError(f"args must be a list, not {type(fields[2]).__name__}")
    for name, value in zip(_REQUEST_FIELDS, fields, strict=True):
        try:
            write_value(Pieces(), value, 1)
        except FAILURES:
            return refusal(value, name, 1)
    return DirtyProtocolError(f"the timeout must be a number, got {shown(fields[4])}")


# -- frames ---------------------------------------------------------------------------------


def request(
    request_id: int,
    app_path: str,
    action: str,
    args: list[Any] | tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    timeout: float | None = None,
    trace: dict[str, Any] | None = None,
    max_frame_size: int = DEFAULT_MAX_FRAME_SIZE,
) -> Parts:
    payload = request_payload(app_path, action, args, kwargs, timeout, trace)
    return with_header(FrameType.REQUEST, request_id, payload, max_frame_size)


def response(request_id: int, result: Any, max_frame_size: int = DEFAULT_MAX_FRAME_SIZE) -> Parts:
    payload = _single(_RESULT, "result", result)
    return with_header(FrameType.RESPONSE, request_id, payload, max_frame_size)


def chunk(request_id: int, data: Any, max_frame_size: int = DEFAULT_MAX_FRAME_SIZE) -> Parts:
    payload = _single(_DATA, "data", data)
    return with_header(FrameType.CHUNK, request_id, payload, max_frame_size)


def error(
    request_id: int,
    error: DirtyError | Mapping[str, Any],
    max_frame_size: int = DEFAULT_MAX_FRAME_SIZE,
) -> Parts:
    """An ERROR. What can't be sent of it, or is too long, goes as a shortened ``repr``."""
    data = error.to_dict() if isinstance(error, DirtyError) else dict(error)
    try:
        payload = _single(_ERROR, "error", data)
        return with_header(FrameType.ERROR, request_id, payload, max_frame_size)
    except DirtyProtocolError:
        payload = _single(_ERROR, "error", _shortened(data))
        return with_header(FrameType.ERROR, request_id, payload, max_frame_size)


#: Characters of a message and of each detail that are left of an error that can't be sent whole.
_SHORT: Final = 2000


def _shortened(data: Mapping[str, Any]) -> dict[str, Any]:
    details = data.get("details")
    return {
        "error_type": _text(data.get("error_type", "DirtyError")),
        "message": _text(data.get("message", "")),
        "details": {
            _text(name): value
            if isinstance(value, int | float | None) and abs(value or 0) < 1 << 63
            else _text(value)
            for name, value in (details.items() if isinstance(details, Mapping) else ())
        },
    }


def _text(value: object) -> str:
    text = value if isinstance(value, str) else shown(value)
    return text[:_SHORT].encode(errors="backslashreplace").decode()


def end(request_id: int) -> Parts:
    return with_header(FrameType.END, request_id, _EMPTY)


def stash(
    request_id: int,
    op: int,
    table: str,
    key: Any = None,
    value: Any = None,
    pattern: str | None = None,
    *,
    max_frame_size: int = DEFAULT_MAX_FRAME_SIZE,
    **ours: Any,
) -> Parts:
    """A STASH. What is None is left out. ``ours`` are the fields of operations from 32 on."""
    fields = {"op": int(op), "table": table, "key": key, "value": value, "pattern": pattern, **ours}
    entries = {name: field for name, field in fields.items() if field is not None}
    return with_header(FrameType.STASH, request_id, _dict("stash", entries), max_frame_size)


def status(request_id: int) -> Parts:
    return with_header(FrameType.STATUS, request_id, _EMPTY)


def manage(request_id: int, op: int, count: int = 1) -> Parts:
    return with_header(FrameType.MANAGE, request_id, _dict("manage", {"op": op, "count": count}))


def hello(
    fields: Mapping[str, Any], request_id: int = 0, max_frame_size: int = DEFAULT_MAX_FRAME_SIZE
) -> Parts:
    return with_header(FrameType.HELLO, request_id, _dict("hello", fields), max_frame_size)


def cancel(request_id: int) -> Parts:
    return with_header(FrameType.CANCEL, request_id, _EMPTY)


def revoke(request_id: int) -> Parts:
    return with_header(FrameType.REVOKE, request_id, _EMPTY)


def credit(request_id: int, size: int) -> Parts:
    return with_header(FrameType.CREDIT, request_id, _single(_CREDIT, "bytes", size))


def ping(request_id: int = 0) -> Parts:
    return with_header(FrameType.PING, request_id, _EMPTY)


def pong(request_id: int = 0) -> Parts:
    return with_header(FrameType.PONG, request_id, _EMPTY)


def drain(request_id: int = 0) -> Parts:
    return with_header(FrameType.DRAIN, request_id, _EMPTY)


def tasks(
    request_id: int,
    fields: Mapping[str, str] | None = None,
    max_frame_size: int = DEFAULT_MAX_FRAME_SIZE,
) -> Parts:
    """A TASKS: the question, or with fields its answer."""
    payload = _EMPTY if fields is None else _dict("tasks", fields)
    return with_header(FrameType.TASKS, request_id, payload, max_frame_size)
