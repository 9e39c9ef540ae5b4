# SPDX-License-Identifier: MIT
"""The text: what Python itself would print, but for what is left out."""

from __future__ import annotations

import re
import traceback
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reloading.failing import raised_by
from trioserve.reloading.as_text import as_text
from trioserve.reloading.report import make_report

if TYPE_CHECKING:
    from pathlib import Path


def text_of(exc: BaseException) -> str:
    return as_text(make_report(exc))


@pytest.mark.parametrize(
    "source",
    [
        "def f(a):\n    return a['x']['y'] + 1\nf({'x': {}})\n",
        "try:\n    1 / 0\nexcept Exception as exc:\n    raise ValueError('a\\nb') from exc\n",
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    [][0]\n",
        "exc = ValueError('x')\nexc.add_note('one\\ntwo')\nexc.add_note('')\nraise exc\n",
        "import json\njson.loads('{')\n",
        "assert not 'ä', 'é and 猫'\n",
        "raise SystemExit\n",
    ],
)
def test_an_exception_reads_as_python_prints_it(tmp_path: Path, source: str) -> None:
    exc = raised_by(tmp_path, source)
    # Python counts the frames of the import system in, which raised_by has left behind.
    printed = "".join(traceback.format_exception(exc))
    frames = re.compile(r'  File "<frozen importlib.*\n(?:    .*\n)*')
    assert text_of(exc).rstrip() == frames.sub("", printed).rstrip()


def test_a_syntax_error_has_file_line_and_caret(tmp_path: Path) -> None:
    text = text_of(raised_by(tmp_path, "x = 1\n\tdef f():\n"))
    place = f'  File "{tmp_path / "failing_app.py"}", line 2\n    def f():\n'
    assert place in text
    assert text.endswith("IndentationError: unexpected indent\n")
    text = text_of(raised_by(tmp_path, "if x:\n    y = f(:\n"))
    assert text.endswith("    y = f(:\n          ^\nSyntaxError: invalid syntax\n")
    assert "Traceback" not in text


def test_a_recursion_is_said_once_and_counted(tmp_path: Path) -> None:
    text = text_of(raised_by(tmp_path, "def f():\n    f()\nf()\n"))
    assert re.search(r"  \[Previous line repeated \d+ more times\]\nRecursionError", text)
    assert text.count("in f") == 1
    text = text_of(raised_by(tmp_path, "def f(): g()\ndef g(): h()\ndef h(): f()\nf()\n"))
    assert re.search(r"\n  … [\d,]+ more calls are left out here\n", text)


def test_the_parts_of_a_group_are_numbered_and_indented() -> None:
    inner = ExceptionGroup("inner", [OSError("deep\ner")])
    inner.add_note("a note")
    assert text_of(ExceptionGroup("outer", [KeyError("k"), inner])) == (
        "ExceptionGroup: outer (2 sub-exceptions)\n"
        "  +-+---------------- 1 of 2 ----------------\n"
        "    | KeyError: 'k'\n"
        "  +-+---------------- 2 of 2 ----------------\n"
        "    | ExceptionGroup: inner (1 sub-exception)\n"
        "    | a note\n"
        "    |   +-+---------------- 1 of 1 ----------------\n"
        "    |     | OSError: deep\n"
        "    |     | er\n"
        "    |     +--------------------------------\n"
        "    +--------------------------------\n"
    )


def test_what_is_left_out_is_said() -> None:
    text = text_of(ExceptionGroup("many", [ValueError(str(i)) for i in range(2_000)]))
    assert "-- 15 of 2,000 --" in text
    assert "-- … and 1,985 more --" in text
    ring = ValueError("ring")
    ring.__cause__ = ring
    assert text_of(ring) == (
        "(The exception before it is shown elsewhere here.)\nValueError: ring\n"
    )
    chain = ValueError("0")
    for _ in range(2_000):
        following = ValueError("n")
        following.__cause__, chain = chain, following
    assert text_of(chain).startswith("… and 1,986 more exceptions before it\n\nThe above")


@given(st.text(st.characters()), st.text(st.characters()))
def test_any_text_is_printable_line_by_line(message: str, note: str) -> None:
    exc = ValueError(message)
    exc.add_note(note)
    text = text_of(exc)
    assert all(line.replace("\t", "").isprintable() for line in text.split("\n"))
    text.encode()
