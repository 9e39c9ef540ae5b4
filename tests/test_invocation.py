# SPDX-License-Identifier: MIT
"""The settings as the command reads them, once and again, and what that does to the process."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from trioserve.command_line import parse
from trioserve.errors import ConfigError
from trioserve.invocation import Invocation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the process is started: an empty directory, and no variables of trioserve's."""
    for variable in [name for name in os.environ if name.startswith("TRIOSERVE_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("STANDS", "before")
    before = dict(os.environ)
    (tmp_path / "srv").mkdir()
    monkeypatch.chdir(tmp_path)
    umask = os.umask(0o022)
    yield tmp_path
    os.umask(umask)
    for name in set(os.environ) - set(before):
        del os.environ[name]


def invocation(*argv: str) -> Invocation:
    asked = parse(["shop:app", *argv])
    assert asked is not None
    return Invocation(asked)


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# -- env_file -----------------------------------------------------------------------------------


def test_its_variables_are_there_but_for_those_that_were(home: Path) -> None:
    (home / "shop.env").write_text("DATABASE=postgres:///shop\nSTANDS=file\n")
    assert invocation("--env-file", "shop.env").read_config().env_file == "shop.env"
    assert os.environ["DATABASE"] == "postgres:///shop"
    assert os.environ["STANDS"] == "before"


def test_settings_in_it_are_those_of_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "trioserve.toml").write_text('backlog = 1\nenv_file = "shop.env"\nroot_path = "/t"\n')
    (home / "shop.env").write_text(
        "TRIOSERVE_BACKLOG=2\nTRIOSERVE_ROOT_PATH=/f\nTRIOSERVE_LOG_LEVEL=debug\n"
    )
    monkeypatch.setenv("TRIOSERVE_ROOT_PATH", "/e")
    reader = invocation("--log-level", "error")
    config = reader.read_config()
    assert (config.backlog, config.root_path, config.log_level) == (2, "/e", "error")
    assert reader.origins["backlog"] == "TRIOSERVE_BACKLOG"


def test_the_command_line_names_it_over_the_environment_over_toml(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "trioserve.toml").write_text('env_file = "toml.env"\n')
    for name in ("toml", "variable", "option"):
        (home / f"{name}.env").write_text(f"FROM={name}\n")

    def source(*argv: str) -> str:
        os.environ.pop("FROM", None)
        invocation(*argv).read_config()
        return os.environ["FROM"]

    assert source() == "toml"
    monkeypatch.setenv("TRIOSERVE_ENV_FILE", "variable.env")
    assert source() == "variable"
    assert source("--env-file", "option.env") == "option"


@pytest.mark.parametrize("name", ["TRIOSERVE_CONFIG", "TRIOSERVE_ENV_FILE"])
def test_it_cant_name_the_files_that_are_read_before_it(home: Path, name: str) -> None:
    (home / "shop.env").write_text(f"{name}=x\n")
    expected = f"{name}: it comes too late in shop.env; set it outside"
    with pytest.raises(ConfigError, match=re.escape(expected)):
        invocation("--env-file", "shop.env").read_config()


def test_a_setting_in_it_that_doesnt_exist_is_an_error_and_nothing_is_changed(home: Path) -> None:
    (home / "shop.env").write_text("OTHER=1\nTRIOSERVE_BAKLOG=2\n")
    with pytest.raises(ConfigError, match="TRIOSERVE_BAKLOG: no such setting; did you mean"):
        invocation("--env-file", "shop.env", "--chdir", "srv", "--umask", "0").read_config()
    assert "OTHER" not in os.environ
    assert os.getcwd() == str(home)
    assert umask() == 0o022


def test_a_name_of_the_wrong_kind_names_its_origin(home: Path) -> None:
    (home / "trioserve.toml").write_text("env_file = 3\n")
    expected = "env_file 3: expected the path of a file (from trioserve.toml)"
    with pytest.raises(ConfigError, match=re.escape(expected)):
        invocation().read_config()


# -- chdir and umask ----------------------------------------------------------------------------


def test_the_directory_is_entered_and_the_files_are_those_of_the_start(home: Path) -> None:
    (home / "x.toml").write_text('chdir = "srv"\nenv_file = "shop.env"\n')
    (home / "shop.env").write_text("TRIOSERVE_BACKLOG=2\n")
    (home / "srv" / "trioserve.toml").write_text("nonsense = 1\n")
    reader = invocation("--config", "x.toml")
    first = reader.read_config()
    assert os.getcwd() == str(home / "srv")
    assert first.backlog == 2
    assert reader.read_config() == first
    assert os.getcwd() == str(home / "srv")
    assert reader.directory == home


def test_a_directory_that_cant_be_entered_is_named(home: Path) -> None:
    expected = "chdir 'missing': the directory can't be entered: No such file or directory"
    with pytest.raises(ConfigError, match=re.escape(expected)):
        invocation("--chdir", "missing").read_config()


def test_the_umask_is_set_and_taken_back(home: Path) -> None:
    (home / "trioserve.toml").write_text('umask = "0027"\n')
    reader = invocation()
    reader.read_config()
    assert umask() == 0o027
    (home / "trioserve.toml").write_text('umask = "0077"\n')
    reader.read_config()
    assert umask() == 0o077
    (home / "trioserve.toml").write_text("")
    reader.read_config()
    assert umask() == 0o022


def test_a_working_directory_that_is_gone_is_an_error(home: Path) -> None:
    gone = home / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match="the working directory can't be used"):
        invocation()


