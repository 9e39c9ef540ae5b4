# SPDX-License-Identifier: MIT
"""Process 1 of a container: what the kernel expects of it, and a server can't do.

Whoever loses its parent becomes a child of process 1, which has to wait for it, or it stays a
zombie. A server can't tell such a child from those that the application has started and waits for
(``subprocess``, ``trio.run_process``, ``multiprocessing``): whoever waits for all steals their
exit codes. Besides, the kernel withholds from process 1 every signal that it has no handler for:
a SIGTERM in the first second of its life would do nothing.

So as process 1 the command forks before it does anything else:

=============  ======================================================================
process 1      waits for all its children; hands on the signals that others send;
               ends as the server ends, with its exit code
its child      is the server, an ordinary process: all its children are its own
=============  ======================================================================

One thing crosses between the two: a pipe, by which a server that another replaces (a hot upgrade)
names that one, so that process 1 stays as long as the successor does.

Process 1 has one thread and no event loop, holds no descriptor but the standard streams and the
pipe, and runs nothing of the application's.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Final, NoReturn

from trioserve.system.titles import process_title, set_process_title

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["InitProcess", "run_under_init"]

#: The number of the pipe's write end; of no setting's form.
_VARIABLE: Final = "_TRIOSERVE_INIT_FD"
#: Signals that say something of the process they come to.
_OWN: Final = frozenset(
    {
        signal.SIGCHLD,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGSEGV,
        signal.SIGSYS,
        signal.SIGTRAP,
    }
)
#: sigaction(2): what a process has sent has a code of 0 or less. A terminal's Ctrl+C reaches the
#: server by itself, since both are of one process group.
_SENT_BY_A_PROCESS: Final = 0
#: Variables that name the process they are for (sd_listen_fds(3), sd_watchdog_enabled(3)).
_ADDRESSED: Final = ("LISTEN_PID", "WATCHDOG_PID")


class InitProcess:
    """The process 1 above this server, if ``run_under_init`` has made one."""

    def __init__(self, fd: int | None = None) -> None:
        self._fd = fd

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> InitProcess:
        """To be called once; the variable that says so is removed."""
        text = environ.pop(_VARIABLE, "")
        if not text.isdigit():
            return cls()
        try:
            os.set_inheritable(int(text), False)  # a successor had to inherit it; nobody else has
        except OSError:  # it was closed on the way, and so this is no successor
            return cls()
        return cls(int(text))

    @property
    def is_there(self) -> bool:
        """Whether this process runs under a process 1 of trioserve's."""
        return self._fd is not None

    @property
    def fds(self) -> tuple[int, ...]:
        """The descriptors that a successor has to inherit, under the same numbers."""
        return () if self._fd is None else (self._fd,)

    @property
    def successor_environment(self) -> dict[str, str]:
        """The variables that a successor has to be given."""
        return {} if self._fd is None else {_VARIABLE: str(self._fd)}

    def hand_over(self, pid: int) -> None:
        """Names the process that is the server once this one has ended. It must be a descendant.

        To be called before this process ends; nothing happens where there is no process 1.
        """
        if self._fd is not None:
            with contextlib.suppress(OSError):  # process 1 has gone: nobody outlives that
                os.write(self._fd, b"%d\n" % pid)


def run_under_init() -> None:
    """Returns in a child of this process, which goes on as the server; this process buries orphans.

    To be called when this process is process 1, before it has threads. It never returns there:
    this process ends when the server has, with the server's exit code, 128 + the number for a
    signal.
    """
    read_end, write_end = os.pipe()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    init = os.getpid()
    server = os.fork()
    if server:
        _bury(server, read_end)
    os.close(read_end)
    for name in _ADDRESSED:
        if os.environ.get(name) == str(init):
            os.environ[name] = str(os.getpid())
    os.environ[_VARIABLE] = str(write_end)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _bury(server: int, pipe: int) -> NoReturn:
    code = 70  # EX_SOFTWARE, if what follows should fail
    try:
        _close_all_but(pipe)
        os.set_blocking(pipe, False)
        set_process_title(process_title("init"))
        code = _run(server, pipe)
    finally:
        os._exit(code)


def _run(server: int, pipe: int) -> int:
    """Hands on signals and waits for children until the server has ended; returns its code."""
    while True:
        info = signal.sigwaitinfo(signal.valid_signals())
        if info.si_signo not in _OWN:
            if info.si_code <= _SENT_BY_A_PROCESS:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(server, info.si_signo)
            continue
        ended = _reap()
        while server in ended:
            successor = _read_successor(pipe)
            if successor not in ended and not _is_our_child(successor):
                return _code(ended[server])
            server = successor


def _reap() -> dict[int, int]:
    """Takes every child that has ended: process id → wait status."""
    ended = {}
    with contextlib.suppress(ChildProcessError):  # there are no children at all
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            ended[pid] = status
    return ended


def _read_successor(pipe: int) -> int:
    """The process that was named last; 0: none was."""
    try:
        names = os.read(pipe, 65536).split()
    except BlockingIOError:  # others of the server's processes hold the write end
        return 0
    return int(names[-1]) if names else 0


def _is_our_child(pid: int) -> bool:
    if not pid:
        return False
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _close_all_but(kept: int) -> None:
    """Sockets that were passed on are the server's alone: when it closes them, they are closed."""
    for name in os.listdir("/dev/fd"):
        fd = int(name)
        if fd > 2 and fd != kept:
            with contextlib.suppress(OSError):  # the listing's own
                os.close(fd)
