# SPDX-License-Identifier: MIT
"""Parents that are killed, and what becomes of their children: real processes, three generations.

The test starts a parent, the parent starts a child with a lifeline, the test kills the parent. What
the child says goes to a pipe whose end the test reads: it comes when the last holder has ended.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING

import pytest

from tests.server_process import REPOSITORY
from trioserve import lifeline as lifeline_module

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Starts argv[2] as its child with a lifeline, and waits to be killed.
PARENT = """
import os, subprocess, sys, time
read_end, write_end = os.pipe()
code = sys.argv[1].replace("LIFELINE", str(read_end))
subprocess.Popen([sys.executable, "-S", "-c", code], pass_fds=[read_end], start_new_session=True)
os.close(read_end)
{before_waiting}
time.sleep(60)
"""

CHILD = """
import os, sys, threading, time
from trioserve import lifeline
lifeline._PARENT_CHECK_INTERVAL = {check_interval}
def on_eof():
    os.write(1, b"on_eof ")
    {on_eof}
lifeline.watch_lifeline(LIFELINE, grace={grace}, on_eof=on_eof)
os.write(1, b"ready ")
{body}
"""


@contextlib.contextmanager
def killed_parent(
    body: str,
    *,
    grace: float = 0.05,
    on_eof: str = "",
    before_waiting: str = "",
    check_interval: float = 60.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """A parent that was killed once its child was ready; the child's output is its stdout."""
    child = CHILD.format(grace=grace, body=body, on_eof=on_eof, check_interval=check_interval)
    parent = PARENT.format(before_waiting=before_waiting)
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", parent, child],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.read(6) == b"ready "
        process.kill()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def rest_of(process: subprocess.Popen[bytes]) -> str:
    """What the child says until it has ended; fails after 10 s, with the child still alive."""
    assert process.stdout is not None
    output: list[bytes] = []
    reader = threading.Thread(target=lambda: output.append(process.stdout.read()), daemon=True)  # type: ignore[union-attr]
    reader.start()
    reader.join(10)
    assert output, "the child outlives its parent"
    return output[0].decode()


@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "time.sleep(60)",
        "threading.Event().wait()",
        "import signal as s; s.pthread_sigmask(s.SIG_BLOCK, s.valid_signals())\nwhile True: pass",
        "os.read(os.pipe()[0], 1)",
    ],
)
def test_a_child_ends_when_its_parent_is_killed_whatever_it_does(body: str) -> None:
    with killed_parent(body) as process:
        assert rest_of(process) == "on_eof "


def test_a_child_has_its_grace_to_end_by_itself() -> None:
    orderly = 'time.sleep(0.05); os.write(1, b"done"); os._exit(0)'
    with killed_parent("time.sleep(60)", grace=50, on_eof=orderly) as process:
        assert rest_of(process) == "on_eof done"


@pytest.mark.parametrize("on_eof", ["time.sleep(60)", "while True: pass", "sys.exit()"])
def test_a_callback_that_blocks_doesnt_prolong_the_grace(on_eof: str) -> None:
    with killed_parent("time.sleep(60)", on_eof=on_eof) as process:
        assert rest_of(process) == "on_eof "


def test_a_callback_that_raises_is_reported_and_changes_nothing() -> None:
    with killed_parent("time.sleep(60)", on_eof="raise ValueError('oops')") as process:
        said = rest_of(process)
    assert "ValueError: oops" in said


def test_a_child_ends_though_a_fork_of_its_parent_keeps_the_lifeline_open() -> None:
    fork = "if os.fork() == 0: os.closerange(0, 3); time.sleep(20); os._exit(0)"
    with killed_parent("time.sleep(60)", before_waiting=fork, check_interval=0.05) as process:
        assert rest_of(process) == "on_eof "


#: Two children of the same parent: each would keep the other's lifeline open, were it inherited.
PARENT_OF_TWO = """
import os, sys, trio
from trioserve.supervision import LIFELINE, open_child
code = "from trioserve.lifeline import watch_lifeline as w; w(int(__import__('sys').argv[1]),"
code += "grace=0); __import__('os').write(1, b'!'); __import__('time').sleep(60)"
argv = [sys.executable, "-S", "-c", code, LIFELINE]
async def main():
    async with open_child(argv, name="one"), open_child(argv, name="two"):
        await trio.sleep_forever()
trio.run(main)
"""


@pytest.mark.slow  # the parent is a Python with Trio in it
def test_no_child_outlives_a_trio_parent_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT_OF_TWO], cwd=REPOSITORY, stdout=subprocess.PIPE, bufsize=0
    ) as parent:
        assert parent.stdout is not None
        try:
            said = b""
            while said != b"!!":
                said += parent.stdout.read(2)
            parent.kill()
            assert rest_of(parent) == ""
        finally:
            parent.kill()


def run(code: str, *, pass_fds: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=REPOSITORY,
        pass_fds=pass_fds,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_process_ends_with_its_own_code_if_nothing_else_ends_it() -> None:
    read_end, write_end = os.pipe()
    os.close(write_end)
    code = f"""
    import time
    from trioserve.lifeline import watch_lifeline
    watch_lifeline({read_end}, grace=0)
    time.sleep(60)
    """
    try:
        assert run(code, pass_fds=(read_end,)).returncode == lifeline_module.ORPHANED
    finally:
        os.close(read_end)


def test_a_lifeline_that_somebody_closes_ends_the_process_too() -> None:
    code = """
    import os, time
    import trioserve.lifeline as lifeline
    lifeline._PARENT_CHECK_INTERVAL = 0.01
    read_end, write_end = os.pipe()
    lifeline.watch_lifeline(read_end, grace=0)
    os.close(read_end)
    time.sleep(60)
    """
    done = run(code)
    assert done.returncode == lifeline_module.ORPHANED


def test_bytes_on_the_lifeline_and_the_end_of_another_process_mean_nothing() -> None:
    ended = threading.Event()
    read_end, write_end = os.pipe()
    os.set_inheritable(read_end, True)

    def wait() -> None:
        lifeline_module._wait_for_orphanhood(read_end, os.getppid())
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    os.write(write_end, b"x")
    assert not ended.wait(0.05)
    os.close(write_end)
    thread.join(10)
    assert ended.is_set()
    os.close(read_end)


def test_the_lifeline_is_not_inherited_by_processes_that_the_child_starts() -> None:
    code = """
    import os
    from trioserve.lifeline import watch_lifeline
    read_end, write_end = os.pipe()
    os.set_inheritable(read_end, True)
    watch_lifeline(read_end, grace=0)
    print(os.get_inheritable(read_end))
    """
    assert run(code).stdout == "False\n"


def test_an_interrupt_does_nothing_and_children_of_the_child_are_as_ever() -> None:
    code = """
    import os, signal, subprocess, sys
    from trioserve.lifeline import ignore_interrupts
    ignore_interrupts()
    os.kill(os.getpid(), signal.SIGINT)
    ask = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    subprocess.run([sys.executable, "-S", "-c", ask], check=True)
    """
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_it_imports_next_to_nothing() -> None:
    code = """
    import sys
    before = set(sys.modules)
    import trioserve.lifeline
    print(sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
    """
    done = run(code)
    assert not {"trio", "attr", "attrs", "socket", "logging"} & set(eval(done.stdout))
