# SPDX-License-Identifier: MIT
"""``trioservectl top``: a screen that is drawn anew each second, until q is typed."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from typing import TYPE_CHECKING, Any, Final, NoReturn

from rich.console import Console, ConsoleDimensions
from rich.live import Live

from trioserve.control.client import ControlClient
from trioserve.control.rates import compare
from trioserve.control.screen import make_lost_screen, make_screen
from trioserve.errors import TrioserveError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from rich.console import RenderableType

__all__ = ["run_top"]

_INTERVAL: Final = 1.0
#: Seconds for the server's answer; a key that is typed meanwhile waits.
_TIMEOUT: Final = 2.0
_QUIT: Final = frozenset(b"qQ\x03\x04")  # Ctrl+C and Ctrl+D where the terminal makes no signal


def run_top(find_server: Callable[[], str]) -> None:
    """Shows the server until q or Ctrl+C; then the terminal is as it was.

    Args:
        find_server: gives the path of its control socket, each time that it is connected to.
    """
    console = Console()
    with (
        contextlib.suppress(KeyboardInterrupt),
        contextlib.closing(_Watch(find_server)) as watch,
        _keys(),
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while True:
            screen = watch.look()
            # rich would believe COLUMNS and LINES, which nobody changes when the window changes.
            console.size = ConsoleDimensions(*os.get_terminal_size(sys.stdout.fileno()))
            live.update(screen, refresh=True)
            if _is_told_to_quit(_INTERVAL):
                return


class _Watch:
    """The server, looked at now and then."""

    def __init__(self, find_server: Callable[[], str]) -> None:
        self._find_server = find_server
        self._client: ControlClient | None = None
        self._last: dict[str, Any] | None = None
        self._looked_at = time.monotonic()

    def look(self) -> RenderableType:
        """The screen as it is now."""
        try:
            if self._client is None:
                self._client = ControlClient(self._find_server(), connect_timeout=_TIMEOUT)
            status = self._client.ask("status", timeout=_TIMEOUT)
        except TrioserveError as exc:
            self.close()
            self._last = None  # the next one may count from 0
            return make_lost_screen(str(exc), time.monotonic() - self._looked_at)
        now = time.monotonic()
        rates = compare(self._last, status, now - self._looked_at)
        self._last, self._looked_at = status, now
        return make_screen(status, rates)

    def close(self) -> None:
        """Closes the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Keys come at once and are not shown; SIGTERM and SIGHUP leave the block, too."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    fd = sys.stdin.fileno()
    settings = termios.tcgetattr(fd)
    handlers = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        tty.setcbreak(fd)
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal has gone
            termios.tcsetattr(fd, termios.TCSADRAIN, settings)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _is_told_to_quit(seconds: float) -> bool:
    """Waits for that long, or for a key; whether it was one to quit by."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([sys.stdin], [], [], left)
        if ready:
            typed = os.read(sys.stdin.fileno(), 64)
            if not typed or not _QUIT.isdisjoint(typed):  # the terminal has gone
                return True
    return False
