# SPDX-License-Identifier: MIT
"""What holds for the project as a whole: floors, licence lines, metadata, what ``import`` costs."""

from __future__ import annotations

import importlib
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import trioserve
from tests.server_process import REPOSITORY

SOURCES = ("trioserve", "tests", "examples", "benchmarks", "docs")
PYTHON_FILES = sorted(path for folder in SOURCES for path in (REPOSITORY / folder).rglob("*.py"))
PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def text_files() -> list[Path]:
    """Everything that is written by hand."""
    folders = (*SOURCES, "changes", ".ci")
    found = [path for folder in folders for path in (REPOSITORY / folder).rglob("*")]
    found += REPOSITORY.glob("*")
    binary = {".pyc", ".gz", ".png"}
    return [
        path
        for path in found
        if path.is_file() and path.suffix not in binary and "__pycache__" not in path.parts
    ]


# -- imports --------------------------------------------------------------------------------


def test_the_floors_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_every_module_has_a_floor() -> None:
    (floors,) = [
        contract["layers"]
        for contract in PROJECT["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    on_a_floor = {module.strip() for layer in floors for module in layer.split(":")}
    package = REPOSITORY / "trioserve"
    modules = {
        f"trioserve.{path.stem}"
        for path in package.iterdir()
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()
    }
    assert modules - on_a_floor == set()


def test_importing_the_package_alone_is_cheap() -> None:
    code = (
        "import sys; before = set(sys.modules); import trioserve; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    heavy = {"asyncio", "attr", "attrs", "cyclopts", "h11", "httptools", "socket", "ssl", "trio"}
    loaded = set(done.stdout.split())
    assert "trioserve" in loaded
    assert loaded & heavy == set()


def test_every_public_name_is_there_and_a_wrong_one_is_an_attribute_error() -> None:
    for name in trioserve.__all__:
        assert getattr(trioserve, name) is not None
    assert set(trioserve.__all__) <= set(dir(trioserve))
    with pytest.raises(AttributeError, match="has no attribute 'sevre'"):
        _ = trioserve.sevre


def test_every_name_that_a_module_exports_exists() -> None:
    for path in (REPOSITORY / "trioserve").rglob("*.py"):
        if path.name == "__main__.py":
            continue
        dotted = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        module = importlib.import_module(dotted.removesuffix(".__init__"))
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"{dotted}.{name}"


# -- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PYTHON_FILES, ids=name_of)
def test_every_python_file_begins_with_its_licence(path: Path) -> None:
    assert path.read_text("utf-8").startswith("# SPDX-License-Identifier: MIT\n")


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    # Written so that this very line is no such place.
    place = re.compile(r"(?<![\w.])/(?:home|root|work|Users)/\w")
    found = [
        f"{name_of(path)}: {line.strip()}"
        for path in text_files()
        for line in path.read_text("utf-8", errors="replace").splitlines()
        if place.search(line)
    ]
    assert found == []


def test_a_long_module_is_an_exception() -> None:
    """500 lines at most, half of all at most 150 (docs/design.md)."""
    lengths = {
        name_of(path): len(path.read_text("utf-8").splitlines())
        for path in (REPOSITORY / "trioserve").rglob("*.py")
    }
    assert [name for name, length in lengths.items() if length > 500] == []
    assert sorted(lengths.values())[len(lengths) // 2] <= 150


def test_the_scripts_are_executable() -> None:
    assert (REPOSITORY / ".ci" / "run").stat().st_mode & stat.S_IXUSR


# -- metadata -------------------------------------------------------------------------------


def test_the_version_is_the_same_everywhere() -> None:
    assert PROJECT["project"]["version"] == trioserve.__version__


def test_the_package_says_that_it_is_typed() -> None:
    assert (REPOSITORY / "trioserve" / "py.typed").exists()


def test_the_next_releases_notes_render() -> None:
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "9.9"]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "## 9.9 (" in done.stdout


def test_every_news_fragment_is_of_a_known_kind() -> None:
    kinds = {kind["directory"] for kind in PROJECT["tool"]["towncrier"]["type"]}
    for path in (REPOSITORY / "changes").iterdir():
        if path.name not in ("README.md", "template.md.jinja"):
            assert re.fullmatch(rf"(\d+|\+[\w-]+)\.({'|'.join(kinds)})(\.\d+)?\.md", path.name)
