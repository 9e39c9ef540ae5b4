# SPDX-License-Identifier: MIT
"""What a run is judged to be, and how it is told."""

from __future__ import annotations

import pytest

from tests.conformance.report import GROUPS, render
from tests.conformance.verdicts import Kind, Verdict, kind_of, number_of, wrong


def verdict(case: str, kind: Kind = "OK") -> Verdict:
    words = {"description": f"Send {case}", "expectation": "All is well"}
    return Verdict(case=case, kind=kind, details=("came: []",), **words)


@pytest.mark.parametrize(
    ("behavior", "behavior_close", "kind"),
    [
        ("OK", "OK", "OK"),
        ("OK", "UNCLEAN", "FAILED"),
        ("OK", "WRONG CODE", "FAILED"),
        ("OK", "FAILED BY CLIENT", "FAILED"),
        ("OK", "FAILED", "FAILED"),
        ("NON-STRICT", "OK", "NON-STRICT"),
        ("NON-STRICT", "UNCLEAN", "FAILED"),
        ("INFORMATIONAL", "INFORMATIONAL", "INFORMATIONAL"),
        ("UNIMPLEMENTED", "OK", "UNIMPLEMENTED"),
        ("FAILED", "OK", "FAILED"),
        ("ERROR", "OK", "FAILED"),
    ],
)
def test_a_case_is_no_better_than_its_closing_handshake(
    behavior: str, behavior_close: str, kind: Kind
) -> None:
    assert kind_of(behavior, behavior_close) == kind


def test_only_a_known_non_strict_case_is_not_wrong() -> None:
    run = [
        verdict("1.1.1"),
        verdict("3.2", "NON-STRICT"),
        verdict("3.3", "NON-STRICT"),
        verdict("7.1.5", "FAILED"),
        verdict("7.13.1", "INFORMATIONAL"),
        verdict("12.1.1", "UNIMPLEMENTED"),
    ]
    known = {"3.2": "why", "7.1.5": "no excuse"}
    assert [found.case for found in wrong(run, known)] == ["3.3", "7.1.5", "12.1.1"]


def test_cases_are_sorted_as_numbers() -> None:
    assert sorted(["1.2.10", "12.1.1", "1.2.9", "2.1"], key=number_of) == [
        "1.2.9",
        "1.2.10",
        "2.1",
        "12.1.1",
    ]


def test_the_table_counts_the_cases_of_each_group() -> None:
    lines = render([verdict("1.1.1"), verdict("12.1.1"), verdict("12.1.2")], {}).splitlines()
    assert f"| 1. {GROUPS[1]} | 1 | 1 |  |  |  |  |" in lines
    assert f"| 12. {GROUPS[12]} | 2 | 2 |  |  |  |  |" in lines
    assert "| All | 3 | 3 |  |  |  |  |" in lines
    assert not any(line.startswith("| 2.") for line in lines)


def test_a_known_case_is_told_with_its_reason() -> None:
    text = render([verdict("3.2", "NON-STRICT")], {"3.2": "the echo is late"})
    assert "3.2 NON-STRICT: Send 3.2\n    known: the echo is late" in text
    assert "came" not in text


def test_a_case_that_is_wrong_is_told_with_all_that_is_known() -> None:
    text = render([verdict("7.1.5", "FAILED")], {})
    assert "7.1.5 FAILED: Send 7.1.5\n    expected: All is well\n    came: []" in text


def test_a_known_case_that_is_ok_is_told() -> None:
    text = render([verdict("3.2")], {"3.2": "why", "3.3": "not in this run"})
    assert text.endswith("OK although known as NON-STRICT (known.py): 3.2")
