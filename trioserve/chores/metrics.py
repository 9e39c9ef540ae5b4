# SPDX-License-Identifier: MIT
"""Figures of the whole server: for Prometheus, which asks, and for statsd, which is sent them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import trio

from trioserve.chores.control import ArbiterControls
from trioserve.listeners import open_listeners
from trioserve.metrics.statsd import run_statsd
from trioserve.scraping import serve_metrics

if TYPE_CHECKING:
    from trioserve.config import Config
    from trioserve.nursery_arbiter import NurseryArbiter

__all__ = ["keep_metrics", "keep_statsd"]


@attrs.frozen
class _BindOptions:
    """Where the figures are, for open_listeners."""

    config: Config

    @property
    def bind(self) -> tuple[str, ...]:
        """See BindOptions."""
        return self.config.metrics_bind

    @property
    def backlog(self) -> int:
        """See BindOptions."""
        return self.config.backlog

    @property
    def unix_socket_mode(self) -> int:
        """See BindOptions."""
        return self.config.unix_socket_mode


async def keep_metrics(
    arbiter: NurseryArbiter, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answers at ``metrics_bind``. After a hot upgrade that is the old server until it has ended.

    Raises:
        BindError: an address can't be bound.
    """
    from trioserve.metrics.prometheus import render

    if arbiter.around.upgrade.predecessor is not None:
        task_status.started()
        await arbiter.around.upgrade.until_alone()
        task_status = trio.TASK_STATUS_IGNORED
    controls = ArbiterControls(arbiter)

    async def collect() -> bytes:
        return render(await controls.status())

    async with open_listeners(_BindOptions(arbiter.config)) as listeners:
        await serve_metrics(arbiter.config, listeners, collect, task_status=task_status)


async def keep_statsd(
    arbiter: NurseryArbiter, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED
) -> None:
    """Sends figures to ``statsd_host``."""
    controls = ArbiterControls(arbiter)
    await run_statsd(arbiter.config, controls.status, task_status=task_status)
