# SPDX-License-Identifier: MIT
"""From a Config to a running server: what happens once, before and after Trio runs.

=======  ================================================================================
before   logs, what systemd, process 1 and an older server have left in the environment,
         the hook ``on_starting``, the process's title
after    the hook ``on_exit``
=======  ================================================================================
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import trio

from trioserve.chores.control import keep_control
from trioserve.hooks import HookArbiter, call_hook, call_on_starting
from trioserve.listeners import systemd_listen_fds
from trioserve.loading import load_hooks, put_on_path
from trioserve.logs import configure_logging
from trioserve.nursery_arbiter import NurseryArbiter
from trioserve.reloading.watching import check_reload
from trioserve.surroundings import Surroundings
from trioserve.system.titles import process_title, set_process_title

if TYPE_CHECKING:
    from trioserve.config import Config
    from trioserve.nursery_arbiter import Chore
    from trioserve.surroundings import Invocation
    from trioserve.types import ASGIApp

__all__ = ["run"]

_log = logging.getLogger("trioserve.error")


def run(config: Config, app: ASGIApp | None, invocation: Invocation | None = None) -> int:
    """Runs the whole server in this thread; returns the process's exit code.

    Args:
        config: the settings.
        app: what is served here; None where workers import it.
        invocation: how the settings came about, for SIGHUP and SIGUSR2.

    Raises:
        AppImportError: a hook can't be imported.
        BindError: an address can't be bound.
        StartupError: the application's lifespan startup, or the hook ``on_starting``, failed.
        ConfigError: LISTEN_FDS of the environment can't be used, certificates can't, or something
            of the system's can't be had: the pid file, the user.
    """
    configure_logging(config)
    check_reload(config)
    if config.reload:
        _log.info("reload: one worker process, which starts anew when a file changes")
    surroundings = Surroundings.from_environment(invocation)
    passed_on = surroundings.upgrade.passed_on or systemd_listen_fds()
    if passed_on:
        config = config.with_changes(bind=passed_on)
    set_process_title(process_title("arbiter", config.process_name))
    put_on_path(config.app_dir)  # workers of either kind look for modules where this process does
    hooks = load_hooks(config)
    call_on_starting(hooks.on_starting, HookArbiter(pid=os.getpid(), config=config))
    arbiter = NurseryArbiter(
        app, config, hooks=hooks, surroundings=surroundings, chores=_chores(config)
    )
    try:
        trio.run(arbiter.run)
    finally:
        call_hook("on_exit", arbiter.hooks.on_exit, arbiter.for_hooks())
    return arbiter.exit_code


def _chores(config: Config) -> list[Chore]:
    """What the settings ask for beside serving."""
    chores: list[Chore] = []
    if config.control_socket != "off":
        chores.append(keep_control)
    if config.metrics_bind or config.statsd_host:
        from trioserve.chores import metrics

        chores += [metrics.keep_metrics] if config.metrics_bind else []
        chores += [metrics.keep_statsd] if config.statsd_host else []
    if config.reload:
        from trioserve.chores.reload import keep_watch

        chores.append(keep_watch)
    return chores
