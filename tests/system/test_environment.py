# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from trioserve.errors import ConfigError
from trioserve.system.environment import EnvironmentFile, parse_environment_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.env"


def test_the_syntax_is_that_of_python_dotenv(path: Path) -> None:
    path.write_text(
        "\ufeff# a comment\n"
        "PLAIN=one two  # a comment\n"
        "export EXPORTED='single ${PLAIN}'\n"
        'QUOTED="line\\nbreak"\n'
        "EMPTY=\n"
        "NAME_ALONE\n"
        "REFERS=${PLAIN}/${HOME}/${NOBODY:-default}\n",
        "utf-8",
    )
    assert parse_environment_file(str(path), {"HOME": "/h"}) == {
        "PLAIN": "one two",
        "EXPORTED": "single one two",
        "QUOTED": "line\nbreak",
        "EMPTY": "",
        "REFERS": "one two//h/default",
    }


def test_what_the_environment_has_wins_in_references_too(path: Path) -> None:
    path.write_text("A=file\nB=${A}\n")
    assert parse_environment_file(str(path), {"A": "environment"}) == {"B": "environment"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, ": can't be read: No such file or directory"),
        (b"A=1\nB='open\nC=2\n", ", line 2: expected NAME=value"),
        (b"A=\0\n", ", line 1: expected NAME=value"),
        (b"A=\xff\n", ": not valid UTF-8"),
    ],
)
def test_what_cant_be_read_is_named_with_its_line(
    path: Path, content: bytes | None, reason: str
) -> None:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(f"env_file '{path}'{reason}")):
        parse_environment_file(str(path), {})


def test_another_reading_replaces_what_the_first_has_added(path: Path) -> None:
    environ = {"HOME": "/h", "B": "before"}
    file = EnvironmentFile(environ)
    path.write_text("A=1\nB=1\nGONE=1\n")
    file.replace(file.read(str(path)))
    assert environ == {"HOME": "/h", "A": "1", "B": "before", "GONE": "1"}
    assert file.original == {"HOME": "/h", "B": "before"}
    path.write_text("A=2\nB=2\nNEW=${A}\n")
    file.replace(file.read(str(path)))
    assert environ == {"HOME": "/h", "A": "2", "B": "before", "NEW": "2"}
    file.replace(file.read(None))
    assert environ == {"HOME": "/h", "B": "before"}


def test_what_the_program_has_changed_since_is_the_programs(path: Path) -> None:
    environ: dict[str, str] = {}
    file = EnvironmentFile(environ)
    path.write_text("A=1\nB=1\n")
    file.replace(file.read(str(path)))
    environ["A"] = "the program's"
    del environ["B"]
    path.write_text("A=2\nB=2\n")
    file.replace(file.read(str(path)))
    assert environ == {"A": "the program's", "B": "2"}


def test_a_reading_that_fails_changes_nothing(path: Path) -> None:
    environ: dict[str, str] = {}
    file = EnvironmentFile(environ)
    path.write_text("A=1\n")
    file.replace(file.read(str(path)))
    path.unlink()
    with pytest.raises(ConfigError):
        file.read(str(path))
    assert environ == {"A": "1"}


def test_it_is_the_processs_environment_unless_told_otherwise() -> None:
    assert EnvironmentFile().original == dict(os.environ)
