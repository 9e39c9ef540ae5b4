# SPDX-License-Identifier: MIT
"""Close codes and reasons: RFC 6455 section 7.4."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioserve.errors import AppProtocolError
from trioserve.protocols.websocket import Closed, check_close
from trioserve.protocols.websocket.closing import cut_reason

from .reading import MAY_COME


def test_codes_are_those_that_a_close_frame_may_have() -> None:
    taken = set()
    for code in range(-1, 70_000):
        try:
            taken.add(check_close(code, "").code)
        except AppProtocolError:
            continue
    assert taken == MAY_COME


@pytest.mark.parametrize("code", [True, False, 1000.0, "1000", b"1000", [1000], 10**30])
def test_a_code_that_is_no_such_int_is_refused(code: Any) -> None:
    with pytest.raises(AppProtocolError, match=r"7\.4\), got "):
        check_close(code, "")


def test_a_code_may_be_of_an_enum() -> None:
    class Code(IntEnum):
        LEAVING = 4001

    assert check_close(Code.LEAVING, "") == (4001, "")


def test_nothing_is_a_normal_closure() -> None:
    assert check_close(None, None) == Closed(1000, "")
    assert check_close(None, "done") == Closed(1000, "done")
    assert check_close(1001, None) == Closed(1001, "")


@pytest.mark.parametrize("reason", [b"bytes", 1, [], ["a"], False])
def test_a_reason_that_is_no_text_is_refused(reason: Any) -> None:
    with pytest.raises(AppProtocolError, match=r'"reason" of websocket\.close must be a str'):
        check_close(1000, reason)


def test_a_long_reason_of_an_application_is_cut() -> None:
    assert check_close(1000, "x" * 200).reason == "x" * 123


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("", ""),
        ("x" * 123, "x" * 123),
        ("x" * 124, "x" * 123),
        ("x" * 122 + "ä", "x" * 122),
        ("x" * 121 + "ä", "x" * 121 + "ä"),
        ("x" * 121 + "€", "x" * 121),
        ("x" * 120 + "€", "x" * 120 + "€"),
        ("x" * 120 + "🦔", "x" * 120),
        ("x" * 119 + "🦔", "x" * 119 + "🦔"),
        ("🦔" * 31, "🦔" * 30),
        ("a\ud800b", "a?b"),
    ],
)
def test_a_reason_is_cut_between_characters(reason: str, expected: str) -> None:
    assert cut_reason(reason) == expected


@given(st.text(st.characters(codec=None), max_size=200))
def test_a_cut_reason_is_as_much_as_a_frame_holds(reason: str) -> None:
    """RFC 6455 section 5.5: a control frame has 125 bytes, and the code takes two."""
    cut = cut_reason(reason)
    whole = reason.encode("utf-8", "replace").decode()
    assert len(cut.encode()) <= 123
    assert whole.startswith(cut)
    assert cut == whole or len(whole[: len(cut) + 1].encode()) > 123
