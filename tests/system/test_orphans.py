# SPDX-License-Identifier: MIT
"""Process 1: as a subreaper, which adopts orphans as process 1 does, and as the real one."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.server_process import PATIENCE, REPOSITORY, TRIOSERVE, running
from trioserve.system.orphans import InitProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server_process import ServerProcess

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="subreapers and namespaces are Linux's"),
    pytest.mark.slow,  # processes that start processes
]

#: What every program below begins with: the test's process adopts orphans, and splits off.
PREFIX = """
import contextlib, ctypes, os, signal, subprocess, sys, time
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
if os.getpid() != 1:
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
from trioserve.system.orphans import InitProcess, run_under_init

def say(*what):
    print(*what, flush=True)

def children_of(pid):
    return [int(child) for child in open(f"/proc/{pid}/task/{pid}/children").read().split()]

def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)

run_under_init()
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # none outlives its test
INIT = os.getppid()
"""


def can_make_a_namespace() -> bool:
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def run_as(how: str) -> list[str]:
    """The words before a command that make it process 1, or leave it as it is."""
    if how == "subreaper":
        return []
    if not can_make_a_namespace():
        pytest.skip("this machine doesn't permit new process namespaces")
    return ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


@pytest.fixture(params=["subreaper", "process 1"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.contextmanager
def started(how: str, program: str) -> Iterator[ServerProcess]:
    code = PREFIX + textwrap.dedent(program)
    with running(*run_as(how), sys.executable, "-u", "-c", code, cwd=REPOSITORY) as process:
        yield process


def outcome(how: str, program: str) -> tuple[int, list[str]]:
    with started(how, program) as process:
        code = process.wait(2 * PATIENCE)
        process.stdout.close()
        assert "Traceback" not in process.stderr.text
        return code, process.stdout.lines


def test_orphans_are_buried_and_no_exit_code_is_stolen(how: str) -> None:
    code, lines = outcome(
        how,
        """
        # Each shell ends at once; its child is an orphan that ends a little later.
        orphans = []
        for _ in range(20):
            shell = ["sh", "-c", "sleep 0.05 >/dev/null & echo $!"]
            orphans.append(int(subprocess.check_output(shell)))
        # Meanwhile children of our own end, and nobody asks them yet.
        own = [subprocess.Popen(["sh", "-c", f"exit {n}"]) for n in range(20)]
        forked = os.fork()
        if not forked:
            os._exit(42)
        until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in orphans))
        say([process.wait() for process in own] == list(range(20)))
        say(os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]))

        import trio
        async def main():
            done = await trio.run_process(["sh", "-c", "exit 7"], check=False)
            say(done.returncode)
        trio.run(main)
        say(children_of(INIT) == [os.getpid()])
        """,
    )
    assert (code, lines) == (0, ["True", "42", "7", "True"])


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("sys.exit(0)", 0),
        ("sys.exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("signal.signal(signal.SIGTERM, signal.SIG_DFL); os.kill(os.getpid(), 15)", 143),
    ],
)
def test_the_servers_exit_code_is_that_of_process_1(how: str, end: str, code: int) -> None:
    assert outcome(how, end) == (code, [])


def test_a_signal_to_process_1_reaches_the_server(how: str) -> None:
    code, lines = outcome(
        how,
        """
        numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
                   signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH, signal.SIGQUIT]
        seen = []
        for number in numbers:
            signal.signal(number, lambda number, frame: seen.append(number))
        for number in numbers:
            os.kill(INIT, number)
            until(lambda: number in seen)
        say(seen == numbers)
        """,
    )
    assert (code, lines) == (0, ["True"])


def test_a_signal_before_the_server_listens_ends_it_even_as_process_1(how: str) -> None:
    with started(how, "say(os.getppid()); signal.pause()") as process:
        process.stdout.wait_for(r"\d+")
        if how == "subreaper":
            process.send_signal(signal.SIGTERM)
        else:
            (init,) = children_of(process.process.pid)
            os.kill(init, signal.SIGTERM)
        assert process.wait() == 143


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def test_a_successor_is_the_server_once_the_first_has_ended(how: str) -> None:
    code, lines = outcome(
        how,
        """
        init = InitProcess.from_environment()
        assert init.is_there and not InitProcess.from_environment().is_there
        successor = subprocess.Popen(
            [sys.executable, "-c", '''if True:
                import os, sys, time
                from trioserve.system.orphans import InitProcess
                init = InitProcess.from_environment()
                end = time.monotonic() + 20
                while os.getppid() != int(sys.argv[1]) and time.monotonic() < end:
                    time.sleep(0.01)
                print("adopted", os.getppid() == int(sys.argv[1]), init.is_there, flush=True)
                sys.exit(5)
            ''', str(INIT)],
            pass_fds=init.fds,
            env={**os.environ, **init.successor_environment},
        )
        init.hand_over(successor.pid)
        os._exit(0)
        """,
    )
    assert (code, lines) == (5, ["adopted True True"])


def test_a_successor_that_is_no_child_is_not_waited_for(how: str) -> None:
    code, lines = outcome(how, "InitProcess.from_environment().hand_over(4194000); sys.exit(6)")
    assert (code, lines) == (6, [])


def test_descriptors_that_were_passed_on_are_the_servers_alone(how: str) -> None:
    reader, writer = os.pipe()
    with contextlib.closing(os.fdopen(reader)) as pipe:
        code = PREFIX + f"os.close({writer}); say('closed'); signal.pause()"
        command = [*run_as(how), sys.executable, "-u", "-c", code]
        with running(*command, pass_fds=[writer]) as process:
            os.close(writer)
            process.stdout.wait_for("closed")
            if how == "subreaper":  # else unshare holds it, too
                assert pipe.read() == ""


def test_variables_that_are_meant_for_process_1_are_the_servers(how: str) -> None:
    before = """