# -- again ----------------------------------------------------------------------------------------


def test_a_second_reading_takes_all_files_anew(home: Path) -> None:
    (home / "trioserve.toml").write_text('backlog = 1\nenv_file = "shop.env"\nchdir = "srv"\n')
    (home / "shop.env").write_text("A=1\nGONE=1\nTRIOSERVE_LOG_LEVEL=debug\n")
    reader = invocation("--root-path", "/x")
    config = reader.read_config()
    assert (config.backlog, config.log_level, os.environ["A"]) == (1, "debug", "1")
    (home / "trioserve.toml").write_text('backlog = 2\nenv_file = "shop.env"\n')
    (home / "shop.env").write_text("A=2\n")
    config = reader.read_config()
    assert (config.backlog, config.log_level, config.root_path) == (2, "info", "/x")
    assert os.environ["A"] == "2"
    assert "GONE" not in os.environ
    assert "TRIOSERVE_LOG_LEVEL" not in os.environ
    assert os.getcwd() == str(home)  # chdir is gone, too


def test_a_second_reading_that_fails_leaves_all_as_it_was(home: Path) -> None:
    (home / "trioserve.toml").write_text('env_file = "shop.env"\nchdir = "srv"\numask = "0027"\n')
    (home / "shop.env").write_text("A=1\n")
    reader = invocation()
    reader.read_config()
    origins = reader.origins
    (home / "trioserve.toml").write_text('env_file = "shop.env"\nchdir = "nowhere"\n')
    (home / "shop.env").write_text("A=2\n")
    with pytest.raises(ConfigError):
        reader.read_config()
    assert (os.environ["A"], os.getcwd(), umask()) == ("1", str(home / "srv"), 0o027)
    assert reader.origins is origins


def test_a_directory_that_the_application_has_entered_is_left_alone(home: Path) -> None:
    reader = invocation()
    reader.read_config()
    os.chdir(home / "srv")
    reader.read_config()
    assert os.getcwd() == str(home / "srv")


def test_a_successor_gets_the_environment_without_the_files_variables(home: Path) -> None:
    (home / "shop.env").write_text("A=1\n")
    reader = invocation("--env-file", "shop.env")
    reader.read_config()
    assert os.environ["A"] == "1"
    assert "A" not in reader.environment
    assert reader.environment["STANDS"] == "before"


def test_the_socket_of_the_servers_own_pool_is_no_setting(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = invocation()
    monkeypatch.setenv("TRIOSERVE_DIRTY_SOCKET", "/run/pool/dirty.sock")
    assert started.read_config().dirty_socket is None
    assert "TRIOSERVE_DIRTY_SOCKET" not in started.environment
