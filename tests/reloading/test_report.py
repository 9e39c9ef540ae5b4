# SPDX-License-Identifier: MIT
"""Exceptions of all kinds, taken apart: everything is there, bounded, and what isn't is counted."""

from __future__ import annotations

import gc
import sys
import time
import weakref
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from tests.reloading.failing import caught, raised_by
from trioserve.reloading.excerpts import MAX_LINE, Span, cut, excerpt
from trioserve.reloading.report import Frame, LeftOut, Report, make_report

if TYPE_CHECKING:
    from pathlib import Path


def frames(report: Report) -> list[Frame]:
    return [frame for frame in report.frames if isinstance(frame, Frame)]


def own(report: Report) -> list[Frame]:
    return [frame for frame in frames(report) if not frame.is_library]


def all_of(report: Report) -> list[Report]:
    earlier = all_of(report.earlier) if report.earlier else []
    return [report, *earlier, *(found for part in report.parts for found in all_of(part))]


def marked(frame: Frame) -> list[str]:
    return [
        line.text[slice(*line.columns)] if line.columns else line.text.strip()
        for line in frame.source
        if line.is_marked
    ]


# -- type, message, notes ---------------------------------------------------------------------


def test_types_are_named_as_python_names_them() -> None:
    class OwnError(Exception):
        pass

    assert make_report(ValueError()).kind == "ValueError"
    assert make_report(OwnError()).kind.startswith("tests.reloading.test_report.test_types")
    OwnError.__module__ = 3  # type: ignore[assignment]
    assert make_report(OwnError()).kind.startswith("test_types")


def test_messages_and_notes_are_whole() -> None:
    exc = KeyError("a\nb")
    exc.add_note("first\nnote")
    exc.add_note("second")
    report = make_report(exc)
    assert (report.message, report.notes) == ("'a\\nb'", ("first\nnote", "second"))
    assert make_report(ValueError()).message == ""


def fail(*_: object) -> NoReturn:
    raise ZeroDivisionError


def exit_(*_: object) -> NoReturn:
    sys.exit(1)


def recurse(value: object) -> str:
    return str(value)


@pytest.mark.parametrize(
    ("method", "name"),
    [(fail, "ZeroDivisionError"), (exit_, "SystemExit"), (recurse, "RecursionError")],
)
def test_a_message_that_raises_says_so(method: Any, name: str) -> None:
    bad = type("BadError", (Exception,), {"__str__": method, "__repr__": method})
    assert make_report(bad()).message == f"<exception str() failed: {name}>"


def test_a_message_that_is_no_text_says_so() -> None:
    bad = type("BadError", (Exception,), {"__str__": lambda _: 3})
    assert make_report(bad()).message == "<exception str() failed: TypeError>"


def test_a_message_of_a_kind_of_its_own_is_taken_as_the_text_it_is() -> None:
    class Text(str):
        __slots__ = ()
        __len__ = __getitem__ = __str__ = split = encode = fail  # type: ignore[assignment]

    bad = type("BadError", (Exception,), {"__str__": lambda _: Text("hello")})
    message = make_report(bad()).message
    assert (type(message), message) == (str, "hello")


@pytest.mark.parametrize(
    ("notes", "shown"),
    [
        (None, ()),
        ("text", ("text",)),
        (3, ("3",)),
        ([3, "b"], ("3", "b")),
        (property(fail), ("<__notes__ failed: ZeroDivisionError>",)),
        ([object.__new__(type("Bad", (), {"__str__": fail}))], None),
    ],
)
def test_notes_of_any_kind_are_shown(notes: object, shown: tuple[str, ...] | None) -> None:
    bad = type("BadError", (Exception,), {"__notes__": notes})
    expected = shown if shown is not None else ("<note str() failed: ZeroDivisionError>",)
    assert make_report(bad()).notes == expected


def test_long_messages_and_many_notes_are_cut_and_counted() -> None:
    exc = ValueError("x" * 1_000_000)
    exc.__notes__ = ["y" * 1_000_000] * 1_000
    report = make_report(exc)
    assert report.message.endswith("x… and 992,000 more characters")
    assert report.notes[0].endswith("y… and 998,000 more characters")
    assert report.notes[-1] == "… and 990 more notes"
    assert len(report.notes) == 11
    assert cut("abc", 3) == "abc"


# -- traceback ------------------------------------------------------------------------------


def test_frames_have_their_lines_and_the_part_that_failed(tmp_path: Path) -> None:
    source = 'def f(a):\n    # why\n    return a["ä"] + a["ö"]["ü"] + 1\n\n\nf({"ä": 1, "ö": {}})\n'
    report = make_report(raised_by(tmp_path, source))
    outer, inner = own(report)
    assert (outer.name, outer.line, inner.name, inner.line) == ("<module>", 6, "f", 3)
    assert inner.filename == str(tmp_path / "failing_app.py")
    assert marked(inner) == ['a["ö"]["ü"]']
    assert [line.number for line in inner.source] == [1, 2, 3, 4, 5, 6]
    assert marked(outer) == ['f({"ä": 1, "ö": {}})']
    assert "~~~~~~^^^^^" in inner.text


