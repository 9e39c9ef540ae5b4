# SPDX-License-Identifier: MIT
"""Commands in processes of their own, as a user starts them: output collected, always killed.

Threads: one a pipe, from start to exit; it appends lines and wakes whoever waits for one. Waiting
is for a line of output or for the process's end, never for a time.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["REPOSITORY", "TRIOSERVE", "Output", "ServerProcess", "running", "serving"]

REPOSITORY = Path(__file__).parents[1]
#: The real command, beside the interpreter that runs the tests.
TRIOSERVE = str(Path(sys.executable).with_name("trioserve"))
#: Seconds. Only a broken server needs so long: it decides how late a test fails, not whether.
PATIENCE = 20.0


class Output:
    """The lines that a process writes to one pipe."""

    def __init__(self, pipe: IO[str]) -> None:
        self._pipe = pipe
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._pipe:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def lines(self) -> list[str]:
        """What has come so far."""
        with self._changed:
            return list(self._lines)

    @property
    def text(self) -> str:
        """The same as one string."""
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, count: int = 1) -> re.Match[str]:
        """The ``count``-th line that matches, which may be there already or still to come.

        Raises:
            AssertionError: the output ended without it, or PATIENCE did; with all of it.
        """
        found: list[re.Match[str]] = []

        def has_come() -> bool:
            found[:] = [match for line in self._lines if (match := re.search(pattern, line))]
            return len(found) >= count or self._ended

        with self._changed:
            self._changed.wait_for(has_come, PATIENCE)
        assert len(found) >= count, f"no line {count} like {pattern!r} in:\n{self.text}"
        return found[count - 1]

    def close(self) -> None:
        """To be called after the process's end, which ends the thread."""
        self._thread.join(PATIENCE)
        self._pipe.close()


class ServerProcess:
    """A running command.

    Attributes:
        process: of the standard library.
        stdout, stderr: what it writes.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.stdout = Output(process.stdout)
        self.stderr = Output(process.stderr)

    @property
    def address(self) -> str:
        """``http://127.0.0.1:PORT`` or ``unix:PATH``, once it serves; the first of several."""
        return self.stderr.wait_for(r"trioserve is serving on ([^ ,]+)")[1]

    @property
    def port(self) -> int:
        """The port, once it serves."""
        return int(self.address.rpartition(":")[2])

    def send_signal(self, number: signal.Signals) -> None:
        """As ``kill``."""
        self.process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """The exit code.

        Raises:
            AssertionError: it is still running, with what it said.
        """
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s:\n{self.stderr.text}") from None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends the signal and waits for the exit code."""
        self.send_signal(number)
        return self.wait()


@contextlib.contextmanager
def running(
    *command: str | Path,
    cwd: Path = REPOSITORY,
    environ: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[ServerProcess]:
    """Runs a command for the block; kills it after it, if it hasn't ended by then.

    Args:
        environ: variables besides the test's own, of which those of trioserve are left out. There
            is no control socket, unless they name one.
    """
    inherited = {key: value for key, value in os.environ.items() if key[:10] != "TRIOSERVE_"}
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=cwd,
        # The last two are for tests/dirty_leftovers.py: a title leaves the environment readable.
        env={
            **inherited,
            "TRIOSERVE_CONTROL_SOCKET": "off",
            **(environ or {}),
            "SPT_NOENV": "1",
            "STARTED_AS": " ".join(map(str, command)),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=pass_fds,
        text=True,
    )
    server = ServerProcess(process)
    try:
        yield server
    finally:
        process.kill()
        process.wait()
        server.stdout.close()
        server.stderr.close()


@contextlib.contextmanager
def serving(
    app: str,
    *options: str,
    app_dir: Path,
    bind: str = "127.0.0.1:0",
    environ: Mapping[str, str] | None = None,
) -> Iterator[ServerProcess]:
    """Runs ``trioserve APP`` on a free port and enters the block once it serves."""
    command = (TRIOSERVE, app, "--app-dir", str(app_dir), "--bind", bind, *options)
    with running(*command, environ=environ) as server:
        _ = server.address
        yield server
