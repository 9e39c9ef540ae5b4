# SPDX-License-Identifier: MIT
"""The worker processes of a server, found from outside: by what the system says, not by ours."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.server_process import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["needs_proc", "wait_until", "workers_of"]

#: For tests that look at processes as Linux shows them.
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def workers_of(place: str | Path) -> list[int]:
    """Pids of the workers that run for an arbiter whose command or environment names ``place``.

    The arbiter has to be started by ``tests.server_process``, since a title hides the command.
    Orphans are among them, whoever has adopted them; what has ended and waits to be reaped is not.
    """
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                command = Path(f"/proc/{entry}/cmdline").read_bytes()
                environ = Path(f"/proc/{entry}/environ").read_bytes()
            except OSError:  # it has ended meanwhile
                continue
            is_worker = b"trioserve.dirty.worker" in command or b": dirty worker " in command
            if is_worker and os.fsencode(place) in command + environ:
                found.append(int(entry))
    return found


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Polls.

    Raises:
        AssertionError: it hasn't come true by PATIENCE.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.01)
