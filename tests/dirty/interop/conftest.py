# SPDX-License-Identifier: MIT
"""gunicorn's arbiter, started once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from tests.server_process import REPOSITORY, Output

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def gunicorn_socket() -> Iterator[str]:
    """The socket of gunicorn's arbiter, with two workers of gunicorn_apps."""
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/dirty.sock"
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.dirty.interop.gunicorn_pool", path],
            cwd=REPOSITORY,
            env={**os.environ, "TMPDIR": directory},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        assert process.stderr is not None
        output = Output(process.stderr)
        try:
            output.wait_for("Dirty worker .* listening", count=2)
            yield path
        finally:
            # All of them at once: its workers would outlive it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            output.close()
