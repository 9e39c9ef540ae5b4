# SPDX-License-Identifier: MIT
"""What the tests of supervision share: the log's records, and what a process leaves behind."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

NoLeak = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """The records of trioserve.error, however other tests have set its level and handlers."""
    found: list[logging.LogRecord] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    logger = logging.getLogger("trioserve.error")
    handler, level = Collector(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield found
    logger.setLevel(level)
    logger.removeHandler(handler)


def _open_descriptors() -> set[str]:
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the listing's own
            found.add(f"{path.name} {os.readlink(path)}")
    return found


def _children() -> set[str]:
    """Process ids of this process's children, zombies included."""
    tasks = Path("/proc/self/task").iterdir()
    return {pid for task in tasks for pid in (task / "children").read_text().split()}


@contextlib.contextmanager
def _no_leak() -> Iterator[None]:
    descriptors, children = _open_descriptors(), _children()
    yield
    assert _open_descriptors() - descriptors == set()
    assert _children() - children == set()


@pytest.fixture
def no_leak() -> NoLeak:
    """A block after which no descriptor and no child, dead or alive, is left of it."""
    return _no_leak
