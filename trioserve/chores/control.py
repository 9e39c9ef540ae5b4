# SPDX-License-Identifier: MIT
"""The control socket: what can be asked of this server, answered by its arbiter."""

from __future__ import annotations

import os
import signal
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import trio

from trioserve.control.paths import control_socket_path
from trioserve.control.server import serve_control
from trioserve.errors import TrioserveError
from trioserve.task_tree import describe_tasks

if TYPE_CHECKING:
    from trioserve.nursery_arbiter import NurseryArbiter

__all__ = ["ArbiterControls", "keep_control"]


async def keep_control(
    arbiter: NurseryArbiter, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serves the control socket of ``arbiter``; a successor takes it over once it is alone."""
    path = control_socket_path(arbiter.config)
    upgrade = arbiter.around.upgrade
    if arbiter.config.control_socket != "auto" and upgrade.predecessor is not None:
        task_status.started()
        await upgrade.until_alone()  # the old server has it until then
        task_status = trio.TASK_STATUS_IGNORED
    await serve_control(path, ArbiterControls(arbiter), task_status=task_status)


class ArbiterControls:
    """See trioserve.control.controls.Controls, which this is."""

    def __init__(self, arbiter: NurseryArbiter) -> None:
        self._arbiter = arbiter
        self._started_at = trio.current_time()

    async def status(self) -> dict[str, Any]:
        """See Controls."""
        arbiter = self._arbiter
        config, http = arbiter.config, arbiter.http
        stats = await http.snapshot()
        return {
            "version": _version(),
            "pid": os.getpid(),
            "name": config.process_name,
            "phase": arbiter.phase.value,
            "uptime": round(trio.current_time() - self._started_at, 2),
            "addresses": list(map(str, arbiter.addresses)),
            "app": config.app,
            "workers": http.describe(),
            "target_workers": http.target,
            "stats": stats,
            "dirty": None if arbiter.pool is None else await arbiter.pool.status(),
        }

    async def tasks(self) -> list[dict[str, Any]]:
        """See Controls."""
        arbiter = self._arbiter
        found: list[dict[str, Any]] = [
            {"pid": os.getpid(), "name": "arbiter", "tree": describe_tasks(), "error": None}
        ]
        dirty: list[dict[str, Any]] = []

        async def ask_dirty() -> None:
            if arbiter.pool is not None:
                dirty.extend(await arbiter.pool.tasks())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_dirty)
            found += await arbiter.http.tasks()
        return found + dirty

    def _check_phase(self) -> None:
        """
        Raises:
            TrioserveError: there is nothing yet that could be changed, or nothing any more.
        """
        phase = self._arbiter.phase
        if phase.value != "serving":
            raise TrioserveError(f"the server is {phase.value}; this can be asked while it serves")

    async def add_workers(self, count: int) -> dict[str, Any]:
        """See Controls."""
        self._check_phase()
        await self._arbiter.http.add(count)
        return {"target_workers": self._arbiter.http.target}

    async def remove_workers(self, count: int) -> dict[str, Any]:
        """See Controls."""
        self._check_phase()
        await self._arbiter.http.remove(count)
        return {"target_workers": self._arbiter.http.target}

    async def kill_worker(self, pid: int) -> dict[str, Any]:
        """See Controls."""
        self._check_phase()
        self._arbiter.http.kill(pid)
        return {"killed": pid}

    async def add_dirty(self, count: int) -> dict[str, Any]:
        """See Controls."""
        return await self._manage_dirty("add", count)

    async def remove_dirty(self, count: int) -> dict[str, Any]:
        """See Controls."""
        return await self._manage_dirty("remove", count)

    async def _manage_dirty(self, operation: str, count: int) -> dict[str, Any]:
        pool = self._arbiter.pool
        if pool is None:
            raise TrioserveError("this server has no dirty pool: it was started without dirty_app")
        from trioserve.dirty.errors import DirtyError

        try:
            return dict(await pool.client.manage(operation, count))
        except DirtyError as exc:
            raise TrioserveError(str(exc)) from exc

    async def reload(self) -> dict[str, Any]:
        """See Controls."""
        self._check_phase()
        await self._arbiter.reload_all()
        return {"reloaded": True}

    async def set_log_level(self, level: str) -> dict[str, Any]:
        """See Controls."""
        self._arbiter.set_log_level(level)
        return {"log_level": level}

    async def shutdown(self, now: bool) -> dict[str, Any]:
        """See Controls."""
        # By the signal that an operator would send: one way for both.
        os.kill(os.getpid(), signal.SIGINT if now else signal.SIGTERM)
        return {"stopping": "now" if now else "gracefully"}


def _version() -> str:
    try:
        return version("trioserve")
    except PackageNotFoundError:
        return "unknown"
