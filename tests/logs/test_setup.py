# SPDX-License-Identifier: MIT
from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from trioserve.config import LogOptions
from trioserve.logs import access_logger, configure_logging, error_logger

if TYPE_CHECKING:
    import pytest


def test_access_goes_to_stdout_and_errors_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogOptions())
    access_logger.info("a line")
    error_logger.info("a message")
    out, err = capsys.readouterr()
    assert out == "a line\n"
    assert err.endswith("] [INFO] a message\n")


def test_the_root_logger_is_left_alone_and_sees_nothing(caplog: pytest.LogCaptureFixture) -> None:
    handlers = logging.root.handlers[:]
    configure_logging(LogOptions())
    error_logger.error("ours")
    assert logging.root.handlers == handlers
    assert caplog.records == []


def test_before_configuration_records_propagate(caplog: pytest.LogCaptureFixture) -> None:
    error_logger.error("seen by the program's own logging")
    assert caplog.messages == ["seen by the program's own logging"]


def test_configuring_twice_logs_once_and_takes_the_new_options(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(LogOptions())
    configure_logging(LogOptions(log_format="json"))
    access_logger.info("a line")
    error_logger.error("a message")
    out, err = capsys.readouterr()
    assert out.startswith("{")
    assert (out.count("\n"), err.count("\n")) == (1, 1)
    assert len(access_logger.handlers) == len(error_logger.handlers) == 1


def test_the_level_is_the_error_logs_alone() -> None:
    configure_logging(LogOptions(log_level="warning"))
    assert error_logger.level == logging.WARNING
    assert access_logger.level == logging.INFO


def test_without_access_log_nothing_comes_out_anywhere(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogOptions(access_log=True))
    configure_logging(LogOptions(access_log=False))
    access_logger.error("not even by logging's last resort")
    assert capsys.readouterr() == ("", "")


def test_a_logger_with_handlers_of_the_programs_own_is_left_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = logging.Handler()
    error_logger.addHandler(own)
    configure_logging(LogOptions())
    assert error_logger.handlers == [own]
    assert error_logger.propagate
    assert error_logger.level == logging.NOTSET
    assert len(access_logger.handlers) == 1


def test_standard_streams_that_are_none_get_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    configure_logging(LogOptions())
    access_logger.info("nowhere")
    error_logger.error("nowhere")
