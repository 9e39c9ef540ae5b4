# SPDX-License-Identifier: MIT
"""One child process, really started: what it gets, how it ends, what is left of it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.transports.cancelling import cancelled_at, cancelled_at_each_await
from trioserve.supervision import LIFELINE, SOCKET, ChildProcess, open_child
from trioserve.supervision import child as child_module

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from pathlib import Path

    NoLeak = Callable[[], AbstractContextManager[None]]

#: Without site-packages, an interpreter starts in 15 ms.
_PYTHON = [sys.executable, "-I", "-S", "-c"]


def python(
    code: str, *words: str, name: str = "child", stop_timeout: float = 10.0, **options: Any
) -> AbstractAsyncContextManager[ChildProcess]:
    """A child that runs this code, with words in sys.argv from 1 on."""
    argv = [*_PYTHON, textwrap.dedent(code), *words]
    return open_child(argv, name=name, stop_timeout=stop_timeout, **options)


#: Says so on its socket, and then whatever follows it.
READY = """
import os, signal, socket, sys, time
sock = socket.socket(fileno=int(sys.argv[1]))
sock.sendall(b"ready")
"""


async def read(child: ChildProcess, size: int = 65536) -> bytes:
    with trio.fail_after(10):
        await trio.lowlevel.wait_readable(child.socket)
        return child.socket.recv(size)


async def read_to_end(child: ChildProcess) -> bytes:
    data = b""
    while more := await read(child):
        data += more
    return data


# -- what it gets ---------------------------------------------------------------------------


async def test_a_child_has_its_socket_its_lifeline_and_an_empty_stdin(tmp_path: Path) -> None:
    code = """
    import json, os, socket, stat, sys
    sock = socket.socket(fileno=int(sys.argv[1]))
    lifeline = int(sys.argv[2])
    said = sock.recv(100).decode()
    facts = {
        "said": said, "stdin": sys.stdin.read(), "cwd": os.getcwd(), "group": os.getpgrp(),
        "pid": os.getpid(), "env": os.environ.get("COLOUR"), "home": os.environ.get("HOME"),
        "pipe": stat.S_ISFIFO(os.fstat(lifeline).st_mode), "word": sys.argv[3],
    }
    sock.sendall(json.dumps(facts).encode())
    """
    options: dict[str, Any] = {"cwd": str(tmp_path), "env": {"COLOUR": "blue"}}
    async with python(code, SOCKET, LIFELINE, "a{socket}", **options) as child:
        child.socket.send(b"hello")
        facts = json.loads(await read_to_end(child))
        assert await child.wait() == 0
    assert facts == {
        "said": "hello",
        "stdin": "",
        "cwd": str(tmp_path),
        "group": child.pid,
        "pid": child.pid,
        "env": "blue",
        "home": None,
        "pipe": True,
        "word": "a{socket}",
    }


async def test_a_child_inherits_the_descriptors_that_it_is_given_and_no_others() -> None:
    code = """
    import os, socket, sys
    sock = socket.socket(fileno=int(sys.argv[1]))
    numbers = []
    for fd in range(3, 200):
        try:
            os.fstat(fd)
        except OSError:
            continue
        numbers.append(fd)
    sock.sendall(repr(numbers).encode())
    """
    read_end, write_end = os.pipe()
    try:
        async with (
            python(READY + "time.sleep(60)", SOCKET),  # a sibling, with descriptors of its own
            python(code, SOCKET, LIFELINE, pass_fds=[read_end]) as child,
        ):
            numbers = json.loads(await read_to_end(child))
    finally:
        os.close(read_end)
        os.close(write_end)
    assert read_end in numbers
    assert len(numbers) == 3  # that, its socket, its lifeline


async def test_the_death_of_a_child_is_an_end_of_file_at_once() -> None:
    async with python(READY + "os.kill(os.getpid(), signal.SIGKILL)", SOCKET) as child:
        assert await read_to_end(child) == b"ready"
        assert await child.wait() == -signal.SIGKILL


# -- how it ends ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status", "text"),
    [
        ("", 0, "exit code 0"),
        ("import sys; sys.exit(3)", 3, "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", -9, "killed by SIGKILL (9)"),
        ("import os; os.kill(os.getpid(), 11)", -11, "killed by SIGSEGV (11)"),
        ("import os; os.kill(os.getpid(), 40)", -40, "killed by signal 40"),
    ],
)
async def test_an_end_is_described_by_its_code_or_its_signal(
    code: str, status: int, text: str
) -> None:
    async with python(code) as child:
        if child.exit_status is None:
            assert child.describe_exit() == "still running"
        assert await child.wait() == status
        assert await child.wait() == status
    assert (child.exit_status, child.describe_exit()) == (status, text)


async def test_several_tasks_can_wait_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[int] = []
    async with trio.open_nursery() as nursery, python(READY + "time.sleep(60)", SOCKET) as child:

        async def wait() -> None:
            ends.append(await child.wait())

        for _ in range(3):
            nursery.start_soon(wait)
        await read(child)
        await trio.testing.wait_all_tasks_blocked()
        child.kill()
    assert ends == [-signal.SIGKILL] * 3


async def test_without_pidfds_a_thread_waits(
    monkeypatch: pytest.MonkeyPatch, no_leak: NoLeak
) -> None:
    def no_pidfd(_pid: int) -> int:
        raise OSError(errno.ENOSYS, "no such call")

    await trio.to_thread.run_sync(int)  # Trio keeps descriptors of its own from here on
    monkeypatch.setattr(os, "pidfd_open", no_pidfd)
    with no_leak():
        async with python(READY + "time.sleep(60)", SOCKET) as child:
            await read(child)
            with trio.move_on_after(0.01) as scope:
                await child.wait()
            assert scope.cancelled_caught
        assert child.exit_status == -signal.SIGTERM


async def test_a_child_that_still_runs_at_the_end_of_the_block_gets_sigterm(
    records: list[logging.LogRecord],
) -> None:
    code = """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
    sock.sendall(b"!")
    time.sleep(60)
    """
    async with python(READY + textwrap.dedent(code), SOCKET) as child:
        while not (await read(child)).endswith(b"!"):
            pass
    assert child.exit_status == 7
    assert records == []


STUBBORN = (
    READY + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsock.sendall(b'!')\ntime.sleep(60)"
)


async def test_a_child_that_ignores_sigterm_is_killed_after_the_timeout(
    records: list[logging.LogRecord],
) -> None:
    async with python(STUBBORN, SOCKET, name="worker 1", stop_timeout=0.05) as child:
        while not (await read(child)).endswith(b"!"):
            pass
    assert child.exit_status == -signal.SIGKILL
    (record,) = records
    expected = f"worker 1 (process {child.pid}) has not ended 0.05 s after SIGTERM: it is killed"
    assert record.getMessage() == expected


async def test_a_stop_timeout_of_zero_kills_at_once(records: list[logging.LogRecord]) -> None:
    async with python(STUBBORN, SOCKET, stop_timeout=0) as child:
        await read(child)
    assert child.exit_status == -signal.SIGKILL
    assert records == []


async def test_a_child_that_was_stopped_by_sigstop_ends_too(no_leak: NoLeak) -> None:
    async with python(READY + "time.sleep(60)", SOCKET, stop_timeout=0.05) as child:
        await read(child)
        os.kill(child.pid, signal.SIGSTOP)
        how = os.WSTOPPED | os.WNOWAIT
        await trio.to_thread.run_sync(os.waitid, os.P_PID, child.pid, how)
    assert child.exit_status == -signal.SIGKILL


async def test_a_child_that_hangs_in_the_kernel_ends_no_wait_of_ours(
    monkeypatch: pytest.MonkeyPatch, records: list[logging.LogRecord]
) -> None:
    async with python(READY + "time.sleep(60)", SOCKET, stop_timeout=0) as child:
        await read(child)
        with monkeypatch.context() as patch:
            patch.setattr(child_module, "_KILL_TIMEOUT", 0.01)
            # A process in the kernel's uninterruptible sleep can't be had here: a deaf one can.
            patch.setattr(child, "kill", lambda: None)
            await child._stop(0)
    assert "hangs in the kernel" in records[0].getMessage()


# -- what is left of it ---------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
async def test_nothing_is_left_when_the_block_raises(
    no_leak: NoLeak, error: type[BaseException]
) -> None:
    with no_leak():
        with pytest.raises(error):
            async with python(READY + "time.sleep(60)", SOCKET) as child:
                raise error
        assert child.exit_status is not None


async def test_nothing_is_left_of_a_program_that_is_not_there(no_leak: NoLeak) -> None:
    with no_leak(), pytest.raises(FileNotFoundError, match="/no/such/program"):
        async with open_child(["/no/such/program"], name="child"):
            raise AssertionError


@pytest.mark.slow  # a child a wait, of which there are about ten
async def test_nothing_is_left_whenever_it_is_cancelled(no_leak: NoLeak) -> None:
    seen: list[ChildProcess] = []

    async def life() -> None:
        async with python(READY + "time.sleep(60)", SOCKET, stop_timeout=5) as child:
            seen.append(child)
            await read(child)
            child.kill()
            await child.wait()
            await trio.lowlevel.checkpoint()

    async def once(number: int) -> bool:
        with no_leak():
            return await cancelled_at(number, life)

    assert await cancelled_at_each_await(once) >= 3
    assert all(child.exit_status is not None for child in seen)


async def test_nothing_is_left_of_a_child_whose_start_is_cancelled_half_way(
    monkeypatch: pytest.MonkeyPatch, no_leak: NoLeak
) -> None:
    popen = subprocess.Popen
    started = []

    with no_leak(), trio.CancelScope() as scope:

        def slow_popen(*args: Any, **kwargs: Any) -> Any:
            trio.from_thread.run_sync(scope.cancel)  # while the event loop waits for this thread
            process = popen(*args, **kwargs)
            started.append(process)
            return process

        monkeypatch.setattr(subprocess, "Popen", slow_popen)
        async with python(READY + "time.sleep(60)", SOCKET):
            await trio.lowlevel.checkpoint()
            raise AssertionError
    assert scope.cancelled_caught
    assert [process.returncode for process in started] == [-signal.SIGTERM]


async def test_a_start_waits_for_no_thread_of_anybody_else(no_leak: NoLeak) -> None:
    limiter = trio.to_thread.current_default_thread_limiter()
    for number in range(int(limiter.total_tokens)):
        limiter.acquire_on_behalf_of_nowait(number)
    try:
        with trio.fail_after(10):
            async with python("") as child:
                assert await child.wait() == 0
    finally:
        for number in range(int(limiter.total_tokens)):
            limiter.release_on_behalf_of(number)


async def test_its_user_may_close_the_socket_before() -> None:
    async with python("") as child:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(child.socket))
        await stream.aclose()
        assert await child.wait() == 0
