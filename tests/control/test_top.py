# SPDX-License-Identifier: MIT
"""``trioservectl top`` in a terminal: tmux is the terminal, keys are typed, the screen is read."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.control.fake_server import PATIENCE, FakeControls, fake_server
from tests.control.test_command import TRIOSERVECTL
from tests.tools import find_tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow  # a screen changes once a second


class Terminal:
    """A terminal with a shell in it; tmux's own server, of this test only."""

    def __init__(self, tmux: str, socket: str) -> None:
        self._tmux = [tmux, "-f", "/dev/null", "-S", socket]

    def run(self, *words: str) -> str:
        """A command of tmux."""
        done = subprocess.run(
            [*self._tmux, *words], capture_output=True, text=True, timeout=PATIENCE, check=True
        )
        return done.stdout

    def type(self, *keys: str) -> None:
        """Types keys, by tmux's names or as text."""
        self.run("send-keys", *keys)

    def resize(self, columns: int, lines: int) -> None:
        """Another size."""
        self.run("resize-window", "-x", str(columns), "-y", str(lines))

    def screen(self) -> list[str]:
        """What is on it now."""
        return self.run("capture-pane", "-p").splitlines()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first line that matches, once there is one.

        Raises:
            AssertionError: there is none for as long as PATIENCE; with the screen.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            lines = self.screen()
            for line in lines:
                if match := re.search(pattern, line):
                    return match
            shown = "\n".join(lines)
            assert time.monotonic() < deadline, f"no line like {pattern!r} on:\n{shown}"
            time.sleep(0.05)  # nobody tells of a change


@contextlib.contextmanager
def terminal(base: Path, columns: int) -> Iterator[Terminal]:
    """A terminal of so many columns around the block."""
    here = Terminal(find_tool("tmux"), f"{base}/tmux")
    size = ["-x", str(columns), "-y", "24"]
    environ = ["-e", "LC_ALL=C.UTF-8"]
    here.run("new-session", "-d", *size, *environ, "sh")
    try:
        here.wait_for("^[#$]")  # the prompt
        yield here
    finally:
        here.run("kill-server")


@pytest.fixture(params=[80, 120])
def at(request: pytest.FixtureRequest, base: Path) -> Iterator[Terminal]:
    """A terminal, of a usual width and of a wide one."""
    with terminal(base, request.param) as here:
        yield here


@contextlib.contextmanager
def top(at: Terminal, base: Path) -> Iterator[FakeControls]:
    """A server, and top, which shows it."""
    with fake_server(f"{base}/s") as controls:
        # Its exit code and the terminal's settings are said afterwards.
        command = shlex.join([TRIOSERVECTL, "top", "--socket", f"{base}/s"])
        at.type(f"clear; stty -g > {base}/before; {command}; echo code $?", "Enter")
        at.wait_for("trioserve 9.9")
        yield controls


def assert_left(at: Terminal, base: Path) -> None:
    """The screen is the shell's again, the cursor and the keyboard as they were."""
    at.wait_for(r"^code 0$")
    assert not any("trioserve 9.9" in line for line in at.screen())
    assert at.run("display-message", "-p", "#{alternate_on} #{cursor_flag}").split() == ["0", "1"]
    at.type(f"stty -g | cmp - {base}/before && echo the same", "Enter")
    at.wait_for("^the same$")


def test_top_shows_the_server_and_q_leaves(at: Terminal, base: Path) -> None:
    with top(at, base) as controls:
        # A look adds 50 requests, and there is one each second, or less on a busy machine.
        rate = at.wait_for(r"^requests/s +(\d+\.\d)")
        assert 0 < float(rate[1]) <= 60
        at.wait_for(r"^latency +p50 2\.5 ms   p95 4\.8 ms   p99 (4\.9|5\.0) ms$")
        at.wait_for(r"^open +connections 10   in flight 3   WebSockets 1$")
        at.wait_for(r"^1 +4001 +serving +\d+\.\d +\d+ +7 +1 +40\.0 MiB +1h00m$")
        at.wait_for(r"^2 +4002 +draining +0\.0 +400 ")
        at.wait_for(r"^1 +5001 +serving +1 +77 +0 +30\.0 MiB +1h00m$")
        at.wait_for(r"^shop:Model +6 +1 +77 +0 +0$")
        assert not any("…" in line for line in at.screen())
        looks = controls.looks
        at.type("x")  # no key of top's
        at.wait_for(rf" {1000 + 50 * (looks + 2) - 400} ")  # it goes on
        at.type("q")
        assert_left(at, base)


def test_an_interrupt_leaves(at: Terminal, base: Path) -> None:
    with top(at, base):
        at.type("C-c")
        assert_left(at, base)


def test_a_server_that_goes_is_said_and_found_again(base: Path) -> None:
    with terminal(base, 80) as at:
        with top(at, base):
            pass
        at.wait_for("^The server does not answer for ")
        at.wait_for("^Trying again each second")
        with fake_server(f"{base}/s"):
            at.wait_for("trioserve 9.9")
            at.wait_for(r"^requests/s +\d")
            at.type("q")
            assert_left(at, base)


def test_a_terminal_may_become_narrow(base: Path) -> None:
    with terminal(base, 120) as at, top(at, base):
        at.resize(40, 12)
        at.wait_for(r"^trioserve 9\.9.*…$")  # cut, not wrapped
        assert len(at.screen()) <= 12
        at.resize(120, 24)
        at.wait_for("q quits")
        at.type("q")
        assert_left(at, base)


def test_a_termination_restores_the_terminal_as_well(base: Path) -> None:
    with terminal(base, 80) as at, fake_server(f"{base}/s"):
        command = shlex.join([TRIOSERVECTL, "top", "--socket", f"{base}/s"])
        at.type(f"clear; sh -c 'echo $$ > {base}/pid; exec {command}'; echo code $?", "Enter")
        at.wait_for("trioserve 9.9")
        os.kill(int((base / "pid").read_text()), signal.SIGTERM)
        at.wait_for(r"^code 143$")
        assert at.run("display-message", "-p", "#{alternate_on}").strip() == "0"


def test_without_a_terminal_it_is_wrong_usage() -> None:
    done = subprocess.run(
        [TRIOSERVECTL, "top"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "trioservectl: top needs a terminal; use `trioservectl status` in scripts\n"
    )
