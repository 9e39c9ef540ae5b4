# SPDX-License-Identifier: MIT
"""Logs in files: appended to by several processes, renamed under them, full, gone."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from trioserve.config import LogOptions
from trioserve.errors import ConfigError
from trioserve.logs import (
    access_logger,
    configure_logging,
    error_logger,
    give_logs,
    reopen_logs,
    set_log_level,
)
from trioserve.logs.files import LogFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def access(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


@pytest.fixture
def error(tmp_path: Path) -> Path:
    return tmp_path / "error.log"


@pytest.fixture
def configured(access: Path, error: Path) -> Iterator[None]:
    configure_logging(LogOptions(access_log_file=str(access), error_log_file=str(error)))
    yield
    configure_logging(LogOptions())  # which closes the files


@pytest.mark.usefixtures("configured")
def test_each_log_has_its_file_and_the_streams_have_nothing(
    access: Path, error: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    access_logger.info("a line: café 猫 \udc80")
    error_logger.info("a message")
    assert access.read_text("utf-8") == "a line: café 猫 \\x80\n"
    assert error.read_text().endswith("] [INFO] a message\n")
    assert capsys.readouterr() == ("", "")
    assert access.stat().st_mode & 0o777 == 0o644 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_what_is_in_the_file_stays(access: Path) -> None:
    access.write_text("before\n")
    configure_logging(LogOptions(access_log_file=str(access)))
    access_logger.info("after")
    configure_logging(LogOptions())
    assert access.read_text() == "before\nafter\n"


@pytest.mark.usefixtures("configured")
def test_after_a_rename_the_old_file_is_written_to_until_the_logs_are_reopened(
    access: Path, error: Path
) -> None:
    access_logger.info("one")
    access.rename(access.with_suffix(".1"))
    access_logger.info("two")
    assert not access.exists()
    reopen_logs()
    access_logger.info("three")
    assert access.with_suffix(".1").read_text() == "one\ntwo\n"
    assert access.read_text() == "three\n"
    assert error.read_text() == ""


@pytest.mark.usefixtures("configured")
def test_a_file_that_cant_be_reopened_goes_on_being_used_and_the_error_log_says_so(
    access: Path, error: Path
) -> None:
    old = access.with_suffix(".1")
    access.rename(old)
    access.mkdir()
    reopen_logs()
    access_logger.info("still here")
    assert old.read_text() == "still here\n"
    assert f"the log {access} can't be opened anew: Is a directory; the file that was" in (
        error.read_text()
    )


@pytest.mark.usefixtures("configured")
def test_reopening_leaks_no_descriptor() -> None:
    before = os.listdir("/dev/fd")
    for _ in range(10):
        reopen_logs()
    assert len(os.listdir("/dev/fd")) == len(before)


def test_streams_and_handlers_of_the_programs_own_are_not_reopened() -> None:
    configure_logging(LogOptions())
    own = logging.StreamHandler()
    access_logger.addHandler(own)
    reopen_logs()
    give_logs(os.getuid(), os.getgid())
    access_logger.removeHandler(own)


def test_configuring_again_closes_the_files(access: Path, error: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        configure_logging(LogOptions(access_log_file=str(access), error_log_file=str(error)))
    configure_logging(LogOptions())
    assert len(os.listdir("/dev/fd")) == before


def test_a_logger_of_the_programs_own_leaves_no_file_open(access: Path) -> None:
    access_logger.addHandler(logging.NullHandler())
    before = len(os.listdir("/dev/fd"))
    configure_logging(LogOptions(access_log_file=str(access)))
    assert len(os.listdir("/dev/fd")) == before


def test_without_access_log_its_file_is_not_made(access: Path) -> None:
    configure_logging(LogOptions(access_log=False, access_log_file=str(access)))
    assert not access.exists()


def test_a_file_that_cant_be_opened_is_an_error_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(LogOptions())
    missing = tmp_path / "missing" / "error.log"
    options = LogOptions(access_log_file=str(tmp_path / "a.log"), error_log_file=str(missing))
    before = len(os.listdir("/dev/fd"))
    expected = f"error_log_file '{missing}': can't be opened: No such file or directory"
    with pytest.raises(ConfigError, match=re.escape(expected)):
        configure_logging(options)
    assert len(os.listdir("/dev/fd")) == before
    access_logger.info("a line")
    assert capsys.readouterr().out == "a line\n"


def test_a_relative_path_is_that_of_the_start(
    access: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(access.parent)
    configure_logging(LogOptions(access_log_file=access.name))
    monkeypatch.chdir("/")
    access.unlink()
    reopen_logs()
    configure_logging(LogOptions())
    assert access.exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_reported_on_stderr_and_raises_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(LogOptions(access_log_file="/dev/full"))
    access_logger.info("lost")
    give_logs(os.getuid(), os.getgid())  # a device is nobody's to give
    configure_logging(LogOptions())
    assert "can't write the log trioserve.access" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may give anything away")
def test_a_file_that_cant_be_given_away_is_a_line_of_log(access: Path, error: Path) -> None:
    configure_logging(LogOptions(access_log_file=str(access), error_log_file=str(error)))
    give_logs(0, 0)
    configure_logging(LogOptions())
    assert "can't be given to user 0, group 0" in error.read_text()


def test_a_line_however_long_is_one_write_and_lines_of_processes_dont_mix(access: Path) -> None:
    program = (
        "import sys; from trioserve.config import LogOptions\n"
        "from trioserve.logs import access_logger, configure_logging\n"
        "configure_logging(LogOptions(access_log_file=sys.argv[1]))\n"
        "for _ in range(100): access_logger.info(sys.argv[2] * 30000)\n"
    )
    commands = [[sys.executable, "-c", program, str(access), letter] for letter in "abc"]
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait() for process in processes] == [0, 0, 0]
    lines = access.read_text().split("\n")
    assert sorted(lines) == sorted(["", *[letter * 30000 for letter in "abc" for _ in range(100)]])


def test_a_closed_file_stays_closed(access: Path) -> None:
    file = LogFile(str(access))
    file.close()
    file.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.write("x")


def test_the_level_can_be_changed_and_a_wrong_one_is_named() -> None:
    configure_logging(LogOptions())
    set_log_level("debug")
    assert error_logger.level == logging.DEBUG
    with pytest.raises(ConfigError, match="log_level 'loud': expected one of critical, error"):
        set_log_level("loud")
    assert error_logger.level == logging.DEBUG
