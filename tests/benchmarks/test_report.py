# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest

from benchmarks.core.report import (
    HEADER,
    Findings,
    Table,
    Verdict,
    markdown_table,
    merge,
    render,
    show,
)
from benchmarks.core.statistics import Spread

ORDER = ["plaintext", "starlette", "idle"]


def test_a_table_is_aligned_and_is_markdown() -> None:
    assert markdown_table(("server", "n"), [("a", "1,000"), ("granian", "2")]) == (
        "| server  |     n |\n| ------- | ----: |\n| a       | 1,000 |\n| granian |     2 |\n"
    )


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        markdown_table(("server", "n"), [("a",)])


@pytest.mark.parametrize(
    ("spread", "places", "expected"),
    [
        (None, 0, "—"),
        (Spread(1234.4, 1200, 1300), 0, "1,234 (1,200 - 1,300)"),
        (Spread(1.234, 1.2, 1.3), 2, "1.23 (1.20 - 1.30)"),
        (Spread(5.0, 4.99, 5.01), 1, "5.0"),
    ],
)
def test_a_spread_is_said_with_its_range_where_it_shows(
    spread: Spread | None, places: int, expected: str
) -> None:
    assert show(spread, places) == expected


def test_a_section_has_its_tables_and_its_verdicts() -> None:
    verdicts = [
        Verdict("fast", "1.2 x", True),
        Verdict("small", "11 KiB", False),
        Verdict("quiet", "—", None),
    ]
    text = render("Title", "About.", Findings("", [Table("T", ("a",), [("b",)])], verdicts, {}))
    assert text.startswith("## Title\n\nAbout.\n\n### T\n\n| a |\n")
    assert [line.split("|")[3].strip() for line in text.splitlines()[-3:]] == [
        "met",
        "**missed**",
        "not measured",
    ]


def test_the_first_section_makes_the_file() -> None:
    text = merge("", {"idle": "## Idle\n"}, ORDER)
    assert text == f"{HEADER}\n<!-- suite: idle -->\n## Idle\n<!-- end: idle -->\n"


def test_only_the_sections_that_ran_are_replaced() -> None:
    old = merge("", {"plaintext": "old plain", "idle": "old idle"}, ORDER)
    new = merge(old, {"idle": "new idle", "starlette": "new starlette"}, ORDER)
    assert "old plain" in new
    assert "old idle" not in new
    positions = [new.index(word) for word in ("old plain", "new starlette", "new idle")]
    assert positions == sorted(positions)


def test_merging_the_same_again_changes_nothing() -> None:
    once = merge("", {"plaintext": "a\n\nb", "idle": "c"}, ORDER)
    assert merge(once, {"idle": "c"}, ORDER) == once


def test_sections_of_unknown_suites_are_kept_at_the_end() -> None:
    old = merge("", {"http2": "h2"}, ["http2"])
    new = merge(old, {"idle": "i"}, ORDER)
    assert new.index("suite: http2") > new.index("suite: idle")
