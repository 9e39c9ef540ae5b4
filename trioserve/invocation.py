# SPDX-License-Identifier: MIT
"""From a command line to the Config, now and at every reload, with what that does to the process.

====  ==============================  =========================================================
step  what is read                    relative to
====  ==============================  =========================================================
1     the TOML file                   the directory in which the process was started
2     ``env_file``, as argv, the      the same
      environment or TOML name it
3     all settings                    the directory of ``chdir``
4     nothing: directory, variables
      and umask take effect
====  ==============================  =========================================================

Nothing takes effect of a reading that fails.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from trioserve.config.settings import VARIABLE_PREFIX, all_settings
from trioserve.config.sources import (
    CONFIG_VARIABLE,
    Given,
    Layer,
    find_file,
    read_environment,
    read_file,
    read_platform,
    resolve,
)
from trioserve.errors import ConfigError
from trioserve.system.environment import EnvironmentFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioserve.command_line import CommandLine
    from trioserve.config import Config

__all__ = ["Invocation"]

#: What names the files themselves can't come out of one of them.
_TOO_LATE = (CONFIG_VARIABLE, VARIABLE_PREFIX + "ENV_FILE")
#: The server's own pool is named there for programs that it starts: that is no setting of ours.
_POOL_VARIABLE = VARIABLE_PREFIX + "DIRTY_SOCKET"


class Invocation:
    """A command line, with the directory and the environment it was given in.

    Attributes:
        asked: The command line, parsed.
        directory: Where the process was started.
        origins: Setting → where its value came from, for those that somebody gave, as of the last
            ``read_config``.
    """

    def __init__(self, asked: CommandLine) -> None:
        self.asked = asked
        self.directory = _working_directory()
        self.origins: dict[str, str] = {}
        self._variables = EnvironmentFile(os.environ)
        self._dirty_socket = os.environ.get(_POOL_VARIABLE)
        # Relative at first, so that messages show a path as it was written.
        self._base = Path()
        self._has_moved = False
        self._inherited_umask: int | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment without what ``env_file`` has added: for a successor, which reads it."""
        variables = self._variables.original
        variables.pop(_POOL_VARIABLE, None)
        if self._dirty_socket is not None:
            variables[_POOL_VARIABLE] = self._dirty_socket
        return variables

    def read_config(self) -> Config:
        """Puts the sources on top of each other: defaults < TOML < environment < command line.

        May be called again, to read the same files anew: variables that ``env_file`` has no more
        are removed, others replaced.

        Changes the process's environment, working directory and umask.

        Raises:
            ConfigError: A file can't be read, a name is unknown, a value is wrong, or the directory
                ``chdir`` can't be entered. Then nothing has changed.
        """
        environ = self.environment
        file_layer = self._read_file(environ)
        argv_layer = self.asked.settings
        env_file = self._find_env_file(file_layer, environ)
        added = self._variables.read(env_file)
        for name in _TOO_LATE:
            if name in added:
                raise ConfigError(f"{name}: it comes too late in {env_file}; set it outside")
        environment_layer = read_environment({**environ, **added})
        config, origins = resolve(
            read_platform({**environ, **added}), file_layer, environment_layer, argv_layer
        )
        self._enter_directory(config.chdir)
        self._variables.replace(added)
        self._set_umask(config.umask)
        self._base = self.directory
        self.origins = origins
        return config

    def _read_file(self, environ: Mapping[str, str]) -> Layer:
        chosen = self.asked.config or environ.get(CONFIG_VARIABLE)
        path = self._base / chosen if chosen else find_file(self._base)
        return read_file(path) if path else {}

    def _find_env_file(self, file_layer: Layer, environ: Mapping[str, str]) -> str | None:
        setting = all_settings()["env_file"]
        given = self.asked.settings.get("env_file")
        if given is None and setting.variable in environ:
            given = Given(environ[setting.variable], setting.variable)
        given = given or file_layer.get("env_file")
        if given is None:
            return None
        config, _ = resolve({"env_file": given})  # its value may be wrong
        assert config.env_file is not None
        return str(self._base / config.env_file)

    def _enter_directory(self, chdir: str | None) -> None:
        if chdir is None and not self._has_moved:  # the application's own os.chdir() is left alone
            return
        try:
            os.chdir(self.directory / (chdir or ""))
        except OSError as exc:
            raise ConfigError(
                f"chdir {chdir!r}: the directory can't be entered: {exc.strerror}"
            ) from exc
        self._has_moved = True

    def _set_umask(self, umask: int | None) -> None:
        wanted = self._inherited_umask if umask is None else umask
        if wanted is None:
            return
        previous = os.umask(wanted)
        if self._inherited_umask is None:
            self._inherited_umask = previous


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except OSError as exc:
        raise ConfigError(
            f"the working directory can't be used: {exc.strerror}; start trioserve in another"
        ) from exc