import os
for name in ("LISTEN_PID", "WATCHDOG_PID"):
    os.environ[name] = str(os.getpid())
"""
    after = """
say({os.environ["LISTEN_PID"], os.environ["WATCHDOG_PID"]} == {str(os.getpid())})
"""
    code = before + PREFIX + after
    with running(*run_as(how), sys.executable, "-c", code, cwd=REPOSITORY) as process:
        process.stdout.wait_for("True")
        assert process.wait() == 0


def test_without_process_1_nothing_is_there() -> None:
    init = InitProcess.from_environment({})
    assert not init.is_there
    assert (init.fds, init.successor_environment) == ((), {})
    init.hand_over(1)


def test_the_command_as_process_1_serves_stops_and_leaves_no_zombie(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The whole server, which starts processes for requests."""
    directory = tmp_path_factory.mktemp("app")
    (directory / "shop.py").write_text(
        textwrap.dedent("""
            import os, subprocess, trio

            def zombies():
                found = []
                for name in filter(str.isdigit, os.listdir("/proc")):
                    try:
                        with open(f"/proc/{name}/stat") as file:
                            state = file.read().rpartition(")")[2].split()[0]
                    except FileNotFoundError:
                        continue
                    if state == "Z":
                        found.append(name)
                return found

            async def app(scope, receive, send):
                if scope["type"] != "http":
                    raise RuntimeError("only HTTP is spoken here")
                shell = ["sh", "-c", "true & sleep 0.01 & exit 3"]
                codes = [(await trio.run_process(shell, check=False)).returncode for _ in range(5)]
                codes.append(subprocess.call(["sh", "-c", "exit 4"]))
                with trio.move_on_after(20):
                    while zombies():
                        await trio.sleep(0.01)
                text = f"{os.getppid()} {codes} {zombies()}"
                await send({"type": "http.response.start", "status": 200})
                await send({"type": "http.response.body", "body": text.encode()})
        """)
    )
    from tests.plain_client import get

    command = [*run_as("process 1"), TRIOSERVE, "shop:app", "--app-dir", str(directory)]
    with running(*command, "--bind", "127.0.0.1:0") as process:
        assert get(process.port, "/").text == "1 [3, 3, 3, 3, 3, 4] []"
        (init,) = children_of(process.process.pid)
        os.kill(init, signal.SIGTERM)
        assert process.wait() == 0
        assert process.stderr.text.count("SIGTERM") == 1
