# SPDX-License-Identifier: MIT
"""What is around a server's process: how it was started, and by whom it is watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

from trioserve.system.notify import ServiceManager
from trioserve.system.orphans import InitProcess
from trioserve.upgrading import Upgrade

if TYPE_CHECKING:
    from pathlib import Path

    from trioserve.config import Config

__all__ = ["Invocation", "Surroundings"]


class Invocation(Protocol):
    """The command that has started this server."""

    @property
    def directory(self) -> Path:
        """The working directory then."""

    @property
    def environment(self) -> dict[str, str]:
        """The environment then."""

    def read_config(self) -> Config:
        """The settings as their sources are now.

        Raises:
            ConfigError: they can't be used.
        """


@attrs.frozen(kw_only=True)
class Surroundings:
    """Of the process; by default there is nothing.

    Attributes:
        invocation: None where a program has started the server.
        manager: systemd, or another that speaks its protocol.
        init: the process 1 of a container.
        upgrade: what an older server has handed over.
    """

    invocation: Invocation | None = None
    manager: ServiceManager = attrs.field(factory=ServiceManager)
    init: InitProcess = attrs.field(factory=InitProcess)
    upgrade: Upgrade = attrs.field(factory=Upgrade)

    @classmethod
    def from_environment(cls, invocation: Invocation | None) -> Surroundings:
        """Takes what concerns this process alone out of the environment.

        Raises:
            ConfigError: what an older server should have handed over can't be read.
        """
        return cls(
            invocation=invocation,
            manager=ServiceManager.from_environment(),
            init=InitProcess.from_environment(),
            upgrade=Upgrade.from_environment(),
        )

    def successor_environment(self) -> dict[str, str]:
        """Of a server that is to take this one's place."""
        assert self.invocation is not None
        return {
            **self.invocation.environment,
            **self.manager.successor_environment,
            **self.init.successor_environment,
        }

    def hand_over(self, pid: int) -> None:
        """Names the server that has taken this one's place."""
        self.init.hand_over(pid)
        self.manager.main_pid(pid)