def test_an_expression_of_several_lines_is_marked_whole(tmp_path: Path) -> None:
    source = "x = [\n    int(\n        'a'\n    ),\n    1,\n]\n"
    (frame,) = own(make_report(raised_by(tmp_path, source)))
    assert marked(frame) == ["int(", "'a'", ")"]
    source = "int(\n" + "  #\n" * 100 + "'a')\n"
    (frame,) = own(make_report(raised_by(tmp_path, source)))
    assert len(frame.source) < 15


def test_lines_are_those_of_the_file_as_it_is_now(tmp_path: Path) -> None:
    (first,) = own(make_report(raised_by(tmp_path, "1 / 0\n")))
    (second,) = own(make_report(raised_by(tmp_path, "# a comment\n2 / 0\n")))
    assert (marked(first), marked(second)) == (["1 / 0"], ["2 / 0"])


def test_frames_without_source_are_there_all_the_same(tmp_path: Path) -> None:
    exc = raised_by(tmp_path, "def f():\n    1 / 0\nf()\n")
    (tmp_path / "failing_app.py").unlink()
    report = make_report(exc)
    assert [(frame.name, frame.source) for frame in own(report)] == [("<module>", ()), ("f", ())]
    compiled = caught(lambda: exec(compile("1 / 0", "<made here>", "exec")))
    assert (
        frames(make_report(compiled))[-1].text.strip() == 'File "<made here>", line 1, in <module>'
    )


