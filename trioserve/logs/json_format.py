# SPDX-License-Identifier: MIT
"""The JSON form of both logs: one object (RFC 8259) a line, in ASCII."""

from __future__ import annotations

import json
import logging
from typing import Any, Final

from trioserve.access_format import AccessEntry, basic_auth_user, request_target
from trioserve.logs.text_format import format_traceback
from trioserve.timestamps import PerSecond, utc_time

__all__ = ["JsonFormatter"]


class JsonFormatter(logging.Formatter):
    """One JSON object a record; an access record's has a member for each fact of the exchange.

    Bytes that are no UTF-8, and characters that have no place in Unicode text (lone surrogates),
    are written as backslash escapes, so strict readers take every line.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stamp = PerSecond(utc_time)

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, without its end."""
        members: dict[str, Any] = {
            "timestamp": f"{self._stamp(record.created)}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        entry = record.__dict__.get("access")
        if isinstance(entry, AccessEntry):
            members.update(_access_members(entry))
        if record.exc_info and record.exc_info[1] is not None:
            members["exception"] = _exception_members(record.exc_info)
        if record.stack_info:
            members["stack"] = record.stack_info
        return _dump(members)


def _access_members(entry: AccessEntry) -> dict[str, Any]:
    scope = entry.scope
    host, port, *_ = scope.get("client") or (None, None)
    fields: dict[bytes, bytes] = dict(scope["headers"])
    authorization = fields.get(b"authorization")
    return {
        "client": host,
        "client_port": port,
        "user": None if authorization is None else _user(authorization),
        "type": scope.get("type"),
        "scheme": scope.get("scheme"),
        "http_version": scope.get("http_version"),
        "method": scope.get("method"),
        "host": _decode(fields.get(b"host")),
        "path": scope.get("path"),
        "query": _decode(scope.get("query_string") or b""),
        "target": _decode(request_target(scope)),
        "referer": _decode(fields.get(b"referer")),
        "user_agent": _decode(fields.get(b"user-agent")),
        "status": entry.status,
        "body_size": entry.body_size,
        "duration": round(entry.duration, 6),
        "disconnected": entry.disconnected,
    }


def _user(authorization: bytes) -> str | None:
    user = basic_auth_user(authorization)
    return None if user is None else _decode(user.encode("utf-8", "surrogateescape"))


def _decode(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _exception_members(exc_info: Any) -> dict[str, str]:
    kind, exc, _ = exc_info
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return {
        "type": f"{module}{kind.__qualname__}",
        "message": _message(exc),
        "traceback": format_traceback(exc_info),
    }


def _message(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:  # __str__ is foreign code; the traceback is to be logged all the same
        return "<exception str() failed>"


_encode: Final = json.JSONEncoder(separators=(",", ":"), default=repr).encode


def _dump(members: dict[str, Any]) -> str:
    text = _encode(members)
    # A lone surrogate is encoded as \udxxx, which strict readers refuse. Rare, so sought last.
    return _encode(_scrub(members)) if "\\ud" in text else text


def _scrub(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: _scrub(member) for key, member in value.items()}
    return value
