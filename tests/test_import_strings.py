# SPDX-License-Identifier: MIT
"""The syntax of texts that name something to import."""

from __future__ import annotations

import pytest

from trioserve.errors import ConfigError
from trioserve.import_strings import parse_dirty_app, split_import_string


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("mod:attr", ("mod", "attr")),
        ("pkg.mod:Outer.inner", ("pkg.mod", "Outer.inner")),
        ("módulo:señal", ("módulo", "señal")),
        ("mod", None),
        ("mod:", None),
        (":attr", None),
        ("", None),
        ("a:b:c", None),
        ("a..b:c", None),
        ("a-b:c", None),
        ("mod:attr ", None),
        ("mod:attr()", None),
    ],
)
def test_an_import_string_is_a_module_a_colon_and_an_attribute(
    text: str, parts: tuple[str, str] | None
) -> None:
    assert split_import_string(text) == parts


@pytest.mark.parametrize(
    ("text", "path", "workers"),
    [
        ("mod:App", "mod:App", None),
        ("pkg.mod:App.Inner", "pkg.mod:App.Inner", None),
        ("mod:App:1", "mod:App", 1),
        ("mod:App:65535", "mod:App", 65535),
    ],
)
def test_a_dirty_app_may_say_how_many_workers_load_it(
    text: str, path: str, workers: int | None
) -> None:
    spec = parse_dirty_app(text)
    assert (spec.path, spec.workers) == (path, workers)
    assert str(spec) == text


_FORMS = 'expected "module:Class" or "module:Class:N"'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", _FORMS),
        ("mod", _FORMS),
        ("mod:", _FORMS),
        ("mod:App:1:2", _FORMS),
        ("mod App", _FORMS),
        (":App:1", _FORMS),
        ("./app.py:App", "expected module:Class, got the path of a file"),
        ("app.py:App", "expected module:Class, got the path of a file"),
        ("mod:App:", 'the number of workers is 1 to 65535, not ""'),
        ("mod:App:0", 'the number of workers is 1 to 65535, not "0"'),
        ("mod:App:-1", 'the number of workers is 1 to 65535, not "-1"'),
        ("mod:App:1.5", 'the number of workers is 1 to 65535, not "1.5"'),
        ("mod:App:65536", 'the number of workers is 1 to 65535, not "65536"'),
        ("mod:App:\u0661", 'the number of workers is 1 to 65535, not "\u0661"'),
        ("mod:App:1000000000000", 'the number of workers is 1 to 65535, not "1000000000000"'),
    ],
)
def test_a_dirty_app_that_is_none_is_quoted_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_dirty_app(text)
    assert str(caught.value) == f"dirty_app {text!r}: {reason}"
