# SPDX-License-Identifier: MIT
"""The documentation is true: programs run, command lines parse, links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.server_process import REPOSITORY
from trioserve.command_line import parse
from trioserve.config.settings import all_settings
from trioserve.config.sources import resolve
from trioserve.control.command import main as control_main
from trioserve.dirty.command import main as dirty_main

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *REPOSITORY.glob("docs/*.md"),
        *REPOSITORY.glob("examples/*.md"),
        *REPOSITORY.glob("changes/README.md"),
    ]
)
#: Pages whose options are trioserve's (benchmarking.md has those of the benchmarks).
ABOUT_THE_COMMAND = [page for page in PAGES if page.name not in ("benchmarking.md", "CHANGELOG.md")]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

#: After a block that defines an application: it is served, and has to answer.
_SERVE_APP = """
import inspect
if inspect.iscoroutinefunction(globals().get("app")):
    import trio
    from trio.testing import MockClock
    from trioserve.testing import open_test_server

    async def check():
        async with open_test_server(app) as server:
            response = await server.request("GET", "/")
            assert response.status < 400, response

    trio.run(check, clock=MockClock(autojump_threshold=0))
"""


#: A block that begins so is a file, which the other blocks of its page can import.
_FILE = re.compile(r"# (\w+\.py)\n")

#: Where such files have dirty apps: a block runs in a thread beside a pool of them.
_BESIDE_A_POOL = """
import sys
import trio
from trioserve.dirty import open_dirty_pool
from trioserve.testing import open_test_server

async def check(program, *dirty_apps):
    async with open_dirty_pool(*dirty_apps):
        names = {"__name__": "__main__"}
        await trio.to_thread.run_sync(exec, program, names)
        if "app" in names:
            async with open_test_server(names["app"]) as server:
                response = await server.request("GET", "/")
                assert response.status < 400, response

trio.run(check, *sys.argv[1:])
"""


def name_of(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def blocks(*languages: str) -> list[tuple[str, str]]:
    """``(page:line, text)`` of each fenced block in one of these languages."""
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        for match in _FENCE.finditer(text):
            if match[1] in languages:
                line = text.count("\n", 0, match.start()) + 1
                found.append((f"{name_of(page)}:{line}", match[2]))
    return found


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text("utf-8"))


# -- programs -------------------------------------------------------------------------------


def write_files(page: str, folder: Path) -> list[str]:
    """Writes the blocks of a page that are files; returns the dirty apps in them."""
    dirty_apps = []
    for place, text in blocks("python"):
        match = _FILE.match(text)
        if match and place.partition(":")[0] == page:
            (folder / match[1]).write_text(text, "utf-8")
            module = match[1].removesuffix(".py")
            classes = re.findall(r"^class (\w+)\(DirtyApp\)", text, re.MULTILINE)
            dirty_apps += [f"{module}:{name}" for name in classes]
    return dirty_apps


@pytest.mark.slow  # a Python process a block
@pytest.mark.parametrize(
    ("page", "program"),
    [pytest.param(place.partition(":")[0], text, id=place) for place, text in blocks("python")],
)
def test_every_python_block_runs_and_its_application_answers(
    page: str, program: str, tmp_path: Path
) -> None:
    dirty_apps = write_files(page, tmp_path)
    code = [_BESIDE_A_POOL, program, *dirty_apps] if dirty_apps else [program + _SERVE_APP]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", *code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_python_blocks_are_not_hidden_under_another_name() -> None:
    languages = {match[1] for page in PAGES for match in _FENCE.finditer(page.read_text("utf-8"))}
    assert languages <= {"python", "sh", "toml", "ini", "nginx", "haproxy", ""}


def command_lines() -> list[tuple[str, str]]:
    """``(page:line, arguments)`` of each ``trioserve …`` in a block."""
    return [
        (place, match[1])
        for place, text in blocks("sh", "ini")
        for match in re.finditer(
            r"^(?:exec |ExecStart=\S*/)?trioserve(?!\S)(.*)$", text, re.MULTILINE
        )
    ]


@pytest.mark.parametrize(
    "arguments", [pytest.param(text, id=f"{place} {text}") for place, text in command_lines()]
)
def test_every_command_line_parses(arguments: str) -> None:
    asked = parse(shlex.split(arguments, comments=True))
    assert asked is not None
    config, _ = resolve({}, {}, asked.settings)
    assert config.app is not None


def dirty_command_lines() -> list[tuple[str, str]]:
    """The same for ``trioserve-dirty``."""
    return [
        (place, match[1])
        for place, text in blocks("sh")
        for match in re.finditer(r"^trioserve-dirty\b(.*)$", text, re.MULTILINE)
    ]


@pytest.mark.parametrize(
    "arguments", [pytest.param(text, id=f"{place} {text}") for place, text in dirty_command_lines()]
)
def test_every_dirty_command_line_parses(arguments: str) -> None:
    # Nobody listens there: what is wrong with the words themselves would be exit code 2.
    assert dirty_main(["--socket", "/nowhere", *shlex.split(arguments, comments=True)]) == 1


def control_command_lines() -> list[tuple[str, str]]:
    """The same for ``trioservectl``."""
    return [
        (place, match[1])
        for place, text in blocks("sh")
        for match in re.finditer(r"^trioservectl\b(.*)$", text, re.MULTILINE)
    ]


@pytest.mark.parametrize(
    "arguments",
    [pytest.param(text, id=f"{place} {text}") for place, text in control_command_lines()],
)
def test_every_control_command_line_parses(
    arguments: str, capfd: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(arguments, comments=True)
    assert control_main(["--socket", "/nowhere", *words]) in (2, 3)
    assert re.search("no server can be reached|top needs a terminal", capfd.readouterr().err)


@pytest.mark.parametrize("page", ABOUT_THE_COMMAND, ids=name_of)
def test_every_option_and_variable_that_is_named_exists(page: Path) -> None:
    known = {setting.option for setting in all_settings().values()}
    known |= {option.replace("--", "--no-", 1) for option in known}
    known |= {"--config", "--print-config", "--check-config", "--help", "--version"}
    if page.name == "control.md":
        known |= {"--json", "--now", "--pid", "--socket"}  # of trioservectl
    text = prose(page)
    code = " ".join(re.findall(r"`([^`]+)`", text))
    if "towncrier" in text:
        code = code.replace("--draft", "")
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", code)) <= known
    variables = {setting.variable for setting in all_settings().values()}
    variables |= {"TRIOSERVE_CONFIG", "TRIOSERVE_DIRTY_SOCKET", "TRIOSERVE_UPGRADE"}
    assert set(re.findall(r"\bTRIOSERVE_[A-Z_]+\b", text)) <= variables


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for page in PAGES:
        text = page.read_text("utf-8")
        named = re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)
        assert set(named) <= targets, page


# -- links ----------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """What headings are called in links: lower case, hyphens for spaces, no punctuation."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


def test_every_page_is_in_the_index() -> None:
    index = (REPOSITORY / "docs" / "README.md").read_text("utf-8")
    for page in (REPOSITORY / "docs").glob("*.md"):
        if page.name != "README.md":
            assert f"({page.name})" in index, page.name
