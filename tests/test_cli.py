# SPDX-License-Identifier: MIT
"""The command line from argv to exit code; the server itself is a stand-in here."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import trioserve.cli
from trioserve.cli import main
from trioserve.config import Config
from trioserve.config.settings import all_settings
from trioserve.errors import BindError, ConfigError, StartupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_APP = "async def app(scope, receive, send): ...\ndef hook(*args): ...\n"


@pytest.fixture(autouse=True)
def work_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory but for an application, and no TRIOSERVE_* variables."""
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("TRIOSERVE_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "cli_app.py").write_text(_APP)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("cli_app"):
            del sys.modules[name]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Stand in for the server: the configs it was run with."""
    configs: list[Config] = []

    def run(config: Config, app: Any, invocation: Any) -> int:
        assert callable(app)
        configs.append(config)
        return 0

    _stand_in(monkeypatch, run)
    return configs


def _stand_in(monkeypatch: pytest.MonkeyPatch, run: Callable[[Config, Any, Any], int]) -> None:
    module = ModuleType("trioserve.launching")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_the_application_is_served_with_the_config(served: list[Config]) -> None:
    argv = ["cli_app:app", "--bind", "127.0.0.1:0", "--bind=unix:s", "--no-access-log"]
    assert main(argv) == 0
    assert served == [Config(app="cli_app:app", bind=["127.0.0.1:0", "unix:s"], access_log=False)]


def test_the_exit_code_of_the_server_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(monkeypatch, lambda _config, _app, _invocation: 7)
    assert main(["cli_app"]) == 7


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BindError("127.0.0.1:80: permission denied"), 2),
        (ConfigError("backlog 0: wrong"), 2),
        (StartupError("the application's startup failed"), 3),
    ],
)
def test_an_error_of_the_server_is_one_line_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
) -> None:
    def run(_config: Config, _app: Any, _invocation: Any) -> int:
        raise error

    _stand_in(monkeypatch, run)
    assert main(["cli_app:app"]) == code
    assert capsys.readouterr() == ("", f"trioserve: {error}\n")


def test_ctrl_c_before_the_server_runs_is_no_traceback(
    work_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work_dir / "cli_app_slow.py").write_text("raise KeyboardInterrupt\n")
    assert main(["cli_app_slow:app"]) == 130
    assert capsys.readouterr() == ("", "")


def test_defaults_give_way_to_toml_that_to_the_environment_that_to_the_command_line(
    work_dir: Path, monkeypatch: pytest.MonkeyPatch, served: list[Config]
) -> None:
    (work_dir / "trioserve.toml").write_text('app = "cli_app"\nbacklog = 1\nroot_path = "/t"\n')
    monkeypatch.setenv("TRIOSERVE_ROOT_PATH", "/e")
    monkeypatch.setenv("TRIOSERVE_LOG_LEVEL", "debug")
    assert main(["--log-level", "error"]) == 0
    (config,) = served
    assert config == Config(app="cli_app", backlog=1, root_path="/e", log_level="error")


@pytest.mark.parametrize("how", ["option", "variable", "found", "pyproject"])
def test_the_settings_file_can_be_named_or_found(
    work_dir: Path, monkeypatch: pytest.MonkeyPatch, served: list[Config], how: str
) -> None:
    argv = ["cli_app"]
    if how == "option":
        (work_dir / "x.toml").write_text("backlog = 3")
        monkeypatch.setenv("TRIOSERVE_CONFIG", "not-this.toml")
        argv += ["--config", "x.toml"]
    elif how == "variable":
        (work_dir / "x.toml").write_text("backlog = 3")
        monkeypatch.setenv("TRIOSERVE_CONFIG", "x.toml")
    elif how == "found":
        (work_dir / "trioserve.toml").write_text("backlog = 3")
    else:
        (work_dir / "pyproject.toml").write_text("[tool.trioserve]\nbacklog = 3")
    assert main(argv) == 0
    assert served[0].backlog == 3


def test_of_a_repeated_option_the_last_counts_and_a_list_grows(served: list[Config]) -> None:
    argv = ["cli_app", "--backlog", "1", "--backlog", "2", "--factory", "--no-factory"]
    assert main([*argv, "--bind", ":1", "--bind", ":2"]) == 0
    assert served == [Config(app="cli_app", backlog=2, bind=[":1", ":2"])]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "there is no application to serve; write trioserve module:attr, or set app = "),
        (
            ["--workers", "2"],
            "there is no application to serve; write trioserve module:attr, or set ",
        ),
        (["a:b", "c"], "expected one application (module:attr), got more: c"),
        (["--nope"], "Unknown option: --nope."),
        (["--backlogg", "1"], "Unknown option: --backlogg. Did you mean --backlog?"),
        (["--back", "1"], "Unknown option: --back."),
        (["--backlog"], "Parameter --backlog requires an argument."),
        (["--backlog", "x"], "backlog 'x': expected a whole number, 1 to 2147483647 (from --back"),
        (["--backlog", "-1"], "backlog -1: expected a whole number, 1 to 2147483647 (from --back"),
        (["--access-log=maybe"], "access_log 'maybe': expected true or false (from --access-log)"),
        (["--no-date-header=x"], "date_header 'x': expected true or false (from --no-date-header)"),
        (["--print-config=x"], "print_config 'x': expected true or false (from --print-config)"),
        (["--bind", "x:y"], "bind 'x:y': "),
        (["--config", "no.toml"], "no.toml: the settings file can't be read: No such file"),
        (["no_such_app_module"], 'there is no module "no_such_app_module" in '),
        (["cli_app:ap"], 'module "cli_app" has no attribute "ap"; did you mean "app"?'),
        (["os:getcwd"], '"os:getcwd": it is a callable that needs no arguments'),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"trioserve: {message}")
    assert err.count("\n") == 1


def test_check_config_imports_the_application_and_says_ok(
    work_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cli_app:app", "--check-config"]) == 0
    assert capsys.readouterr() == ("ok\n", "")
    (work_dir / "cli_app_bad.py").write_text("app = 3\n")
    assert main(["cli_app_bad:app", "--check-config"]) == 2


@pytest.mark.parametrize("hook", ["on_dirty_starting", "dirty_post_fork", "dirty_worker_exit"])
def test_check_config_imports_the_hooks_too(
    work_dir: Path, capsys: pytest.CaptureFixture[str], hook: str
) -> None:
    option = f"--{hook.replace('_', '-')}"
    assert main(["cli_app:app", "--check-config", option, "cli_app:hook"]) == 0
    assert main(["cli_app:app", "--check-config", option, "cli_app:ap"]) == 2
    assert capsys.readouterr() == (
        "ok\n",
        f'trioserve: {hook}: module "cli_app" has no attribute "ap"; did you mean "app"?\n',
    )


def test_the_server_is_given_its_hooks_imported(served: list[Config]) -> None:
    assert main(["cli_app:app", "--dirty-post-fork", "cli_app:hook"]) == 0
    assert served[0].dirty_post_fork is sys.modules["cli_app"].hook


def test_print_config_reads_back_and_names_origins(
    work_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (work_dir / "trioserve.toml").write_text("backlog = 1\n")
    monkeypatch.setenv("TRIOSERVE_BIND", "127.0.0.1:0, unix:s")
    # The application need not exist to look at the settings.
    assert main(["nowhere:app", "--print-config", "--write-timeout", "4"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    expected = Config(app="nowhere:app", backlog=1, bind=["127.0.0.1:0", "unix:s"], write_timeout=4)
    assert Config(**tomllib.loads(out)) == expected
    origins = {line.split()[0]: line.rpartition("# ")[2] for line in out.splitlines() if line}
    assert origins["backlog"] == "trioserve.toml"
    assert origins["bind"] == "TRIOSERVE_BIND"
    assert origins["write_timeout"] == "--write-timeout"
    assert origins["http"] == "default"


def test_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("trioserve ")
    assert (out.count("\n"), err) == (1, "")


def test_help_shows_every_option_whole_in_panels_within_80_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("Usage: trioserve module:attr [OPTIONS]")
    assert max(len(line) for line in out.splitlines()) <= 80
    for setting in all_settings().values():
        assert f"│ {setting.option} " in out
        assert f"─ {setting.group} ─" in out
    assert "[default: 127.0.0.1:8000]" in out
    assert "--no-access-log" in out


def _python(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    source_tree = Path(trioserve.cli.__file__).parent.parent
    return subprocess.run(
        [sys.executable, *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(source_tree)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_command_line_imports_neither_trio_nor_rich_before_it_needs_them(
    work_dir: Path,
) -> None:
    code = (
        "import sys\nfrom trioserve.cli import main\nmain(['cli_app', '--check-config'])\n"
        "print({'trio', 'rich', 'h11', 'httptools', 'argparse'} & set(sys.modules))"
    )
    assert _python("-c", code, cwd=work_dir).stdout == "ok\nset()\n"


def test_a_failing_application_shows_its_traceback_and_none_of_ours(work_dir: Path) -> None:
    (work_dir / "cli_app_bad.py").write_text("def deep():\n    import nowhere_at_all\n\ndeep()\n")
    done = _python("-m", "trioserve", "cli_app_bad:app", cwd=work_dir)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[-1] == (
        'trioserve: importing "cli_app_bad" failed inside the application: '
        "ModuleNotFoundError: No module named 'nowhere_at_all'"
    )
    frames = [line for line in lines if line.lstrip().startswith("File ")]
    assert len(frames) == 2
    assert all("cli_app_bad.py" in frame for frame in frames)
