# SPDX-License-Identifier: MIT
"""The end of a process whose stop takes too long."""

from __future__ import annotations

import logging
import os
import threading
from typing import NoReturn

__all__ = ["LastResort"]

_log = logging.getLogger("trioserve.error")


class LastResort:
    """Ends the process if a stop takes too long: a timer in a thread that nothing waits for.

    Not a Trio task, since what it is for is a Trio loop that can't end: a handler's thread that
    goes on (Trio waits for threads), or code that blocks the loop itself.
    """

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None

    def arm(self, number: int, seconds: float) -> None:
        """Ends the process after ``seconds``; an earlier timer is replaced."""
        self.cancel()
        self._timer = threading.Timer(seconds, self._end, (number, seconds))
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        """The stop has ended by itself."""
        if self._timer is not None:
            self._timer.cancel()

    def _end(self, number: int, seconds: float) -> NoReturn:
        _log.error(
            "the stop takes longer than %g s, so something blocks the event loop or a thread (%s): "
            "the process is ended",
            seconds,
            ", ".join(thread.name for thread in threading.enumerate()),
        )
        logging.shutdown()
        os._exit(128 + number)
