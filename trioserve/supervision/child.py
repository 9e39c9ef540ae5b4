# SPDX-License-Identifier: MIT
"""One child process: exec'd, never forked from the running loop; it ends before its block does.

What crosses between the two:

============  ============================  ===================================================
              the parent has                the child has
============  ============================  ===================================================
socket        one end of a socket pair      the other, as an inherited descriptor
lifeline      the write end of a pipe       the read end, which ends when the parent does
stdin         nothing                       /dev/null
stdout, err   its own                       the same
============  ============================  ===================================================

The child gets a process group of its own, so that a Ctrl+C of the terminal, or a signal to the
parent's group, reaches the parent alone: only it knows in which order to stop what.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import math
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

__all__ = ["LIFELINE", "SOCKET", "ChildProcess", "open_child"]

_log = logging.getLogger("trioserve.error")

#: Words of an argv that stand for the numbers of the two descriptors.
SOCKET: Final = "{socket}"
LIFELINE: Final = "{lifeline}"

#: Bytes under way on the socket in each direction. The kernel may allow less, and says nothing.
_SOCKET_BUFFER_SIZE: Final = 1 << 20

_LAST_STANDARD: Final = 2

#: Seconds for the kernel to end a process that got SIGKILL. Only one that hangs in the kernel (a
#: dead network file system, say) takes any time, and no stop waits for that longer.
_KILL_TIMEOUT: Final = 5.0


class ChildProcess:
    """A child that runs, or has run.

    Attributes:
        name: What the log calls it.
        pid: Its process id.
        socket: The parent's end, a Unix stream that doesn't block. Closed at the end of the block;
            whoever uses it may close it before.
    """

    def __init__(
        self, popen: subprocess.Popen[bytes], sock: socket.socket, pidfd: int | None, *, name: str
    ) -> None:
        self._popen = popen
        self._pidfd = pidfd
        self._wait_lock = trio.Lock()
        self.name = name
        self.pid = popen.pid
        self.socket = sock

    @property
    def exit_status(self) -> int | None:
        """The exit code, or minus the number of the signal that killed it; None while it runs.

        Reaps the process if it has ended.
        """
        return self._popen.poll()

    async def wait(self) -> int:
        """Waits for its end and returns the ``exit_status``. Any number of tasks may."""
        async with self._wait_lock:  # Trio lets one task wait for a descriptor
            while self._popen.poll() is None:
                await self._wait_for_exit()
        status = self._popen.returncode
        assert status is not None
        return status

    async def _wait_for_exit(self) -> None:
        if self._pidfd is not None:
            # Closed under the wait: the block has been left, and the process has ended.
            with contextlib.suppress(trio.ClosedResourceError):
                await trio.lowlevel.wait_readable(self._pidfd)
            return
        # A wait that is cancelled leaves its thread behind, which ends with the child.
        await trio.to_thread.run_sync(
            _block_until_exit,
            self.pid,
            abandon_on_cancel=True,
            limiter=trio.CapacityLimiter(math.inf),
        )

    def terminate(self) -> None:
        """SIGTERM, if it still runs."""
        self._popen.terminate()

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        self._popen.kill()

    def describe_exit(self) -> str:
        """``exit code 1``, ``killed by SIGKILL (9)`` or ``still running``."""
        status = self.exit_status
        if status is None:
            return "still running"
        if status >= 0:
            return f"exit code {status}"
        try:
            return f"killed by {signal.Signals(-status).name} ({-status})"
        except ValueError:  # a realtime signal
            return f"killed by signal {-status}"

    async def _stop(self, stop_timeout: float) -> None:
        """Ends it: SIGTERM, ``stop_timeout``, SIGKILL. Never cancelled, and never for ever."""
        if self.exit_status is not None:
            return
        if stop_timeout > 0:
            self.terminate()
            if await self._ends_within(stop_timeout):
                return
            _log.warning(
                "%s (process %d) has not ended %g s after SIGTERM: it is killed",
                self.name,
                self.pid,
                stop_timeout,
            )
        self.kill()
        if not await self._ends_within(_KILL_TIMEOUT):
            _log.error(
                "%s (process %d) hangs in the kernel: %g s after SIGKILL it has not ended; "
                "it is left to itself",
                self.name,
                self.pid,
                _KILL_TIMEOUT,
            )

    async def _ends_within(self, seconds: float) -> bool:
        # Shielded: a stop comes by a cancellation, and a zombie must not be its outcome.
        with trio.move_on_after(seconds, shield=True):
            await self.wait()
        return self.exit_status is not None


@contextlib.asynccontextmanager
async def open_child(
    argv: Sequence[str],
    *,
    name: str,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    pass_fds: Sequence[int] = (),
    stop_timeout: float = 10.0,
) -> AsyncIterator[ChildProcess]:
    """Runs a program as a child of this process around the block.

    When the block is left, in whatever way, a child that still runs gets SIGTERM, after
    ``stop_timeout`` SIGKILL, and is reaped; then its descriptors are closed. An orderly end is the
    block's own business: it asks the child to finish, by the socket, and waits for it.

    Args:
        argv: The program and its arguments. The words ``SOCKET`` and ``LIFELINE`` become the
            numbers of the child's descriptors.
        name: What the log calls the child.
        env: All of its environment; None: this process's.
        cwd: Its working directory; None: this process's.
        pass_fds: More descriptors that it inherits, under the same numbers.
        stop_timeout: Seconds; 0: SIGKILL at once.

    Raises:
        OSError: The program can't be started (it is missing, no permission, no process, no
            descriptor is left). Nothing is left open then.

    *Cancellation*: while the child is being started, it takes effect right after that. Leaving the
    block takes ``stop_timeout`` and 5 s at most.
    """
    with contextlib.ExitStack() as resources:
        ours, theirs = _socket_pair()
        resources.callback(_close, ours)
        with theirs, _pipe(resources) as lifeline:
            popen = await _spawn(argv, theirs.fileno(), lifeline, pass_fds, env, cwd)
        # Between here and the `try` nothing waits: no cancellation can come between.
        pidfd = _open_pidfd(popen.pid)
        if pidfd is not None:
            resources.callback(_close_pidfd, pidfd)
        child = ChildProcess(popen, ours, pidfd, name=name)
        try:
            yield child
        finally:
            await child._stop(stop_timeout)


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    theirs = _beyond_standard(theirs)
    for end in (ours, theirs):
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            with contextlib.suppress(OSError):  # macOS refuses what Linux cuts down
                end.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_SIZE)
    ours.setblocking(False)
    return ours, theirs


def _beyond_standard(sock: socket.socket) -> socket.socket:
    """The same under a number that is no standard stream's.

    Where those are closed (``trioserve … >&-``), new descriptors get their numbers, and what the
    child prints would go into the socket.
    """
    if sock.fileno() > _LAST_STANDARD:
        return sock
    with sock:
        return socket.socket(
            fileno=fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, _LAST_STANDARD + 1)
        )


@contextlib.contextmanager
def _pipe(resources: contextlib.ExitStack) -> Iterator[int]:
    """The read end for the block; the write end is closed with the resources.

    Python makes both non-inheritable (PEP 446), so that no sibling holds the write end.
    """
    read_end, write_end = os.pipe()
    if read_end <= _LAST_STANDARD:
        standard, read_end = (
            read_end,
            fcntl.fcntl(read_end, fcntl.F_DUPFD_CLOEXEC, _LAST_STANDARD + 1),
        )
        os.close(standard)
    resources.callback(os.close, write_end)
    try:
        yield read_end
    finally:
        os.close(read_end)


async def _spawn(
    argv: Sequence[str],
    sock: int,
    lifeline: int,
    pass_fds: Sequence[int],
    env: Mapping[str, str] | None,
    cwd: str | None,
) -> subprocess.Popen[bytes]:
    numbers = {SOCKET: str(sock), LIFELINE: str(lifeline)}
    # A copy: while a thread executes the program, others may change the process's own, and the
    # kernel then finds an address that is none any more (EFAULT).
    variables = dict(os.environ if env is None else env)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [numbers.get(word, word) for word in argv],
            stdin=subprocess.DEVNULL,
            pass_fds=(sock, lifeline, *pass_fds),
            env=variables,
            cwd=cwd,
            process_group=0,
        )

    # A thread, since Popen blocks until exec. Its own limiter: all threads of the default one may
    # be waiting for an answer of the very child that is to be started. The thread can't be
    # abandoned, so a cancellation can't leave a process that nobody knows.
    return await trio.to_thread.run_sync(start, limiter=trio.CapacityLimiter(1))


def _open_pidfd(pid: int) -> int | None:
    """A descriptor that is readable once the process has ended; None where there are none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, a kernel before 5.3, a strict sandbox
        return None


def _close_pidfd(pidfd: int) -> None:
    trio.lowlevel.notify_closing(pidfd)  # a task may still wait for it
    os.close(pidfd)


def _close(sock: socket.socket) -> None:
    if sock.fileno() >= 0:  # its user may have closed it
        trio.lowlevel.notify_closing(sock)
        sock.close()


def _block_until_exit(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # somebody else has reaped it
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
