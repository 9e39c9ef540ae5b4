# SPDX-License-Identifier: MIT
"""The settings of HTTP worker processes: a group like those in :mod:`.options`."""

from __future__ import annotations

from typing import Final

import attrs

from trioserve.config import kinds
from trioserve.config.fields import setting

__all__ = ["WorkerOptions"]

_GROUP: Final = "Workers"


@attrs.frozen(kw_only=True, slots=False)
class WorkerOptions:
    """How many processes serve HTTP, and when one is replaced."""

    workers: int = setting(
        _GROUP,
        kinds.COUNT,
        0,
        "Processes that serve HTTP, supervised by this one; 0 = this one serves. "
        "WEB_CONCURRENCY says it where nothing else does",
    )
    reuse_port: bool = setting(
        _GROUP,
        kinds.SWITCH,
        False,
        "Give each worker TCP sockets of its own (SO_REUSEPORT) instead of shared ones",
    )
    worker_timeout: float = setting(
        _GROUP,
        kinds.SECONDS,
        30.0,
        "A worker whose event loop is blocked for so long is killed and replaced; 0 = never",
    )
    worker_startup_timeout: float = setting(
        _GROUP,
        kinds.SECONDS,
        300.0,
        "For a worker's start: importing the app and its startup; 0 = no limit",
    )
    max_requests: int = setting(
        _GROUP, kinds.COUNT, 0, "Replace a worker after so many requests; 0 = no limit"
    )
    max_requests_jitter: int = setting(
        _GROUP, kinds.COUNT, 0, "… and up to so many more, another number for each worker"
    )
    max_worker_rss: int = setting(
        _GROUP,
        kinds.BYTES,
        0,
        "Replace a worker that has more in memory (resident set size); 0 = no limit",
    )
    worker_lifetime: float = setting(
        _GROUP,
        kinds.SECONDS,
        0.0,
        "Replace a worker at that age, or up to a tenth before, not all at a time; 0 = no limit",
    )
