# SPDX-License-Identifier: MIT
"""The hot upgrade: a new server, of new code, on the sockets of the old one.

::

    old   SIGUSR2 ─▶ starts new ───────────── waits ──────▶ drains ─▶ ends
    new                └▶ binds nothing anew, serves ─▶ "ready" │       │
                          is alone from here on: ◀──────────────┴───────┘

The new server is the same command in the same directory and environment, and inherits the listening
sockets. What connects while both are there is served by either; nothing is refused, and what
waits in a queue stays there. Both hold one end of a socket pair: the new one says there when it
serves, and learns of the old one's end by the end of the stream. If the new one can't start, the
old one goes on.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import trio

from trioserve.errors import ConfigError, TrioserveError

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence
    from pathlib import Path

    from trioserve.config import Config
    from trioserve.listeners import Listener

__all__ = ["UPGRADE_VARIABLE", "Upgrade", "start_successor"]

_log = logging.getLogger("trioserve.error")

#: What the old server tells the new one; it is no setting.
UPGRADE_VARIABLE: Final = "TRIOSERVE_UPGRADE"
_READY: Final = b"ready"
#: Seconds for the end of a new server that did not get ready.
_KILL_TIMEOUT: Final = 5.0
#: Ends of socket pairs to the servers that came after this one: open until this process ends.
_successors: list[tuple[socket.socket, subprocess.Popen[bytes]]] = []


class Upgrade:
    """What a server has been handed over by the one before it; nothing, as a rule.

    Attributes:
        sockets: (bind address, scheme) → descriptors of listening sockets.
        predecessor: process id of the old server; None where there is none.
    """

    def __init__(
        self,
        sockets: Mapping[tuple[str, str], list[int]] | None = None,
        channel: socket.socket | None = None,
        predecessor: int | None = None,
    ) -> None:
        self.sockets = dict(sockets or {})
        self.predecessor = predecessor
        self._channel = channel
        self._is_alone = channel is None
        self._waiting = trio.Lock()  # Trio lets one task wait for a descriptor

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> Upgrade:
        """Takes the variable out of the environment, and what it says.

        Raises:
            ConfigError: it was not written by an old server.
        """
        text = environ.pop(UPGRADE_VARIABLE, None)
        if text is None:
            return cls()
        try:
            told = json.loads(text)
            sockets: dict[tuple[str, str], list[int]] = {}
            for bind, scheme, fd in told["sockets"]:
                sockets.setdefault((bind, scheme), []).append(int(fd))
            channel = socket.socket(fileno=told["channel"])
            predecessor = int(told["pid"])
        except (ValueError, KeyError, TypeError, OSError) as exc:
            raise ConfigError(
                f"{UPGRADE_VARIABLE} is what an old server tells a new one at SIGUSR2, and nothing "
                f"to be set by hand ({exc})"
            ) from exc
        os.set_inheritable(channel.fileno(), False)
        return cls(sockets, channel, predecessor)

    @property
    def passed_on(self) -> tuple[str, ...]:
        """The bind forms of descriptors that were passed on to the old server already."""
        return tuple(dict.fromkeys(bind for bind, _ in self.sockets if bind.startswith("fd:")))

    def complete(self) -> None:
        """Tells the old server that this one serves. Nothing where there is none."""
        if self._channel is None:
            return
        try:
            self._channel.send(_READY)
        except OSError:
            _log.info("the old server (process %s) has ended already", self.predecessor)

    async def until_alone(self) -> None:
        """Returns once the old server has ended; at once where there is none. For any task."""
        async with self._waiting:
            if self._is_alone:
                return
            assert self._channel is not None
            self._channel.setblocking(False)
            while await _receive(self._channel):
                pass
            self._is_alone = True


async def start_successor(
    listeners: list[Listener],
    config: Config,
    *,
    environment: Mapping[str, str],
    directory: Path,
    pass_fds: Sequence[int] = (),
) -> int:
    """Starts the new server, and returns its process id once it serves.

    Args:
        listeners: what it inherits.
        config: of this server: ``worker_startup_timeout`` is the patience with the new one.
        environment: in which this server was started.
        directory: likewise.
        pass_fds: more that it inherits, under the same numbers.

    Raises:
        TrioserveError: it can't be started, ended, or did not serve in time; it is gone then.

    *Cancellation*: the new server is ended.
    """
    ours, theirs = socket.socketpair()
    sockets = [(one.bind, one.address.scheme, one.socket.fileno()) for one in listeners]
    told = {"sockets": sockets, "channel": theirs.fileno(), "pid": os.getpid()}
    variables = {**environment, UPGRADE_VARIABLE: json.dumps(told)}
    descriptors = [theirs.fileno(), *(fd for _, _, fd in sockets), *pass_fds]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]],
            env=variables,
            cwd=directory,
            pass_fds=descriptors,
        )

    with theirs:
        try:
            process = await trio.to_thread.run_sync(start)
        except OSError as exc:
            ours.close()
            raise TrioserveError(f"a new server can't be started: {exc}") from exc
    try:
        ours.setblocking(False)
        with trio.move_on_after(config.worker_startup_timeout or math.inf):
            if await _receive(ours):
                _successors.append((ours, process))
                return process.pid
    finally:
        if not _successors or _successors[-1][1] is not process:
            ours.close()
            how = await _end(process)
    raise TrioserveError(f"the new server did not get ready ({how}); this one goes on. See above")


async def _end(process: subprocess.Popen[bytes]) -> str:
    if process.poll() is None:
        process.terminate()
    # Shielded, since a stop comes by a cancellation, and no server may be left that nobody knows.
    with trio.move_on_after(_KILL_TIMEOUT, shield=True):
        await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
    if process.poll() is None:
        process.kill()
    return f"exit code {process.wait(_KILL_TIMEOUT)}"


async def _receive(channel: socket.socket) -> bytes:
    """What the other side says; nothing once it is gone."""
    await trio.lowlevel.wait_readable(channel)
    try:
        return channel.recv(64)
    except ConnectionResetError:
        return b""
