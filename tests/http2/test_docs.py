# SPDX-License-Identifier: MIT
"""docs/http2_conformance.md names tests, and rows of their tables: all of them exist."""

from __future__ import annotations

import ast
import re

import pytest

from tests.http2 import test_generic, test_hpack, test_http2
from tests.server_process import REPOSITORY

PAGE = (REPOSITORY / "docs" / "http2_conformance.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`(test_\w+\.py)::(\w+)`", PAGE)))
ROWS = {
    *test_generic.REQUESTS,
    *test_generic.HARMLESS,
    *test_hpack.UNDECODABLE,
    *test_hpack.DECODABLE,
    *test_http2.CASES,
    *test_http2.MALFORMED_HEADS,
}


def cells(column: int) -> list[str]:
    """The last column of tables with so many of them."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line[:2] == "| "]
    return [row[-1] for row in rows if len(row) == column and not row[-1].startswith("`")]


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_each_test_that_is_named_exists(file: str, name: str) -> None:
    tree = ast.parse((REPOSITORY / "tests" / "http2" / file).read_text("utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)}
    assert name in functions


def test_each_row_that_is_named_exists() -> None:
    found = {name for cell in (*cells(4), *cells(2)) for name in cell.split("; ")}
    assert found - ROWS <= {"Rows", ""}
    assert len(found & ROWS) > 100


def test_each_section_of_the_tables_is_named() -> None:
    sections = {case.section for case in test_http2.CASES.values() if " " not in case.section}
    sections |= {section.rpartition(".")[0] for section, _ in test_http2.MALFORMED_HEADS.values()}
    named = set(re.findall(r"^\| ([\d.]+) \|", PAGE, re.MULTILINE))
    assert {section for section in sections if section.count(".")} - named == set()
