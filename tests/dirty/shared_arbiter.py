# SPDX-License-Identifier: MIT
"""An arbiter with workers that several files of tests use: it is started once."""

from __future__ import annotations

import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from tests.server_process import running

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["arbiter_socket"]


@pytest.fixture(scope="session")
def arbiter_socket() -> Iterator[str]:
    """The socket of an arbiter in a process of its own, with two workers of socket_apps.

    All tests share it: none may change how many workers there are, nor tables of others.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/dirty.sock"
        with running(sys.executable, "-m", "tests.dirty.pool_process", path, "2") as process:
            process.stdout.wait_for("^ready$")
            yield path
            assert process.stop() == 0, process.stderr.text
