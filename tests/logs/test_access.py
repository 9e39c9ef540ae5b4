# SPDX-License-Identifier: MIT
from __future__ import annotations

import io
import json
import logging
import logging.handlers
import pickle
import queue
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.test_access_format import entry
from trioserve.config import LogOptions
from trioserve.errors import ConfigError
from trioserve.logs import access_logger, configure_logging, make_access_log

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT = LogOptions(access_log_format='"%(r)s" %(s)s %(X)s')
LINE = '"GET /caf%C3%A9?q=1 HTTP/1.1" 200 -'


def make(options: LogOptions = SHORT) -> Any:
    log = make_access_log(options)
    assert log is not None
    return log


def test_an_exchange_is_one_line_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(SHORT)
    log = make()
    log(entry())
    log(entry(disconnected=True, status=499))
    assert capsys.readouterr() == (f"{LINE}\n{LINE[:-5]}499 X\n", "")


def test_an_exchange_is_one_json_object_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    options = LogOptions(log_format="json")
    configure_logging(options)
    make(options)(entry(status=404))
    members = json.loads(capsys.readouterr().out)
    assert (members["level"], members["logger"]) == ("INFO", "trioserve.access")
    assert (members["status"], members["method"]) == (404, "GET")
    assert '"GET /caf%C3%A9?q=1 HTTP/1.1" 404' in members["message"]


# --- nothing is made for nobody


def test_there_is_no_log_when_it_is_off() -> None:
    assert make_access_log(LogOptions(access_log=False)) is None


def test_there_is_no_log_below_the_loggers_level() -> None:
    configure_logging(SHORT)
    access_logger.setLevel(logging.WARNING)
    assert make_access_log(SHORT) is None


@pytest.mark.parametrize(
    "handler", [None, logging.NullHandler(), logging.StreamHandler(io.StringIO())]
)
def test_there_is_no_log_without_a_handler_that_would_take_it(
    handler: logging.Handler | None,
) -> None:
    access_logger.setLevel(logging.INFO)
    access_logger.propagate = False
    if handler is not None:
        handler.setLevel(logging.WARNING)
        access_logger.addHandler(handler)
    assert make_access_log(SHORT) is None


def test_there_is_no_log_without_a_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    configure_logging(SHORT)
    assert make_access_log(SHORT) is None


def test_a_wrong_format_is_refused_when_the_log_is_made() -> None:
    configure_logging(LogOptions())
    options = LogOptions()
    object.__setattr__(options, "access_log_format", "%(z)s")
    with pytest.raises(ConfigError, match="unknown atom"):
        make_access_log(options)


# --- the program's own logging


def test_a_program_that_configures_nothing_gets_records_at_its_root(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    make()(entry())
    assert caplog.messages == [LINE]


def test_a_filter_finds_the_exchange_in_the_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    access_logger.addFilter(lambda record: record.__dict__["access"].scope["path"] != "/health")
    log = make()
    log(entry({"path": "/health"}))
    log(entry())
    assert caplog.messages == [LINE]


def test_the_record_has_every_attribute_that_logging_gives(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    make()(entry())
    access_logger.info("%s", "by logging itself")
    ours, theirs = caplog.records
    assert ours.__dict__.keys() == theirs.__dict__.keys() | {"access"}
    same = ("name", "levelno", "levelname", "process", "thread", "threadName", "processName")
    assert [getattr(ours, name) for name in same] == [getattr(theirs, name) for name in same]
    assert ours.created == pytest.approx(theirs.created, abs=5)
    assert ours.relativeCreated == pytest.approx(theirs.relativeCreated, abs=5000)
    assert 0 <= ours.msecs < 1000


def test_levels_may_change_while_the_server_runs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = make()
    access_logger.setLevel(logging.WARNING)
    log(entry())
    assert caplog.messages == []


@pytest.fixture
def record_factory() -> Iterator[None]:
    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = logging.LogRecord(*args, **kwargs)
        record.__dict__["deployment"] = "blue"
        return record

    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(factory)
    yield
    logging.setLogRecordFactory(before)


@pytest.mark.usefixtures("record_factory")
def test_the_programs_record_factory_makes_the_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    make()(entry())
    (record,) = caplog.records
    assert record.__dict__["deployment"] == "blue"
    assert record.__dict__["access"].status == 200
    assert record.getMessage() == LINE


def test_a_record_crosses_a_queue_and_a_pickle() -> None:
    records: queue.SimpleQueue[Any] = queue.SimpleQueue()
    access_logger.setLevel(logging.INFO)
    access_logger.addHandler(logging.handlers.QueueHandler(records))
    make()(entry({"state": {"live": lambda: None}}))
    record = pickle.loads(pickle.dumps(records.get_nowait()))
    assert record.getMessage() == LINE
    assert record.access.status == 200


class BrokenFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise RuntimeError("the filter is broken")


def test_a_broken_filter_is_reported_once_and_never_raised(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(SHORT)
    access_logger.addFilter(BrokenFilter())
    log = make()
    log(entry())
    log(entry())
    assert capsys.readouterr().err.count("RuntimeError: the filter is broken") == 1


def test_an_entry_that_makes_no_sense_is_never_raised(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(SHORT)
    make()(entry({"headers": 5}))
    assert "the access log failed" in capsys.readouterr().err


def test_cancellation_and_exit_are_not_held_back() -> None:
    def leave(record: logging.LogRecord) -> bool:
        raise KeyboardInterrupt

    configure_logging(SHORT)
    access_logger.addFilter(leave)
    log = make()
    with pytest.raises(KeyboardInterrupt):
        log(entry())
