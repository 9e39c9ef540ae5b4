# SPDX-License-Identifier: MIT
from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from benchmarks import cli
from benchmarks.core import results
from benchmarks.core.environment import fingerprint, missing_tool
from benchmarks.core.machine import cpu_model, h2load_version, wrk_version
from benchmarks.core.options import QUICK, Options
from benchmarks.suites import GROUPS, SUITES

if TYPE_CHECKING:
    from pathlib import Path


def parse(*arguments: str) -> tuple[Options, Path | None]:
    parsed = cli.parser().parse_args(arguments)
    return cli.sizes(parsed), parsed.output


def test_by_default_everything_is_measured_and_kept() -> None:
    assert parse() == (Options(), cli.RESULTS)


def test_flags_change_the_size_of_the_run() -> None:
    options, _ = parse("--rounds", "5", "--seconds", "2", "--connections", "100")
    assert (options.rounds, options.seconds, options.idle_connections) == (5, 2, 100)


def test_a_quick_run_is_kept_only_where_one_says_so(tmp_path: Path) -> None:
    assert parse("--quick") == (QUICK, None)
    assert parse("--quick", "--output", str(tmp_path / "x.md"))[1] == tmp_path / "x.md"


def test_a_group_stands_for_its_suites_and_pools_can_be_picked() -> None:
    parsed = cli.parser().parse_args(["idle", "dirty", "--servers", "trioserve-pool,granian"])
    assert parsed.suites == [["idle"], GROUPS["dirty"]]
    assert parsed.servers == ["trioserve-pool", "granian"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plaintex"], "no suite 'plaintex'"),
        (["--servers", "trioserve,nginx"], "no server 'nginx'"),
        (["--rounds", "0"], "expected 1 or more"),
    ],
)
def test_what_does_not_exist_is_named(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(*arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_without_wrk_one_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert cli.main([]) == 2
    assert "apt-get install wrk" in capsys.readouterr().err


@pytest.mark.parametrize("suite", ["http2", "http2_profiles"])
def test_without_h2load_one_line_says_so_to_those_that_need_it(
    suite: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "h2load" else name)
    assert cli.main([suite]) == 2
    assert "apt-get install nghttp2-client" in capsys.readouterr().err
    assert missing_tool(SUITES["plaintext"].tools) == ""


def test_results_of_other_suites_are_kept_in_both_files(tmp_path: Path) -> None:
    output = tmp_path / "RESULTS.md"
    order = ["plaintext", "idle"]
    results.keep(output, "idle", "## Idle", {"results": 1}, order)
    results.keep(output, "plaintext", "## Plain", {"results": 2}, order)
    results.keep(output, "idle", "## Idle again", {"results": 3}, order)
    text = output.read_text()
    assert text.index("## Plain") < text.index("## Idle again")
    assert json.loads((tmp_path / "results.json").read_text()) == {
        "idle": {"results": 3},
        "plaintext": {"results": 2},
    }


def test_new_pins_make_a_new_environment(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    pins = tmp_path / "benchmarks" / "requirements.txt"
    (tmp_path / "pyproject.toml").write_text("")
    pins.write_text("uvicorn==1\n")
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    pins.write_text("uvicorn==2\n")
    assert fingerprint(tmp_path) != before


def test_the_processor_is_named_where_linux_names_it() -> None:
    assert cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t: x\n") == (
        "Some CPU @ 2 GHz"
    )
    assert cpu_model("processor\t: 0\n") != ""


def test_a_suite_that_needs_no_tool_runs_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert missing_tool(SUITES["websocket"].tools) == ""
    assert (wrk_version(), h2load_version()) == ("absent", "absent")
