# SPDX-License-Identifier: MIT
"""What Linux knows about a process tree: CPU time, resident memory, its peak."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

TICK = 1 / os.sysconf("SC_CLK_TCK")


class Stat(NamedTuple):
    """The fields of /proc/PID/stat (proc(5)) that the benchmarks read."""

    pid: int
    parent: int
    cpu_seconds: float


def parse_stat(line: str) -> Stat:
    """Reads one /proc/PID/stat.

    The time is utime + stime + cutime + cstime: a child's time moves to its parent's cutime when it
    is reaped, so over a whole tree the sum neither loses it nor counts it twice.
    """
    # The command's name may hold spaces and parentheses; the last ")" ends it.
    head, _, tail = line.rpartition(")")
    fields = tail.split()
    ticks = sum(int(field) for field in fields[11:15])
    return Stat(int(head.split(" ", 1)[0]), int(fields[1]), ticks * TICK)


def tree(root: int) -> list[Stat]:
    """Lists `root` and all its descendants, as they are now; empty when root is gone."""
    everything: dict[int, Stat] = {}
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        # A process may end between the listing and the reading.
        with contextlib.suppress(OSError):
            stat = parse_stat(path.read_text())
            everything[stat.pid] = stat
            children.setdefault(stat.parent, []).append(stat.pid)
    found = []
    pending = [root] if root in everything else []
    while pending:
        pid = pending.pop()
        found.append(everything[pid])
        pending += children.get(pid, [])
    return found


def cpu_seconds(root: int) -> float:
    """User and system time of the tree so far; steps of a clock tick, mostly 10 ms."""
    return sum(stat.cpu_seconds for stat in tree(root))


def resident_bytes(root: int) -> int:
    """Resident memory of the tree. Pages that processes share count once for each."""
    return sum(_status_bytes(stat.pid, "VmRSS:") for stat in tree(root))


def peak_resident_bytes(root: int) -> int:
    """Sum of each process's highest resident memory since `reset_peak`."""
    return sum(_status_bytes(stat.pid, "VmHWM:") for stat in tree(root))


def reset_peak(root: int) -> None:
    """Makes the present memory of the tree its peak (proc(5), clear_refs: 5).

    Where the kernel forbids it, the peak stays the process's highest ever: never too low.
    """
    for stat in tree(root):
        with contextlib.suppress(OSError):
            Path(f"/proc/{stat.pid}/clear_refs").write_text("5")


def _status_bytes(pid: int, key: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    return 0  # ended meanwhile, or a zombie, which has no memory
