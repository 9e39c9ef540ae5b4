# SPDX-License-Identifier: MIT
"""The limit on open connections, shared by all listeners of a server."""

from __future__ import annotations

import logging
import math

import trio

__all__ = ["ConnectionGate"]

_log = logging.getLogger("trioserve.error")


#: Seconds between two warnings, at least: a small limit is reached and left at every connection.
_WARNING_INTERVAL = 60.0


class ConnectionGate:
    """Counts the open connections, and holds the listeners back while there are too many.

    Who counts: a listener calls :meth:`enter` for each connection just before it hands it over; who
    took the connection over calls :meth:`leave` once, when the connection is closed. Nothing here
    awaits between the look at :attr:`full` and :meth:`enter`, so that any number of listeners
    can share a gate and never exceed its limit.

    Args:
        max_connections: How many may be open at once (config key ``max_connections``). 0 = any
            number.

    Raises:
        ValueError: max_connections is negative.
    """

    __slots__ = ("_open", "_room", "_silent_until", "_warned", "max_connections")

    def __init__(self, max_connections: int) -> None:
        if max_connections < 0:
            raise ValueError(f"max_connections must be 0 (no limit) or more, not {max_connections}")
        self.max_connections = max_connections
        self._open = 0
        self._room = trio.lowlevel.ParkingLot()
        self._warned = False
        self._silent_until = -math.inf

    def __repr__(self) -> str:
        return f"<ConnectionGate {self._open} open, max_connections {self.max_connections}>"

    @property
    def open(self) -> int:
        """How many connections are open."""
        return self._open

    @property
    def full(self) -> bool:
        """True while no further connection may be accepted."""
        return 0 < self.max_connections <= self._open

    def enter(self) -> None:
        """Count one connection more.

        Raises:
            RuntimeError: The gate is :attr:`full`: the caller did not look.
        """
        if self.full:
            raise RuntimeError(f"all {self.max_connections} connections are open already")
        self._open += 1

    def leave(self) -> None:
        """Count one connection less, and wake the listeners if they waited for that.

        Raises:
            RuntimeError: More connections left than entered.
        """
        if self._open == 0:
            raise RuntimeError("a connection left that never entered")
        self._open -= 1
        # All wake, not one: which of the listeners has a client waiting only they can see.
        self._room.unpark_all()
        # A period of being full ends a tenth below the limit. At a load that hovers at the limit
        # every connection that closes would otherwise earn its own warning.
        if self._open <= self.max_connections - max(1, self.max_connections // 10):
            self._warned = False

    async def wait_for_room(self) -> None:
        """Return as soon as the gate is not full; no checkpoint if it is not.

        Logs one warning a period of being full, however many listeners wait.

        Cancellation: leaves nothing behind.
        """
        while self.full:
            self._warn_once()
            await self._room.park()

    def _warn_once(self) -> None:
        if self._warned or trio.current_time() < self._silent_until:
            return
        self._warned = True
        self._silent_until = trio.current_time() + _WARNING_INTERVAL
        _log.warning(
            "max_connections (%d) is reached: no connection is accepted until one closes",
            self.max_connections,
        )
