# SPDX-License-Identifier: MIT
"""Which paths matter."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from trioserve.config import Config
from trioserve.reloading.patterns import make_rules

if TYPE_CHECKING:
    from pathlib import Path

ROOT = "/srv/.hidden/project"


def matters(path: str, root: str = ROOT, **settings: Any) -> bool:
    return make_rules(Config(**settings)).matters(root, os.path.join(root, path))


@pytest.mark.parametrize("path", ["a.py", "pkg/deep/a.py", "pkg.d/__init__.py"])
def test_python_files_matter_at_any_depth(path: str) -> None:
    assert matters(path)


@pytest.mark.parametrize(
    "path",
    [
        "a.txt",
        "a.pyc",
        "py",
        ".a.py",
        ".#a.py",
        "#a.py#",
        "a.py~",
        "a.py.swp",
        ".venv/lib/a.py",
        ".git/a.py",
        "__pycache__/a.py",
        "venv/lib/python3.12/site-packages/x/a.py",
        "node_modules/x/a.py",
    ],
)
def test_other_files_and_what_is_hidden_or_installed_do_not(path: str) -> None:
    assert not matters(path)


def test_what_lies_above_the_watched_directory_does_not_count() -> None:
    root = "/usr/lib/python3/site-packages/mine"
    assert matters("a.py", root)
    assert matters("a.py", root, reload_exclude=["mine"])


@pytest.mark.parametrize(
    ("include", "path", "expected"),
    [
        ("*.html", "a.html", True),
        ("*.html", "deep/er/a.html", True),
        ("*.html", "a.py", True),  # the default stays
        ("templates/*.html", "app/templates/a.html", True),
        ("templates/*.html", "templates/deep/a.html", False),
        ("templates/**/*.html", "templates/deep/er/a.html", True),
        ("templates/**/*.html", "templates/a.html", True),
        ("templates/**", "templates/deep/a.css", True),
        ("*", "Makefile", True),
        ("*", ".env", False),
        (".env", ".env", True),
        (".env", "sub/.env", True),
        (".env", ".git/.env", False),
        ("config/.env", "config/.env", True),
        (".*.toml", ".a.toml", False),  # a glob names nothing
        ("[ab].css", "a.css", True),
        ("?.css", "ab.css", False),
        ("*.CSS", "a.css", False),
        (f"{ROOT}/x/*.css", "x/a.css", True),
        (f"{ROOT}/x/*.css", "x/y/a.css", False),
    ],
)
def test_an_include_adds_files(include: str, path: str, *, expected: bool) -> None:
    assert matters(path, reload_include=[include]) is expected


@pytest.mark.parametrize(
    ("exclude", "path", "expected"),
    [
        ("tests", "tests/deep/a.py", False),
        ("tests/", "tests/a.py", False),
        ("tests", "app/tests/a.py", False),
        ("tests", "tests.py", True),
        ("test_*.py", "app/test_a.py", False),
        ("app/tests", "app/tests/a.py", False),
        ("app/tests", "tests/a.py", True),
        ("app/*", "app/deep/er/a.py", False),
        ("**/gen/*.py", "app/gen/a.py", False),
        (f"{ROOT}/app", "app/a.py", False),
        (f"{ROOT}/app", "x/app/a.py", True),
        ("*.py", "a.py", False),
    ],
)
def test_an_exclude_takes_away_files_and_all_that_is_in_directories(
    exclude: str, path: str, *, expected: bool
) -> None:
    assert matters(path, reload_exclude=[exclude]) is expected


def test_an_exclude_wins_over_an_include() -> None:
    assert not matters(".env", reload_include=[".env"], reload_exclude=[".env"])


def test_a_path_that_begins_with_a_dot_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for given in ("./build", "../" + tmp_path.name + "/build", "./x/../build/"):
        assert not matters("build/a.py", str(tmp_path), reload_exclude=[given])
        assert matters("app/build/a.py", str(tmp_path), reload_exclude=[given])
