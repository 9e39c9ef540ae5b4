# SPDX-License-Identifier: MIT
"""Wishes for more and fewer workers that come together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioserve.config import Config
from trioserve.errors import TrioserveError
from trioserve.workers import HttpWorkers
from trioserve.workers.places import WorkerPlace


class Wanted(HttpWorkers):
    """Starts none."""

    async def _set_target(self, target: int) -> None:
        self.target = target


async def test_two_wishes_that_wait_for_a_reload_do_not_remove_the_last_worker() -> None:
    workers = Wanted(Config(app="a:b", workers=2), [], print, dirty_socket=None)
    refused = []

    async def remove() -> None:
        try:
            await workers.remove(1)
        except TrioserveError as exc:
            refused.append(str(exc))

    async with trio.open_nursery() as nursery, workers._changing:  # as a reload has it
        nursery.start_soon(remove)
        nursery.start_soon(remove)
        await wait_all_tasks_blocked()
    assert workers.target == 1
    assert refused == ["1 of 1 HTTP workers can't be removed: one is left at least"]
    with pytest.raises(TrioserveError, match="1 to 512 are possible"):
        await workers.add(512)


async def test_whether_all_were_given_up_when_the_stop_came_is_known_after_it() -> None:
    workers = Wanted(Config(app="a:b", workers=1), [], print, dirty_socket=None)
    ended = {"restarts": 7, "last_end": "exit code 1", "remove": lambda: None}
    supervisor: Any = SimpleNamespace(is_degraded=False, is_ready=True, **ended)
    place = WorkerPlace(1, workers._listeners)
    place.supervisor = supervisor
    workers._places.append(place)
    async with trio.open_nursery() as nursery:
        await nursery.start(workers.run)
        supervisor.is_degraded, supervisor.is_ready = True, False
        workers.stop()
    assert workers.is_degraded
