# SPDX-License-Identifier: MIT
from __future__ import annotations

import sys
from functools import partial
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

import pytest

import trioserve.logs.app_errors as module
from trioserve.config import LogOptions
from trioserve.logs import configure_logging, error_logger, log_app_error

if TYPE_CHECKING:
    from collections.abc import Callable

SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "GET",
    "path": "/x",
    "raw_path": b"/x",
    "query_string": b"q=1",
    "client": ("192.0.2.7", 50123),
}


def app() -> None:
    raise ValueError("the app's fault")


def call(function: Callable[[], None]) -> None:
    function()


def as_if_of_this_package(function: Any) -> Any:
    """The same function, with a code object that names a file of the package."""
    code: CodeType = function.__code__.replace(co_filename=module.__file__)
    return FunctionType(code, function.__globals__)


def raised(function: Callable[[], None]) -> Exception:
    try:
        function()
    except Exception as exc:
        # Without the frame of this very function, so that the server's comes first, as it does
        # where a connection contains the failure.
        tb = exc.__traceback__
        return exc.with_traceback(tb and tb.tb_next)
    raise AssertionError("nothing was raised")


def frames_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    (record,) = caplog.records
    assert record.exc_info
    tb, names = record.exc_info[2], []
    while tb is not None:
        names.append(tb.tb_frame.f_code.co_name)
        tb = tb.tb_next
    return names


@pytest.mark.parametrize(
    ("changes", "described"),
    [
        ({}, "GET /x?q=1 from 192.0.2.7:50123"),
        ({"client": ("2001:db8::7", 1)}, "GET /x?q=1 from [2001:db8::7]:1"),
        ({"client": None}, "GET /x?q=1"),
        ({"type": "websocket", "method": None}, "WEBSOCKET /x?q=1 from 192.0.2.7:50123"),
        ({"type": "lifespan"}, "lifespan"),
        ({"raw_path": b"/\r\n\xff", "query_string": b"", "client": None}, r"GET /\x0d\x0a\xff"),
    ],
)
def test_the_message_names_the_request(
    caplog: pytest.LogCaptureFixture, changes: dict[str, Any], described: str
) -> None:
    log_app_error(ValueError(), SCOPE | changes)
    assert caplog.messages == [f"Exception in ASGI application ({described})"]


def test_the_apps_own_frame_comes_first(caplog: pytest.LogCaptureFixture) -> None:
    server = as_if_of_this_package(call)
    failure = raised(partial(server, app))
    before = failure.__traceback__
    log_app_error(failure, SCOPE)
    assert frames_of(caplog) == ["app"]
    assert failure.__traceback__ is before


def test_frames_of_the_server_below_the_app_are_shown(caplog: pytest.LogCaptureFixture) -> None:
    server_send = as_if_of_this_package(app)
    log_app_error(raised(partial(call, server_send)), SCOPE)
    assert frames_of(caplog) == ["call", "app"]


def test_a_failure_of_the_server_alone_is_shown_with_all_its_frames(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log_app_error(raised(as_if_of_this_package(app)), SCOPE)
    assert frames_of(caplog) == ["app"]


def test_a_group_is_written_whole_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogOptions())
    log_app_error(BaseExceptionGroup("tasks", [raised(app), KeyboardInterrupt()]), SCOPE)
    err = capsys.readouterr().err
    assert "[ERROR] Exception in ASGI application (GET /x?q=1 from 192.0.2.7:50123)\n" in err
    assert "ValueError: the app's fault" in err
    assert "KeyboardInterrupt" in err
    assert err.count("BaseExceptionGroup: tasks") == 1


def test_a_broken_filter_loses_neither_failure(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(record: object) -> bool:
        raise RuntimeError("the filter is broken")

    configure_logging(LogOptions())
    error_logger.addFilter(broken)
    log_app_error(raised(app), SCOPE)
    err = capsys.readouterr().err
    assert "RuntimeError: the filter is broken" in err
    assert "ValueError: the app's fault" in err
    assert "GET /x?q=1" in err
    assert sys.exception() is None
