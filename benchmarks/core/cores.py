# SPDX-License-Identifier: MIT
"""Which core serves and which one makes the load: never the same, where there are two."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# The benchmarks need Linux; importing them, as their tests do, does not.
_available = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [0]
# As found, before this process is confined to one of them.
COUNT = len(_available)
SERVER_CORE = _available[0]
LOAD_CORE = _available[-1]


def pin_load() -> None:
    """Puts this process, and the load generators it will start, on the load's core."""
    os.sched_setaffinity(0, {LOAD_CORE})


def server_side() -> contextlib.AbstractContextManager[None]:
    """Has processes started within the block run on the server's core."""
    return _on({SERVER_CORE})


def everywhere() -> contextlib.AbstractContextManager[None]:
    """Has processes started within the block run on any core, as the scheduler likes."""
    return _on(set(_available))


@contextlib.contextmanager
def _on(wanted: set[int]) -> Iterator[None]:
    """Affinity is inherited, so no code has to run between fork and exec."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, wanted)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
