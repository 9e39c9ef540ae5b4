# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.core import procfs
from benchmarks.core.procfs import TICK, Stat, parse_stat, tree

TAIL = "S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 5 6 7"
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_the_time_includes_children_that_were_reaped() -> None:
    assert parse_stat(f"42 (python) {TAIL}") == Stat(42, 7, 127 * TICK)


@pytest.mark.parametrize("name", ["a b", "x) S 1 (y", "((", ") )"])
def test_a_command_name_may_hold_spaces_and_parentheses(name: str) -> None:
    assert parse_stat(f"42 ({name}) {TAIL}").parent == 7


@linux
def test_a_tree_holds_the_process_and_its_children() -> None:
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        assert {os.getpid(), child.pid} <= {stat.pid for stat in tree(os.getpid())}
        assert [stat.pid for stat in tree(child.pid)] == [child.pid]
    assert tree(child.pid) == []


@linux
def test_memory_is_that_of_a_living_process_and_its_peak_no_less() -> None:
    assert 0 < procfs.resident_bytes(os.getpid()) <= procfs.peak_resident_bytes(os.getpid())


@linux
def test_a_peak_is_seen_although_the_memory_was_given_back() -> None:
    procfs.reset_peak(os.getpid())
    before = procfs.resident_bytes(os.getpid())
    size = 32 << 20
    block = b"x" * size
    del block
    assert procfs.peak_resident_bytes(os.getpid()) - before > size // 2
