# SPDX-License-Identifier: MIT
"""The page: everything is on it, and nothing of it is markup but what is written for it."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from tests.reloading.failing import raised_by
from trioserve.escaping import printable
from trioserve.reloading.as_html import POLICY, as_html
from trioserve.reloading.as_text import as_text
from trioserve.reloading.report import make_report

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

#: What a page can be made of.
TAGS = {
    *("html", "head", "meta", "title", "style", "script", "body", "header", "main", "footer"),
    *("section", "h1", "h2", "p", "details", "summary", "pre", "code", "span", "mark"),
}
_VOID = {"meta"}


class Reader(HTMLParser):
    """A page, read as a browser does.

    Attributes:
        tags: each that was opened, with its attributes.
        texts: by the classes of the element that they stand in.
    """

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[tuple[str, int]] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append((tag, len(self.texts)))
            self.texts.append((dict(attrs).get("class") or tag, ""))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            index = self._open[-1][1]
            name, text = self.texts[index]
            self.texts[index] = name, text + data

    def of(self, kind: str) -> list[str]:
        """The texts of all elements of a class, or of a tag without one."""
        return [text for name, text in self.texts if name == kind]


def page_of(exc: BaseException, note: str = "", *, heals: bool = True) -> str:
    report = make_report(exc)
    return as_html(report, as_text(report), note, "the-ident", heals=heals)


def read(exc: BaseException, note: str = "") -> Reader:
    return Reader(page_of(exc, note))


def text_of(page: str) -> str:
    """All that is to be read on it, the rows of the source included."""

    class Text(HTMLParser):
        found = ""

        def handle_data(self, data: str) -> None:
            self.found += data

    text = Text()
    text.feed(page)
    return text.found


def test_a_page_has_the_whole_exception(tmp_path: Path) -> None:
    source = """
import json

def load(text):
    return [json.loads(text)]

try:
    load("{")
except ValueError as exc:
    exc.add_note("while <reading>")
    raise RuntimeError("no settings & no <service>") from exc
"""
    page = page_of(raised_by(tmp_path, source), "importing it failed")
    reader = Reader(page)
    assert reader.of("kind") == ["RuntimeError", "json.decoder.JSONDecodeError"]
    assert reader.of("message")[0] == "no settings & no <service>"
    assert reader.of("added") == ["while <reading>"]
    assert reader.of("note") == ["importing it failed"]
    assert reader.of("title") == ["RuntimeError: no settings & no <service>"]
    assert reader.of("link") == ["The direct cause of it was"]
    assert reader.of("mark")[0] == "json.loads(text)"
    text = text_of(page)
    assert "def load(text):" in text
    assert text.count("failing_app.py:11 in <module>") == 1
    assert "while <reading>" in text


def test_the_applications_calls_are_unfolded_and_those_of_libraries_folded(tmp_path: Path) -> None:
    reader = read(raised_by(tmp_path, "import json\njson.loads('{')\n"))
    frames = [attrs for tag, attrs in reader.tags if tag == "details"]
    assert [("open" in attrs, attrs["class"]) for attrs in frames] == [
        (True, "frame"),
        (False, "frame library"),
        (False, "frame library"),
        (False, "frame library"),
        (False, "plain"),
    ]


def test_files_are_named_as_seen_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reader = read(raised_by(tmp_path, "1 / 0\n"))
    assert reader.of("file")[-1] == "failing_app.py"
    titles = [attrs["title"] for _, attrs in reader.tags if "title" in attrs]
    assert str(tmp_path / "failing_app.py") in titles


def test_a_syntax_error_has_its_place(tmp_path: Path) -> None:
    reader = read(raised_by(tmp_path, "x = 1\ndef f(<b>:\n    pass\n"))
    assert reader.of("mark") == ["<"]
    assert "def f(<b>:" in text_of(page_of(raised_by(tmp_path, "def f(<b>:\n    pass\n")))


def test_groups_rings_and_recursions_are_shown_as_far_as_they_go(tmp_path: Path) -> None:
    many = read(ExceptionGroup("many", [ValueError(str(i)) for i in range(1_000)]))
    assert many.of("link")[0] == "1 of 1,000"
    assert many.of("more") == ["… and 985 more exceptions"]
    ring = ValueError("ring")
    ring.__context__ = ring
    assert read(ring).of("more") == ["(The exception before it is shown elsewhere here.)"]
    (repeated,) = read(raised_by(tmp_path, "def f():\n    f()\nf()\n")).of("more")
    assert re.fullmatch(r"… repeated \d+ more times", repeated)
    source = "def f(): g()\ndef g(): h()\ndef h(): f()\nf()\n"
    (left_out,) = read(raised_by(tmp_path, source)).of("more")
    assert re.fullmatch(r"… [\d,]+ more calls are left out here", left_out)


def test_calls_without_source_are_there(tmp_path: Path) -> None:
    exc = raised_by(tmp_path, "1 / 0\n")
    (tmp_path / "failing_app.py").unlink()
    reader = read(exc)
    assert [attrs["class"] for _, attrs in reader.tags if "bare" in (attrs.get("class") or "")]
    exc = SyntaxError("x", ("<none>", 3, 1, None))
    assert "<none>:3" in text_of(page_of(exc))


def test_a_page_is_bounded() -> None:
    exc: ExceptionGroup[Exception] = ExceptionGroup("x" * 10**6, [ValueError("<" * 10**6)] * 100)
    for depth in range(200):
        exc = ExceptionGroup(str(depth) * 10**4, [exc, *[ValueError("<" * 10**5)] * 20])
    assert len(page_of(exc)) < 8_000_000


def test_a_page_needs_nothing_else() -> None:
    page = page_of(ValueError("x"))
    assert not re.search(r"https?:|//|@import|url\(|src=|href=", page.replace("// No server", ""))
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    for kind, text in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in POLICY
    assert "default-src 'none'" in POLICY
    assert "unsafe" not in POLICY
    assert not re.search(r"\sstyle=|\son\w+=", page)


def test_a_page_that_can_not_be_sent_for_again_has_no_script() -> None:
    page = page_of(ValueError("x"), heals=False)
    assert "<script" not in page
    assert "send the request again" in page


hostile = st.one_of(
    st.text(st.characters()),
    st.sampled_from(
        [
            "</script><script>alert(1)</script>",
            "</style></title></pre></textarea><img src=x onerror=alert(1)>",
            '"><svg onload=alert(1)>',
            "' onmouseover='alert(1)",
            "<!--",
            "]]>",
            "&lt;b&gt;&#60;",
            "\0<\x00script>",
            "\u202e<b>\u2066",
        ]
    ),
)


@given(hostile, hostile, hostile)
def test_no_text_becomes_markup(message: str, note: str, about: str) -> None:
    exc = ValueError(message)
    exc.add_note(note)
    exc.__cause__ = SyntaxError(message, (note, 1, 1, about, 1, 3))
    exc.__cause__.__cause__ = type("Bad", (Exception,), {"__module__": about})(note)
    page = page_of(exc, about)
    reader = Reader(page)
    assert {tag for tag, _ in reader.tags} <= TAGS
    allowed = {"lang", "data-error", "charset", "name", "content", "class", "title", "open"}
    assert {name for _, attrs in reader.tags for name in attrs} <= allowed | {"tabindex"}
    shown = "\n".join(printable(line) for line in message.split("\n"))
    if message:
        assert reader.of("message")[0] == shown
    if note:
        assert reader.of("added")[0] == "\n".join(printable(line) for line in note.split("\n"))
    assert page.count("<script") == 1
    page.encode()
