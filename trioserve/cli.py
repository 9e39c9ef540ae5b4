# SPDX-License-Identifier: MIT
"""``trioserve module:attr [options]``: argv, ``TRIOSERVE_*``, TOML → Config → the server.

What is heavy is imported where it is needed: Trio and the server only once there is something to
serve, so that ``--help``, ``--version`` and errors come at once.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from trioserve.command_line import parse
from trioserve.errors import AppImportError, ConfigError, StartupError, TrioserveError
from trioserve.invocation import Invocation
from trioserve.system.orphans import run_under_init

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trioserve.config import Config
    from trioserve.types import ASGIApp

__all__ = ["main"]

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_STARTUP = 3
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; it never raises for what a user did wrong.

    ====  ==========================================================================
    code  when
    ====  ==========================================================================
    0     a clean stop, or --help, --version, --print-config, --check-config
    2     a bad value, an unknown name, an app or a hook that can't be imported or is none,
          an address that can't be bound
    3     the application's startup failed
    130   interrupted before the server ran
    ====  ==========================================================================

    Args:
        argv: The arguments without the program's name; ``sys.argv[1:]`` if None.
    """
    if os.getpid() == 1:  # in a container
        run_under_init()
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except TrioserveError as exc:
        print(f"trioserve: {_message(exc)}", file=sys.stderr)
        return EXIT_STARTUP if isinstance(exc, StartupError) else EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Who reads our output has seen enough, as in `trioserve --help | head`. Python would say
        # so again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def _run(argv: list[str]) -> int:
    asked = parse(argv)
    if asked is None:  # for the help or the version, which is printed
        return EXIT_OK
    invocation = Invocation(asked)
    config = invocation.read_config()
    if asked.print_config:
        from trioserve.config.rendering import to_toml

        print(to_toml(config, invocation.origins), end="")
        return EXIT_OK
    if config.reload and config.workers != 1:
        config = config.with_changes(workers=1)  # one is reloaded faster than several
    _check_app(config)
    from_workers = config.workers and not asked.check_config
    app: ASGIApp | None = None
    if not from_workers:
        app, config = _load(config)
    if asked.check_config:
        if config.reload:
            from trioserve.reloading.watching import check_reload

            check_reload(config)
        if config.has_tls:
            from trioserve.tls import open_contexts

            open_contexts(config)
        print("ok")
        return EXIT_OK
    from trioserve.launching import run

    return run(config, app, invocation)


def _check_app(config: Config) -> None:
    if config.app is None:
        raise ConfigError(
            "there is no application to serve; write trioserve module:attr, "
            'or set app = "module:attr" in trioserve.toml, or TRIOSERVE_APP=module:attr'
        )


def _load(config: Config) -> tuple[ASGIApp, Config]:
    """Import the application, and the config's hooks into it."""
    from trioserve.loading import load_app, load_hooks

    assert config.app is not None
    app = load_app(config.app, factory=config.factory, app_dir=config.app_dir)
    return app, load_hooks(config)


def _message(error: TrioserveError) -> str:
    if not isinstance(error, AppImportError):
        return str(error)
    from trioserve.loading import app_traceback

    # The application's own traceback first, so that the last line is the one that says it all.
    trace = app_traceback(error)
    if trace:
        print(trace, end="", file=sys.stderr)
    return str(error)
