# SPDX-License-Identifier: MIT
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioserve.escaping import escape, tame

any_text = st.text(st.characters())  # lone surrogates included


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain text, é and 猫", "plain text, é and 猫"),
        ('a "quote" and a \\', r"a \"quote\" and a \\"),
        ("\r\n\t\x00\x1b[31m\x7f", r"\x0d\x0a\x09\x00\x1b[31m\x7f"),
        ("\x85\x9b\u2028\u202e\U000e0001", r"\u0085\u009b\u2028\u202e\U000e0001"),
        (b"\x80\xff".decode("utf-8", "surrogateescape"), r"\x80\xff"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, safe: str) -> None:
    assert escape(text) == safe


@given(any_text)
def test_any_text_becomes_printable_and_stays_inside_its_quotes(text: str) -> None:
    safe = escape(text)
    assert safe.isprintable()
    safe.encode("utf-8")
    without_pairs = safe.replace("\\\\", "").replace('\\"', "")
    assert '"' not in without_pairs
    assert not without_pairs.endswith("\\")


@given(any_text)
def test_only_the_first_line_of_tamed_text_begins_with_a_bracket(text: str) -> None:
    tamed = tame(text)
    assert tamed.count("\n") == text.count("\n")
    lines = tamed.splitlines()
    assert not any(line.startswith("[") for line in lines[1:])
    assert all(line.replace("\t", "").isprintable() for line in lines)


def test_tamed_prose_keeps_quotes_backslashes_and_tabs() -> None:
    assert tame('\t"C:\\x"\n[forged\x1b') == '\t"C:\\x"\n  [forged\\x1b'
