# SPDX-License-Identifier: MIT
"""Lines of the control socket: what is a request, and what is none."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from trioserve.control import messages
from trioserve.control.controls import Controls
from trioserve.errors import TrioserveError


def test_what_can_be_asked_is_what_controls_have() -> None:
    methods = dict(inspect.getmembers(Controls, inspect.isfunction))
    public = {name: method for name, method in methods.items() if name[0] != "_"}
    assert set(messages.REQUESTS) == set(public)
    for name, method in public.items():
        _, *parameters = inspect.signature(method).parameters
        parameter = messages.REQUESTS[name]
        assert parameters == ([] if parameter is None else [parameter[0]])


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("status", {}),
        ("add_workers", {"count": 512}),
        ("kill_worker", {"pid": 1}),
        ("set_log_level", {"level": "debug"}),
        ("shutdown", {"now": True}),
    ],
)
def test_a_request_is_read_as_it_was_written(asked: str, given: dict[str, Any]) -> None:
    line = messages.encode_request(asked, given)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert messages.parse_request(line) == (asked, given)


def test_what_a_request_takes_may_be_left_out_where_it_takes_nothing() -> None:
    assert messages.parse_request(b'{"ask": "reload"}') == ("reload", {})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", "expected a line of JSON, got b''"),
        (b"GET / HTTP/1.1\r\n", "expected a line of JSON, got b'GET"),
        (b"\xff\xfe\n", "expected a line of JSON"),
        (b"[" * 4000, "expected a line of JSON"),
        (b"[]", 'expected {"ask": …} with one of status, tasks'),
        (b'{"ask": "statsu"}', 'expected {"ask": …} with one of status, tasks'),
        (b'{"ask": ["status"]}', 'expected {"ask": …}'),
        (b'{"ask": "__init__"}', 'expected {"ask": …}'),
        (b'{"ask": "status", "with": {"count": 1}}', "status takes nothing"),
        (b'{"ask": "add_workers"}', 'add_workers takes "count", a whole number, 1 to 512, got {}'),
        (b'{"ask": "add_workers", "with": {"count": 0}}', 'add_workers takes "count"'),
        (b'{"ask": "add_workers", "with": {"count": true}}', 'add_workers takes "count"'),
        (b'{"ask": "add_workers", "with": {"count": 513}}', 'add_workers takes "count"'),
        (b'{"ask": "add_workers", "with": {"count": 1, "x": 1}}', 'add_workers takes "count"'),
        (b'{"ask": "kill_worker", "with": {"pid": -1}}', 'kill_worker takes "pid"'),
        (b'{"ask": "set_log_level", "with": {"level": "loud"}}', "one of critical, error"),
        (b'{"ask": "set_log_level", "with": {"level": ["info"]}}', "one of critical, error"),
        (b'{"ask": "shutdown", "with": {"now": 1}}', 'shutdown takes "now", true or false'),
        (b'{"ask": "shutdown", "with": "now"}', 'shutdown takes "now"'),
    ],
)
def test_what_is_no_request_is_refused_with_what_was_expected(line: bytes, expected: str) -> None:
    with pytest.raises(TrioserveError) as caught:
        messages.parse_request(line)
    assert expected in str(caught.value)


def test_an_answer_that_is_too_long_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MAX_ANSWER_SIZE", 100)
    assert json.loads(messages.encode_answer(["x" * 20])) == {"answer": ["x" * 20]}
    assert json.loads(messages.encode_answer(["x" * 200])) == {
        "refused": "the answer is too long: 217 bytes"
    }
