# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from trioserve.config import Config
from trioserve.errors import AppImportError, ConfigError, StartupError
from trioserve.hooks import HookArbiter, HookWorker, call_hook, call_on_starting
from trioserve.loading import load_hooks

if TYPE_CHECKING:
    from pathlib import Path

PARENTS = (
    "on_starting",
    "when_ready",
    "on_reload",
    "on_exit",
    "pre_worker",
    "post_worker",
    "worker_exit",
    "workers_changed",
)


@pytest.fixture
def arbiter() -> HookArbiter:
    config = Config()
    return HookArbiter(
        pid=os.getpid(), config=config, workers=(HookWorker(number=1, pid=7, config=config),)
    )


def top_level_hook(*args: Any) -> None:
    """One that another process can import."""


def test_a_hook_is_given_its_arguments_and_none_is_none(arbiter: HookArbiter) -> None:
    calls: list[Any] = []
    call_hook("workers_changed", lambda *args: calls.append(args), arbiter, 3, 2)
    call_hook("when_ready", None, arbiter)
    call_on_starting(None, arbiter)
    call_on_starting(calls.append, arbiter)
    assert calls == [(arbiter, 3, 2), arbiter]


@pytest.mark.parametrize("error", [ValueError("the hook's mistake"), SystemExit(3)])
def test_what_a_hook_raises_is_logged_with_its_traceback_and_nothing_else_stops(
    arbiter: HookArbiter, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def when_ready(_arbiter: HookArbiter) -> None:
        raise error

    call_hook("when_ready", when_ready, arbiter)
    (record,) = caplog.records
    assert record.getMessage() == "the hook when_ready failed; the server goes on"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_a_ctrl_c_in_a_hook_is_no_mistake_of_the_hooks(arbiter: HookArbiter) -> None:
    def interrupted(_arbiter: HookArbiter) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call_hook("when_ready", interrupted, arbiter)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no key\nmore"), "the hook on_starting failed: ValueError: no key"),
        (ValueError(), "the hook on_starting failed: ValueError"),
        (ConfigError("bad"), "the hook on_starting failed: ConfigError: bad"),
    ],
)
def test_on_starting_alone_stops_the_start(
    arbiter: HookArbiter, caplog: pytest.LogCaptureFixture, error: Exception, message: str
) -> None:
    def on_starting(_arbiter: HookArbiter) -> None:
        raise error

    with pytest.raises(StartupError, match=f"^{re.escape(message)}$") as caught:
        call_on_starting(on_starting, arbiter)
    assert caught.value.__cause__ is error
    assert "on_starting failed; the server doesn't start" in caplog.text


def test_on_starting_may_ask_for_an_exit_code(arbiter: HookArbiter) -> None:
    def on_starting(_arbiter: HookArbiter) -> None:
        raise SystemExit(4)

    with pytest.raises(SystemExit):
        call_on_starting(on_starting, arbiter)


def test_an_async_hook_is_refused_when_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hook(*args: Any) -> None: ...

    with pytest.raises(AppImportError, match=r"^when_ready: the hook is async; it must be a plain"):
        load_hooks(Config(when_ready=hook))
    (tmp_path / "async_hooks.py").write_text("async def hook(*args): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AppImportError, match=r'^on_exit "async_hooks:hook": the hook is async'):
        load_hooks(Config(on_exit="async_hooks:hook", app_dir=str(tmp_path)))


def test_a_hook_that_turns_out_to_be_async_is_an_error_and_no_warning(
    arbiter: HookArbiter, caplog: pytest.LogCaptureFixture
) -> None:
    async def hook(_arbiter: HookArbiter) -> None: ...

    call_hook("when_ready", lambda arbiter: hook(arbiter), arbiter)
    assert "the hook is async; it must be a plain function" in caplog.text
    with pytest.raises(StartupError, match="the hook is async"):
        call_on_starting(lambda arbiter: hook(arbiter), arbiter)


def test_a_hook_that_was_not_loaded_is_a_mistake_of_ours(
    arbiter: HookArbiter, caplog: pytest.LogCaptureFixture
) -> None:
    call_hook("when_ready", "a:b", arbiter)
    assert '"a:b" has not been imported' in caplog.text


def test_the_parents_hooks_are_loaded_there_and_the_workers_where_it_runs() -> None:
    name = f"{__name__}:top_level_hook"
    settings: dict[str, Any] = dict.fromkeys(PARENTS, name)
    config = load_hooks(Config(**settings, worker_init=name, app_dir="."))
    assert [getattr(config, hook) for hook in PARENTS] == [top_level_hook] * len(PARENTS)
    assert config.worker_init == name


def test_a_callable_for_the_worker_becomes_the_name_by_which_it_is_imported() -> None:
    assert Config(worker_init=top_level_hook).worker_init == f"{__name__}:top_level_hook"
    with pytest.raises(ConfigError, match="another process can import"):
        Config(worker_init=lambda worker: None)