def test_a_line_number_beyond_the_file_has_no_source(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1\n")
    assert excerpt(str(tmp_path / "a.py"), {}, Span(2, 2)) == ()


def test_a_very_long_line_is_cut(tmp_path: Path) -> None:
    source = f"x = [{'1, ' * 5_000}int('a')]\n"
    (frame,) = own(make_report(raised_by(tmp_path, source)))
    (line,) = frame.source
    assert len(line.text) < MAX_LINE + 50
    assert all(len(row) < MAX_LINE + 50 for row in frame.text.split("\n"))


def test_calls_of_the_loader_and_the_import_system_are_left_out(tmp_path: Path) -> None:
    exc = raised_by(tmp_path, "import json\njson.loads('{')\n")
    report = make_report(exc)
    assert not [frame for frame in frames(report) if "importlib" in frame.filename]
    assert [frame.name for frame in frames(report) if frame.is_library] == [
        "loads",
        "decode",
        "raw_decode",
    ]


def test_calls_that_the_application_makes_of_trioserve_stay(tmp_path: Path) -> None:
    source = "from trioserve.config import Config\nConfig(backlog='x')\n"
    report = make_report(raised_by(tmp_path, source))
    assert own(report)[-1].name == "<module>"
    assert frames(report)[-1].filename.endswith("kinds.py")
    assert frames(report)[-1].is_library


def test_an_exception_that_was_never_raised_has_no_frames() -> None:
    assert make_report(ValueError("x")).frames == ()


def test_a_recursion_is_shown_once_and_counted(tmp_path: Path) -> None:
    report = make_report(raised_by(tmp_path, "def f():\n    f()\nf()\n"))
    assert report.kind == "RecursionError"
    called = own(report)
    assert [frame.name for frame in called] == ["<module>", "f"]
    assert called[1].repeated > 500


def test_of_a_recursion_through_several_functions_both_ends_are_shown(tmp_path: Path) -> None:
    source = "def f(): g()\ndef g(): h()\ndef h(): f()\nf()\n"
    report = make_report(raised_by(tmp_path, source))
    left_out = [frame for frame in report.frames if isinstance(frame, LeftOut)]
    assert len(report.frames) == 31
    assert report.frames[15] == left_out[0]
    assert left_out[0].count > 500
    assert own(report)[0].name == "<module>"


# -- what belongs to it ---------------------------------------------------------------------


def test_cause_and_context_are_told_apart_and_a_suppressed_one_is_left_out(tmp_path: Path) -> None:
    source = """
try:
    1 / 0
except ZeroDivisionError as exc:
    {}
"""
    cause = make_report(raised_by(tmp_path, source.format("raise ValueError('x') from exc")))
    assert cause.earlier is not None
    assert (cause.kind, cause.link, cause.earlier.kind) == (
        "ValueError",
        "cause",
        "ZeroDivisionError",
    )
    assert marked(own(cause.earlier)[-1]) == ["1 / 0"]
    context = make_report(raised_by(tmp_path, source.format("raise ValueError('x')")))
    assert context.earlier is not None
    assert context.link == "context"
    suppressed = make_report(raised_by(tmp_path, source.format("raise ValueError('x') from None")))
    assert (suppressed.earlier, suppressed.chain_left_out) == (None, 0)


def test_groups_are_whole(tmp_path: Path) -> None:
    source = """
def fail(kind):
    try:
        raise kind("x")
    except kind as exc:
        return exc
raise ExceptionGroup("all", [fail(KeyError), ExceptionGroup("inner", [fail(OSError)])])
"""
    report = make_report(raised_by(tmp_path, source))
    assert report.message == "all (2 sub-exceptions)"
    assert [part.kind for part in report.parts] == ["KeyError", "ExceptionGroup"]
    assert marked(own(report.parts[1].parts[0])[0]) == ['raise kind("x")']


def test_a_ring_of_causes_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    report = make_report(one)
    assert report.earlier is not None
    assert report.earlier.message == "two"
    assert (report.earlier.earlier, report.earlier.chain_left_out) == (None, -1)
    one.__cause__ = one
    assert make_report(one).chain_left_out == -1


def test_a_group_that_is_the_cause_of_its_own_part_ends() -> None:
    part = ValueError("part")
    group = ExceptionGroup("group", [part])
    part.__cause__ = group
    assert make_report(group).parts[0].chain_left_out == -1


def test_of_a_long_chain_the_last_are_shown_and_the_others_counted() -> None:
    exc = first = ValueError("0")
    for number in range(1, 1_000):
        following = ValueError(str(number))
        following.__context__, exc = exc, following
    report = make_report(exc)
    chain = all_of(report)
    assert [found.message for found in chain] == [str(number) for number in range(999, 984, -1)]
    assert chain[-1].chain_left_out == 985
    first.__context__ = exc
    assert all_of(make_report(exc))[-1].chain_left_out == 1_000  # of a ring, all


def test_of_a_large_group_the_first_are_shown_and_the_others_counted() -> None:
    report = make_report(ExceptionGroup("many", [ValueError(str(i)) for i in range(1_000)]))
    assert [part.message for part in report.parts] == [str(i) for i in range(15)]
    assert report.parts_left_out == 985


def test_a_tree_of_groups_is_bounded_as_a_whole(tmp_path: Path) -> None:
    leaf = raised_by(tmp_path, "def f(): g()\ndef g(): h()\ndef h(): f()\nf()\n")
    assert isinstance(leaf, Exception)
    group = ExceptionGroup("0", [leaf] * 20)
    for depth in range(1, 200):
        group = ExceptionGroup(str(depth), [leaf, group, group])
    started = time.process_time()
    report = make_report(group)
    assert time.process_time() - started < 10
    found = all_of(report)
    assert len(found) == 60
    assert sum(len(part.frames) for part in found) < 400


# -- SyntaxError ----------------------------------------------------------------------------


def test_a_syntax_error_has_its_place(tmp_path: Path) -> None:
    report = make_report(raised_by(tmp_path, "x = 1\ndef f(:\n    pass\n"))
    assert (report.kind, report.message) == ("SyntaxError", "invalid syntax")
    assert report.syntax is not None
    assert (report.syntax.filename, report.syntax.line) == (str(tmp_path / "failing_app.py"), 2)
    (line,) = [line for line in report.syntax.source if line.is_marked]
    assert (line.text, line.columns) == ("def f(:", (6, 7))
    assert not own(report)


def test_a_syntax_error_without_a_file_has_the_line_that_it_knows() -> None:
    report = make_report(caught(lambda: compile("x = (\n", "<config>", "exec")))
    assert report.syntax is not None
    assert report.syntax.filename == "<config>"
    assert [line.text for line in report.syntax.source] == ["x = ("]


@pytest.mark.parametrize(
    "details",
    [
        (),
        (None, None, None, None),
        (None, 1, None, None),
        ("a", "b", "c", "d"),
        (3, 2, -5, "text"),
        ("none.py", 10**40, 1, "text"),
        ("none.py", -1, 1, "text"),
        ("none.py", 1, 10**9, "text", 1, 10**9),
        ("none.py", 1, 1, "text", -5, -5),
        ("none.py", 1, 0, "", 1, 0),
        ("no\0ne.py", 1, 1, 5),
    ],
)
def test_a_syntax_error_of_any_making_is_shown(details: tuple[Any, ...]) -> None:
    exc = SyntaxError("mine", details) if details else SyntaxError("mine")
    assert make_report(exc).message == "mine"


def test_nothing_of_the_exception_is_kept(tmp_path: Path) -> None:
    class Gone(Exception):
        pass

    exc = caught(lambda: fail_with(Gone()))
    gone = weakref.ref(exc)
    report = make_report(exc)
    del exc
    gc.collect()
    assert gone() is None
    assert report.kind.endswith("Gone")


def fail_with(exc: BaseException) -> NoReturn:
    raise exc
