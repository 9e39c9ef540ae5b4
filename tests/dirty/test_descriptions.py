# SPDX-License-Identifier: MIT
"""Exceptions and values that don't want to be described."""

from __future__ import annotations

import pytest

from trioserve.dirty.descriptions import describe_exception, shown


class Evil(type):
    """A metaclass whose classes don't even say their names."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise KeyboardInterrupt

    @property
    def __module__(cls) -> str:  # type: ignore[override]
        raise SystemExit(1)


class NamelessError(Exception, metaclass=Evil):
    """Says nothing of itself."""

    def __str__(self) -> str:
        raise GeneratorExit

    def __repr__(self) -> str:
        raise SystemExit(2)


def caught(error: BaseException) -> BaseException:
    with pytest.raises(BaseException) as info:  # noqa: PT011
        raise error
    return info.value


def test_an_exception_is_described_by_its_class_its_words_and_its_place() -> None:
    raised = describe_exception(caught(ValueError("no")))
    assert raised[:3] == ("ValueError", "ValueError", "no")
    assert raised.traceback.endswith("ValueError: no\n")
    assert "in caught" in raised.traceback
    own = describe_exception(caught(type("Own", (Exception,), {"__module__": "a.b"})()))
    assert own[:3] == ("Own", "a.b.Own", "")


def test_what_cannot_be_had_is_said_to_be_so() -> None:
    raised = describe_exception(caught(NamelessError()))
    assert raised[:3] == ("Exception", "an exception without a name", "its message can't be had")
    assert raised.traceback


def test_whatever_is_described_can_be_sent_and_is_not_too_long() -> None:
    odd = type("Odd", (Exception,), {"__qualname__": "Odd\udc80"})("x" * 100_000 + "\udc80")
    raised = describe_exception(caught(odd))
    for text in raised:
        assert len(text.encode()) <= 16 * 1024
    assert raised.kind.endswith(r"Odd\udc80")


def test_a_value_is_shown_as_its_repr_cut_where_it_is_long() -> None:
    assert shown("a") == "'a'"
    assert shown("a" * 200) == f"'{'a' * 99}…"
    assert shown(-(10**5000)) == "<int>"
    assert shown([10**5000]) == "<list>"
    assert shown("\udc80") == r"'\udc80'"
    assert shown(NamelessError()) == "<?>"
