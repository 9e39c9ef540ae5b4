# SPDX-License-Identifier: MIT
from __future__ import annotations

import base64
import json
import logging
import os
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.test_access_format import entry
from trioserve.logs import JsonFormatter
from trioserve.logs.access import AccessRecord


def record(message: str, exc: BaseException | None = None) -> logging.LogRecord:
    exc_info = None if exc is None else (type(exc), exc, exc.__traceback__)
    return logging.LogRecord("trioserve.error", logging.ERROR, "x.py", 1, message, None, exc_info)


def access_record(*args: Any, **kwargs: Any) -> AccessRecord:
    return AccessRecord(record("").__dict__, "the line", entry(*args, **kwargs))


def refuse_constant(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


def parse(line: str) -> dict[str, Any]:
    """Parse one line as a strict reader does: no NaN, no lone surrogate, no bare controls."""
    assert line.isascii()
    assert line.isprintable()
    members: dict[str, Any] = json.loads(line, parse_constant=refuse_constant)
    json.dumps(members, ensure_ascii=False).encode("utf-8")
    return members


def test_a_record_has_time_level_logger_pid_and_message() -> None:
    plain = record("it is caf\u00e9 \U0001f408")
    plain.created, plain.msecs = 1795348800.007, 7.0
    assert parse(JsonFormatter().format(plain)) == {
        "timestamp": "2026-11-22T12:00:00.007Z",
        "level": "ERROR",
        "logger": "trioserve.error",
        "pid": os.getpid(),
        "message": "it is caf\u00e9 \U0001f408",
    }


def test_an_access_record_has_a_member_for_each_fact() -> None:
    fields = [
        (b"host", b"example.com"),
        (b"authorization", b"Basic " + base64.b64encode(b"ada:secret")),
        (b"referer", b"http://example.com/"),
        (b"user-agent", b"curl/8"),
    ]
    members = parse(JsonFormatter().format(access_record(headers=fields, disconnected=True)))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", members.pop("timestamp"))
    assert members == {
        "level": "ERROR",
        "logger": "trioserve.error",
        "pid": os.getpid(),
        "message": "the line",
        "client": "192.0.2.7",
        "client_port": 50123,
        "user": "ada",
        "type": "http",
        "scheme": "http",
        "http_version": "1.1",
        "method": "GET",
        "host": "example.com",
        "path": "/caf\u00e9",
        "query": "q=1",
        "target": "/caf%C3%A9?q=1",
        "referer": "http://example.com/",
        "user_agent": "curl/8",
        "status": 200,
        "body_size": 1234,
        "duration": 1.5024,
        "disconnected": True,
    }


def test_what_is_not_known_is_null() -> None:
    members = parse(JsonFormatter().format(access_record({"client": None})))
    unknown = {key for key, value in members.items() if value is None}
    assert unknown == {"client", "client_port", "user", "host", "referer", "user_agent"}


def test_an_exception_has_its_type_message_and_whole_traceback() -> None:
    failure = ExceptionGroup("several", [ValueError("first"), KeyError("second")])
    failure.__cause__ = OSError("the cause")
    members = parse(JsonFormatter().format(record("it failed", failure)))["exception"]
    assert members["type"] == "ExceptionGroup"
    assert members["message"] == "several (2 sub-exceptions)"
    for text in ("ValueError: first", "KeyError: 'second'", "OSError: the cause"):
        assert text in members["traceback"]


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no string")


def test_an_exception_without_a_string_is_logged_all_the_same() -> None:
    members = parse(JsonFormatter().format(record("it failed", UnprintableError())))["exception"]
    assert members["type"] == f"{__name__}.UnprintableError"
    assert members["message"] == "<exception str() failed>"
    assert "UnprintableError" in members["traceback"]


def test_a_stack_is_a_member() -> None:
    stacked = record("here")
    stacked.stack_info = "Stack"
    assert parse(JsonFormatter().format(stacked))["stack"] == "Stack"


@given(st.binary(), st.binary(), st.text(st.characters()))
@example(b"\xff\\ud800", b'\r\n\x1b"', "\ud800\x7f\u2028")
def test_any_bytes_give_one_line_of_strict_json(path: bytes, value: bytes, text: str) -> None:
    fields = [(n, value) for n in (b"host", b"referer", b"user-agent")]
    fields.append((b"authorization", b"Basic " + base64.b64encode(value)))
    scope = {"path": text, "method": text, "raw_path": path, "client": (text, 1)}
    hostile = access_record(scope, headers=fields)
    hostile.msg = text
    parse(JsonFormatter().format(hostile))
    parse(JsonFormatter().format(record(text, ValueError(text))))


@pytest.mark.parametrize("odd", [object(), {1: 2}, b"bytes"])
def test_odd_things_that_an_app_put_into_its_scope_are_shown_somehow(odd: object) -> None:
    parse(JsonFormatter().format(access_record({"path": odd})))
