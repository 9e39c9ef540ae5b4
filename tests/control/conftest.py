# SPDX-License-Identifier: MIT
"""What the tests of the control socket share: the log's records, no server of anybody else."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


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


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory with a short name: a socket's path has some 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="ctl-") as name:
        yield Path(name)


@pytest.fixture
def runtime(base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime directory of this test's own, and one besides; for child processes, the first."""
    directory = base / "run"
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    monkeypatch.delenv("TRIOSERVE_CONTROL_SOCKET", raising=False)
    monkeypatch.setattr(
        "trioserve.control.paths.other_directories", lambda: (str(base / "system"),)
    )
    return directory
