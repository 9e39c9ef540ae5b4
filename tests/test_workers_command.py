# SPDX-License-Identifier: MIT
"""``trioserve --workers N`` as its operator knows it: real processes, signals, deaths and load."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.plain_client import connect, get
from tests.server_process import REPOSITORY, TRIOSERVE, running
from tests.tools import find_tool
from tests.worker_processes import (
    Site,
    children_of,
    descriptors_of,
    is_alive,
    needs_proc,
    serving_workers,
    wait_for_pids,
    wait_until,
)

if TYPE_CHECKING:
    from tests.server_process import ServerProcess

#: Each starts several Pythons, which takes about a second.
pytestmark = [pytest.mark.slow, needs_proc]

#: How often the load test reloads and kills; the whole is 20 and 20.
RELOADS = int(os.environ.get("TRIOSERVE_TEST_RELOADS", "3"))
KILLS = int(os.environ.get("TRIOSERVE_TEST_KILLS", "3"))


def _has_terminal() -> bool:
    try:
        os.close(os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


HAS_TERMINAL = _has_terminal()


def old_workers_of(server: ServerProcess) -> list[int]:
    """Those that have lived for two seconds: what ends earlier is a crash loop to the server."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    ticks = os.sysconf("SC_CLK_TCK")
    found = []
    for pid in children_of(server.process.pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if uptime - int(fields[19]) / ticks >= 2:
                found.append(pid)
    return found


def answer(server: ServerProcess, path: str = "/") -> str:
    return get(server.port, path).text


# -- deaths ---------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["blocks_in_sleep", "blocks_in_a_busy_loop", "blocks_in_c"])
def test_a_blocked_event_loop_is_found_its_stack_logged_and_the_worker_replaced(
    action: str,
) -> None:
    with serving_workers("--worker-timeout=2") as server:
        before = wait_for_pids(server.port, 2)
        with connect(server.port) as client:
            client.send("GET", f"/{action}")
            hung = int(server.stdout.wait_for(r"blocking (\d+)")[1])
            server.stderr.wait_for(rf"\(process {hung}\) is killed: its event loop is blocked")
            assert client.sock.recv(1) == b""
        server.stderr.wait_for(rf"workers_app\.py.* in {action}")
        server.stderr.wait_for(r"killed by SIGKILL")
        after = wait_for_pids(server.port, 2, without={hung})
        assert before - {hung} <= after
        assert server.stop() == 0


def test_a_stopped_worker_is_killed_though_it_can_not_say_where_it_is() -> None:
    with serving_workers("--worker-timeout=2") as server:
        stopped, other = wait_for_pids(server.port, 2)
        os.kill(stopped, signal.SIGSTOP)
        server.stderr.wait_for(rf"\(process {stopped}\) is killed: .*does not even say where it is")
        assert other in wait_for_pids(server.port, 2, without={stopped})
        assert server.stop() == 0


def test_a_worker_that_is_killed_or_exits_is_followed_and_the_log_says_how_it_ended() -> None:
    with serving_workers() as server:
        killed, other = wait_for_pids(server.port, 2)
        os.kill(killed, signal.SIGKILL)
        server.stderr.wait_for(r"ended .*killed by SIGKILL \(9\).*it is started again")
        assert other in wait_for_pids(server.port, 2, without={killed})
        with connect(server.port) as client:
            client.send("GET", "/exits")
            assert client.sock.recv(1) == b""
        server.stderr.wait_for(r"ended .*exit code 7.*it is started again")
        wait_for_pids(server.port, 2, without={killed})
        assert server.stop() == 0


def test_no_worker_outlives_a_killed_arbiter() -> None:
    with serving_workers() as server:
        port = server.port
        workers = wait_for_pids(port, 2)
        server.process.kill()
        wait_until(lambda: not any(map(is_alive, workers)), "the workers have ended")

        def is_free() -> bool:  # an ended process lets go of its descriptors by and by
            try:
                socket.create_server(("127.0.0.1", port)).close()
            except OSError:
                return False
            return True

        wait_until(is_free, "the address is free")


@pytest.mark.parametrize(
    ("code", "exit_code", "message"),
    [
        ("import nothing_of_that_name", 2, "nothing_of_that_name"),
        (
            "async def app(scope, receive, send):\n"
            "    await receive()\n"
            "    await send({'type': 'lifespan.startup.failed', 'message': 'no database'})\n",
            3,
            "no database",
        ),
        (
            "async def app(scope, receive, send):\n    import os\n    os._exit(9)\n",
            3,
            "exit code 9",
        ),
    ],
    ids=["no import", "no startup", "a sudden end"],
)
def test_an_application_that_can_not_start_at_all_ends_the_server_and_its_code_says_so(
    tmp_path: Path, code: str, exit_code: int, message: str
) -> None:
    site = Site(tmp_path)
    site.write(code)
    command = (TRIOSERVE, "site_app:app", "--workers=2", "--bind=127.0.0.1:0")
    with running(*command, f"--app-dir={tmp_path}") as server:
        assert server.wait() == exit_code
        assert message in server.stderr.lines[-1]
        assert server.stderr.lines[-1].startswith("trioserve: ")
        assert "serving on" not in server.stderr.text


def test_a_worker_that_can_not_be_started_again_backs_off_and_the_exit_code_tells_it(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    with site.serving(workers=1) as server:
        (pid,) = wait_for_pids(server.port, 1)
        site.write("raise RuntimeError('broken by now')")
        os.kill(pid, signal.SIGKILL)
        for delay in ("0.1", "0.2", "0.4", "0.8"):
            server.stderr.wait_for(rf"it is started again in {re.escape(delay)} s")
        site.version("two")
        assert answer(server) == "two"  # the connection has waited for the next try
        assert server.stop() == 0


# -- replacement ----------------------------------------------------------------------------


def test_a_worker_is_replaced_after_max_requests_without_a_lost_request() -> None:
    with serving_workers("--max-requests=20", workers=1) as server:
        pids: set[int] = set()

        def ask() -> bool:
            pids.add(int(answer(server, "/pid")))
            return len(pids) >= 3

        wait_until(ask, "two workers have been replaced")
        server.stderr.wait_for(r"is replaced: it has served 20 requests", count=2)
        assert server.stop() == 0


def test_a_worker_is_replaced_for_its_memory_and_for_its_age() -> None:
    limits = ("--max-worker-rss=100000000", "--worker-lifetime=600")
    with serving_workers(*limits, workers=1) as server:
        (pid,) = wait_for_pids(server.port, 1)
        assert int(answer(server, "/takes_memory")) == pid
        server.stderr.wait_for(rf"\(process {pid}\) has \d+ bytes in memory")
        wait_for_pids(server.port, 1, without={pid})
        assert server.stop() == 0
    with serving_workers("--worker-lifetime=1", workers=1) as server:
        (pid,) = wait_for_pids(server.port, 1)
        server.stderr.wait_for(rf"\(process {pid}\) is replaced for its age")
        wait_for_pids(server.port, 1, without={pid})
        assert server.stop() == 0


def test_sigterm_to_a_worker_replaces_it_and_its_request_finishes() -> None:
    with serving_workers(workers=1) as server, connect(server.port) as client:
        client.send("GET", "/waits?1.5")
        pid = int(server.stdout.wait_for(r"waiting (\d+)")[1])
        os.kill(pid, signal.SIGTERM)
        assert wait_for_pids(server.port, 1, without={pid})
        assert client.reply().text == str(pid)
        assert server.stop() == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_a_client_that_reads_nothing_can_not_hold_a_stop_up_beyond_graceful_timeout(
    tmp_path: Path, workers: int
) -> None:
    site = Site(tmp_path)
    site.write("""
        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                for _ in range(2):
                    kind = (await receive())["type"]
                    await send({"type": kind + ".complete"})
                return
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                part = {"type": "http.response.body", "body": bytes(1 << 20), "more_body": True}
                await send(part)
        """)
    options = ("--graceful-timeout=0.5", "--write-timeout=0")
    with site.serving(*options, workers=workers) as server, connect(server.port) as client:
        client.send("GET", "/")
        client.begin()  # and nothing of the body
        assert server.stop() == 0
        server.stderr.wait_for(r"graceful_timeout \(0\.5 s\) is over")


# -- more and fewer -------------------------------------------------------------------------


def test_ttin_and_ttou_scale_and_one_is_left() -> None:
    with serving_workers(workers=1) as server:
        server.send_signal(signal.SIGTTIN)
        wait_for_pids(server.port, 2)
        server.send_signal(signal.SIGTTOU)
        server.stderr.wait_for("1 HTTP workers are wanted now")
        server.send_signal(signal.SIGTTOU)
        server.stderr.wait_for("one is left at least")
        wait_until(lambda: len(children_of(server.process.pid)) == 1, "one worker is left")
        assert server.stop() == 0


@pytest.mark.skipif(HAS_TERMINAL, reason="in a terminal's session the signal is the terminal's")
@pytest.mark.parametrize("option", ["--no-reuse-port", "--reuse-port"])
def test_resting_workers_come_back_and_who_connected_meanwhile_has_waited(option: str) -> None:
    with serving_workers(option) as server:
        wait_for_pids(server.port, 2)
        server.send_signal(signal.SIGWINCH)
        server.stderr.wait_for("the HTTP workers drain, and rest")
        wait_until(lambda: children_of(server.process.pid) == [], "all workers have ended")
        with connect(server.port) as client:
            client.send("GET", "/pid")
            server.send_signal(signal.SIGHUP)
            assert int(client.reply().text) in wait_for_pids(server.port, 2)
        assert server.stop() == 0


def test_web_concurrency_is_a_default() -> None:
    command = (TRIOSERVE, "tests.workers_app:app", f"--app-dir={REPOSITORY}", "--bind=127.0.0.1:0")
    with running(*command, environ={"WEB_CONCURRENCY": "2"}) as server:
        wait_for_pids(server.port, 2)
        assert server.stop() == 0
    with running(*command, "--print-config", environ={"WEB_CONCURRENCY": "lots"}) as server:
        assert server.wait() == 2
        assert "WEB_CONCURRENCY" in server.stderr.text


# -- reload ---------------------------------------------------------------------------------


def test_a_reload_brings_new_code_and_new_settings_and_a_broken_one_changes_nothing(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    site.settings("server_header = true\n")
    with site.serving() as server:
        assert answer(server) == "one"
        site.version("two")
        site.settings("server_header = false\nworkers = 1\nlog_format = 'json'\n")
        server.send_signal(signal.SIGHUP)
        server.stderr.wait_for("the reload is done")
        # A worker that is told to go may take a connection until it hears of it.
        wait_until(lambda: answer(server) == "two", "the new code answers")
        wait_until(lambda: "server" not in get(server.port, "/").headers, "by the new settings")
        server.stderr.wait_for('^{.*"the reload is done"')

        site.write("raise RuntimeError('a mistake')")
        server.send_signal(signal.SIGHUP)
        server.stderr.wait_for("RuntimeError: a mistake")
        server.stderr.wait_for("the reload ends: HTTP worker 1 can't be started as it is now")
        assert answer(server) == "two"

        site.version("three")
        site.settings("no_such_setting = 1\n")
        server.send_signal(signal.SIGHUP)
        server.stderr.wait_for("no_such_setting: no such setting")
        assert answer(server) == "two"
        site.settings("")
        server.send_signal(signal.SIGHUP)
        server.stderr.wait_for("the reload is done", count=2)
        wait_until(lambda: answer(server) == "three", "the new code answers")
        assert server.stop() == 0


def test_a_reload_without_workers_says_what_would_help() -> None:
    with serving_workers(workers=0) as server:
        assert int(answer(server, "/pid")) == server.process.pid
        server.send_signal(signal.SIGHUP)
        server.stderr.wait_for("SIGUSR2 starts a new server in its place")
        assert server.stop() == 0


# -- hot upgrade ----------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_a_hot_upgrade_hands_sockets_and_pid_file_over(tmp_path: Path, workers: int) -> None:
    site = Site(tmp_path)
    pid_file = tmp_path / "pid"
    unix = tmp_path / "site.sock"
    options = (f"--pid-file={pid_file}", f"--bind=unix:{unix}")
    successor = 0
    with site.serving(*options, workers=workers) as server:
        try:
            port = server.port
            assert int(pid_file.read_text()) == server.process.pid
            site.write("x = (")
            server.send_signal(signal.SIGUSR2)
            server.stderr.wait_for("the new server did not get ready .*; this one goes on")
            assert int(pid_file.read_text()) == server.process.pid
            assert get(str(unix), "/").text == answer(server) == "one"

            site.version("two")
            with connect(port) as client:
                client.send("GET", "/slow?1.5")
                server.stdout.wait_for("slow begins")
                server.send_signal(signal.SIGUSR2)
                server.stderr.wait_for("the new server serves: this one stops")
                wait_until(
                    lambda: pid_file.read_text() != f"{server.process.pid}\n", "a new pid is there"
                )
                successor = int(pid_file.read_text())
                # The old one's workers may take a connection until they hear of it.
                wait_until(lambda: get(port, "/").text == "two", "the new server answers")
                assert client.reply().text == "one"
            assert server.wait() == 0
            assert get(str(unix), "/").text == get(port, "/").text == "two"
            assert int(pid_file.read_text()) == successor
            os.kill(successor, signal.SIGTERM)
            wait_until(lambda: not is_alive(successor), "the new server has ended")
            assert not unix.exists()
            assert not pid_file.exists()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(successor or server.process.pid, signal.SIGKILL)


# -- under load -----------------------------------------------------------------------------


def test_reloads_kills_and_an_upgrade_under_full_load_fail_nothing_else(tmp_path: Path) -> None:
    """``TRIOSERVE_TEST_RELOADS=20 TRIOSERVE_TEST_KILLS=20`` for the whole of it."""
    wrk = find_tool("wrk")
    site = Site(tmp_path)
    pid_file = tmp_path / "pid"
    seconds = 6 + RELOADS + 3 * KILLS
    with site.serving(f"--pid-file={pid_file}", "--no-access-log") as server:
        port = server.port
        successor = 0
        try:
            wait_for_pids(port, 2)
            before = (len(children_of(server.process.pid)), descriptors_of(server.process.pid))

            def load() -> str:
                command = [wrk, "-t1", "-c16", f"-d{seconds}s", f"http://127.0.0.1:{port}/"]
                return subprocess.run(command, capture_output=True, text=True, check=True).stdout

            outputs: list[str] = []
            wrk_thread = threading.Thread(target=lambda: outputs.append(load()))
            wrk_thread.start()
            for number in range(RELOADS):
                server.send_signal(signal.SIGHUP)
                server.stderr.wait_for("the reload is done", count=number + 1)
            for number in range(KILLS):
                wait_until(
                    lambda: len(old_workers_of(server)) == 2, "two workers serve for a while"
                )
                os.kill(old_workers_of(server)[number % 2], signal.SIGKILL)
                server.stderr.wait_for(r"killed by SIGKILL", count=number + 1)
            wait_for_pids(port, 2)
            wait_until(
                lambda: (
                    (len(children_of(server.process.pid)), descriptors_of(server.process.pid))
                    == before
                ),
                "processes and descriptors are what they were",
            )
            server.send_signal(signal.SIGUSR2)
            server.stderr.wait_for("the new server serves")
            successor = int(pid_file.read_text())
            assert server.wait() == 0
            wrk_thread.join()
            (output,) = outputs
            assert int(re.search(r"(\d+) requests in", output)[1]) > 1000  # type: ignore[index]
            assert "Non-2xx" not in output
            errors = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
            connects, reads, writes, timeouts = map(int, errors.groups()) if errors else (0,) * 4
            # A connection to a worker that was killed is lost with what was in flight on it.
            assert (connects, timeouts) == (0, 0), output
            assert reads + writes <= 2 * 16 * KILLS, output
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(successor or server.process.pid, signal.SIGTERM)
    wait_until(lambda: not pid_file.exists(), "the last server has ended")
