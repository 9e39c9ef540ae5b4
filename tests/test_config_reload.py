# SPDX-License-Identifier: MIT
"""The settings of ``--reload``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trioserve.config import Config, ReloadOptions
from trioserve.config.sources import read_environment, resolve
from trioserve.errors import ConfigError


def test_nothing_is_watched_unless_it_is_asked_for() -> None:
    options = ReloadOptions()
    assert not options.reload
    assert (options.reload_dir, options.reload_include, options.reload_exclude) == ((), (), ())


@pytest.mark.parametrize(
    ("given", "held"),
    [
        ("src", ("src",)),
        (Path("src"), ("src",)),
        ([Path("src"), "lib"], ("src", "lib")),
        ([], ()),
    ],
)
def test_one_or_several_are_brought_into_one_form(given: Any, held: tuple[str, ...]) -> None:
    config = Config(reload_dir=given, reload_include=given, reload_exclude=given)
    assert config.reload_dir == config.reload_include == config.reload_exclude == held


@pytest.mark.parametrize("name", ["reload_dir", "reload_include", "reload_exclude"])
@pytest.mark.parametrize("value", [3, [""], "", [3], None, {"a": 1}, b"x"])
def test_anything_else_is_refused(name: str, value: Any) -> None:
    settings = {name: value}
    with pytest.raises(ConfigError, match=f"{name} .*: expected"):
        Config(**settings)


def test_variables_have_lists() -> None:
    layer = read_environment(
        {"TRIOSERVE_RELOAD": "yes", "TRIOSERVE_RELOAD_DIR": "src, lib", "TRIOSERVE_APP": "a:b"}
    )
    config, _ = resolve({}, {}, layer)
    assert (config.reload, config.reload_dir) == (True, ("src", "lib"))
