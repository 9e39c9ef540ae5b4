# SPDX-License-Identifier: MIT
"""What all connections of a server share."""

from __future__ import annotations

import math
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import trio

from trioserve.protocols.http1 import DefaultFields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trioserve.asgi.background import Background
    from trioserve.config import Config
    from trioserve.logs import AccessLog
    from trioserve.metrics import Recorder
    from trioserve.types import ASGIApp

__all__ = ["ServerContext"]


class ServerContext:
    """The application, its settings, and the few things that connections ask of their server.

    Attributes:
        draining: the server is stopping: no connection goes on after its exchange.
        access_log: None when nobody reads it; then nothing is built for it.
        recorder: None when nobody asks for figures; then nothing is counted.
        observed: there is either of them, so that the end of an exchange is worth a look.
        now: Trio's clock, without the look-up.
        stopwatch: for durations only: runs as Trio's clock does, and is the cheapest that does.
        extensions: what else every scope's ``extensions`` have.
        hand_over: asks the server to go on with a connection in another task (see connection.py).
    """

    def __init__(
        self,
        app: ASGIApp,
        config: Config,
        state: dict[str, Any],
        background: Background,
        access_log: AccessLog | None,
        hand_over: Callable[[Any], None],
        extensions: Mapping[str, Any],
        recorder: Recorder | None = None,
    ) -> None:
        self.app = app
        self.config = config
        self.state = state
        self.background = background
        self.access_log = access_log
        self.recorder = recorder
        self.observed = access_log is not None or recorder is not None
        self.hand_over = hand_over
        self.extensions = extensions
        self.draining = False
        clock = trio.lowlevel.current_clock()
        self.now = clock.current_time
        self.stopwatch = self.now
        if type(clock).__name__ == "SystemClock":  # Trio's own: perf_counter with an offset
            self.stopwatch = time.perf_counter
        self.keep_alive_timeout = config.keep_alive_timeout or math.inf
        self.header_timeout = config.header_timeout or math.inf
        self.body_timeout = config.body_timeout or math.inf
        self.write_timeout = config.write_timeout or math.inf
        self.websocket_send_timeout = config.websocket_send_timeout or math.inf
        self.request_timeout = config.request_timeout or math.inf
        self._server_field = b"\r\nserver: trioserve" if config.server_header else b""
        self._second = -1
        self._defaults = DefaultFields(self._server_field, b"")

    def default_fields(self) -> DefaultFields:
        """Server and Date (RFC 9110 section 6.6.1), made once a second."""
        if not self.config.date_header:
            return self._defaults
        now = time.time()
        if not self._second <= now < self._second + 1:  # clocks are set back, too
            self._second = int(now)
            date = b"\r\ndate: %s" % formatdate(self._second, usegmt=True).encode()
            self._defaults = DefaultFields(self._server_field, date)
        return self._defaults
