# SPDX-License-Identifier: MIT
"""What systemd is told of this service: sd_notify(3), sd_watchdog_enabled(3); without libsystemd.

A message is one datagram of ``NAME=value`` lines to the Unix socket that ``NOTIFY_SOCKET`` names.
Whether it arrives is nothing that the server depends on: a failure is logged, once until one
arrives again.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["ServiceManager"]

_log = logging.getLogger("trioserve.error")

#: Seconds; sd_watchdog_enabled(3): pings should come at half the time the manager waits.
_LONGEST_WATCHDOG: Final = 2**31


class ServiceManager:
    """The manager that started this process, if one did; else every method does nothing.

    Attributes:
        is_there: Whether anybody is told anything.
        watchdog_timeout: Seconds without a sign of life after which the service is ended; None:
            no watchdog.
    """

    def __init__(self, address: str | None = None, watchdog_timeout: float | None = None) -> None:
        self._address = address
        self._has_failed = False
        self.watchdog_timeout = watchdog_timeout if address else None

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> ServiceManager:
        """The manager of ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID``.

        The variables are removed, whatever they say, so that child processes don't take them for
        theirs. A second call thus finds no manager.

        *Errors handled here*: an address of a kind that isn't known, a time that is none: one log
        line, and it is as if it weren't there.
        """
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds = environ.pop("WATCHDOG_USEC", "")
        watched = environ.pop("WATCHDOG_PID", "")
        if not address:
            return cls()
        if address[0] not in "/@" or len(address) < 2:
            _log.error(
                "NOTIFY_SOCKET %r: expected a path or @name; the service manager is told nothing",
                address,
            )
            return cls()
        return cls(address, _timeout(microseconds, watched))

    @property
    def is_there(self) -> bool:
        """Whether anybody is told anything."""
        return self._address is not None

    @property
    def successor_environment(self) -> dict[str, str]:
        """The variables that a process needs which is to replace this one (see ``main_pid``)."""
        if self._address is None:
            return {}
        variables = {"NOTIFY_SOCKET": self._address}
        if self.watchdog_timeout is not None:
            variables["WATCHDOG_USEC"] = str(round(self.watchdog_timeout * 1_000_000))
        return variables

    def ready(self, status: str = "") -> None:
        """The start, or a reload, has ended well."""
        self._send("READY=1", *_status_line(status))

    def reloading(self, status: str = "") -> None:
        """A reload has begun; ``ready`` ends it (systemd.service(5), ``Type=notify-reload``)."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}", *_status_line(status))

    def stopping(self, status: str = "") -> None:
        """The stop has begun."""
        self._send("STOPPING=1", *_status_line(status))

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send(*_status_line(text))

    def main_pid(self, pid: int) -> None:
        """Another process is the service's main one, and speaks for it from now on.

        This one is silent: with ``NotifyAccess=all`` its STOPPING would be the whole service's, and
        the manager would end the successor.
        """
        self._send(f"MAINPID={pid}")
        self._address = None

    async def run_watchdog(self) -> None:
        """Sends a sign of life at half the watchdog's time, from Trio's loop, until cancelled.

        Returns at once where there is no watchdog. What is proved is that the loop of this process
        turns.
        """
        if self.watchdog_timeout is None:
            return
        while True:
            self._send("WATCHDOG=1")
            await trio.sleep(self.watchdog_timeout / 2)

    def _send(self, *lines: str) -> None:
        if self._address is None or not lines:
            return
        try:
            _send_datagram(self._address, "\n".join(lines))
        except OSError as exc:
            if not self._has_failed:
                _log.error(
                    "the service manager at %s can't be told %s: %s",
                    self._address,
                    lines[0],
                    exc.strerror or exc,
                )
            self._has_failed = True
        else:
            self._has_failed = False


def _send_datagram(address: str, text: str) -> None:
    where = "\0" + address[1:] if address[0] == "@" else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        # A full queue is no reason to hold the server up.
        sock.setblocking(False)
        sock.sendto(text.encode("utf-8", "backslashreplace"), where)


def _status_line(text: str) -> tuple[str, ...]:
    # A line break would begin another assignment.
    line = " ".join(text.split())
    return (f"STATUS={line}",) if line else ()


def _timeout(microseconds: str, watched: str) -> float | None:
    if not microseconds or watched not in ("", str(os.getpid())):
        return None
    seconds = int(microseconds) / 1e6 if microseconds.isascii() and microseconds.isdigit() else 0
    if not 0 < seconds < _LONGEST_WATCHDOG:
        _log.error("WATCHDOG_USEC %r: expected microseconds; there is no watchdog", microseconds)
        return None
    return seconds
