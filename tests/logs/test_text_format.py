# SPDX-License-Identifier: MIT
from __future__ import annotations

import logging
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioserve.logs import LineFormatter, TextFormatter

HEAD = rf"\[\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{{4}}\] \[{os.getpid()}\] "


def record(message: str, exc: BaseException | None = None) -> logging.LogRecord:
    exc_info = None if exc is None else (type(exc), exc, exc.__traceback__)
    return logging.LogRecord("trioserve.error", logging.WARNING, "x.py", 1, message, None, exc_info)


def test_a_record_is_time_pid_level_and_message() -> None:
    assert re.fullmatch(
        HEAD + r"\[WARNING\] all is \"well\"", TextFormatter().format(record('all is "well"'))
    )


def test_a_group_is_shown_whole_with_every_member_note_and_cause() -> None:
    cause = KeyError("the cause")
    members: list[Exception] = [ValueError(f"member {n}") for n in range(40)]
    members[-1].__cause__ = cause
    members[-1].add_note("a note")
    group: Exception = ExceptionGroup("inner", members)
    for depth in range(15):
        group = ExceptionGroup(f"depth {depth}", [group])
    text = TextFormatter().format(record("it failed", group))
    assert all(f"ValueError: member {n}\n" in text for n in range(39))
    assert "KeyError: 'the cause'" in text
    assert "a note" in text
    assert "and 25 more" not in text


def test_a_stack_is_shown() -> None:
    stacked = record("here")
    stacked.stack_info = "Stack (most recent call last):\n  File ..."
    assert TextFormatter().format(stacked).endswith("here\n" + stacked.stack_info)


def test_an_empty_exc_info_adds_nothing() -> None:
    empty = record("no exception")
    empty.exc_info = (None, None, None)
    assert TextFormatter().format(empty).endswith("no exception")


@given(st.text(st.characters()), st.text(st.characters()))
def test_no_text_of_a_message_or_exception_passes_for_a_record(message: str, reason: str) -> None:
    text = TextFormatter().format(record(message, ValueError(reason)))
    lines = text.splitlines()
    assert [n for n, line in enumerate(lines) if line.startswith("[")] == [0]
    assert all(line.replace("\t", "").isprintable() for line in lines)


@pytest.mark.parametrize("text", ["plain", "tab\tbed", "caf\u00e9"])
def test_an_access_line_is_written_as_it_is(text: str) -> None:
    assert LineFormatter().format(record(text)) == text


def test_a_strangers_record_in_the_access_log_is_tamed() -> None:
    assert LineFormatter().format(record("\x1b")) == r"\x1b"
